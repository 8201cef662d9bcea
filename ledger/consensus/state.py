"""What a replica knows between two inputs, and the few primitives by which its roles change it.

No rule of the protocol stands here. The roles (`voting`, `proposing`, `finality`, `pacemaker`, `fetching`, `sharing`) are
functions over this state; `certifying` takes in votes and certificates; `replica` dispatches inputs and runs the roles.
"""

import msgspec

from ledger.block import Block
from ledger.consensus.blocks import Held, Parent, Standing, parent_of_held
from ledger.consensus.certificates import Certificates
from ledger.consensus.effects import (
    Alarm,
    Broadcast,
    CancelTimer,
    Effect,
    Floor,
    Persist,
    Send,
    SetTimer,
    Timer,
)
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate, Message, Notarize
from ledger.consensus.parameters import Parameters
from ledger.consensus.safety import Guard
from ledger.consensus.tally import Tally
from ledger.signing import SigningKey


class Want:
    """A missing block: who may have it, how many were asked, when to ask the next."""

    __slots__ = ("asked", "next_ms", "sources", "view")

    def __init__(self, sources: tuple[int, ...], view: int) -> None:
        self.sources = sources
        self.view = view
        self.asked = 0
        self.next_ms = 0


class Building(msgspec.Struct, frozen=True, kw_only=True):
    """A build under way: for which view, on which parent, and whether it may be empty."""

    view: int
    parent_view: int
    allow_empty: bool


class FinalBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block known to be final, above the floor, and the finalization that shows it (its own or a descendant's)."""

    digest: bytes
    certificate: Certificate


class State:
    """All that one replica knows. Fields are grouped by the role that writes them; any role may read."""

    def __init__(
        self, *, chain: bytes, key: SigningKey | None, epoch: Epoch, floor: Floor, parameters: Parameters
    ) -> None:
        self.chain = chain
        self.parameters = parameters
        self.guard = Guard(chain, key, epoch, floor.view)
        self.effects: list[Effect] = []
        self.changes = 0
        """Counts changes within a step: the roles run until a round changes nothing."""
        self.now_ms = 0
        self.clock_ms = 0
        self.timers: dict[Timer, int] = {}
        self.closings: dict[int, Certificate] = {}
        """The finalization that closed each earlier epoch: view 0 of the next, kept for ever (P8.3)."""
        self.cosignature = b""
        self.last_block_ms = 0
        self.pending = 0
        self.nonce = b""
        """Drawn at this start, for questions whose answers must be newer (P7.5)."""
        self.unasked = False
        """Votes of ours are missing only in so far as we began empty, and nobody has shown yet whether we voted before."""
        self.suspicion = ("", "")
        """Why votes of ours may be missing: the alarm's code and text."""
        self.open_epoch(epoch, floor)

    def open_epoch(self, epoch: Epoch, floor: Floor) -> None:
        """Begin an epoch at its floor (P8.2): everything of the epoch before is forgotten but the closing finalizations."""
        self.epoch = epoch
        self.floor = floor
        self.view = floor.view + 1
        self.entry: Certificate | None = None
        """The certificate by which the current view was entered."""
        self.tally = Tally(self.chain, epoch)
        self.certificates = Certificates()
        self.accused: set[int] = set()
        """Signers of whom evidence is held."""
        self.equivocated: set[int] = set()
        """Views whose leader was seen to sign two proposals (P5.4)."""
        self.blocks: dict[bytes, Held] = {}
        self.wants: dict[bytes, Want] = {}
        # voting
        self.proposals: dict[int, Notarize] = {}
        """The leader's first proposal of each view from the current one on, its signature verified."""
        self.unjustified = (0, -1)
        """The view and version of certificates for which the proposal lacked some: not looked through again."""
        self.open_notarizations: list[int] = []
        """Notarized views above the floor that were not yet brought to a finalize and an entry (P5.4)."""
        # proposing
        self.building: Building | None = None
        self.nothing_to_include = False
        self.build_failed_view = 0
        self.unfounded = (0, -1)
        """The view and version of certificates for which no parent was found."""
        # finality
        self.final: list[FinalBlock] = []
        """The known final chain above the floor, by height, without gaps."""
        self.joined_view = 0
        """The view of the highest finalization that was joined to the floor."""
        self.committing: list[Floor] = []
        """Floors of the commits asked for and not yet answered: a prefix of `final`."""
        self.unproven: list[tuple[Block, Certificate]] = []
        """Blocks fetched by height above `final`, joined to it, and not yet proved final."""
        self.fetching_blocks = False
        # fetching
        self.heights: dict[int, int] = {}
        """Heights that validators claim in their Status: hints."""
        self.wanted_views: tuple[int, ...] = ()
        self.wanted_views_asked = 0
        self.wanted_views_next_ms = 0
        # recovery
        self.entry_answers: dict[int, int] = {}
        """The views of validators, as their certificates prove, by who showed them."""
        self.bar = 0
        """Above it a finalization must be committed; 0 until enough have answered."""
        self.own_view_shown = 0
        """The highest view of an own vote that we were shown while votes were missing."""
        self.entry_requests: dict[int, tuple[int, int]] = {}
        """Since when, and how often, each validator has asked us."""
        # pacemaker
        self.busy = False
        self.armed_view = 0
        """The view whose timers were started, 0 while idle."""
        self.empty_due = False
        self.missed: dict[int, int] = {}
        """The last view of each leader that a timer ended here, by validator (ADR 15)."""
        self.standstill_cursor = 0

    @property
    def own(self) -> int | None:
        """Our place among the validators; None for an observer."""
        return self.guard.own

    @property
    def settled_view(self) -> int:
        """The highest view known to be final, committed here or not."""
        return max(self.floor.view, self.certificates.final_view)

    @property
    def is_joined(self) -> bool:
        """Whether the highest finalization's chain is known down to the floor. All that is yet undecided stands on it."""
        return self.certificates.final_view <= max(self.floor.view, self.joined_view)

    def emit(self, effect: Effect) -> None:
        """Append an effect."""
        self.effects.append(effect)

    def send(self, to: int, message: Message) -> None:
        """Send to one peer (never to ourselves)."""
        if to != self.own:
            self.effects.append(Send(to, message))

    def broadcast(self, message: Message) -> None:
        """Send to everybody else."""
        self.effects.append(Broadcast(message))

    def set_timer(self, name: Timer, at_ms: int) -> None:
        """Set or move a timer."""
        if self.timers.get(name) != at_ms:
            self.timers[name] = at_ms
            self.effects.append(SetTimer(name, at_ms))

    def cancel_timer(self, name: Timer) -> None:
        """Cancel a timer if it is set."""
        if self.timers.pop(name, None) is not None:
            self.effects.append(CancelTimer(name))

    def stop(self, code: str, text: str) -> None:
        """Sign nothing more and say so loudly, once."""
        if not self.guard.stopped:
            self.guard.stop(code)
            self.effects.append(Alarm(code=code, text=text, stopped=True))

    def parent(self, digest: bytes) -> Parent | None:
        """The block with this digest as a parent to build or check on: the floor, or an executed block above it."""
        floor = self.floor
        if digest == floor.digest:
            return Parent(
                height=floor.height, digest=digest, seal_hash=floor.seal_hash, time_ms=floor.time_ms, closing=False
            )
        held = self.blocks.get(digest)
        return parent_of_held(held) if held is not None and held.executed else None

    def hold(self, block: Block, standing: Standing = Standing.HELD) -> Held:
        """Hold a block; one held already stays as it is."""
        held = self.blocks.get(block.digest)
        if held is None:
            held = self.blocks[block.digest] = Held(block, standing)
            self.wants.pop(block.digest, None)
            self.changes += 1
        return held

    def persist_block(self, held: Held) -> None:
        """Make a block durable before a vote depends on it (P3.2)."""
        if not held.persisted:
            held.persisted = True
            self.effects.append(Persist(held.block))
