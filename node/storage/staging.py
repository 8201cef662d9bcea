"""A ledger's database in the making (PROTOCOL P7.3): what a node that joins has verified so far, and how far it is.

The same tables as the ledger's, in a file of its own, and one more that says what is done. Each step is one transaction with
its progress, so that whatever interrupts it, the next start goes on behind the last one. When all is there, the file takes
the place of the ledger's database by one rename.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ledger.errors import CorruptionError, StoreError
from ledger.merkle.tree import Frontier
from node.storage.ledger import LedgerReader
from node.storage.rows import EpochRow
from node.storage.schema import migrate
from node.storage.sqlite import Database, Lookup, RowWriter, compile_sql, execute_raw
from node.storage.tables import BLOCKS, DOCUMENTS, ENTRIES, EPOCHS, FLOOR, HISTORY, KEYS, RECORDS, SERIALS, TILES

_STAGING: Final = sa.MetaData()
JOINING: Final = sa.Table(
    "joining",
    _STAGING,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
"""What is being joined, and how far: `anchor` (opaque here), and for each stage the number of items that are done."""

_ANCHOR: Final = "anchor"
_JOINING: Final = RowWriter(JOINING, replace=True)
_ENTRIES: Final = RowWriter(ENTRIES)
_RECORDS: Final = RowWriter(RECORDS)
_TILES: Final = RowWriter(TILES)
_DOCUMENTS: Final = RowWriter(DOCUMENTS)
_HISTORY: Final = RowWriter(HISTORY)
_SERIALS: Final = RowWriter(SERIALS)
_KEYS: Final = RowWriter(KEYS)
_BLOCKS: Final = RowWriter(BLOCKS)
_EPOCHS: Final = RowWriter(EPOCHS)
_FLOOR: Final = RowWriter(FLOOR)
_FIND_KEYS: Final = Lookup(KEYS.c.keyid, KEYS.c.keyid, KEYS.c.public)
_SQL_PROGRESS: Final = compile_sql(sa.select(JOINING.c.name, JOINING.c.value))
_ENCODER: Final = msgspec.msgpack.Encoder()


class StagedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one block, its documents and tiles apart. Fields as in `node.storage.rows.BlockCommit`."""

    height: int
    digest: bytes
    first_index: int
    entries: Sequence[bytes]
    records: list[tuple[bytes, int]]
    history: list[tuple[str, int]]
    header: bytes | None
    certificate: bytes | None
    size: int
    log_root: bytes


class StagingStore:
    """The database in the making. Belongs to one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Make it, or take it up where it ended.

        Raises:
            ConfigurationError: code `newer_schema`.
            StoreError: it cannot be opened or written.
        """
        self._database = Database(path)
        migrate(self._database, "ledger")
        with self._database.write() as connection:
            _STAGING.create_all(connection)

    def anchor(self) -> bytes | None:
        """What is being joined; None if nothing was begun."""
        return self._progress().get(_ANCHOR)

    def done(self, stage: str) -> int:
        """How many items of a stage are done."""
        return int.from_bytes(self._progress().get(stage, b""))

    def _progress(self) -> dict[str, bytes]:
        with self._database.read() as connection:
            return dict(execute_raw(connection, _SQL_PROGRESS).fetchall())

    def begin(self, anchor: bytes) -> None:
        """Remember what is being joined."""
        with self._database.write() as connection:
            _JOINING.write(connection, [(_ANCHOR, anchor)])

    def add_documents(
        self,
        stage: str,
        done: int,
        documents: Iterable[tuple[bytes, str, str, bytes]],
        *,
        serials: Iterable[tuple[str, str, str]],
        keys: Iterable[tuple[str, str]],
    ) -> None:
        """Verified documents with the projections that follow from them; from here on `done` items of the stage are done."""
        with self._step(stage, done) as connection:
            _DOCUMENTS.write(connection, documents)
            _SERIALS.write(connection, serials)
            _KEYS.write(connection, keys)

    def add_tiles(self, stage: str, done: int, tiles: Iterable[tuple[int, int, bytes]]) -> None:
        """Verified hash tiles."""
        with self._step(stage, done) as connection:
            _TILES.write(connection, tiles)

    def add_blocks(self, stage: str, done: int, blocks: Sequence[StagedBlock]) -> None:
        """Verified blocks."""
        with self._step(stage, done) as connection:
            for block in blocks:
                _ENTRIES.write(connection, enumerate(block.entries, start=block.first_index))
                _RECORDS.write(connection, block.records)
                _HISTORY.write(connection, block.history)
            places = [
                (b.height, b.digest, b.first_index, b.size, b.log_root, b.header, b.certificate, None) for b in blocks
            ]
            _BLOCKS.write(connection, places)

    @contextmanager
    def _step(self, stage: str, done: int) -> Iterator[Connection]:
        with self._database.write() as connection:
            yield connection
            _JOINING.write(connection, [(stage, done.to_bytes(8))])

    @contextmanager
    def read(self) -> Iterator[LedgerReader]:
        """What is there so far. Its head is none until `finish`."""
        with self._database.read() as connection:
            yield LedgerReader(connection)

    def publics(self, keyids: Iterable[str]) -> dict[str, list[str]]:
        """Public keys (hex) by key id, of those that the documents name."""
        found: dict[str, list[str]] = {}
        with self._database.read() as connection:
            for keyid, public in sorted(_FIND_KEYS.rows(connection, keyids)):
                found.setdefault(keyid, []).append(public)
        return found

    def finish(self, *, epoch: int, view: int, height: int, frontier: Frontier, epochs: Sequence[EpochRow]) -> None:
        """The floor, and how the epochs began: now it is a ledger's database, and no longer one in the making."""
        with self._database.write() as connection:
            _EPOCHS.write(
                connection, [(row.epoch, row.height, row.validators, _ENCODER.encode(row.proof)) for row in epochs]
            )
            _FLOOR.write(connection, [(1, epoch, view, height, b"".join(frontier.nodes))])
            _STAGING.drop_all(connection)

    def close(self) -> None:
        """Close the database; its write-ahead log is folded in."""
        self._database.close()


def is_finished(path: Path) -> bool:
    """Whether a file that may be there is a database that `finish` has completed.

    Raises:
        StoreError: it is there and cannot be read. CorruptionError: what is in it does not fit together.
    """
    if not path.exists():
        return False
    database = Database(path)
    try:
        with database.read() as connection:
            if not sa.inspect(connection).has_table(FLOOR.name):
                return False  # interrupted before it had its tables
            return LedgerReader(connection).head() is not None
    finally:
        database.close()


def install(staged: Path, ledger: Path) -> None:
    """Put a finished database in the place of the ledger's, in one rename. Both must be closed.

    Raises:
        CorruptionError: one of the two still has a write-ahead log: it was not closed.
        StoreError: the file system refuses.
    """
    for path in (staged, ledger):
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise CorruptionError(f"{path} was not closed", expected="no write-ahead log", actual=str(log))
    try:
        staged.replace(ledger)
        folder = os.open(ledger.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(f"{ledger} cannot be put into its place", actual=error.strerror) from error


def discard(path: Path) -> None:
    """Delete a database in the making, with its write-ahead log. It must be closed.

    Raises:
        StoreError: the file system refuses.
    """
    try:
        for suffix in ("-wal", "-shm", ""):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be deleted", actual=error.strerror) from error
