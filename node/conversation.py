"""What this node and its peers say to each other besides votes: records, heights, cosignatures (P6.1, DESIGN 6).

The `Handler` of the links. Messages of consensus go straight to the driver; gossiped records go to admission, in bounded
amounts a peer; cosignatures are counted. What has waited for an interval is gossiped again.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import structlog

from ledger.consensus.messages import Status
from ledger.errors import EncodingError, PeerError, StoreError, TracemarkError, VerificationError
from ledger.limits import MAX_GOSSIP_BYTES, REGOSSIP_FRAMES
from node.admission import Admission
from node.clock import Clock
from node.cosigning import Cosigning, Verdict, decode_cosignature
from node.counters import NodeCounters
from node.driver import Driver
from node.gossip import GossipBacklog
from node.mempool import Mempool
from node.pace import Clocks
from node.peers.transport import Transport
from node.peers.wire import (
    Cosignature,
    Cosignatures,
    CosignaturesRequest,
    Gossip,
    PeerMessage,
    gossip_frames,
)
from node.tasks import Tasks
from node.worker import Worker

_log: Final = structlog.get_logger("node")

_NEWS: Final[frozenset[Verdict]] = frozenset({"counted", "early"})
"""A cosignature that was not known here."""
ASK_AFTER_S: Final = 0.1
"""An epoch that has just opened is proven by what peers send anyway; whoever came to it by fetched blocks has to ask."""
REGOSSIP_RECORDS: Final = REGOSSIP_FRAMES * MAX_GOSSIP_BYTES // 256
"""Records that `REGOSSIP_FRAMES` can hold at most: the smallest has more bytes."""


class Admit(Protocol):
    """Where gossiped records go (`node.node.Node`)."""

    async def __call__(self, entries: Sequence[bytes], *, source: str, from_peer: bool) -> object:
        """Admit entries; StoreError if the node has failed."""
        ...


class Conversation:
    """The node's side of all its links. Lives on the event loop."""

    def __init__(
        self,
        *,
        transport: Transport,
        driver: Driver,
        admission: Admission,
        admit: Admit,
        mempool: Mempool,
        cosigning: Cosigning,
        worker: Worker,
        clock: Clock,
        counters: NodeCounters,
        standstill_ms: int,
        on_cosigned: Callable[[], None],
    ) -> None:
        """`on_cosigned`: told when a newer checkpoint has its quorum."""
        self._transport = transport
        self._driver = driver
        self._admission = admission
        self._admit = admit
        self._mempool = mempool
        self._cosigning = cosigning
        self._worker = worker
        self._clock = clock
        self._counters = counters
        self._standstill_ms = standstill_ms
        self._on_cosigned = on_cosigned
        self._gossip: dict[str, GossipBacklog] = {}
        self._admitting: set[str] = set()
        self._tasks = Tasks()
        self._is_paused = False
        self._regossip: asyncio.TimerHandle | None = None
        self._asking: asyncio.TimerHandle | None = None
        self.heights: dict[str, int] = {}
        """What connected nodes last said of their height, by party."""
        self.clocks: Final = Clocks()
        """Their clocks."""
        self.apart_since_ms: dict[str, int] = {}
        """When those without a link, that had one, lost it (monotonic), by party."""

    def start(self) -> None:
        """Begin to repeat what waits; needs a running event loop."""
        self._schedule_regossip()

    def pause(self) -> None:
        """Repeat nothing, and ask for nothing, from now on."""
        self._is_paused = True
        for timer in (self._regossip, self._asking):
            if timer is not None:
                timer.cancel()

    async def stop(self) -> None:
        """End what is under way."""
        self.pause()
        await self._tasks.cancel()

    def abandon(self) -> None:
        """End where it stands."""
        self.pause()
        self._tasks.abandon()

    async def on_message(self, party: str, message: PeerMessage) -> None:
        """A message of an agency's node; waits while too much is not durable yet.

        Raises:
            PeerError: its cosignatures do not verify, or it sends forgeries without end.
        """
        if isinstance(message, Gossip):
            self._take_gossip(party, message)
        elif isinstance(message, Cosignatures):
            for cosignature in message.items:
                if self._take_cosignature(cosignature) in _NEWS:
                    self._compare_clocks(party, cosignature)
        elif isinstance(message, CosignaturesRequest):
            found = self._cosigning.closings_at(message.sizes)
            if found:
                self._transport.send(party, Cosignatures(items=found))
        else:
            if isinstance(message, Status):
                self._take_status(party, message)
            self._driver.received(party, message)
        await self._driver.journal.room()

    def on_connect(self, party: str) -> None:
        """A link is up: pending records are repeated to it (P6.1), and it is asked for what proves the epochs so far."""
        self.apart_since_ms.pop(party, None)
        self._driver.connected(party)
        self._spawn(self._repeat_pending(lambda frame: self._transport.send(party, frame), waited_ms=0))
        self._ask_for_closings(lambda request: self._transport.send(party, request))

    def on_disconnect(self, party: str) -> None:
        """The link is gone."""
        self.heights.pop(party, None)
        self.apart_since_ms[party] = self._clock.monotonic_ms()

    def ask_for_proof(self) -> None:
        """Blocks came of an epoch that is not proven here: ask for its proof soon, unless it has come by then."""
        if self._asking is None and not self._is_paused:
            self._asking = asyncio.get_running_loop().call_later(ASK_AFTER_S, self._ask_everyone)

    def _ask_everyone(self) -> None:
        self._asking = None
        self._ask_for_closings(self._transport.broadcast)

    def _compare_clocks(self, party: str, cosignature: Cosignature) -> None:
        """A validator sends its cosignature of a block when it has made it: its time is that of its clock. (What it sends
        again later, of epochs that closed, is older than the newest.)"""
        newest = self._cosigning.newest
        is_new = newest is not None and cosignature.epoch == newest.epoch and cosignature.size >= newest.size
        if is_new and self._cosigning.party_of(cosignature) == party:
            stated_ms = cosignature.time_s * 1000 + 500  # of the whole second, the middle
            self.clocks.note(party, stated_ms=stated_ms, received_ms=self._clock.wall_ms())

    def _ask_for_closings(self, send: Callable[[CosignaturesRequest], None]) -> None:
        """The cosignatures by the validators of a closed epoch are kept for ever, so whoever lacks them can be helped."""
        sizes = self._cosigning.missing()
        if sizes:
            send(CosignaturesRequest(sizes=sizes))

    def _take_gossip(self, party: str, gossip: Gossip) -> None:
        self._counters.records_gossiped += len(gossip.entries)
        if self._driver.failure is not None:
            self._counters.gossip_dropped += len(gossip.entries)
            return
        backlog = self._gossip.setdefault(party, GossipBacklog())
        self._counters.gossip_dropped += backlog.add(gossip.entries)
        if party not in self._admitting:
            self._admitting.add(party)
            self._spawn(self._admit_gossip(party, backlog))

    async def _admit_gossip(self, party: str, backlog: GossipBacklog) -> None:
        """Admit what waits, a slice at a time, until nothing does."""
        try:
            while backlog:
                await self._admit(backlog.take(), source=f"peer {party}", from_peer=True)
        except TracemarkError as error:
            _log.info("gossip could not be admitted", peer=party, **error.as_dict())
        finally:
            self._admitting.discard(party)

    def _take_status(self, party: str, status: Status) -> None:
        self.heights[party] = status.height
        if status.cosignature:
            try:
                cosignature = decode_cosignature(status.cosignature)
            except EncodingError as error:
                raise PeerError(error.message, code="bad_cosignature") from error
            self._take_cosignature(cosignature)

    def _take_cosignature(self, cosignature: Cosignature) -> Verdict:
        before = self._cosigning.newest
        try:
            verdict = self._cosigning.receive(cosignature)
        except VerificationError as error:
            raise PeerError(error.message, code=error.code, actual=error.actual) from error
        self._counters.cosignatures[verdict] += 1
        self._driver.note_contradictions()
        if verdict == "counted":
            self._driver.keep_cosignature(cosignature)
        if self._cosigning.newest is not before:
            self._on_cosigned()
        return verdict

    def _schedule_regossip(self) -> None:
        interval_s = self._standstill_ms / 1000
        self._regossip = asyncio.get_running_loop().call_later(interval_s, self._on_standstill)

    def _on_standstill(self) -> None:
        """P6.1: what has waited for an interval is gossiped again; what time has decided leaves the pool."""
        self._schedule_regossip()
        self._ask_for_closings(self._transport.broadcast)
        if len(self._mempool) or self._mempool.aside_count:
            self._spawn(self._repeat_pending(self._transport.broadcast, waited_ms=self._standstill_ms))
            self._spawn(self._review())

    async def _repeat_pending(self, send: Callable[[Gossip], None], *, waited_ms: int) -> None:
        before_ms = self._clock.monotonic_ms() - waited_ms
        waiting = await self._worker.call(lambda: self._mempool.oldest(REGOSSIP_RECORDS, before_ms=before_ms))
        for frame in islice(gossip_frames(pending.signed.entry for pending in waiting), REGOSSIP_FRAMES):
            send(frame)

    async def _review(self) -> None:
        try:
            has_changed = await self._worker.call(self._admission.review)
        except StoreError as error:
            self._driver.fail(error)
            return
        if has_changed:
            self._driver.pending_changed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(work, on_error=_log_error)


def _log_error(error: Exception) -> None:
    _log.error("work for a peer ended in an error", exc_info=error)
