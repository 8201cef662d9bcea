"""Blocks held above the floor, what is known of each, and the rules that need only a block and its parent (P5.3)."""

from enum import Enum

import msgspec

from ledger.block import Block
from ledger.consensus.epoch import Epoch


class Standing(Enum):
    """How far a held block has come."""

    HELD = "held"
    CHECKING = "checking"
    FAILED = "failed"
    """Its check met a fault of ours; it is tried again."""
    EXECUTED = "executed"
    INVALID = "invalid"


class Held:
    """A block that is held, and its standing. `closing` is known once executed (P8.1)."""

    __slots__ = ("block", "closing", "persisted", "reason", "standing")

    def __init__(self, block: Block, standing: Standing = Standing.HELD) -> None:
        self.block = block
        self.standing = standing
        self.closing = False
        self.persisted = False
        self.reason = ""

    @property
    def executed(self) -> bool:
        """Checked, and found valid (or built here)."""
        return self.standing is Standing.EXECUTED


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """What a child must agree with."""

    height: int
    digest: bytes
    seal_hash: bytes
    time_ms: int
    closing: bool


def parent_of_held(held: Held) -> Parent:
    """An executed block as a parent."""
    header = held.block.header
    return Parent(
        height=header.height,
        digest=held.block.digest,
        seal_hash=held.block.seal_hash,
        time_ms=header.time,
        closing=held.closing,
    )


def defect(block: Block, parent: Parent, *, chain: bytes, epoch: Epoch) -> str:
    """What is wrong with a block beside its parent, or "" (P5.3). Deterministic: no clock, no votes, no certificates.

    Requires that `parent.digest` is the block's parent digest. The application's verdict is apart.
    """
    header = block.header
    if header.chain != chain or header.epoch != epoch.number:
        return "it is of another ledger or epoch"
    if header.view < 1 or header.parent_view >= header.view:
        return f"its parent's view {header.parent_view} is not below its own, {header.view}"
    if header.proposer != epoch.leader(header.view):
        return f"its proposer {header.proposer} does not lead view {header.view}"
    if parent.closing:
        return "it is built on a closing block"
    if header.height != parent.height + 1:
        return f"its height is {header.height} on a parent at {parent.height}"
    if header.parent_seal != parent.seal_hash:
        return "it does not name its parent's seal"
    if header.time <= parent.time_ms:
        return f"its time {header.time} is not after its parent's, {parent.time_ms}"
    return ""
