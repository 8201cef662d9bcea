"""Registering a manifest: its good rows as signed lots, sent until each is final or refused, again after an interruption."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from client.answers import Submitted
from client.author import Author
from client.journal import Journal
from client.lots import Lot
from client.session import Session
from ledger.records import WeaponRegister

RESIGNABLE: Final = frozenset({"issued_too_old", "revoked_key", "wrong_signers", "no_active_key"})
"""Refusals of an entry that was signed too long ago, or with a key since replaced: signed anew it may pass."""


class RegisteredLot(msgspec.Struct, frozen=True, kw_only=True):
    """One lot and what became of its record."""

    lot: Lot
    submitted: Submitted


def register_lots(
    session: Session,
    author: Author,
    lots: Sequence[Lot],
    *,
    journal_folder: Path,
    progress: Callable[[int], None] | None = None,
) -> list[RegisteredLot]:
    """Sign the lots, or take up an earlier run's entries, and submit them until the fate of each is known.

    Args:
        session: with the ledger's nodes.
        author: the registering party.
        lots: of `client.lots.split_into_lots`.
        journal_folder: where signed lots are kept.
        progress: called with the number of weapons whose fate became known.

    Returns:
        One result for each lot, in order; refused ones are among them.

    Raises:
        The errors of `Session.submit`; ConfigurationError for the journal.
    """
    if not lots:
        return []
    journal = Journal(journal_folder, ledger=author.ledger, party=author.party, lots=lots)
    entries = journal.read()
    if entries is None:
        entries = [author.issue(WeaponRegister, lot.body) for lot in lots]
        journal.write(entries)
    results = _submit(session, lots, entries, progress)
    stale = [place for place, result in enumerate(results) if _is_stale(result)]
    if stale:
        for place in stale:
            entries[place] = author.issue(WeaponRegister, lots[place].body)
        journal.write(entries)
        again = _submit(session, [lots[place] for place in stale], [entries[place] for place in stale], None)
        for place, result in zip(stale, again, strict=True):
            results[place] = result
    return [RegisteredLot(lot=lot, submitted=result) for lot, result in zip(lots, results, strict=True)]


def _is_stale(result: Submitted) -> bool:
    return result.status == "expired" or (result.error is not None and result.error.code in RESIGNABLE)


def _submit(
    session: Session, lots: Sequence[Lot], entries: Sequence[bytes], progress: Callable[[int], None] | None
) -> list[Submitted]:
    sizes = iter([len(lot.lines) for lot in lots])

    def advance(_: Submitted) -> None:
        if progress is not None:
            progress(next(sizes))

    return session.submit(entries, progress=advance)
