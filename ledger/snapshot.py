"""Snapshots of the state (PROTOCOL P7.3): what a seal says of one, and how each part of one is verified by itself.

At every height that `SNAPSHOT_BLOCKS` divides, the seal of a ledger of version 2 names a manifest: the sizes and roots after
the block before. Nobody need make a snapshot then: whoever has one of that height can show it, and whoever fetches it
needs no list of its parts. Documents come in chunks, each all that stand under one prefix of the hashed key; the roots of
these subtrees fold into the state root, so a wrong byte is found in its chunk.

Fetching, serving and storing are the node's; that the manifest is the ledger's is `ledger.anchor`'s.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledger.codec import MAX_SAFE_INTEGER, decode, encode
from ledger.errors import InputError, VerificationError
from ledger.limits import (
    MAX_SNAPSHOT_DEPTH,
    MAX_SNAPSHOT_MANIFEST_BYTES,
    SNAPSHOT_BLOCKS,
    SNAPSHOT_CHUNK_DOCUMENTS,
)
from ledger.statetree import KEY_BITS, SUBTREE_BYTES, fold_subtrees, key_hash, subtree_root, value_hash

SNAPSHOT_VERSION: Final = 2
"""The version of the protocol from which on seals name snapshots."""
FORMAT: Final = "tracemark-snapshot/1"

_Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Number = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]

SnapshotDocument = tuple[str, str, bytes]
"""(kind, id, canonical JSON) of one document of the state."""
KeyedDocument = tuple[bytes, str, str, bytes]
"""The same after its hashed key: as the node stores it."""


class SnapshotManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the ledger was after the block at `height`. Hashes are 64 lower-case hex digits.

    `size` and `log_root` are the log's, `state_root` and `documents` (their number) the state's, `seal` is the SHA-256 of
    that block's seal.
    """

    format: Literal["tracemark-snapshot/1"]
    height: _Number
    size: _Number
    log_root: _Hash
    state_root: _Hash
    documents: _Number
    seal: _Hash

    def to_bytes(self) -> bytes:
        """Its canonical JSON."""
        return encode(self)

    @property
    def hash(self) -> str:
        """SHA-256 of its canonical JSON, in hex: what the next block's seal names."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def depth(self) -> int:
        """How many bits of the hashed key the prefix of one chunk has: there are 2**depth chunks, and about
        `SNAPSHOT_CHUNK_DOCUMENTS` documents in each."""
        chunks = -(-self.documents // SNAPSHOT_CHUNK_DOCUMENTS)
        return min(max(chunks - 1, 0).bit_length(), MAX_SNAPSHOT_DEPTH)


def decode_manifest(data: bytes) -> SnapshotManifest:
    """Parse a manifest strictly.

    Raises:
        EncodingError: not canonical, or a field that is out of range.
    """
    manifest: SnapshotManifest = decode(data, SnapshotManifest, limit=MAX_SNAPSHOT_MANIFEST_BYTES)
    return manifest


def names_snapshot(version: int, height: int) -> bool:
    """Whether the seal of a block names a snapshot: that of the block before it."""
    return version >= SNAPSHOT_VERSION and height > 0 and height % SNAPSHOT_BLOCKS == 0


def manifest_of(
    *, height: int, size: int, log_root: bytes, state_root: bytes, documents: int, seal_hash: bytes
) -> SnapshotManifest:
    """The manifest of the ledger as it was after the block at `height`."""
    return SnapshotManifest(
        format=FORMAT,
        height=height,
        size=size,
        log_root=log_root.hex(),
        state_root=state_root.hex(),
        documents=documents,
        seal=seal_hash.hex(),
    )


def verify_chunk_roots(manifest: SnapshotManifest, roots: bytes) -> list[bytes]:
    """The root of each chunk, if they fold into the state root. Requires nothing of `roots`.

    Raises:
        VerificationError: code `bad_snapshot` or `bad_state_proof`.
    """
    expected = SUBTREE_BYTES << manifest.depth
    if len(roots) != expected:
        raise _bad_snapshot("the roots of a snapshot's chunks", expected=f"{expected} bytes", actual=len(roots))
    chunks = [roots[at : at + SUBTREE_BYTES] for at in range(0, len(roots), SUBTREE_BYTES)]
    actual = fold_subtrees(chunks)
    if actual.hex() != manifest.state_root:
        raise _bad_snapshot(
            "the roots of the chunks do not make the state root", expected=manifest.state_root, actual=actual.hex()
        )
    return [chunk[1:] for chunk in chunks]


def verify_chunk(number: int, depth: int, root: bytes, documents: Sequence[SnapshotDocument]) -> list[KeyedDocument]:
    """The documents of chunk `number`, if they are all that stand there, with their hashed keys, in the order of these.

    Args:
        number: the chunk's prefix, as a number of `depth` bits.
        depth: the manifest's.
        root: of this chunk, from `verify_chunk_roots`.
        documents: as they came.

    Raises:
        VerificationError: code `bad_snapshot`.
    """
    try:
        keyed = [(key_hash(kind, name), kind, name, value) for kind, name, value in documents]
    except (InputError, UnicodeEncodeError) as error:
        raise _bad_snapshot(f"chunk {number}: a key that cannot be hashed", actual=str(error)) from error
    previous = -1
    for key, kind, name, _ in keyed:
        place = int.from_bytes(key)
        if place <= previous or place >> (KEY_BITS - depth) != number:
            raise _bad_snapshot(f"chunk {number}: {kind} {name[:80]!r} does not stand here", expected="rising keys")
        previous = place
    actual = subtree_root([(key, value_hash(value)) for key, _, _, value in keyed], depth)
    if actual != root:
        raise _bad_snapshot(f"chunk {number}: not the documents of the state", expected=root.hex(), actual=actual.hex())
    return keyed


def _bad_snapshot(message: str, *, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(message, code="bad_snapshot", expected=expected, actual=actual)
