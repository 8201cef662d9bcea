"""Writing records: a party, its record key, and the outer fields that every record has (DESIGN 4.2)."""

import base64
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from ledger.records.base import Body, RecordBase
from ledger.records.envelope import sign_record
from ledger.records.fields import format_time
from ledger.signing import SigningKey


def new_nonce() -> str:
    """16 random bytes in unpadded base64url: what makes two records of equal content two records."""
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")


class Author:
    """A party that issues records on one ledger. Holds its private key; never shows it."""

    def __init__(self, party: str, key: SigningKey, *, ledger: str, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            party: the party id.
            key: its active record key; for proposals and votes, its governance key.
            ledger: the ledger id (`Session.ledger_id`).
            clock: seconds since 1970.
        """
        self.party = party
        self.key = key
        self.ledger = ledger
        self._clock = clock

    def issue(self, kind: type[RecordBase], body: Body, *, refs: Sequence[str] = (), nonce: str | None = None) -> bytes:
        """The signed entry of a record of this kind, issued now.

        Raises:
            EncodingError: it would not be a valid record (a field out of bounds, or too large for the log).
        """
        fields: dict[str, Any] = {
            "body": body,
            "issued_at": format_time(int(self._clock() * 1000)),
            "issuer": self.party,
            "ledger": self.ledger,
            "nonce": nonce or new_nonce(),
            "refs": tuple(refs),
            "schema": 1,
        }
        return sign_record(kind(**fields), self.key)  # type: ignore[arg-type]
