"""A ledger's database in the making: when it is one, and how it takes its place."""

import sqlite3
from pathlib import Path

import pytest

from ledger.errors import CorruptionError
from node.execution.opening import genesis_commit
from node.storage import Database, LedgerStore
from node.storage.schema import migrate
from node.storage.staging import StagedBlock, StagingStore, discard, install, is_finished
from tests.world import GENESIS


def finished(path: Path) -> None:
    """The genesis block, staged and finished."""
    commit = genesis_commit(GENESIS, lambda size, root: b"")
    staging = StagingStore(path)
    staging.begin(b"anchor")
    block = StagedBlock(
        height=0,
        digest=commit.digest,
        first_index=0,
        entries=commit.entries,
        records=[],
        history=[],
        header=None,
        certificate=None,
        size=commit.frontier.size,
        log_root=commit.frontier.root,
    )
    tiles = [(0, 0, b"".join(node for level, _, node in commit.nodes if level == 0))]
    staging.add_tiles("tiles", 1, tiles)
    staging.add_blocks("blocks", 1, [block])
    assert not is_finished(path)
    staging.finish(epoch=0, view=0, height=0, frontier=commit.frontier, epochs=[])
    staging.close()


def test_a_database_in_the_making_is_finished_only_once_it_is(tmp_path: Path) -> None:
    """Interrupted before it had a file, a table, or anything in its tables: it is none."""
    path = tmp_path / "joining.db"
    assert not is_finished(path)
    path.touch()
    assert not is_finished(path)
    database = Database(path)
    migrate(database, "ledger")
    database.close()
    assert not is_finished(path)
    StagingStore(path).close()
    assert not is_finished(path)
    discard(path)
    assert list(tmp_path.iterdir()) == []
    finished(path)
    assert is_finished(path)


def test_progress_and_what_it_is_about_survive_a_restart(tmp_path: Path) -> None:
    staging = StagingStore(tmp_path / "joining.db")
    assert (staging.anchor(), staging.done("tiles")) == (None, 0)
    staging.begin(b"anchor")
    staging.add_tiles("tiles", 300, [(0, 0, bytes(32))])
    staging.close()
    again = StagingStore(tmp_path / "joining.db")
    assert (again.anchor(), again.done("tiles"), again.done("blocks")) == (b"anchor", 300, 0)
    again.close()


def test_the_finished_database_takes_the_place_of_the_ledgers(tmp_path: Path) -> None:
    staged, ledger = tmp_path / "joining.db", tmp_path / "ledger.db"
    LedgerStore(Database(ledger)).close()
    finished(staged)
    install(staged, ledger)
    assert not staged.exists()
    store = LedgerStore(Database(ledger))
    with store.read() as reader:
        head = reader.head()
    store.close()
    assert head is not None and head.size == 2
    assert "joining" not in _tables(ledger)


def test_a_ledger_that_was_not_closed_is_not_replaced(tmp_path: Path) -> None:
    """Its write-ahead log would be taken for the new database's."""
    staged, ledger = tmp_path / "joining.db", tmp_path / "ledger.db"
    finished(staged)
    (tmp_path / "ledger.db-wal").write_bytes(b"frames")
    with pytest.raises(CorruptionError):
        install(staged, ledger)
    assert staged.exists()


def _tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
