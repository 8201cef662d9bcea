"""What a replica is told. Every input carries the time, so that a replica owns no clock and a run can be replayed.

`now_ms` is monotonic and local (timers); `clock_ms` is the wall clock since 1970 (block times only, never safety).

A `sender` is the index of a validator in the replica's current epoch, authenticated by its link; a negative number names
the link of an observer, of the driver's choosing.
"""

from typing import Annotated, Literal

import msgspec

from ledger.block import Block
from ledger.consensus.messages import Certificate, Message
from ledger.consensus.parameters import Parameters
from ledger.limits import MAX_BLOCKS_PER_REQUEST


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """Common to all inputs: the time at which it is told."""

    now_ms: int
    clock_ms: int


class Started(Input, frozen=True, kw_only=True):
    """The driver is ready to carry out effects. The first input, exactly once, after `Replica.restore`."""


class Received(Input, frozen=True, kw_only=True):
    """A message came over the link of `sender`. A block in it has passed `ledger.block.check_block`."""

    sender: int
    message: Message


class PeerConnected(Input, frozen=True, kw_only=True):
    """A link to `sender` is up (again)."""

    sender: int


class TimerFired(Input, frozen=True, kw_only=True):
    """A timer set by `SetTimer` is due. One that was cancelled since is ignored, one that comes too early is set again."""

    name: str


class PendingChanged(Input, frozen=True, kw_only=True):
    """The number of pending records (P6.1) after an admission, a commit, an expiry or a dropped block.

    To be told at every admission, even if the number is the same: the leader then tries to build again.
    """

    count: int


class Built(Input, frozen=True, kw_only=True):
    """The answer to `Build`. `empty`: nothing to include and an empty block was not allowed. `failed`: a fault of ours.

    `block` is given exactly if `outcome` is "built"; it counts as executed (its overlay is kept by the driver).
    `closing`: its execution changes the validators (P8.1).
    """

    epoch: int
    view: int
    outcome: Literal["built", "empty", "failed"]
    block: Block | None = None
    closing: bool = False


class Checked(Input, frozen=True, kw_only=True):
    """The answer to `Check`. `failed` is a fault of ours (disk, memory) and is tried again; it says nothing of the block."""

    digest: bytes
    verdict: Literal["valid", "invalid", "failed"]
    closing: bool = False
    reason: str = ""


class Committed(Input, frozen=True, kw_only=True):
    """The answer to `Commit`: the block, its effects and the new floor are durable (P3.3).

    `validators`: the consensus keys of the next epoch, in order, if the block was closing (P8.2). `parameters`: the times
    from now on, if the block changed those that are agreed on. `pending`: records that are still to be decided, if known.
    """

    height: int
    digest: bytes
    validators: tuple[bytes, ...] | None = None
    parameters: Parameters | None = None
    pending: int | None = None


class BlocksFetched(Input, frozen=True, kw_only=True):
    """The answer to `FetchBlocks` from the validator `sender`: blocks from `first_height` on, ascending, each with the
    finalization by which the sender committed it (its own or a descendant's). Empty if the fetch failed.

    Each block has passed `ledger.block.check_block`. The replica verifies the rest itself.
    """

    sender: int
    first_height: int
    blocks: Annotated[tuple[tuple[Block, Certificate], ...], msgspec.Meta(max_length=MAX_BLOCKS_PER_REQUEST)]


class Cosigned(Input, frozen=True, kw_only=True):
    """The newest own cosignature, opaque, to be repeated in every Status."""

    cosignature: bytes


class EarlierLife(Input, frozen=True, kw_only=True):
    """What others showed: whether a validator that began empty, and could ask nobody then, may have voted before (P7.5)."""

    may_have_voted: bool


class StoreFailed(Input, frozen=True, kw_only=True):
    """The store did not take what it was told to keep: stop signing until restarted (nothing more is sent or signed)."""

    reason: str


AnyInput = (
    Started
    | Received
    | PeerConnected
    | TimerFired
    | PendingChanged
    | Built
    | Checked
    | Committed
    | BlocksFetched
    | Cosigned
    | EarlierLife
    | StoreFailed
)
