"""The field types that record kinds share: each bounded and of one spelling (DESIGN 4.2, 4.5).

The patterns name code points, never a class of the interpreter's Unicode tables, because every node must agree on them.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final, Literal

from msgspec import Meta

from ledger.errors import EncodingError
from ledger.limits import (
    MAX_CODE_CHARS,
    MAX_MARKED_CHARS,
    MAX_NAME_CHARS,
    MAX_SERIAL_CHARS,
    MAX_TEXT_CHARS,
)

# Control characters, line and paragraph separators, zero-width and bidirectional controls: nothing a form contains, and
# all that a forged display needs.
_NO_CONTROLS: Final = (
    r"[^\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    r"\U000e0000-\U000e0fff]"
)

# Written out digit by digit: what an interpreter's date parser accepts beyond this differs between its versions.
_TIME_PATTERN: Final = (
    r"^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z\Z"
)

PartyId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{1,39}\Z")]
"""A party's identifier: chosen at enrolment, never reused. Lower-case ASCII."""
RecordId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""Hex SHA-256 of the pre-authentication encoding (DESIGN 4.2)."""
WeaponId = Annotated[str, Meta(pattern=r"^w[a-z2-7]{32}\Z")]
"""`w` + lower-case base32 of 20 bytes (DESIGN 4.5)."""
PublicKey = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""An Ed25519 public key in hex."""
Signature = Annotated[str, Meta(min_length=88, max_length=88)]
"""An Ed25519 signature in padded base64."""
Time = Annotated[str, Meta(pattern=_TIME_PATTERN)]
"""`YYYY-MM-DDThh:mm:ssZ`."""
Nonce = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{21}[AQgw]\Z")]
"""16 bytes in unpadded base64url."""
LedgerId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9./-]{0,99}#[0-9a-f]{16}\Z")]
"""`<origin>#<first 16 hex digits of the genesis hash>`."""
Origin = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9./-]{0,99}\Z")]
"""A log's origin: a schema-less URL (C2SP tlog-checkpoint), lower case."""
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
"""ISO 3166-1 alpha-2."""
MakeCode = Annotated[str, Meta(pattern=rf"^[A-Z0-9]{{1,{MAX_CODE_CHARS}}}\Z")]
"""A code of the make list in use; UNK where the make is unknown."""
Code = Annotated[str, Meta(pattern=rf"^[A-Z0-9]{{1,{MAX_CODE_CHARS}}}\Z")]
"""A type or calibre code."""
Name = Annotated[str, Meta(pattern=rf"^{_NO_CONTROLS}{{1,{MAX_NAME_CHARS}}}\Z")]
"""A bounded name without control characters."""
Text = Annotated[str, Meta(pattern=rf"^{_NO_CONTROLS}{{1,{MAX_TEXT_CHARS}}}\Z")]
"""A bounded remark without control characters. Never personal data."""
Marked = Annotated[str, Meta(pattern=rf"^{_NO_CONTROLS}{{1,{MAX_MARKED_CHARS}}}\Z")]
"""A mark verbatim as read."""
Serial = Annotated[str, Meta(min_length=1, max_length=MAX_SERIAL_CHARS)]
"""A normalised serial; its code points are checked by `ledger.marks`."""
Year = Annotated[int, Meta(ge=1500, le=2200)]
"""Year of make."""

Certificate = Annotated[str, Meta(min_length=100, max_length=8_000)]
"""A CA certificate: base64 of DER. Whether it can be read is for those who verify TLS certificates under it."""
HeartbeatS = Annotated[int, Meta(ge=1, le=86_400)]
"""Seconds without a record after which an idle ledger makes an empty block (P6.2)."""
LeadTimeoutMs = Annotated[int, Meta(ge=50, le=600_000)]
"""How long a view waits for its leader's proposal (P5.1)."""
AdvanceTimeoutMs = Annotated[int, Meta(ge=100, le=600_000)]
"""How long a view lasts without a certificate (P5.1)."""

PartyRole = Literal[
    "registry", "police", "customs", "maker", "importer", "dealer", "carrier", "forces", "museum", "proof-house"
]
"""What a party is enrolled as. Police, customs and registry roles are authorities."""

IncidentKind = Literal["lost", "stolen", "found", "seized", "recovered"]
ComponentKind = Literal["frame", "receiver", "upper", "lower", "barrel", "slide", "cylinder", "bolt", "breech"]
"""Essential components that carry marks (DOMAIN 1)."""

_TIME: Final = re.compile(_TIME_PATTERN)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S: Final = 253_402_300_799
"""9999-12-31T23:59:59Z in seconds since 1970."""


@lru_cache(maxsize=4_096)
def parse_time(text: str) -> int:
    """Milliseconds since 1970 of a `Time`.

    Raises:
        EncodingError: code `bad_time` if it is no date of the calendar.
    """
    try:
        if not _TIME.match(text):
            raise ValueError(text)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise EncodingError(
            "not a time", code="bad_time", expected="YYYY-MM-DDThh:mm:ssZ", actual=repr(text[:40])
        ) from error
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def format_time(time_ms: int) -> str:
    """The `Time` of milliseconds since 1970, rounded down to the second; of a moment past the calendar, its last.

    Seals and cosignatures carry numbers that whoever signed them chose; to name one in words must not fail.
    """
    return (_EPOCH + timedelta(seconds=min(time_ms // 1000, _LAST_S))).strftime("%Y-%m-%dT%H:%M:%SZ")
