"""Who leads a view (P1.2): round robin, started at a place that nobody can choose before the epoch opens."""

from typing import Final

OFFSET_BYTES: Final = 8


def leader_offset(closing_digest: bytes) -> int:
    """The first 8 bytes, big-endian, of the digest of the block that closed the previous epoch.

    For the first epoch that is the genesis document's hash. Requires 32 bytes.
    """
    assert len(closing_digest) == 32, len(closing_digest)
    return int.from_bytes(closing_digest[:OFFSET_BYTES], "big")


def leader(size: int, offset: int, view: int) -> int:
    """The index of the validator that leads `view` in an epoch of `size` validators. Requires view >= 1."""
    assert view >= 1, view
    return (view + offset) % size
