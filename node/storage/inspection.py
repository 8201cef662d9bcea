"""Reading a database that may be damaged: whatever its rows hold, in the order of their keys, without believing any of it.

What the rows should be is `node.integrity`'s to say; this module only reads, compares and copies.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from node.storage.schema import METADATA, Branch
from node.storage.sqlite import Database, RowWriter, compile_sql, execute_raw, read_as_stored
from node.storage.tables import BLOCKS, ENTRIES, TILES

Snapshot = Connection
"""What `snapshot` gives: opaque outside of the storage."""

_PAGE_ROWS: Final = 1_000
MAX_FAULTS: Final = 100
"""Faults of one file's structure that are looked for; where there are more, the file is hurt beyond listing."""

_SQL_ENTRIES: Final = compile_sql(
    sa.select(ENTRIES.c.index, ENTRIES.c.entry)
    .where(ENTRIES.c.index >= sa.bindparam("first"), ENTRIES.c.index < sa.bindparam("end"))
    .order_by(ENTRIES.c.index)
)
_SQL_BLOCKS: Final = compile_sql(
    sa.select(*BLOCKS.c).where(
        sa.or_(BLOCKS.c.height == sa.bindparam("height"), BLOCKS.c.first_index == sa.bindparam("first"))
    )
)
_SQL_FOREIGN: Final = (
    "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR (type = 'table' AND (sql LIKE '%CHECK%' "
    "OR sql LIKE '%CONFLICT%' OR sql LIKE '%REFERENCES%' OR sql LIKE '%VIRTUAL%')) ORDER BY name"
)
"""With these words a table's definition lets it leave out, replace or delete rows by itself; this program uses none."""
_MAX_NAME_CHARS: Final = 80
_SQL_TOP: Final = compile_sql(sa.select(sa.func.max(BLOCKS.c.height)))
_SQL_TILE: Final = compile_sql(
    sa.select(TILES.c.hashes).where(TILES.c.level == sa.bindparam("level"), TILES.c.number == sa.bindparam("number"))
)


class HeldRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table of blocks as it stands, of whatever types."""

    height: Any
    digest: Any
    first_index: Any
    size: Any
    log_root: Any
    header: Any
    certificate: Any
    cosignature: Any


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Where a table is not what it should be. `column` None: the row itself is missing (`actual` None), or too many."""

    key: tuple[object, ...]
    column: str | None
    expected: object
    actual: object


def tables_of(branch: Branch) -> tuple[sa.Table, ...]:
    """The tables of a database, by name."""
    return tuple(table for _, table in sorted(METADATA[branch].tables.items()))


def structure_faults(database: Database) -> list[str]:
    """What SQLite finds wrong with the file itself: pages, trees, indices that do not fit their tables; and what is none of
    this program's own. A line each."""
    with database.read() as connection:
        rows = execute_raw(connection, f"PRAGMA integrity_check({MAX_FAULTS})").fetchall()
    lines = [line for row in rows for line in str(row[0]).splitlines()]  # all of the pages' faults are in one row
    return [line for line in lines if line not in ("ok", "*** in database main ***")] + foreign_objects(database)


def foreign_objects(database: Database) -> list[str]:
    """Triggers, views, and tables with rules for rows of their own: this program makes none, and one could undo what is
    written, or show what is not there."""
    with database.read() as connection:
        rows = execute_raw(connection, _SQL_FOREIGN).fetchmany(MAX_FAULTS)
    return [f"it has a {kind} {str(name)[:_MAX_NAME_CHARS]!r} that is none of its own" for kind, name in rows]


@contextmanager
def snapshot(database: Database) -> Iterator[Snapshot]:
    """One snapshot for reading rows as they stand: text that is no text does not fail.

    Raises:
        StoreError: the database could not be read; CorruptionError where its pages do not make sense.
    """
    with database.read() as connection, read_as_stored(connection):
        yield connection


def rows_of(connection: Connection, table: sa.Table) -> Iterator[tuple[Any, ...]]:
    """All rows of a table, by rising primary key."""
    cursor = execute_raw(connection, compile_sql(sa.select(*table.c).order_by(*table.primary_key.columns)))
    while rows := cursor.fetchmany(_PAGE_ROWS):
        yield from rows


def count_of(connection: Connection, table: sa.Table) -> int:
    """How many rows a table has."""
    return int(execute_raw(connection, compile_sql(sa.select(sa.func.count()).select_from(table))).fetchone()[0])


def differences(
    right: Connection, held: Connection, table: sa.Table, *, skip: Sequence[str] = ()
) -> Iterator[Difference]:
    """Where `held`'s table differs from `right`'s, by rising key; columns named in `skip` are not looked at."""
    columns = list(table.columns)
    keys = [columns.index(column) for column in table.primary_key.columns]
    others = [at for at, column in enumerate(columns) if at not in keys and column.name not in skip]

    def key_of(row: tuple[Any, ...]) -> tuple[object, ...]:
        return tuple(row[at] for at in keys)

    right_rows, held_rows = rows_of(right, table), rows_of(held, table)
    expected, actual = next(right_rows, None), next(held_rows, None)
    while expected is not None or actual is not None:
        if expected == actual and expected is not None:
            expected, actual = next(right_rows, None), next(held_rows, None)
            continue
        expected_order = None if expected is None else [_order(value) for value in key_of(expected)]
        actual_order = None if actual is None else [_order(value) for value in key_of(actual)]
        if actual is None or (
            expected_order is not None and actual_order is not None and expected_order < actual_order
        ):
            assert expected is not None
            yield Difference(key=key_of(expected), column=None, expected=expected, actual=None)
            expected = next(right_rows, None)
        elif expected is None or (
            expected_order is not None and actual_order is not None and actual_order < expected_order
        ):
            yield Difference(key=key_of(actual), column=None, expected=None, actual=actual)
            actual = next(held_rows, None)
        else:
            for at in others:
                if expected[at] != actual[at] or type(expected[at]) is not type(actual[at]):
                    yield Difference(
                        key=key_of(expected), column=columns[at].name, expected=expected[at], actual=actual[at]
                    )
            expected, actual = next(right_rows, None), next(held_rows, None)


def _order(value: object) -> tuple[int, Any]:
    """SQLite's order of values: nothing, numbers, text, bytes."""
    if value is None:
        return (0, 0)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, str):
        return (2, value.encode("utf-8", "surrogateescape"))
    return (3, value)


def copy_rows(source: Connection, target: Connection, table: sa.Table) -> None:
    """Copy a table's rows into another database's empty table. Within a write transaction of `target`."""
    writer = RowWriter(table)
    batch: list[tuple[Any, ...]] = []
    for row in rows_of(source, table):
        batch.append(row)
        if len(batch) == _PAGE_ROWS:
            writer.write(target, batch)
            batch = []
    writer.write(target, batch)


class HeldLog:
    """The log's own rows as they stand: entries, and what the table of blocks says of each height."""

    def __init__(self, connection: Connection) -> None:
        """`connection`: of `snapshot`."""
        self._connection = connection

    def top(self) -> int | None:
        """The highest height that has a row."""
        height = execute_raw(self._connection, _SQL_TOP).fetchone()[0]
        return height if isinstance(height, int) else None

    def rows(self, height: int, first_index: int) -> list[HeldRow]:
        """Rows that claim this height, or to begin at this index."""
        found = execute_raw(self._connection, _SQL_BLOCKS, (height, first_index)).fetchall()
        names = HeldRow.__struct_fields__
        return [HeldRow(**dict(zip(names, row, strict=True))) for row in found]

    def entries(self, first: int, end: int) -> list[tuple[int, Any]]:
        """(index, entry) of the rows in [first, end)."""
        return list(execute_raw(self._connection, _SQL_ENTRIES, (first, end)).fetchall())

    def tile(self, level: int, number: int) -> Any:
        """A tile's hashes, None if it has no row."""
        row = execute_raw(self._connection, _SQL_TILE, (level, number)).fetchone()
        return None if row is None else row[0]
