"""The one module that knows SQLite: connections, pragmas, statements, and what a database error means.

Every database is opened in WAL mode with `synchronous=FULL`: a commit that returned has reached the disk. One engine
writes (a single connection, `BEGIN IMMEDIATE`), another reads (a bounded pool, each transaction a snapshot), so readers
and the writer never wait for each other, nor readers for readers. Everything else in `node.storage` is SQLAlchemy Core
that PostgreSQL would take.

Rows are written by statements with many rows of values: SQLite then runs a whole statement with the interpreter's lock
released, where `executemany` would take and release it for every row and so crawl whenever another thread computes.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ledger.errors import CorruptionError, StoreError

PAGE_BYTES: Final = 8192
"""Fewer, larger pages: entries and tiles have kilobytes, and random index pages cost less in the write-ahead log."""
WRITER_CACHE_KIB: Final = 16 * 1024
READER_CACHE_KIB: Final = 2 * 1024
READERS: Final = 8
"""Readers' connections that are kept open."""
READERS_AT_ONCE: Final = 64
"""Concurrent read transactions: more than there are threads that read (those for peers' pages, for clients, for work of
asyncio's, and the executor's). Whoever had to wait might wait too long, and the executor's failing ends the voting."""
BUSY_TIMEOUT_MS: Final = 5_000
"""Another process holding the write lock for longer is a fault: nothing but the node writes its databases."""
WAL_AUTOCHECKPOINT_PAGES: Final = 2_000
"""The write-ahead log is copied back about every 16 MiB."""
_CHUNK_ROWS: Final = (256, 32, 4, 1)
"""Rows of one statement: few shapes, so that all of them stay prepared."""
LOOKUP_KEYS: Final = (256, 32, 4, 1)
"""Keys of one lookup."""

_DIALECT: Final = sqlite.dialect(paramstyle="qmark")

_CORRUPT: Final = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_SEQUENCE"})
_CODES: Final = {
    "SQLITE_FULL": ("disk_full", "Free some space on the disk, then restart the node."),
    "SQLITE_BUSY": ("database_locked", "End whatever else has the database open, then restart the node."),
    "SQLITE_LOCKED": ("database_locked", "End whatever else has the database open, then restart the node."),
    "SQLITE_READONLY": ("database_read_only", "Check the owner and mode of the data directory."),
    "SQLITE_CANTOPEN": ("database_unreadable", "Check that the data directory exists and who owns it."),
}


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn database errors into ours.

    Raises:
        CorruptionError: the file is not the database that was written.
        StoreError: anything else: `disk_full`, `database_locked`, `database_read_only`, `database_unreadable`,
        `store_failed`.
    """
    try:
        yield
    except DBAPIError as error:
        raise _translate(error.orig, path) from error
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database {path.name} failed: {error}") from error


def _translate(error: BaseException | None, path: Path) -> StoreError:
    name = getattr(error, "sqlite_errorname", "") or ""
    text = f"the database {path.name} failed: {error}"
    if name in _CORRUPT or "Could not decode to UTF-8" in str(error):  # the driver's own, without a name
        return CorruptionError(
            text,
            actual=name,
            help="Run `tracemark fsck DIR --repair`: it keeps a copy and mends from the log, or by the peers.",
        )
    for prefix, (code, help_text) in _CODES.items():
        if name.startswith(prefix):
            return StoreError(text, code=code, actual=name, help=help_text)
    return StoreError(text, actual=name or type(error).__name__)


class Database:
    """One SQLite file: a writer's transaction at a time, and snapshots for readers. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet; the file is made by the first transaction."""
        self.path = path
        self._writer = _engine(path, readers=0)
        self._reader = _engine(path, readers=READERS)
        self._writing = threading.Lock()
        self._connection: Connection | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: durable when the block is left, rolled back if it raises.

        Raises:
            StoreError: it did not commit, as far as can be known.
        """
        with self._writing, store_errors(self.path):
            if self._connection is None:
                with suppress(OSError):  # connecting says what is the matter
                    os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # its owner's alone, and so its WAL
                self._connection = self._writer.connect()  # kept: a vote's transaction costs little more than its fsync
            connection = self._connection
            try:
                execute_raw(connection, "BEGIN IMMEDIATE")
                yield connection
                self.commit(connection)
            except BaseException:
                _roll_back(connection)
                raise

    def commit(self, connection: Connection) -> None:
        """Make the transaction durable. Apart, so that tests can fail it before or after."""
        execute_raw(connection, "COMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot: every query in it sees the same committed state.

        Raises:
            StoreError: the database could not be read.
        """
        with store_errors(self.path), self._reader.connect() as connection:
            execute_raw(connection, "BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    def close(self) -> None:
        """Close all connections; the write-ahead log is folded in by the last."""
        self._reader.dispose()
        with self._writing:
            if self._connection is not None:
                self._connection.close()
        self._writer.dispose()


def execute_raw(connection: Connection, sql: str, parameters: Sequence[object] = ()) -> Any:
    """Execute one statement on the driver's own connection, for hot paths: its cursor. Parameters in the text's order."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw.execute(sql, parameters)


def copy_database(connection: Connection, target: Path) -> None:
    """Copy the database as this connection's open transaction sees it into the file `target`, and sync it."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    with closing(sqlite3.connect(target)) as copy:
        raw.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE").fetchone()  # one file, no log beside it


@contextmanager
def read_as_stored(connection: Connection) -> Iterator[None]:
    """Let text that is no UTF-8 be read, its odd bytes as surrogates, instead of failing the query."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    usual = raw.text_factory
    raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        raw.text_factory = usual


def _roll_back(connection: Connection) -> None:
    raw = connection.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection) and raw.in_transaction:
        raw.execute("ROLLBACK")


def _engine(path: Path, *, readers: int) -> Engine:
    pool: dict[str, Any] = (
        {
            "poolclass": sa.pool.QueuePool,
            "pool_size": readers,
            "max_overflow": READERS_AT_ONCE - readers,
            "pool_timeout": BUSY_TIMEOUT_MS / 1000,
        }
        if readers
        else {"poolclass": sa.pool.QueuePool, "pool_size": 1, "max_overflow": 0}
    )
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000, "cached_statements": 256},
        isolation_level="AUTOCOMMIT",  # BEGIN and COMMIT are written out: the driver's own guessing would split DDL off
        **pool,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None
        for pragma in _pragmas(readers):
            raw.execute(f"PRAGMA {pragma}")

    return engine


def _pragmas(readers: int) -> tuple[str, ...]:
    common = ("foreign_keys=ON", "temp_store=MEMORY")
    if readers:
        return (*common, "query_only=ON", f"cache_size=-{READER_CACHE_KIB}")
    return (
        f"page_size={PAGE_BYTES}",
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={WAL_AUTOCHECKPOINT_PAGES}",
        f"cache_size=-{WRITER_CACHE_KIB}",
        *common,
    )


class RowWriter:
    """Writes rows of one table by statements of many rows, compiled once from the Core constructs.

    `replace` overwrites a row with the same primary key (an upsert); `ignore` keeps the old one; else a second row with
    the same key is an error.
    """

    def __init__(self, table: sa.Table, *, replace: bool = False, ignore: bool = False) -> None:
        self._statements = {rows: _insert_sql(table, rows, replace=replace, ignore=ignore) for rows in _CHUNK_ROWS}

    def write(self, connection: Connection, rows: Iterable[Sequence[object]]) -> None:
        """Write rows, each a sequence of the table's columns in their order."""
        remaining = list(rows)
        at = 0
        for size in _CHUNK_ROWS:
            sql = self._statements[size]
            while len(remaining) - at >= size:
                execute_raw(connection, sql, tuple(chain.from_iterable(remaining[at : at + size])))
                at += size


def _insert_sql(table: sa.Table, rows: int, *, replace: bool, ignore: bool) -> str:
    names = [column.name for column in table.columns]
    insert = sqlite.insert(table).values([dict.fromkeys(names) for _ in range(rows)])
    if replace:
        keys = [column.name for column in table.primary_key.columns]
        insert = insert.on_conflict_do_update(
            index_elements=keys, set_={name: insert.excluded[name] for name in names if name not in keys}
        )
    elif ignore:
        insert = insert.on_conflict_do_nothing()
    return str(insert.compile(dialect=_DIALECT))


def raise_sql(table: sa.Table, *compared: sa.Column[Any]) -> str:
    """Write one row; over another with the same primary key only if `compared`, as a tuple, is higher. Parameters are the
    table's columns in their order."""
    insert = sqlite.insert(table).values(dict.fromkeys(column.name for column in table.columns))
    keys = list(table.primary_key.columns)
    rest = [column for column in table.columns if column not in keys]
    upsert = insert.on_conflict_do_update(
        index_elements=[column.name for column in keys],
        set_={column.name: insert.excluded[column.name] for column in rest},
        where=sa.tuple_(*(insert.excluded[column.name] for column in compared)) > sa.tuple_(*compared),
    )
    return compile_sql(upsert)


class Lookup:
    """Reads rows by many values of one column, in statements of a few fixed shapes (the last key repeated to fill one)."""

    def __init__(self, key: sa.Column[Any], *columns: sa.Column[Any]) -> None:
        self._statements = {count: _lookup_sql(key, columns, count) for count in LOOKUP_KEYS}

    def rows(self, connection: Connection, keys: Iterable[object]) -> list[Any]:
        """The rows found, as tuples of the columns, in no particular order."""
        found: list[Any] = []
        iterator = iter(keys)
        while batch := tuple(islice(iterator, LOOKUP_KEYS[0])):
            size = min(count for count in LOOKUP_KEYS if count >= len(batch))
            padded = batch + (batch[-1],) * (size - len(batch))
            found += execute_raw(connection, self._statements[size], padded).fetchall()
        return found


def _lookup_sql(key: sa.Column[Any], columns: tuple[sa.Column[Any], ...], count: int) -> str:
    select = sa.select(*columns).where(key.in_([None] * count))
    return str(select.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True}))


def compile_sql(statement: sa.sql.ClauseElement) -> str:
    """The SQL text of a Core statement, with one `?` for each bound parameter in the order of the text."""
    return str(statement.compile(dialect=_DIALECT))
