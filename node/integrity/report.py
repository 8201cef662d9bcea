"""What a check found: each problem with its table, its row, what was expected, and what mends it."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from node.storage.inspection import MAX_FAULTS, Difference

MAX_LISTED: Final = 100
"""Problems of one table that are listed one by one; more are counted."""
MAX_FAULTS_SHOWN: Final = 3
"""Faults of one file that are shown, of possibly a hundred that one flipped bit makes; more are counted."""
STRUCTURE_IS_HURT: Final = "the file's structure is hurt"
_MAX_SHOWN_CHARS: Final = 120
_MAX_WHAT_CHARS: Final = 500

Store = Literal["ledger", "votes", "agency"]
Mend = Literal["rebuild", "cut", "drop", "suspect", "restore"]
"""What mends a problem: the rows are rebuilt from the log or from what else the node holds; the log is cut below it, and the
node catches up from its peers; the row is dropped, for peers send it again; the row is dropped and the votes are suspect
(P7.5); or nothing here does, and a backup or an older copy is needed."""

Progress = Callable[[str, int, int], object]
"""Told (what is being checked, done, in all)."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was written. `row` is the primary key as text, "" for a whole table or file."""

    store: Store
    table: str
    row: str
    what: str
    mend: Mend
    expected: str | None = None
    actual: str | None = None

    def __str__(self) -> str:
        place = f"{self.store}.db" + (f" {self.table}" if self.table else "") + (f" [{self.row}]" if self.row else "")
        text = f"{place}: {self.what}"
        if self.expected is not None:
            text += f"; expected {self.expected}, got {self.actual or 'nothing'}"
        return text


class Findings:
    """Problems in the order found, a bounded number of each table."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.counts: Counter[tuple[Store, str]] = Counter()
        self.mends: set[tuple[Store, Mend]] = set()
        self.notes: list[str] = []
        """What an operator should know and is no problem."""

    def add(
        self,
        store: Store,
        table: str,
        row: object,
        what: str,
        *,
        mend: Mend,
        expected: object = None,
        actual: object = None,
    ) -> None:
        """Name a problem."""
        self.counts[store, table] += 1
        self.mends.add((store, mend))
        if self.counts[store, table] <= MAX_LISTED:
            problem = Problem(
                store=store,
                table=table,
                row=show(row),
                what=show(what, _MAX_WHAT_CHARS),
                mend=mend,
                expected=None if expected is None else show(expected),
                actual=None if actual is None else show(actual),
            )
            self.problems.append(problem)

    def add_faults(self, store: Store, what: str, faults: Sequence[str], *, mend: Mend) -> None:
        """Name what is wrong with a database's file itself, if anything is: one problem, however many faults it shows."""
        if faults:
            shown = [show(fault) for fault in faults[:MAX_FAULTS_SHOWN]]
            if len(faults) > MAX_FAULTS_SHOWN:
                at_least = "at least " if len(faults) >= MAX_FAULTS else ""
                shown.append(f"and {at_least}{len(faults) - MAX_FAULTS_SHOWN} more")
            self.add(store, "", "", f"{what}: {'; '.join(shown)}", mend=mend)

    def add_difference(self, store: Store, table: str, difference: Difference, *, mend: Mend) -> None:
        """Name a row that is missing, too many, or not what it should be."""
        if difference.column is not None:
            self.add(
                store,
                table,
                difference.key,
                f"{difference.column} is not what the log says",
                mend=mend,
                expected=difference.expected,
                actual=difference.actual if difference.actual is not None else "nothing",
            )
        elif difference.actual is None:
            self.add(store, table, difference.key, "the row is missing", mend=mend)
        else:
            self.add(store, table, difference.key, "the row does not follow from the log", mend=mend)

    @property
    def count(self) -> int:
        """Problems in all."""
        return sum(self.counts.values())

    def of(self, store: Store) -> bool:
        """Whether a database has any."""
        return any(count for (found, _), count in self.counts.items() if found == store)

    def has(self, store: Store, mend: Mend) -> bool:
        """Whether any problem of a database needs this."""
        return (store, mend) in self.mends


def show(value: Any, limit: int = _MAX_SHOWN_CHARS) -> str:
    """A value for people, on one line, of at most `limit` characters: bytes in hex, a key's columns with commas."""
    if isinstance(value, tuple):
        return ", ".join(show(each, limit) for each in value)
    text = value.hex() if isinstance(value, bytes) else "; ".join(str(value).splitlines())
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
