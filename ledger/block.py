"""Blocks and seals (DESIGN 5, PROTOCOL P2).

A block is what consensus agrees on: a header, the entries (opaque here), and the seal that will close them in the log.
The header's payload root is the RFC 6962 root over the entries and the seal, so a voter that holds the block holds the
state root that it must reach itself before it votes.
"""

import hashlib
from functools import cached_property
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ledger.codec import MAX_SAFE_INTEGER, decode, encode
from ledger.errors import EncodingError
from ledger.limits import MAX_BLOCK_BYTES, MAX_BLOCK_RECORDS, MAX_ENTRY_BYTES
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.tree import root_of

DIGEST_BYTES: Final = 32
NEWEST_VERSION: Final = 2
"""The newest version of the rules that this program knows; it knows all before, too. A version activates at a height
(DESIGN 4.3). Version 2: seals name snapshots (`ledger.snapshot`)."""
_HEADER_DOMAIN: Final = b"tracemark/block/1\x00"


_Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Number = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The last entry of every block, in canonical JSON. Hashes are 64 lower-case hex digits, `time` is ms since 1970.

    `prev_seal` is the SHA-256 of the previous seal entry (of the genesis document for height 0); `validators` the
    SHA-256 of the canonical JSON of the epoch's validator list; `state_root` the root after the block's records.
    """

    height: _Number
    view: _Number
    epoch: _Number
    prev_seal: _Hash
    time: _Number
    record_count: _Number
    state_root: _Hash
    validators: _Hash
    version: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
    snapshot: _Hash | msgspec.UnsetType = msgspec.UNSET

    def to_bytes(self) -> bytes:
        """The seal's entry bytes."""
        return encode(self)


def decode_seal(data: bytes) -> Seal:
    """Parse a seal entry strictly.

    Raises:
        EncodingError: not canonical, a hash that is not 64 hex digits, or a number that is negative or over 2**53 - 1.
    """
    seal: Seal = decode(data, Seal, limit=MAX_ENTRY_BYTES)
    return seal


class BlockHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What the digest covers. Digests are 32 bytes, `proposer` is a validator's index, `time` is ms since 1970.

    `chain` is the genesis hash, so that no header means anything on another ledger (P1.4).
    """

    chain: bytes
    epoch: int
    view: int
    height: int
    parent_view: int
    parent_digest: bytes
    parent_seal: bytes
    payload_root: bytes
    proposer: int
    time: int

    @cached_property
    def digest(self) -> bytes:
        """The block's digest: SHA-256 of a domain and the header's canonical JSON."""
        return hashlib.sha256(_HEADER_DOMAIN + encode(self)).digest()


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A header with its body: the entries in log order, then the seal entry."""

    header: BlockHeader
    entries: tuple[bytes, ...]
    seal: bytes

    @property
    def digest(self) -> bytes:
        """The digest that votes name."""
        return self.header.digest

    @cached_property
    def leaf_hashes(self) -> tuple[bytes, ...]:
        """RFC 6962 leaf hashes of the entries and the seal: what the block appends to the log."""
        return (*map(leaf_hash, self.entries), leaf_hash(self.seal))

    @cached_property
    def seal_hash(self) -> bytes:
        """SHA-256 of the seal entry: the child's `parent_seal` and `prev_seal`."""
        return hashlib.sha256(self.seal).digest()

    @property
    def body_bytes(self) -> int:
        """Size of the entries."""
        return sum(map(len, self.entries))


def payload_root(leaf_hashes: tuple[bytes, ...]) -> bytes:
    """The header's commitment to the body: RFC 6962 root of the leaf hashes of the entries and the seal."""
    return root_of(leaf_hashes)


def check_block(block: Block) -> None:
    """Check that a block is within limits and that its body is the one its header commits to.

    Bytes that fail here count as not received (P5.3).

    Raises:
        EncodingError: code `bad_block` or `payload_mismatch`.
    """
    header = block.header
    digests = (header.chain, header.parent_digest, header.parent_seal, header.payload_root)
    numbers = (header.epoch, header.view, header.height, header.parent_view, header.proposer, header.time)
    if any(len(digest) != DIGEST_BYTES for digest in digests) or min(numbers) < 0:
        raise EncodingError("a block header's fields are out of range", code="bad_block")
    if len(block.entries) > MAX_BLOCK_RECORDS or block.body_bytes > MAX_BLOCK_BYTES:
        raise EncodingError(
            "the block is too large",
            code="bad_block",
            expected=f"<= {MAX_BLOCK_RECORDS} entries, {MAX_BLOCK_BYTES} bytes",
            actual=f"{len(block.entries)} entries, {block.body_bytes} bytes",
        )
    if len(block.seal) > MAX_ENTRY_BYTES or any(len(entry) > MAX_ENTRY_BYTES for entry in block.entries):
        raise EncodingError("an entry is too large", code="bad_block", expected=f"<= {MAX_ENTRY_BYTES} bytes")
    if payload_root(block.leaf_hashes) != header.payload_root:
        raise EncodingError("the body is not the one that the header names", code="payload_mismatch")
