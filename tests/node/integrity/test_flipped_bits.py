"""A flipped bit in any column of any table, or anywhere in a file: noticed, named by its row, and mended.

Columns are taken from the tables themselves, so a new one joins by itself, and an empty table fails the test.
"""

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from node.integrity.report import Findings, show
from node.storage.schema import METADATA, Branch
from tests.node.integrity.support import copy_of, fsck, made
from tests.node.reverify import Verified, reverify
from tests.world import GENESIS

FULL = os.environ.get("FAULTS") == "full"
PARTY = "customs"
PLACES = ("first", "middle", "last")
LOG_COLUMNS = {("entries", "index"), ("entries", "entry"), ("blocks", "header"), ("blocks", "certificate")}
"""What nothing else at the node holds: mended by its peers."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made"), ())


@pytest.fixture(scope="module")
def sound(network: Path) -> Verified:
    return reverify(network / PARTY, GENESIS, PARTY)


def flipped(value: Any, attempt: int) -> Any:
    """The value with one bit the other way."""
    if isinstance(value, int):
        return value ^ (1 << (attempt + 3) % 40)
    if isinstance(value, str):
        at = len(value) // 2
        return value[:at] + chr(ord(value[at]) ^ (1 << attempt % 3)) + value[at + 1 :]
    at = len(value) // 2
    return value[:at] + bytes([value[at] ^ (0x10 >> attempt % 4)]) + value[at + 1 :]


def flip(path: Path, table: sa.Table, column: sa.Column[Any], place: str) -> list[tuple[Any, ...]]:
    """Flip one bit of one row; its key before, and after. Empty if the column is empty in every row."""
    keys = [f'"{key.name}"' for key in table.primary_key.columns]
    name = f'"{column.name}"'
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            f'SELECT {name}, {", ".join(keys)} FROM "{table.name}" WHERE {name} IS NOT NULL AND length({name}) > 0 '
            f"ORDER BY {', '.join(keys)}"
        ).fetchall()
        if not rows:
            return []
        row = rows[{"first": 0, "middle": len(rows) // 2, "last": -1}[place]]
        where = " AND ".join(f"{key} IS ?" for key in keys)
        for attempt in count():
            try:
                value = flipped(row[0], attempt)
                with connection:
                    changed = connection.execute(
                        f'UPDATE "{table.name}" SET {name} = ? WHERE {where}', (value, *row[1:])
                    )
                    assert changed.rowcount == 1
                before = tuple(row[1:])
                return [before, tuple(value if key == name else was for key, was in zip(keys, before, strict=True))]
            except sqlite3.IntegrityError:
                continue
    raise AssertionError


def named(findings: Findings, store: str, table: str, keys: list[tuple[Any, ...]]) -> bool:
    """Whether a problem of this row is among the findings, under the key that it had or has."""
    rows = {problem.row for problem in findings.problems if (problem.store, problem.table) == (store, table)}
    return not rows.isdisjoint(map(show, keys))


def rounds() -> Iterator[list[tuple[Branch, sa.Table, sa.Column[Any]]]]:
    """Every column that follows from something else, one of each table at a time."""
    for at in range(max(len(table.columns) for metadata in METADATA.values() for table in metadata.tables.values())):
        yield [
            (branch, table, list(table.columns)[at])
            for branch, metadata in METADATA.items()
            for table in metadata.sorted_tables
            if at < len(table.columns) and (table.name, list(table.columns)[at].name) not in LOG_COLUMNS
        ]


@pytest.mark.parametrize("place", PLACES if FULL else ("middle",))
@pytest.mark.parametrize("at", range(len(list(rounds()))))
def test_a_flipped_bit_in_any_column_is_named_and_mended(
    network: Path, sound: Verified, tmp_path: Path, at: int, place: str
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    expected: list[tuple[str, str, str, list[tuple[Any, ...]]]] = []
    for branch, table, column in list(rounds())[at]:
        keys = flip(folder / f"{branch}.db", table, column, place)
        assert keys, f"nothing is in {table.name}.{column.name}: let the fixture fill it"
        expected.append((branch, table.name, column.name, keys))
    findings, mended = fsck(folder, PARTY, repair=True)
    missed = [item for item in expected if not named(findings, item[0], item[1], item[3])]
    assert missed == [], findings.problems
    assert mended is not None
    assert mended.cut_to is None
    left, _ = fsck(folder, PARTY)
    remaining = {(problem.store, problem.table) for problem in left.problems}
    assert remaining <= {("agency", "queries")}, left.problems  # a line of the query log is in backups only
    shutil.copy(network / PARTY / "agency.db", folder / "agency.db")
    after = reverify(folder, GENESIS, PARTY)
    assert (after.height, after.log_root, after.state_root) == (sound.height, sound.log_root, sound.state_root)
    assert after.floor == sound.floor


@pytest.mark.parametrize("place", PLACES if FULL else ("middle",))
@pytest.mark.parametrize("hurt", sorted(LOG_COLUMNS))
def test_a_flipped_bit_in_the_log_itself_is_named_and_cut_off_with_a_copy_kept(
    network: Path, sound: Verified, tmp_path: Path, hurt: tuple[str, str], place: str
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    table = METADATA["ledger"].tables[hurt[0]]
    keys = flip(folder / "ledger.db", table, table.c[hurt[1]], place)
    damaged = (folder / "ledger.db").read_bytes()
    findings, mended = fsck(folder, PARTY, repair=True)
    assert named(findings, "ledger", table.name, keys), findings.problems
    assert mended is not None and mended.kept is not None
    if mended.cut_to is None:  # what was below the genesis block, or beyond the log's end, follows from the rest
        assert (table.name, place) == ("entries", "first")
    else:
        assert (mended.kept / "ledger.db").read_bytes() == damaged
        assert mended.cut_to < sound.height
    assert fsck(folder, PARTY)[0].problems == []
    after = reverify(folder, GENESIS, PARTY)
    assert after.height == (sound.height if mended.cut_to is None else mended.cut_to)
    assert set(after.votes) == set(sound.votes), "votes are never cut"


@pytest.mark.parametrize(
    ("store", "table", "column"), [("votes", "cosignatures", "line"), ("ledger", "blocks", "cosignature")]
)
def test_every_byte_of_a_cosignature_counts(network: Path, tmp_path: Path, store: str, table: str, column: str) -> None:
    """A field that no signature covers is one that a flipped bit changes unnoticed."""
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    with closing(sqlite3.connect(folder / f"{store}.db")) as connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
        with connection:
            for number, (rowid, line) in enumerate(rows):
                at = number % 6 if number < 6 else number * 7 % len(line)
                spoiled = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (spoiled, rowid))
    findings, _ = fsck(folder, PARTY)
    assert findings.counts[store, table] == len(rows) > 6  # type: ignore[index]


def contents(folder: Path) -> dict[str, object]:
    """Every row of every table, as far as the files can be read."""
    held: dict[str, object] = {}
    for branch, metadata in METADATA.items():
        with closing(sqlite3.connect(folder / f"{branch}.db")) as connection:
            connection.text_factory = bytes
            for table in metadata.tables.values():
                keys = ", ".join(f'"{key.name}"' for key in table.primary_key.columns)
                held[table.name] = connection.execute(f'SELECT * FROM "{table.name}" ORDER BY {keys}').fetchall()
    return held


@pytest.mark.parametrize("seed", range(400 if FULL else 12))
def test_a_flipped_bit_anywhere_in_a_file_changes_nothing_or_is_noticed_and_mended(
    network: Path, sound: Verified, tmp_path: Path, seed: int
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    before = contents(folder)
    chance = random.Random(seed)
    path = folder / f"{chance.choice(['ledger', 'ledger', 'ledger', 'votes', 'agency'])}.db"
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    findings, mended = fsck(folder, PARTY, repair=True)
    if findings.count == 0:
        assert contents(folder) == before, f"byte {at} of {path.name} changed something unnoticed"
        return
    assert all(problem.store == path.stem for problem in findings.problems), findings.problems
    assert mended is not None
    left, _ = fsck(folder, PARTY)
    assert {problem.table for problem in left.problems} <= {"queries", ""}, left.problems
    shutil.copy(network / PARTY / "agency.db", folder / "agency.db")
    after = reverify(folder, GENESIS, PARTY)
    assert after.height <= sound.height
    if path.stem != "ledger":
        assert after.height == sound.height
