"""Four real processes, killed with SIGKILL one after the other while records keep coming.

What a client was told is final must be in every node's log afterwards, and all logs and states must be one.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.audit import audit_node
from client.demo.cast import AGENCIES, INTERIOR, MAKER, Cast
from client.localnet import LocalNetwork
from client.session import Session
from tests.processes.load import MAKE, Load

pytestmark = pytest.mark.processes

RECORDS_BETWEEN_KILLS = 8
LEVEL_TIMEOUT_S = 60.0


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork]:
    with LocalNetwork.create(tmp_path / "network", AGENCIES) as started:
        started.start()
        started.wait_ready()
        yield started


def _level(network: LocalNetwork) -> dict[str, tuple[int, str, str]]:
    """Wait until all nodes stand at one size; (size, root, state root) by agency."""
    deadline = time.monotonic() + LEVEL_TIMEOUT_S
    while True:
        states = {agency: network.network_status(agency) for agency in AGENCIES}
        stands = {agency: (s["size"], s["root"], s["state_root"]) for agency, s in states.items()}
        if len(set(stands.values())) == 1 or time.monotonic() > deadline:
            return stands
        time.sleep(0.05)


def test_no_acknowledged_record_is_lost_when_each_node_is_killed_in_turn(network: LocalNetwork, tmp_path: Path) -> None:
    with Cast(network, home=tmp_path / "home") as cast:
        enrolment = cast.enrolment(MAKER, sponsor=INTERIOR, name="Test Maker", role="maker", makes=(MAKE,))
        cast.session(INTERIOR, party=INTERIOR, role="inquirer").submit([enrolment])[0].require_final()
        tokens = {agency: network.new_token(agency, party=MAKER, role="holder") for agency in AGENCIES}
        acknowledged: list[str] = []
        for victim in AGENCIES:
            others = [agency for agency in AGENCIES if agency != victim]
            session = Session(
                [network.url(others[0])],
                policy=cast.policy,
                home=tmp_path / f"home-{victim}",
                ca=network.authorities,
                token=tokens[others[0]].read_text().strip(),
            )
            with session, Load(session, cast.author(MAKER), series=victim.upper()) as load:
                load.wait_more(RECORDS_BETWEEN_KILLS, timeout_s=60)
                network.kill(victim)
                load.wait_more(RECORDS_BETWEEN_KILLS, timeout_s=60)
                network.start(victim)
                network.wait_ready(victim)
                load.wait_more(RECORDS_BETWEEN_KILLS, timeout_s=60)
            acknowledged += load.acknowledged
        stands = _level(network)
        assert len(set(stands.values())) == 1, stands
        for agency in AGENCIES:
            reader = cast.session(agency, party=agency, role="inquirer")
            for record_id in acknowledged:
                found, _ = reader.record(record_id)
                assert found.status == "final" and found.receipt is not None, (agency, record_id, found)
            token = network.new_token(agency, party=agency, role="auditor")
            audited = audit_node(
                network.url(agency), policy=cast.policy, ca=network.authorities, token=token.read_text().strip()
            )
            assert (audited.root, audited.state_root) == stands[agency][1:]


def test_nodes_end_cleanly_on_sigterm(network: LocalNetwork) -> None:
    before = {agency: network.network_status(agency)["size"] for agency in AGENCIES}
    assert network.stop() == dict.fromkeys(AGENCIES, 0)
    network.start()
    network.wait_ready()
    assert all(network.network_status(agency)["size"] >= before[agency] for agency in AGENCIES)


def test_after_a_power_cut_the_one_whose_disk_is_new_votes_only_once_the_others_have_gone_on(
    network: LocalNetwork, tmp_path: Path
) -> None:
    """P7.5: all begin at the same moment, so at first it can ask nobody whether it voted before."""
    with Cast(network, home=tmp_path / "home") as cast:
        session = cast.session(INTERIOR, party=INTERIOR, role="inquirer")
        enrolment = cast.enrolment(MAKER, sponsor=INTERIOR, name="Test Maker", role="maker", makes=(MAKE,))
        session.submit([enrolment])[0].require_final()
        token = network.new_token(INTERIOR, party=MAKER, role="holder").read_text().strip()
        for agency in AGENCIES:
            network.kill(agency)
        shutil.rmtree(network.folder / "police" / "data")
        network.start()
        network.wait_answering("police", path="/healthz", timeout_s=LEVEL_TIMEOUT_S)
        _wait_for(
            lambda: (
                "votes_lost" in {found["code"] for found in network.network_status("police")["progress"]["findings"]}
            )
        )
        assert network.network_status("police")["progress"]["state"] == "recovering"
        network.wait_ready(*(agency for agency in AGENCIES if agency != "police"))
        with (
            Session(
                [network.url(INTERIOR)],
                policy=cast.policy,
                home=tmp_path / "maker",
                ca=network.authorities,
                token=token,
            ) as maker,
            Load(maker, cast.author(MAKER), series="AFTER") as load,
        ):
            load.wait_more(RECORDS_BETWEEN_KILLS, timeout_s=60)
            network.wait_ready("police")
        assert len(set(_level(network).values())) == 1
        for agency in AGENCIES:
            assert not list((network.folder / agency / "data").glob("evidence/*")), "nobody saw it vote twice"


def _wait_for(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LEVEL_TIMEOUT_S
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)
