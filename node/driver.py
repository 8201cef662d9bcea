"""The driver of the consensus replica: input -> step -> persist -> send -> apply (`ledger.consensus.effects`).

The only caller of the replica, and the only place that knows both consensus and the state. Steps run on the event loop;
blocks are built, checked and committed by `node.application`, votes and blocks are written by threads of their own, and
what they give comes back as inputs. A cosignature is made within the commit's transaction and sent right after it.

The replica counts validators by their place in the epoch; here alone, numbers become parties and parties numbers. A number
is translated in the step that names it, since the next may open another epoch (P8.2).

What a crash leaves behind, at each write: before the votes' transaction, nothing that depends on it was sent; before the
block's transaction, the old floor and the votes above it, from which the replica asks for the commit again; after it, the
new floor. So a restart runs the ordinary path. If a write fails, the node stops voting, says so, and waits for a restart.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from ledger.block import Block
from ledger.consensus.effects import (
    Alarm,
    Broadcast,
    Build,
    CancelTimer,
    Charge,
    Check,
    Commit,
    Drop,
    Effect,
    FetchBlocks,
    Persist,
    Prune,
    ReportEvidence,
    Send,
    ServeBlock,
    SetTimer,
    Timer,
    VotesSuspected,
    VotesTrusted,
)
from ledger.consensus.inputs import (
    AnyInput,
    BlocksFetched,
    Committed,
    Cosigned,
    EarlierLife,
    PeerConnected,
    PendingChanged,
    Received,
    Started,
    StoreFailed,
    TimerFired,
)
from ledger.consensus.messages import BlockResponse, Message
from ledger.consensus.parameters import Parameters
from ledger.consensus.replica import Replica
from ledger.errors import InternalError, TracemarkError
from node.admission import Admission
from node.application import Application, Applied, Consensus
from node.clock import Clock
from node.cosigning import Cosigning, encode_cosignature
from node.counters import NodeCounters
from node.evidence import EvidenceBook
from node.exchange import BlockExchange, BlockFetcher, log_error
from node.execution.executor import Executor
from node.journal import Journal
from node.membership import Members, Roster
from node.mempool import Mempool
from node.notices import Notices
from node.peers.transport import Transport
from node.peers.wire import Cosignature, Cosignatures
from node.storage import Stores
from node.tasks import Tasks
from node.worker import Worker

_log: Final = structlog.get_logger("node.driver")


class Driver:
    """Runs one replica. Lives on the event loop; `step` is never called while it runs."""

    def __init__(
        self,
        *,
        replica: Replica,
        roster: Roster,
        stores: Stores,
        executor: Executor,
        admission: Admission,
        mempool: Mempool,
        worker: Worker,
        cosigning: Cosigning,
        transport: Transport,
        fetcher: BlockFetcher,
        clock: Clock,
        counters: NodeCounters,
        evidence: EvidenceBook,
        parameters: Parameters,
        on_applied: Callable[[Applied], None],
        on_pool_changed: Callable[[], None],
    ) -> None:
        """`parameters` are the replica's. `on_applied` is told of every commit, `on_pool_changed` whenever the pool may have
        decided records."""
        self._replica = replica
        self._roster = roster
        self._mempool = mempool
        self._cosigning = cosigning
        self._transport = transport
        self._fetcher = fetcher
        self._clock = clock
        self._counters = counters
        self._on_applied = on_applied
        self._on_pool_changed = on_pool_changed
        self.journal = Journal(stores.votes, counters, self.fail)
        self.notices = Notices(counters)
        self._evidence = evidence
        self.failure: TracemarkError | None = None
        """Why this node votes no more, if so."""
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._tasks = Tasks()
        self._exchange = BlockExchange(
            store=stores.ledger, fetcher=fetcher, on_corrupt=self.fail, on_page=executor.verify_ahead
        )
        self._application = Application(
            executor=executor,
            admission=admission,
            mempool=mempool,
            worker=worker,
            store=stores.ledger,
            cosigning=cosigning,
            clock=clock,
            counters=counters,
            parameters=parameters,
            consensus=Consensus(
                step=self._step,
                fail=self.fail,
                opened=self._opened,
                applied=self._applied,
                pending_changed=self.pending_changed,
            ),
        )
        self._is_stopping = False
        self._is_broken = False
        self._effects: dict[type[Effect], Callable[[Any], None]] = {
            Persist: lambda effect: self.journal.persist(effect.record),
            VotesSuspected: lambda _: self.journal.mark_votes(suspect=True),
            VotesTrusted: lambda _: self.journal.mark_votes(suspect=False),
            Prune: lambda effect: self.journal.prune(effect.epoch, effect.view),
            Send: lambda effect: self._send_after(effect.to, effect.message),
            Broadcast: lambda effect: self.journal.after(lambda: self._transport.broadcast(effect.message)),
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
            Build: lambda effect: self._tasks.spawn(self._application.build(effect), on_error=self.fail),
            Check: lambda effect: self._tasks.spawn(self._application.check(effect), on_error=self.fail),
            Commit: lambda effect: self.journal.after(lambda: self._application.commit(effect)),
            Drop: lambda effect: self._tasks.spawn(self._application.drop(effect), on_error=self.fail),
            ServeBlock: self._serve,
            FetchBlocks: lambda effect: self._tasks.spawn(self._fetch(effect), on_error=log_error),
            ReportEvidence: lambda effect: self._evidence.take_votes(effect.evidence, self._roster.epochs),
            Charge: lambda effect: self.notices.charge(effect, self._name(effect.sender), self._now_ms),
            Alarm: self.notices.alarm,
        }

    @property
    def replica(self) -> Replica:
        """The replica, for its status only."""
        return self._replica

    @property
    def stopped(self) -> str | None:
        """Why the replica signs no more, if it stopped by itself, and what to do."""
        return self.notices.stopped

    def start(self) -> None:
        """The first step; needs a running event loop."""
        own = self._cosigning.own_newest()
        self._step(Started(now_ms=self._now_ms, clock_ms=self._clock_ms))
        if own is not None:
            self._step(Cosigned(cosignature=encode_cosignature(own), now_ms=self._now_ms, clock_ms=self._clock_ms))

    async def stop(self) -> None:
        """Take no more inputs, finish what is being committed, make durable what was asked to be."""
        self._is_stopping = True
        for handle in self._timers.values():
            handle.cancel()
        await self._application.finish()
        await self._tasks.cancel()  # what they would give is no input any more
        self._exchange.stop()
        await self.journal.close()

    async def abandon(self) -> None:
        """End where it stands, as a crash would: nothing that waits to be written is, no task or timer goes on."""
        self._is_stopping = True
        for handle in self._timers.values():
            handle.cancel()
        self._tasks.abandon()
        self._exchange.stop()
        await self._application.abandon()
        await self.journal.abandon()

    def received(self, party: str, message: Message) -> None:
        """A message of consensus from an agency's node.

        Raises:
            PeerError: code `forgeries`: too much of what it sent lately was forged.
        """
        self.notices.require_few_forgeries(party)
        sender = self._roster.number_of(party)
        self._step(Received(sender=sender, message=message, now_ms=self._now_ms, clock_ms=self._clock_ms))

    def connected(self, party: str) -> None:
        """A link to an agency's node is up."""
        sender = self._roster.number_of(party)
        self._step(PeerConnected(sender=sender, now_ms=self._now_ms, clock_ms=self._clock_ms))

    def told_of_earlier_life(self, *, may_have_voted: bool) -> None:
        """The others have shown whether this node, which began empty, may have voted before (P7.5)."""
        self._step(EarlierLife(may_have_voted=may_have_voted, now_ms=self._now_ms, clock_ms=self._clock_ms))

    def pending_changed(self) -> None:
        """Records were admitted, or left the pool."""
        self._on_pool_changed()
        self._step(PendingChanged(count=len(self._mempool), now_ms=self._now_ms, clock_ms=self._clock_ms))

    def keep_cosignature(self, cosignature: Cosignature) -> None:
        """Keep a peer's cosignature that counts here, for a restart; for ever, if it closes an epoch."""
        self.journal.keep_cosignature(
            cosignature.size,
            cosignature.signer,
            encode_cosignature(cosignature),
            closing=self._cosigning.is_closing(cosignature.size),
            forget_below=self._cosigning.oldest_size,
        )

    def fail(self, error: Exception) -> None:
        """A write, a read or the program itself did not do what it must: nothing is signed any more until a restart."""
        if self.failure is not None:
            return
        if isinstance(error, TracemarkError):
            self.failure = error
            _log.critical("the node stops voting", **error.as_dict())
        else:
            text = f"a fault of the program: {type(error).__name__}: {error}"
            self.failure = InternalError(
                text, help="Keep the log and report it; a restart takes up where the stores ended."
            )
            _log.critical("the node stops voting", exc_info=error, **self.failure.as_dict())
        self._application.fail()
        if not self._is_broken:
            self._step(StoreFailed(reason=str(error), now_ms=self._now_ms, clock_ms=self._clock_ms))

    @property
    def _now_ms(self) -> int:
        return self._clock.monotonic_ms()

    @property
    def _clock_ms(self) -> int:
        return self._clock.wall_ms()

    def _step(self, event: AnyInput) -> None:
        if self._is_broken or (self._is_stopping and not isinstance(event, Committed)):
            return
        self._counters.inputs += 1
        try:
            for effect in self._replica.step(event):
                self._effects[type(effect)](effect)
        except Exception as error:  # noqa: BLE001 - whatever it is, half a step was taken: no other may follow it
            self._is_broken = True
            self.fail(error)

    # --- sends, blocks for others, timers -------------------------------------------------------------------------------

    def _name(self, number: int) -> str:
        return self._roster.party_of(number) or f"number {number}"

    def _send_after(self, to: int, message: Message) -> None:
        party = self._roster.party_of(to)
        if party is not None:
            self.journal.after(lambda: self._transport.send(party, message))

    def _serve(self, effect: ServeBlock) -> None:
        party = self._roster.party_of(effect.to)
        if party is None:
            return

        def send(block: Block | None) -> None:
            self._transport.send(party, BlockResponse(digest=effect.digest, block=block))

        self._exchange.serve(self._tasks, party, effect.digest, send)

    async def _fetch(self, effect: FetchBlocks) -> None:
        peer, blocks = await self._exchange.fetch(tuple(self._transport.connected()), effect.first_height, effect.count)
        if blocks:
            self._application.expect(blocks[-1][0].header.height)
        self._step(
            BlocksFetched(
                sender=0 if peer is None else self._roster.number_of(peer),
                first_height=effect.first_height,
                blocks=blocks,
                now_ms=self._now_ms,
                clock_ms=self._clock_ms,
            )
        )

    def _set_timer(self, effect: SetTimer) -> None:
        self._cancel_timer(CancelTimer(effect.name))
        if not self._is_stopping:
            delay_ms = max(0, effect.at_ms - self._clock.monotonic_ms())
            loop = asyncio.get_running_loop()
            self._timers[effect.name] = loop.call_later(delay_ms / 1000, self._fire, effect.name)

    def _cancel_timer(self, effect: CancelTimer) -> None:
        handle = self._timers.pop(effect.name, None)
        if handle is not None:
            handle.cancel()

    def _fire(self, name: Timer) -> None:
        self._timers.pop(name, None)
        self._step(TimerFired(name=name, now_ms=self._now_ms, clock_ms=self._clock_ms))

    # --- commits --------------------------------------------------------------------------------------------------------

    def _opened(self, members: Members) -> None:
        """A closing block is committed: what follows is the next epoch's (P8.2)."""
        was_member = self._roster.is_member
        self._roster.open(members)
        self.follow_roster()
        _log.info("an epoch has begun", epoch=members.epoch, validators=members.parties)
        if was_member and not self._roster.is_member:
            _log.warning("this agency is no validator any more: its node follows, and serves", epoch=members.epoch)

    def follow_roster(self) -> None:
        """Link to, and fetch from, those whom the roster names now."""
        contacts = self._roster.contacts()
        self._transport.set_contacts(contacts)
        self._fetcher.set_contacts(contacts)

    def note_contradictions(self) -> None:
        """Keep what the cosigning found of other roots than this log's."""
        for found in self._cosigning.take_contradictions():
            self._evidence.take_contradiction(found)

    def _applied(self, applied: Applied) -> None:
        self.note_contradictions()
        for cosignature in applied.cosignatures:
            self.keep_cosignature(cosignature)
        own = self._cosigning.own_newest()
        if own is not None:
            self._transport.broadcast(Cosignatures(items=(own,)))
            self._step(Cosigned(cosignature=encode_cosignature(own), now_ms=self._now_ms, clock_ms=self._clock_ms))
        self._on_applied(applied)
        self.pending_changed()
