"""The two hashes of the log's Merkle tree (RFC 6962 section 2.1, RFC 9162 section 2.1.1).

Leaves and inner nodes are hashed under different prefixes, so that neither can be passed off as the other.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

HASH_BYTES: Final = 32
"""Size of every hash of the tree: SHA-256."""

LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry): the leaf of one log entry."""
    return hashlib.sha256(LEAF_PREFIX + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of each entry, in order."""
    sha256 = hashlib.sha256
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): the parent of two 32-byte nodes."""
    return hashlib.sha256(b"\x01" + left + right).digest()
