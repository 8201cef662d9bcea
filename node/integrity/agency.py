"""The agency's own database: tokens by their sums, the query log by its chain.

A damaged token is dropped: it must not let anybody in. A damaged line of the query log stays as it is, named: what it said
is only in a backup, and nobody mends evidence. A hash of the chain is mended where the lines around it show what it was.
"""

from typing import Any

import msgspec

from node.integrity.report import Findings
from node.storage.agency import START, chain
from node.storage.inspection import Snapshot, rows_of
from node.storage.sums import row_sum
from node.storage.tables import QUERIES, TOKENS

Row = tuple[Any, ...]


class SoundAgency(msgspec.Struct, kw_only=True):
    """What is kept: tokens that are as they were written, and every line of the query log that can be read."""

    tokens: list[Row]
    queries: list[Row]


def check_agency(connection: Snapshot, findings: Findings, sound: SoundAgency) -> None:
    """Check both tables. `connection`: of `node.storage.inspection.snapshot`.

    Raises:
        StoreError: the file cannot be read further; what was read until there is in `sound`.
    """
    for row in rows_of(connection, TOKENS):
        if row[-1] == row_sum(*row[:-1]):
            sound.tokens.append(row)
        else:
            findings.add("agency", "tokens", row[0], "the token is not what was written", mend="drop")
    before: bytes | None = START
    wrong: int | None = None
    """The line whose hash is not what the one before it gives: its hash or its entry is damaged."""
    expected_number = 0
    for number, entry, held in rows_of(connection, QUERIES):
        if number != expected_number:
            text = (
                f"the lines {expected_number} to {number - 1} are missing" if isinstance(number, int) else "no number"
            )
            findings.add("agency", "queries", number, text, mend="restore")
            before = None
        right = chain(before, entry) if before is not None and isinstance(entry, bytes) else None
        if wrong is not None and _joins(sound.queries[-1], entry, held):
            findings.add("agency", "queries", wrong, "the line is not what was logged", mend="restore")
            right, wrong = held, None
        elif wrong is not None and right == held:
            findings.add("agency", "queries", wrong, "hash is not its line's", mend="rebuild")
            sound.queries[-1] = (*sound.queries[-1][:2], before)
            wrong = None
        if right is not None and right != held:
            if wrong is not None:
                findings.add("agency", "queries", wrong, "the line is not what was logged", mend="restore")
            wrong = number
        sound.queries.append((number, entry, held))
        before = right if wrong is not None else (held if isinstance(held, bytes) else None)
        expected_number = number + 1 if isinstance(number, int) else expected_number + 1
    if wrong is not None:
        findings.add("agency", "queries", wrong, "the newest line, or its hash, is not what was logged", mend="restore")


def _joins(row: Row, entry: Any, held: Any) -> bool:
    """Whether the next line was chained to this row's hash as it stands: then the hash is right and the entry is not."""
    return isinstance(row[2], bytes) and isinstance(entry, bytes) and chain(row[2], entry) == held
