"""Signed lots on disk, so that an interrupted registration is taken up again and nothing is registered twice.

The entries are written before the first is sent. A second run over the same manifest sends the same bytes: what is in the
log already is answered with its first receipt, because a record's id is its idempotency key.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from client.files import read_file, write_file
from client.lots import Lot
from ledger.codec import b64decode, b64encode, encode
from ledger.errors import ConfigurationError, EncodingError

_MAX_JOURNAL_BYTES: Final = 512 * 1024 * 1024


class _Journal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    entries: list[str]


class Journal:
    """The signed entries of one party's lots, in their order; what they are the lots of decides the file's name."""

    def __init__(self, folder: Path, *, ledger: str, party: str, lots: Sequence[Lot]) -> None:
        digest = hashlib.sha256(encode((ledger, party, [lot.body for lot in lots]))).hexdigest()
        self._path = folder / f"register-{digest[:32]}.json"
        self._count = len(lots)

    @property
    def path(self) -> Path:
        """The file, which may not be there yet."""
        return self._path

    def read(self) -> list[bytes] | None:
        """The entries of an earlier run, or None if there was none.

        Raises:
            ConfigurationError: code `bad_journal`, where the file is damaged.
        """
        if not self._path.exists():
            return None
        try:
            journal = msgspec.json.decode(
                read_file(self._path, limit=_MAX_JOURNAL_BYTES, what="journal"), type=_Journal
            )
            entries = [b64decode(text, what="entry") for text in journal.entries]
        except (msgspec.MsgspecError, EncodingError, ValueError) as error:
            raise self._damaged(str(error)) from error
        if len(entries) != self._count:
            raise self._damaged(f"{len(entries)} entries for {self._count} lots")
        return entries

    def write(self, entries: Sequence[bytes]) -> None:
        """Keep the entries, durably.

        Raises:
            ConfigurationError: code `cannot_write`.
        """
        write_file(self._path, encode(_Journal(entries=[b64encode(entry) for entry in entries])))

    def _damaged(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"the journal {self._path} is damaged: {why}",
            code="bad_journal",
            help="Remove it; lots that were registered already are then refused as duplicates, which does no harm.",
        )
