"""A database in the place of another: nothing of the old one's log ever gets into the new one."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import StoreError
from node.storage.replacing import copy_aside, put_in_place


def made(path: Path, said: str) -> Path:
    """A database that says something in one row."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE things (said TEXT)")
        connection.execute("INSERT INTO things VALUES (?)", (said,))
    return path


def said(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in connection.execute("SELECT said FROM things")]


def crashed(path: Path) -> Path:
    """A database as a crash leaves it: its last transaction in a write-ahead log beside it."""
    kept = path.with_suffix(".kept")
    with closing(sqlite3.connect(made(path, "old"))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("INSERT INTO things VALUES ('old, too')")
        connection.commit()
        shutil.copy(f"{path}-wal", kept)
        shutil.copy(path, path.with_suffix(".file"))
    kept.rename(f"{path}-wal")
    path.with_suffix(".file").rename(path)
    return path


def nothing(path: Path) -> None:
    """Leave the old file as it is."""


@pytest.mark.parametrize(
    "spoil",
    [
        nothing,
        Path.unlink,
        lambda path: path.write_bytes(b"no database" * 1_000),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
    ],
    ids=["whole", "gone", "garbage", "short"],
)
def test_whatever_the_old_file_is_its_log_does_not_get_into_the_new_one(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    old = crashed(tmp_path / "votes.db")
    spoil(old)
    put_in_place(made(tmp_path / "new.db", "new"), old)
    assert said(old) == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"votes.db"}


def test_a_copy_aside_holds_what_a_crash_left_in_the_log(tmp_path: Path) -> None:
    crashed(tmp_path / "votes.db")
    copy_aside(tmp_path, tmp_path / "kept", ["votes", "agency"])
    assert said(tmp_path / "kept" / "votes.db") == ["old", "old, too"]
    with pytest.raises(StoreError):
        copy_aside(tmp_path, tmp_path / "kept", ["votes"])
