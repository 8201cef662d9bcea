"""Putting one database's file in the place of another, so that a crash leaves the old one or the new one, whole.

A write-ahead log belongs to its file: were it found beside another one, SQLite would write its pages there. So it is folded
into the old file first, and where that cannot be read, or is gone, deleted.
"""

import shutil
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from ledger.errors import CorruptionError, StoreError
from node.files import keep_owner, sync
from node.storage.sqlite import Database, RowWriter, store_errors


def copy_aside(data_dir: Path, folder: Path, names: Iterable[str], *, is_new: bool = True) -> None:
    """Copy databases with their write-ahead logs, as they stand, into a folder, which must not be there if it `is_new`.

    Raises:
        StoreError: they could not be copied.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=not is_new)
        keep_owner(folder, data_dir)
        for name in names:
            for suffix in (".db", ".db-wal"):
                source = data_dir / f"{name}{suffix}"
                if source.exists():
                    shutil.copy2(source, folder / source.name)
                    sync(folder / source.name)
        sync(folder)
    except OSError as error:
        raise StoreError(
            f"the damaged files cannot be kept in {folder}",
            actual=error.strerror,
            help="Nothing was changed. Make room for a copy, then run it again.",
        ) from error


def write_rows(database: Database, rows: Mapping[sa.Table, Sequence[Sequence[object]]]) -> None:
    """Write rows as they are into empty tables, in one transaction.

    Raises:
        StoreError: they are not known to be durable.
    """
    with database.write() as connection:
        for table, values in rows.items():
            RowWriter(table).write(connection, values)


def put_in_place(new: Path, old: Path) -> None:
    """Replace the database file `old` by `new`, on the same file system. Nothing may have either of them open.

    Raises:
        StoreError: it could not be done; the old file is there still, or the new one.
    """
    with store_errors(new):
        _fold(new)
    with suppress(CorruptionError), store_errors(old):  # not readable at all: its log is of no use to it
        _fold(old)
    try:
        for suffix in ("-wal", "-shm", "-journal"):  # there are none left but of a file that is gone, or cannot be read
            Path(f"{old}{suffix}").unlink(missing_ok=True)
        keep_owner(new, old.parent)
        sync(new)
        new.replace(old)
        sync(old.parent)
    except OSError as error:
        raise StoreError(f"{new} cannot take the place of {old}", actual=error.strerror) from error


def _fold(path: Path) -> None:
    """Bring a database's write-ahead log home, and let it have none until it is next opened."""
    if path.exists():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
