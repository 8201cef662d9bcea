"""Sums over rows that nothing else vouches for (no log, signature or chain): against a disk's decay, not against people."""

import hashlib
from typing import Final

import msgspec

_ENCODER: Final = msgspec.json.Encoder()


def row_sum(*values: str | int | bytes | None) -> bytes:
    """SHA-256 of the JSON of a row's other columns in their order, bytes in hex."""
    return hashlib.sha256(_ENCODER.encode([v.hex() if isinstance(v, bytes) else v for v in values])).digest()
