"""What a start makes of a joined snapshot, and of an empty data directory: what it says of the votes (P7.5, P8.3)."""

import asyncio
import shutil
from pathlib import Path

import pytest

from ledger.consensus.messages import Certificate, Nullify
from ledger.errors import PeerError
from ledger.genesis import Genesis
from ledger.records.governance import RotatedKeys, ValidatorAdd, ValidatorRemove, ValidatorRotate
from node.clock import SystemClock
from node.config import Address, CatchUpConfig, NodeConfig, PeersConfig
from node.joining.earlier import ask_until_shown
from node.joining.start import STAGED_FILE, JoiningStart
from node.joining.survey import Target
from node.snapshots.exporter import SnapshotExporter
from node.storage import Database, LedgerStore, VoteStore
from tests.ledger.consensus.kit import nullification
from tests.node.joining.support import GENESIS, PATIENCE_S, Net, Past, Serving, join, make_snapshot
from tests.world import build_agency, build_genesis, node_key_proof


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Target]:
    """A snapshot of the second epoch, all of it fetched and verified, not in its place yet."""
    folder = tmp_path_factory.mktemp("joined")
    past = Past(folder / "past")
    past.trade()
    past.change_validators()

    async def make() -> Target:
        async with asyncio.timeout(PATIENCE_S):
            exporter = await make_snapshot(past, folder / "snapshots")
            target, _ = await join(Net(customs=Serving(past, exporter)), folder / STAGED_FILE)
        return target

    return folder / STAGED_FILE, asyncio.run(make())


def start(joined: tuple[Path, Target], data_dir: Path, *, party: str = "police") -> None:
    """Begin in a data directory with what was joined."""
    data_dir.mkdir(exist_ok=True)
    shutil.copy(joined[0], data_dir / STAGED_FILE)
    config = NodeConfig(file=data_dir / "node.toml", party=party, data_dir=data_dir)
    asyncio.run(JoiningStart(config, GENESIS, SystemClock()).run())
    assert not (data_dir / STAGED_FILE).exists()


def test_votes_that_do_not_reach_the_joined_ledger_are_not_trusted(joined: tuple[Path, Target], tmp_path: Path) -> None:
    """Whether there were none, or a start before (with nobody to be reached, on a new disk) made an empty table of them: the
    finalization that comes with the snapshot must not make the table look whole."""
    for name, is_there in (("none", False), ("empty", True)):
        data_dir = tmp_path / name
        data_dir.mkdir()
        if is_there:
            VoteStore(Database(data_dir / "votes.db")).close()
        start(joined, data_dir)
        votes = VoteStore(Database(data_dir / "votes.db"))
        assert votes.votes_suspect(), name
        votes.close()


def test_who_cannot_have_voted_is_no_suspect(
    joined: tuple[Path, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two newcomers that joined by a snapshot, and were voted in at once, would wait for each other's word for ever. What
    counts is where the ledger is now, not where the snapshot was."""
    past = Past(tmp_path / "past")
    past.trade()
    past.change_validators()
    past.next_block()
    past.next_block()  # at least one of the two is final
    node = Serving(past, SnapshotExporter(past.store, tmp_path / "none"))
    for party, nodes, suspect in (
        ("watcher", {"a": node}, False),
        ("coast", {"a": node}, True),
        ("police", {"a": node}, True),
        ("watcher", {}, True),
    ):
        for module in ("start", "earlier"):
            monkeypatch.setattr(f"node.joining.{module}.PageClient", lambda *_, nodes=nodes: Client(**nodes))
        data_dir = tmp_path / f"{party} of {len(nodes)}"
        start(joined, data_dir, party=party)
        votes = VoteStore(Database(data_dir / "votes.db"))
        assert votes.votes_suspect() is suspect, data_dir.name
        votes.close()


def test_votes_that_are_as_new_as_the_joined_ledger_stay_trusted(joined: tuple[Path, Target], tmp_path: Path) -> None:
    """The ledger's file alone was lost."""
    votes = VoteStore(Database(tmp_path / "votes.db"))
    anchor = joined[1].shown.anchor
    votes.append([anchor.certificate])
    votes.close()
    start(joined, tmp_path)
    votes = VoteStore(Database(tmp_path / "votes.db"))
    assert not votes.votes_suspect()
    votes.close()


def test_the_finalizations_that_closed_epochs_are_kept_for_stragglers(
    joined: tuple[Path, Target], tmp_path: Path
) -> None:
    start(joined, tmp_path)
    votes = VoteStore(Database(tmp_path / "votes.db"))
    kept = {record.epoch for record in votes.load() if isinstance(record, Certificate)}
    votes.close()
    store = LedgerStore(Database(tmp_path / "ledger.db"))
    with store.read() as reader:
        head = reader.head()
    store.close()
    assert head is not None and head.epoch == 1
    assert kept == {0, 1}


class Client(Net):
    """The net, in the place of the client that a start makes."""

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def set_contacts(self, _contacts: object) -> None: ...

    def reachable(self) -> tuple[str, ...]:
        return tuple(sorted(self.nodes))


def is_suspect_after_a_start(
    past: Past, data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, party: str = "police", genesis: Genesis = GENESIS
) -> bool:
    """Begin by blocks beside two nodes, one of which answers nothing that holds."""
    data_dir.mkdir(exist_ok=True)
    exporter = SnapshotExporter(past.store, data_dir / "none")
    liar = Serving(past, exporter)
    liar.spoil = lambda path, numbers, data: b"\xc1"
    for module in ("start", "earlier"):
        monkeypatch.setattr(f"node.joining.{module}.PageClient", lambda *_: Client(a=liar, b=Serving(past, exporter)))
    config = NodeConfig(
        file=data_dir / "node.toml", party=party, data_dir=data_dir, catch_up=CatchUpConfig(snapshot="never")
    )
    asyncio.run(JoiningStart(config, genesis, SystemClock()).run())
    if not (data_dir / "votes.db").exists():
        return False
    votes = VoteStore(Database(data_dir / "votes.db"))
    suspect = votes.votes_suspect()
    votes.close()
    return suspect


def test_a_validator_that_begins_empty_where_the_ledger_goes_on_may_have_lost_its_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk is a new one, or not mounted. Not so where there is no block yet, for who is no validator, or with votes."""
    past = Past(tmp_path / "past")
    assert not is_suspect_after_a_start(past, tmp_path / "at the genesis", monkeypatch)
    past.next_block()
    assert is_suspect_after_a_start(past, tmp_path / "wiped", monkeypatch)
    assert not is_suspect_after_a_start(past, tmp_path / "observer", monkeypatch, party="coast")
    for name, records in (
        ("started before", []),
        ("with votes", [Nullify(epoch=0, view=1, signer=3, signature=bytes(64))]),
    ):
        (tmp_path / name).mkdir()
        votes = VoteStore(Database(tmp_path / name / "votes.db"))
        votes.append(records)
        votes.close()
        assert is_suspect_after_a_start(past, tmp_path / name, monkeypatch) is (not records), name


def marks_after_a_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, *nodes: Serving, addresses: tuple[str, ...] = ("interior",)
) -> tuple[bool, bool]:
    """(suspect, unasked) after police's node began where these nodes answer, of those with these addresses."""
    data_dir.mkdir(exist_ok=True)
    monkeypatch.setattr("node.joining.earlier.PageClient", lambda *_: Client(**dict(zip("abc", nodes, strict=False))))
    peers = PeersConfig(addresses={party: Address(host="127.0.0.1", port=9) for party in addresses})
    config = NodeConfig(
        file=data_dir / "node.toml",
        party="police",
        data_dir=data_dir,
        peers=peers,
        catch_up=CatchUpConfig(snapshot="never"),
    )
    asyncio.run(JoiningStart(config, GENESIS, SystemClock()).run())
    votes = VoteStore(Database(data_dir / "votes.db"))
    found = votes.votes_suspect(), votes.votes_unasked()
    votes.close()
    return found


def test_who_begins_empty_and_can_ask_nobody_does_not_vote_until_it_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were without power, and this one's disk is new: the others are not up yet."""
    past = Past(tmp_path / "past")
    node = Serving(past, SnapshotExporter(past.store, tmp_path / "none"))
    for name in ("founder", "wiped", "waits"):
        assert marks_after_a_start(tmp_path / name, monkeypatch) == (True, True), name
    votes = VoteStore(Database(tmp_path / "waits" / "votes.db"))
    votes.append([nullification(1)])
    votes.close()
    assert marks_after_a_start(tmp_path / "waits", monkeypatch) == (True, True), "it followed the others: asked on"
    assert marks_after_a_start(tmp_path / "founder", monkeypatch, node) == (False, False)
    past.next_block()
    assert marks_after_a_start(tmp_path / "wiped", monkeypatch, node) == (True, False)
    assert marks_after_a_start(tmp_path / "waits", monkeypatch, node) == (True, False)
    assert marks_after_a_start(tmp_path / "wiped", monkeypatch) == (True, False), "that is settled"


def test_who_begins_empty_is_not_called_new_by_one_that_is_behind_or_empty_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four lost its disk, one never ran: within what is tolerated. q - 1 others that show nothing are enough, and one
    that shows something."""
    late = Past(tmp_path / "late")
    never = Serving(late, SnapshotExporter(late.store, tmp_path / "none"))
    past = Past(tmp_path / "past")
    past.next_block()
    goes_on = Serving(past, SnapshotExporter(past.store, tmp_path / "none"))
    three = ("customs", "interior", "neighbour")

    down = Serving(late, SnapshotExporter(late.store, tmp_path / "none"))
    down.spoil = lambda path, numbers, data: b"\xc1"

    def marks(name: str, *nodes: Serving) -> tuple[bool, bool]:
        (tmp_path / name).mkdir(exist_ok=True)
        VoteStore(Database(tmp_path / name / "votes.db")).close()
        return marks_after_a_start(tmp_path / name, monkeypatch, *nodes, addresses=three)

    assert marks("one empty", never, down, down) == (True, True)
    assert marks("one empty", never, goes_on, down) == (True, False)
    assert marks("two empty", never, never, down) == (False, False)
    assert marks("two empty, one not", never, never, goes_on) == (True, False)


def test_the_others_are_asked_again_until_one_has_shown_it() -> None:
    class Patient(SystemClock):
        def __init__(self) -> None:
            self.paused_ms: list[int] = []

        async def sleep_ms(self, duration_ms: int) -> None:
            self.paused_ms.append(duration_ms)

    answers = iter([None, PeerError("no certificate"), *[None] * 6, True])

    async def ask() -> bool | None:
        answer = next(answers)
        if isinstance(answer, PeerError):
            raise answer
        return answer

    clock = Patient()
    assert asyncio.run(ask_until_shown(ask, clock)) is True
    assert clock.paused_ms == [200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]


def test_who_knows_nobodys_address_can_only_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert marks_after_a_start(tmp_path / "alone", monkeypatch, addresses=()) == (False, False)


@pytest.mark.parametrize("founders", [["interior"], ["customs", "interior", "neighbour", "police"]])
def test_newcomers_may_begin_after_they_were_voted_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, founders: list[str]
) -> None:
    """Nothing is decided in their epoch yet: if the quorum needs them, nothing ever would be. Once something is, there is a
    quorum that can give its word."""
    genesis = build_genesis(*founders, version=2)
    past = Past(tmp_path / "past", genesis)
    proposal = past.world.propose("interior", ValidatorAdd(agency=build_agency("coast")))
    past.next_block(proposal)
    for party in founders[:3:2] if len(founders) > 1 else ():
        past.next_block(past.world.vote(party, past.admission_id(proposal)))
    assert not is_suspect_after_a_start(past, tmp_path / "first", monkeypatch, party="coast", genesis=genesis)
    past.next_block()
    assert is_suspect_after_a_start(past, tmp_path / "again", monkeypatch, party="coast", genesis=genesis)


def test_a_validator_whose_votes_closed_an_epoch_did_not_begin_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signature is among those that its epoch ended with: though nothing is final in the next one, it may have voted
    there, too; and it is shown the votes of then on its way. Not so with a key that it was given since."""
    past = Past(tmp_path / "past")
    past.change_validators()
    assert is_suspect_after_a_start(past, tmp_path / "signed", monkeypatch, party="interior")
    assert not is_suspect_after_a_start(past, tmp_path / "not seen to have begun", monkeypatch, party="police")
    assert not is_suspect_after_a_start(past, tmp_path / "newcomer", monkeypatch, party="coast")
    keys = RotatedKeys(consensus=node_key_proof("interior", "consensus", 1))
    proposal = past.world.propose("interior", ValidatorRotate(party="interior", keys=keys))
    past.next_block(proposal)
    for party in ("customs", "neighbour", "police"):
        past.next_block(past.world.vote(party, past.admission_id(proposal)))
    assert is_suspect_after_a_start(past, tmp_path / "signed before that", monkeypatch, party="customs")
    assert not is_suspect_after_a_start(past, tmp_path / "with a new key", monkeypatch, party="interior")


def test_a_former_validator_that_begins_empty_may_have_lost_its_votes_of_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown them on its way through the epochs that are past: they must not look like another's use of its key."""
    past = Past(tmp_path / "past")
    proposal = past.world.propose("interior", ValidatorRemove(party="police"))
    past.next_block(proposal)
    for party in ("customs", "neighbour"):
        past.next_block(past.world.vote(party, past.admission_id(proposal)))
    assert is_suspect_after_a_start(past, tmp_path / "former", monkeypatch)
    assert not is_suspect_after_a_start(past, tmp_path / "never one", monkeypatch, party="coast")
