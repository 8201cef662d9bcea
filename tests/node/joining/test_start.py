"""What a start makes of a snapshot that was joined: the ledger's place, and what it says of the votes (P7.5, P8.3)."""

import asyncio
import shutil
from pathlib import Path

import pytest

from ledger.consensus.messages import Certificate
from node.clock import SystemClock
from node.config import NodeConfig
from node.joining.start import STAGED_FILE, JoiningStart
from node.joining.survey import Target
from node.storage import Database, LedgerStore, VoteStore
from tests.node.joining.support import GENESIS, PATIENCE_S, Net, Past, Serving, join, make_snapshot


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


def start(joined: tuple[Path, Target], data_dir: Path) -> None:
    """Begin in a data directory with what was joined."""
    data_dir.mkdir(exist_ok=True)
    shutil.copy(joined[0], data_dir / STAGED_FILE)
    config = NodeConfig(file=data_dir / "node.toml", party="police", data_dir=data_dir)
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
