"""What validators decide in a network of real processes, under load: `make test` tries it in small, `make epochs` in full.

python -m tests.processes.changing
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from client.audit import audit_node
from client.author import Author
from client.demo.cast import AGENCIES, IMPORTER, INTERIOR, MAKER, Cast
from client.files import read_secret
from client.governance import read_identity, rotation
from client.localnet import LocalNetwork, run_command
from client.session import Session
from ledger.answer import verify_receipt
from ledger.errors import RuleError
from ledger.keyfile import unseal
from ledger.limits import MAX_KEY_FILE_BYTES
from ledger.quorum import quorum
from ledger.records import ProposalOpen, ProposalVote, WeaponRegister
from ledger.records.agencies import Agency
from ledger.records.envelope import parse_entry
from ledger.records.fields import format_time
from ledger.records.governance import (
    Change,
    ParametersSet,
    PartyResume,
    PartySuspend,
    ProposalOpenBody,
    ProposalVoteBody,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
)
from ledger.records.items import Attributes, LotRow, RowAttributes, WeaponRegisterBody
from ledger.signing import SigningKey
from ledger.state.model import PartyDoc, ValidatorsDoc
from tests.processes.load import MAKE, Load

PATIENCE_S: Final = 60.0
READ_BACK: Final = 20
"""So many of the acknowledged records, spread over the whole time, are asked for at each node."""
WEEK_S: Final = 7 * 24 * 3600


class Changing:
    """A network whose validators decide who they are. A context manager: leaving it stops everything."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.network = self._stack.enter_context(LocalNetwork.create(folder / "network", AGENCIES))
        self.network.start()
        self.network.wait_ready()
        self.cast = self._stack.enter_context(Cast(self.network, home=folder / "home"))
        self._folder = folder
        self._governors: dict[str, Author] = {}
        self._keys: dict[str, Path] = {}
        """Where the node's keys lie, of an agency whose keys were replaced."""
        self.members: tuple[str, ...] = tuple(sorted(AGENCIES))
        self.epoch = 0
        self.acknowledged: list[str] = []

    def enrol_maker(self) -> tuple[bytes, bytes]:
        """A maker; its enrolment's entry and receipt, of the first epoch."""
        entry = self.cast.enrolment(MAKER, sponsor=INTERIOR, name="Test Maker", role="maker", makes=(MAKE,))
        done = self.session(INTERIOR).submit([entry])[0].require_final()
        assert done.receipt is not None
        return entry, done.receipt

    def session(self, agency: str) -> Session:
        """An agency's own session with its own node."""
        return self.cast.session(agency, party=agency, role="inquirer")

    def load(self, agency: str, series: str) -> Load:
        """Weapons registered one after the other at an agency's node."""
        token = self.network.new_token(agency, party=MAKER, role="holder")
        session = Session(
            [self.network.url(agency)],
            policy=self.cast.policy,
            home=self._folder / f"home-{series}",
            ca=self.network.authorities,
            token=token.read_text().strip(),
        )
        return Load(self._stack.enter_context(session), self.cast.author(MAKER), series=series)

    def add(self, party: str) -> None:
        """An agency's node starts, and the validators take it in."""
        self.enact(ValidatorAdd(agency=self._newcomer(party)))
        self.members = tuple(sorted((*self.members, party)))
        self.wait_epoch()

    def remove(self, party: str) -> None:
        """The validators send an agency away. Its node goes on, and follows."""
        self.enact(ValidatorRemove(party=party))
        self.members = tuple(member for member in self.members if member != party)
        self.wait_epoch()

    def replace(self, leaver: str, party: str) -> None:
        """An agency's node starts, and the validators let it take another's place, whose node goes on and follows."""
        self.enact(ValidatorReplace(party=leaver, agency=self._newcomer(party)))
        self.members = tuple(sorted({*self.members, party} - {leaver}))
        self.wait_epoch()

    def rotate(self, party: str) -> None:
        """A validator's node has new keys voted for, and goes on under them once its operator has restarted it so."""
        home = self.network.folder / party
        origin = self.session(INTERIOR).genesis().origin
        run_command("network", "renew", str(home), "--origin", origin, "--out", str(home / "renewed"))
        standing = self.session(INTERIOR).validators().document
        assert isinstance(standing, ValidatorsDoc)
        self.enact(rotation(read_identity(home / "renewed" / "identity.json", origin=origin), standing))
        self.wait_epoch(without=(party,))  # the old keys vote no more, and its node says so
        assert self.network.network_status(party)["progress"]["state"] == "stopped"
        self.network.stop(party)
        config = (home / "node.toml").read_text()
        for name in ("identity.json", "keys.sealed"):
            assert f'"{name}"' in config
            config = config.replace(f'"{name}"', f'"renewed/{name}"')
        (home / "node.toml").write_text("rotated = true\n" + config)
        self._keys[party] = home / "renewed"
        self._governors.pop(party, None)
        self.network.start(party)
        self.wait_epoch()

    def suspend_and_resume(self, party: str) -> None:
        """An enrolled party may issue nothing while the validators suspend it, and everything afterwards."""
        session, author = self.session(INTERIOR), self.cast.author(party)
        make = "TSU"
        session.submit([self.cast.enrolment(party, sponsor=INTERIOR, name=party, role="maker", makes=(make,))])[
            0
        ].require_final()
        lot = WeaponRegisterBody(
            defaults=Attributes(make=make, type="PI", calibre="9"), rows=(LotRow(serial="S1", differs=RowAttributes()),)
        )
        self.decide(PartySuspend(party=party))
        self._require_status(party, "suspended")
        try:
            session.submit([author.issue(WeaponRegister, lot)])[0].require_final()
        except RuleError as refused:
            assert refused.code == "party_suspended"
        else:
            raise AssertionError("a suspended party issued a record")
        self.decide(PartyResume(party=party))
        self._require_status(party, "active")
        self.acknowledged.append(session.submit([author.issue(WeaponRegister, lot)])[0].require_final().id)

    def _require_status(self, party: str, status: str) -> None:
        for agency in self.network.agencies:
            if self.network.is_running(agency):
                self._wait(lambda agency=agency: self._status(agency, party) == status)  # type: ignore[misc]

    def _status(self, agency: str, party: str) -> str:
        document = self.session(agency).party(party).document
        assert isinstance(document, PartyDoc)
        return document.status

    def _newcomer(self, party: str) -> Agency:
        identity = self.network.add_agency(party)
        self.network.start(party)
        return read_identity(identity, origin=self.session(INTERIOR).genesis().origin)

    def enact(self, change: Change) -> None:
        """A decision that opens an epoch."""
        self.decide(change)
        self.epoch += 1

    def decide(self, change: Change) -> None:
        """A proposal, and the votes of a quorum of those whose nodes run, each at its own node."""
        up = [party for party in self.members if self.network.is_running(party)]
        opener, *others = up[: quorum(len(self.members))]
        expires_at = format_time(int((time.time() + WEEK_S) * 1000))
        opening = self._governor(opener).issue(ProposalOpen, ProposalOpenBody(change=change, expires_at=expires_at))
        self.session(opener).submit([opening])[0].require_final()
        for party in others:
            body = ProposalVoteBody(proposal=parse_entry(opening).id, vote="for")
            self.session(party).submit([self._governor(party).issue(ProposalVote, body)])[0].require_final()

    def _governor(self, party: str) -> Author:
        if party not in self._governors:
            folder = self._keys.get(party, self.network.folder / party)
            passphrase = read_secret(folder / "passphrase", limit=MAX_KEY_FILE_BYTES, what="passphrase").strip()
            seeds = unseal(read_secret(folder / "keys.sealed", limit=MAX_KEY_FILE_BYTES, what="key file"), passphrase)
            ledger = self.session(INTERIOR).ledger_id()
            self._governors[party] = Author(party, SigningKey(seeds[f"{party}/governance"]), ledger=ledger)
        return self._governors[party]

    def wait_epoch(self, *, without: Sequence[str] = ()) -> None:
        """Wait until every running node is in the current epoch, and ready (but for those `without` the right keys)."""
        running = [agency for agency in self.network.agencies if self.network.is_running(agency)]
        self._wait(lambda: all(self.network.network_status(agency)["epoch"] == self.epoch for agency in running))
        self.network.wait_ready(*(agency for agency in running if agency not in without))

    def _wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, {
                agency: self.network.network_status(agency)
                for agency in self.network.agencies
                if self.network.is_running(agency)
            }
            time.sleep(0.05)

    def check(self, receipts: Sequence[tuple[bytes, bytes]]) -> None:
        """All nodes have one log and one state, with all that was acknowledged in it; whoever pinned the first policy
        believes every receipt, old and new, and audits every log."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            states = {agency: self.network.network_status(agency) for agency in self.network.agencies}
            stands = {(state["size"], state["root"], state["state_root"]) for state in states.values()}
            if len(stands) == 1 or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert len(stands) == 1, states
        [(_, root, state_root)] = stands
        for agency in self.network.agencies:
            reader = self.session(agency)
            succession, followed = reader.succession()
            assert (len(succession.steps), followed.eras[-1].epoch) == (self.epoch, self.epoch)
            for entry, receipt in receipts:
                verify_receipt(receipt, entry, followed)
            for record_id in self.acknowledged[:: 1 + len(self.acknowledged) // READ_BACK]:
                found, _ = reader.record(record_id)
                assert found.status == "final" and found.receipt is not None, (agency, record_id, found)
            token = self.network.new_token(agency, party=agency, role="auditor")
            audited = audit_node(
                self.network.url(agency),
                policy=self.cast.policy,
                ca=self.network.authorities,
                token=token.read_text().strip(),
            )
            assert (audited.root, audited.state_root) == (root, state_root)

    def __enter__(self) -> "Changing":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def main() -> int:
    """4 -> 5 -> 7 -> 4 under load, with a node killed in every part and started again in the next; then new keys for one, a
    replacement, other timers, a party suspended and resumed. Prints the times."""
    with tempfile.TemporaryDirectory() as folder, Changing(Path(folder)) as changing:
        first = changing.enrol_maker()
        network = changing.network
        started = time.monotonic()

        def say(what: str) -> None:
            print(
                f"{time.monotonic() - started:7.1f} s  epoch {changing.epoch}  {len(load.acknowledged):5d} records  {what}"
            )

        with changing.load(INTERIOR, "LOAD") as load:
            changing.add("coast")
            say("5 validators")
            network.kill("police")
            changing.add("westmark")
            changing.add("yonder")
            say("7 validators, one of them killed before two joined")
            network.start("police")
            changing.wait_epoch()
            say("the killed one went through two epochs by blocks from its peers")
            network.kill("neighbour")
            for party in ("coast", "westmark", "yonder"):
                changing.remove(party)
            say("4 validators again, one of them killed meanwhile")
            network.start("neighbour")
            changing.wait_epoch()
            say("all level")
            changing.rotate("customs")
            say("customs goes on under new keys")
            changing.replace("neighbour", "northgate")
            say("northgate has taken the place of neighbour")
            changing.decide(ParametersSet(lead_timeout_ms=1_500, advance_timeout_ms=4_000))
            changing.suspend_and_resume(IMPORTER)
            say("other timers; a party was suspended, refused, resumed and heard again")
            load.wait_more(5, timeout_s=PATIENCE_S)
        changing.acknowledged += load.acknowledged
        changing.check([first])
        print(f"{time.monotonic() - started:7.1f} s  every log audited, every receipt believed by the first policy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
