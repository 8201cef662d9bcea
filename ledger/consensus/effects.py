"""What a replica asks of its driver. `Replica.step` returns effects in the order in which they take effect.

The driver's contract:

1. One input at a time; the effects of a step are carried out, or queued in order, before those of the next.
2. **Persist before send** (P3.2). A `Send` or `Broadcast` leaves only when every `Persist` before it in the stream of
   effects (of this step and of all earlier ones) is durable. Many Persists, of several steps, may share one transaction.
   `VotesSuspected` and `VotesTrusted` are Persists in this sense: durable in their place in the stream.
3. A `Persist` that fails is answered by `StoreFailed`; nothing that follows it in the stream is sent.
4. **Send before apply.** `Commit` and `Build` and `Check` never delay a send. They are asynchronous and are answered by
   `Committed`, `Built`, `Checked`, in any order between kinds; `Commit`s are carried out, and answered, in their order.
5. `Commit` writes the block, its effects on the state and the new floor in one transaction (P3.3), and only after every
   `Persist` before it is durable. A crash before it leaves the old floor: the replica asks again after the restart.
6. A `Check` is asked for only when the block's parent is the floor or was itself checked (or built) and found valid; it is
   executed on that parent's overlay. The verdict is a function of the block and its parent alone: no clock, no mempool.
7. Timers are named; setting one again moves it. Messages may be lost: what must arrive is sent again by the replica.
8. `Alarm` is for the operator, loudly. After one with `stopped`, the replica signs nothing until the driver is restarted.
"""

from enum import StrEnum

import msgspec

from ledger.block import Block
from ledger.consensus.messages import Certificate, DurableRecord, Evidence, Message


class Timer(StrEnum):
    """The replica's timers."""

    LEAD = "lead"
    """No proposal by the leader of the view (P5.1)."""
    ADVANCE = "advance"
    """The view has not been left (P5.1)."""
    EMPTY = "empty"
    """Half a lead timer after arming: a leader still busy proposes an empty block (P6.3)."""
    RETRY = "retry"
    """Repeat the own nullify (P5.7)."""
    STANDSTILL = "standstill"
    """No new finalization while busy (P5.8)."""
    HEARTBEAT = "heartbeat"
    """No block for so long (P6.2)."""
    STATUS = "status"
    """Tell peers where we stand (P7.1)."""
    FETCH = "fetch"
    """Ask the next peer for what is missing (P5.4, P7.4)."""
    CATCH_UP = "catch_up"
    """Fetch blocks by height again, after a fetch that brought nothing (P7.2)."""
    RECHECK = "recheck"
    """A check that met a fault of ours is tried again."""
    CLOCK = "clock"
    """A proposal from the near future becomes acceptable (P5.3)."""
    RECOVERY = "recovery"
    """Ask those again who have not shown their entry certificate (P7.5)."""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What is final and committed here: nothing at or below (epoch, view) is ever signed again (P3.1, P4.1).

    `seal_hash` and `time_ms` are those of the block at `height`: its child must name the one and exceed the other.
    """

    epoch: int
    view: int
    height: int
    digest: bytes
    seal_hash: bytes
    time_ms: int


class Persist(msgspec.Struct, frozen=True):
    """Keep this record: an own vote, a certificate, an unfinalized block, or evidence. Idempotent by its content."""

    record: DurableRecord


class VotesSuspected(msgspec.Struct, frozen=True):
    """Remember that votes of ours may be missing (P7.5), to be handed to `Replica.restore` as `votes_suspect`.

    Durable in its place among the Persists: those that follow it could hide the loss from the next start.
    """


class VotesTrusted(msgspec.Struct, frozen=True):
    """Forget that votes of ours may be missing (P7.5).

    Durable in its place among the Persists: no vote that follows it leaves before.
    """


class Prune(msgspec.Struct, frozen=True):
    """Votes, certificates and blocks at or below (epoch, view) may be deleted, at leisure (P3.5).

    Never the finalization of the highest view of each epoch (P7.4, P8.3), and never evidence.
    """

    epoch: int
    view: int


class Send(msgspec.Struct, frozen=True):
    """Send to one peer: a validator's index, or the negative number of an observer's link (see inputs)."""

    to: int
    message: Message


class Broadcast(msgspec.Struct, frozen=True):
    """Send to every other validator and to every connected observer."""

    message: Message


class SetTimer(msgspec.Struct, frozen=True):
    """Tell `TimerFired(name)` at monotonic time `at_ms` (at once if that is past)."""

    name: Timer
    at_ms: int


class CancelTimer(msgspec.Struct, frozen=True):
    """Forget the timer."""

    name: Timer


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """Build a block on the executed parent, with these header fields, and answer `Built`.

    The time is max(clock, parent + 1 ms). With `allow_empty` a block without records is wanted if there are none.
    """

    epoch: int
    view: int
    height: int
    parent_view: int
    parent_digest: bytes
    parent_seal: bytes
    proposer: int
    time_ms: int
    allow_empty: bool


class Check(msgspec.Struct, frozen=True):
    """Execute the block on its parent and compare the seal; answer `Checked`."""

    block: Block


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Make the block final here, in one transaction with `floor`; answer `Committed`. One per block, in height order.

    `certificate` finalizes this block or a descendant of it.
    """

    block: Block
    certificate: Certificate
    floor: Floor


class Drop(msgspec.Struct, frozen=True):
    """Blocks that can no longer become final: their overlays go, their records are pending again."""

    digests: tuple[bytes, ...]


class ServeBlock(msgspec.Struct, frozen=True):
    """Send `BlockResponse` for this digest to `to`, with the committed block from the store or None. At most one each."""

    to: int
    digest: bytes


class FetchBlocks(msgspec.Struct, frozen=True):
    """Fetch final blocks by height from random peers (P7.2); answer `BlocksFetched`, also on failure. One at a time."""

    first_height: int
    count: int


class ReportEvidence(msgspec.Struct, frozen=True):
    """A validator signed two votes that no honest one does: count it, log it, show it. It is persisted apart."""

    evidence: Evidence


class Charge(msgspec.Struct, frozen=True):
    """The peer sent what no honest peer sends. The driver counts, and may drop the link."""

    sender: int
    code: str
    text: str


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not be. `stopped`: the replica signs nothing any more."""

    code: str
    text: str
    stopped: bool


Effect = (
    Persist
    | VotesSuspected
    | VotesTrusted
    | Prune
    | Send
    | Broadcast
    | SetTimer
    | CancelTimer
    | Build
    | Check
    | Commit
    | Drop
    | ServeBlock
    | FetchBlocks
    | ReportEvidence
    | Charge
    | Alarm
)
