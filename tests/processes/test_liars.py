"""Four real processes of which one lies, or loses its votes: the others prove the one, and take the other back."""

import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from client.demo.cast import AGENCIES, INTERIOR, MAKER, POLICE, Cast
from client.localnet import LocalNetwork, run_command
from client.session import Session
from ledger.records import EquivocationReport
from ledger.records.evidence import EquivocationReportBody
from tests.processes.load import MAKE, Load

pytestmark = pytest.mark.processes

TIMEOUT_S = 60.0
HONEST = tuple(agency for agency in AGENCIES if agency != POLICE)


class LyingPolice(LocalNetwork):
    """A network whose police run another program."""

    def command(self, agency: str) -> list[str]:
        ordinary = super().command(agency)
        if agency != POLICE:
            return ordinary
        return [sys.executable, "-m", "tests.processes.liar", *ordinary[ordinary.index("node") :]]


@pytest.fixture
def lying(tmp_path: Path) -> Iterator[LocalNetwork]:
    with LyingPolice.create(tmp_path / "network", AGENCIES) as started:
        started.start()
        started.wait_ready(*HONEST)
        yield started


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork]:
    with LocalNetwork.create(tmp_path / "network", AGENCIES) as started:
        started.start()
        started.wait_ready()
        yield started


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S:g} s: {what}"
        time.sleep(0.05)


def enrol_maker(cast: Cast) -> None:
    enrolment = cast.enrolment(MAKER, sponsor=INTERIOR, name="Test Maker", role="maker", makes=(MAKE,))
    cast.session(INTERIOR, party=INTERIOR, role="inquirer").submit([enrolment])[0].require_final()


def client_of(network: LocalNetwork, cast: Cast, agency: str, home: Path) -> Session:
    token = network.new_token(agency, party=MAKER, role="holder").read_text().strip()
    return Session([network.url(agency)], policy=cast.policy, home=home, ca=network.authorities, token=token)


def test_a_process_that_lies_is_proved_a_liar_on_every_node_and_on_the_ledger(
    lying: LocalNetwork, tmp_path: Path
) -> None:
    with Cast(lying, home=tmp_path / "home") as cast:
        enrol_maker(cast)
        options = ("--policy", str(lying.policy), "--ca", str(lying.authorities))
        for agency in HONEST:
            here = (*options, "--node", lying.url(agency))
            until(
                f"{agency} holds evidence",
                lambda here=here: bool(run_command("evidence", "list", *here)["evidence"]),  # type: ignore[misc]
            )
            folder = tmp_path / f"from-{agency}"
            [file] = run_command("evidence", "fetch", "--out", str(folder), *here)["files"]
            shown = run_command("verify", file, "--genesis", str(lying.folder / "genesis.json"))
            assert (shown["verified"], shown["party"], shown["kind"]) == (True, POLICE, "equivocation")
            with httpx.Client(verify=ssl.create_default_context(cafile=lying.authorities)) as scraper:
                metrics = scraper.get(lying.url(agency) + "/metrics").text
            assert f'tracemark_evidence{{kind="equivocation",party="{POLICE}"}} 1.0' in metrics
            log = (lying.folder / agency / "node.log").read_text()
            assert "an agency's key signed two things that exclude each other" in log
        session = cast.session(INTERIOR, party=INTERIOR, role="inquirer")
        [evidence] = session.evidence()
        report = cast.author(INTERIOR).issue(EquivocationReport, EquivocationReportBody(evidence=evidence))
        assert session.submit([report])[0].require_final().index


def test_a_process_that_lost_its_votes_is_ready_again_by_itself(network: LocalNetwork, tmp_path: Path) -> None:
    with Cast(network, home=tmp_path / "home") as cast:
        enrol_maker(cast)
        session = client_of(network, cast, INTERIOR, tmp_path / "client")
        with session, Load(session, cast.author(MAKER), series="L") as load:
            load.wait_more(5, timeout_s=TIMEOUT_S)
            network.kill(POLICE)
            for path in network.folder.glob(f"{POLICE}/**/votes.db*"):
                path.unlink()
            network.start(POLICE)
            network.wait_ready(POLICE)
            load.wait_more(5, timeout_s=TIMEOUT_S)
        log = (network.folder / POLICE / "node.log").read_text()
        assert "votes_lost" in log
        assert "unknown_own_vote" not in log
