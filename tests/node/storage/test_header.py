"""The header of a database file: what of it never changes is compared before the file is believed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import CorruptionError, StoreError
from node.storage import Database, LedgerStore, open_stores
from node.storage.header import HEADER_BYTES, header_faults, mend_header
from node.storage.sqlite import copy_database

CHANGING = {*range(24, 44), *range(92, 100)}
"""Counters, the size, the free list, the schema's number, SQLite's version."""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A node's ledger, closed."""
    open_stores(tmp_path).close()
    yield tmp_path / "ledger.db"


@pytest.mark.parametrize("name", ["ledger", "votes", "agency"])
def test_every_flipped_bit_of_what_never_changes_is_named_and_mended(tmp_path: Path, name: str) -> None:
    open_stores(tmp_path).close()
    path = tmp_path / f"{name}.db"
    sound = path.read_bytes()
    assert header_faults(path) == []
    unnoticed = []
    for at in sorted(set(range(HEADER_BYTES)) - CHANGING):
        for bit in range(8):
            path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :])
            if not header_faults(path):
                unnoticed.append((at, bit))
                continue
            mend_header(path)
            assert path.read_bytes() == sound
    assert unnoticed == [(47, 2), (59, 0)], "what SQLite itself writes while the tables are in the write-ahead log"


@pytest.mark.parametrize("name", ["ledger", "votes", "agency"])
def test_a_node_does_not_start_on_a_hurt_header_and_says_what_mends_it(tmp_path: Path, name: str) -> None:
    """One reserved byte, and SQLite takes every page for shorter than it is."""
    open_stores(tmp_path).close()
    path = tmp_path / f"{name}.db"
    data = bytearray(path.read_bytes())
    data[20] = 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        open_stores(tmp_path)
    assert caught.value.code == "damaged_header"
    assert str(path) in caught.value.message
    assert caught.value.actual == "reserved space (byte 20) is 01, not 00"
    assert "tracemark fsck DIR --repair" in str(caught.value.help)
    assert path.read_bytes() == data, "nothing was written"


def test_mending_that_fails_is_said_and_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = path.read_bytes()
    path.write_bytes(sound[:20] + bytes([1]) + sound[21:])

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fail)
        with pytest.raises(StoreError) as caught:
            mend_header(path)
    assert (caught.value.code, caught.value.actual) == ("database_unreadable", "Input/output error")
    mend_header(path)
    assert path.read_bytes() == sound


def test_a_database_in_use_is_sound_from_its_first_moment_on(tmp_path: Path) -> None:
    """Its tables are in the write-ahead log only: the file's own header is older."""
    with closing(open_stores(tmp_path)):
        assert (tmp_path / "ledger.db-wal").exists()
        for name in ("ledger", "votes", "agency"):
            assert header_faults(tmp_path / f"{name}.db") == []


def test_a_copy_that_was_not_opened_yet_is_sound(path: Path, tmp_path: Path) -> None:
    """A backup's files have no write-ahead log, and say so."""
    with closing(Database(path)) as database, database.read() as connection:
        copy_database(connection, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes()[18:20] == bytes([1, 1])
    assert header_faults(tmp_path / "copy.db") == []
    LedgerStore(Database(tmp_path / "copy.db")).close()
    assert header_faults(tmp_path / "copy.db") == []


def test_what_is_not_made_yet_has_no_faults_and_what_is_cut_off_has(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(b"")
    assert header_faults(path) == []
    path.write_bytes(data[:50])
    assert header_faults(path) == ["it ends after 50 bytes"]
    mend_header(path)
    assert path.read_bytes() == data[:50]
    path.unlink()
    assert header_faults(path) == []
