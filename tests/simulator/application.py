"""A toy application: records are opaque bytes, the state root is a hash chain over them, a record may be invalid.

It keeps an overlay a block, as the production executor does, and asserts the driver's contract: a block is checked only on
an overlay that exists.
"""

import hashlib
from typing import Final

import msgspec

from ledger.block import Block, BlockHeader, payload_root
from ledger.consensus.effects import Build, Floor
from ledger.merkle.hashing import leaf_hash

MAX_RECORDS: Final = 4
CLOSING: Final = b"validators:"
"""A record that begins so changes the validators: `validators:` and their indices, comma-separated."""
BAD: Final = b"bad:"
"""A record that no honest machine accepts in a block."""


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """The state after a block: its root, and what the block added to its parent's."""

    root: bytes
    parent: bytes
    records: frozenset[bytes]
    closing: tuple[int, ...] | None


class Application:
    """The state of one machine; overlays and pending records are in memory, the rest is rebuilt from the committed chain."""

    def __init__(self, chain: bytes, genesis: Floor, committed: list[Block]) -> None:
        self.chain = chain
        self.root = hashlib.sha256(chain).digest()
        self.tip = genesis.digest
        self.included: set[bytes] = set()
        self.overlays: dict[bytes, Overlay] = {}
        self.pending: dict[bytes, None] = {}
        for block in committed:
            self._execute_checked(block)
            self.commit(block)

    def admit(self, record: bytes) -> bool:
        """Take a record into the pool, once. Returns whether it is new."""
        if record in self.pending or record in self.included:
            return False
        self.pending[record] = None
        return True

    def build(self, wanted: Build) -> Block | None:
        """A block of pending records that its ancestors lack; None if there is none and it may not be empty."""
        seen = self._included_at(wanted.parent_digest)
        records = tuple(record for record in self.pending if record not in seen)[:MAX_RECORDS]
        closing = [record for record in records if record.startswith(CLOSING)]
        if closing:
            records = (closing[0],)
        if not records and not wanted.allow_empty:
            return None
        seal = _seal(wanted.height, _next_root(self._root_at(wanted.parent_digest), records))
        block = make_block(wanted, self.chain, records, seal)
        self._execute_checked(block)
        return block

    def check(self, block: Block) -> str:
        """What is wrong with a block, or "" and its overlay is kept. Its parent's overlay must exist."""
        parent = block.header.parent_digest
        assert parent == self.tip or parent in self.overlays, "checked without its parent's overlay"
        if any(record.startswith(BAD) for record in block.entries):
            return "a bad record"
        if not self._included_at(parent).isdisjoint(block.entries) or len(set(block.entries)) != len(block.entries):
            return "a duplicate record"
        if block.seal != _seal(block.header.height, _next_root(self._root_at(parent), block.entries)):
            return "another state root"
        self._execute_checked(block)
        return ""

    def closing(self, digest: bytes) -> tuple[int, ...] | None:
        """The next validators' identities, if the executed block is closing."""
        return self.overlays[digest].closing

    def commit(self, block: Block) -> None:
        """Make the block's overlay the state; its parent must be the tip."""
        overlay = self.overlays.pop(block.digest)
        assert overlay.parent == self.tip, "committed out of order"
        self.root, self.tip = overlay.root, block.digest
        self.included |= overlay.records
        for record in overlay.records:
            self.pending.pop(record, None)

    def drop(self, digests: tuple[bytes, ...]) -> None:
        """Forget overlays."""
        for digest in digests:
            self.overlays.pop(digest, None)

    def _execute_checked(self, block: Block) -> None:
        closing = [record for record in block.entries if record.startswith(CLOSING)]
        self.overlays[block.digest] = Overlay(
            root=_next_root(self._root_at(block.header.parent_digest), block.entries),
            parent=block.header.parent_digest,
            records=frozenset(block.entries),
            closing=tuple(map(int, closing[0].removeprefix(CLOSING).split(b","))) if closing else None,
        )

    def _root_at(self, digest: bytes) -> bytes:
        return self.root if digest == self.tip else self.overlays[digest].root

    def _included_at(self, digest: bytes) -> set[bytes]:
        seen = set(self.included)
        while digest != self.tip:
            overlay = self.overlays[digest]
            seen |= overlay.records
            digest = overlay.parent
        return seen


def make_block(wanted: Build, chain: bytes, records: tuple[bytes, ...], seal: bytes) -> Block:
    """A block with the header fields that the replica asked for."""
    header = BlockHeader(
        chain=chain,
        epoch=wanted.epoch,
        view=wanted.view,
        height=wanted.height,
        parent_view=wanted.parent_view,
        parent_digest=wanted.parent_digest,
        parent_seal=wanted.parent_seal,
        payload_root=payload_root((*map(leaf_hash, records), leaf_hash(seal))),
        proposer=wanted.proposer,
        time=wanted.time_ms,
    )
    return Block(header=header, entries=records, seal=seal)


def _next_root(root: bytes, records: tuple[bytes, ...]) -> bytes:
    digest = hashlib.sha256(root)
    for record in records:
        digest.update(hashlib.sha256(record).digest())
    return digest.digest()


def _seal(height: int, root: bytes) -> bytes:
    return b"%d %s" % (height, root.hex().encode())
