"""The driver of the consensus replica: input -> step -> persist -> send -> apply (`ledger.consensus.effects`).

The only caller of the replica, and the only place that knows both consensus and the state. Steps run on the event loop;
blocks are built, checked and applied on the executor's thread, votes and blocks are written by threads of their own, and
what they give comes back as inputs. A cosignature is made within the commit's transaction and sent right after it.

What a crash leaves behind, at each write: before the votes' transaction, nothing that depends on it was sent; before the
block's transaction, the old floor and the votes above it, from which the replica asks for the commit again; after it, the
new floor. So a restart runs the ordinary path. If a write fails, the node stops voting, says so, and waits for a restart.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, Protocol

import msgspec
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
)
from ledger.consensus.inputs import (
    AnyInput,
    BlocksFetched,
    Built,
    Checked,
    Committed,
    Cosigned,
    PeerConnected,
    PendingChanged,
    Received,
    Started,
    StoreFailed,
    TimerFired,
)
from ledger.consensus.messages import BlockResponse, Certificate, Message
from ledger.consensus.replica import Replica
from ledger.errors import CorruptionError, InternalError, PeerError, StoreError, TracemarkError
from ledger.limits import NEAR_BLOCKS
from node.admission import Admission
from node.clock import Clock
from node.cosigning import Cosigning, encode_cosignature
from node.counters import NodeCounters
from node.execution.executor import BlockPlan, Executor, InvalidBlockError
from node.execution.overlay import Overlay
from node.journal import Journal
from node.mempool import Mempool
from node.peers.catchup import CertifiedBlock
from node.peers.transport import Transport
from node.peers.wire import Cosignature, Cosignatures
from node.storage import Stores
from node.worker import Worker

_log: Final = structlog.get_logger("node.driver")
_NEW_KEY: Final = (
    "This key must not vote again, an older copy of votes.db does not help: enrol the agency with a new key."
)
_KEEP: Final = "Keep the data directory and the log as they are, and tell the other agencies."
_HELP: Final = {"votes_lost": _NEW_KEY, "unknown_own_vote": _NEW_KEY}
"""What to do when the replica stops with an alarm; else `_KEEP`."""
_OVERTAKEN: Final = frozenset({"unknown_parent", "stale_parent"})
"""Codes of the executor's errors that say nothing of this node's health."""


class BlockFetcher(Protocol):
    """Where blocks are fetched by height (P7.2); `node.peers.catchup.BlockFetcher` over HTTP."""

    async def fetch_blocks(self, index: int, from_height: int, count: int) -> Sequence[CertifiedBlock]:
        """A page of final blocks of validator `index`, rising from `from_height`; PeerError if it cannot be had."""
        ...


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A committed block, for those who follow the ledger. `admitted_ms`: when those of its records that were pending here
    had been admitted (monotonic)."""

    overlay: Overlay
    admitted_ms: list[int]


def _log_error(error: Exception) -> None:
    _log.error("work for consensus ended in an error", exc_info=error)


class Driver:
    """Runs one replica. Lives on the event loop; `step` is never called while it runs."""

    def __init__(
        self,
        *,
        replica: Replica,
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
        on_applied: Callable[[Applied], None],
        on_pool_changed: Callable[[], None],
    ) -> None:
        """`on_applied` is told of every commit, `on_pool_changed` whenever the pool may have decided records."""
        self._replica = replica
        self._stores = stores
        self._executor = executor
        self._admission = admission
        self._mempool = mempool
        self._worker = worker
        self._cosigning = cosigning
        self._transport = transport
        self._fetcher = fetcher
        self._clock = clock
        self._counters = counters
        self._on_applied = on_applied
        self._on_pool_changed = on_pool_changed
        self.journal = Journal(stores.votes, counters, self.fail)
        self.failure: TracemarkError | None = None
        """Why this node votes no more, if so."""
        self.stopped: str | None = None
        """Why the replica signs no more, if it stopped by itself, and what to do."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._commits: deque[Commit] = deque()
        self._commit_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: Counter[int] = Counter()
        self._charged: set[tuple[int, str]] = set()
        self._is_stopping = False
        self._is_broken = False
        self._effects: dict[type[Effect], Callable[[Any], None]] = {
            Persist: lambda effect: self.journal.persist(effect.record),
            Prune: lambda effect: self.journal.prune(effect.epoch, effect.view),
            Send: lambda effect: self.journal.after(lambda: self._send(effect.to, effect.message)),
            Broadcast: lambda effect: self.journal.after(lambda: self._transport.broadcast(effect.message)),
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
            Build: lambda effect: self._spawn(self._build(effect), on_error=self.fail),
            Check: lambda effect: self._spawn(self._check(effect.block), on_error=self.fail),
            Commit: lambda effect: self.journal.after(lambda: self._enqueue_commit(effect)),
            Drop: lambda effect: self._spawn(self._drop(effect), on_error=self.fail),
            ServeBlock: self._serve,
            FetchBlocks: lambda effect: self._spawn(self._fetch(effect), on_error=_log_error),
            ReportEvidence: self._report_evidence,
            Charge: self._charge,
            Alarm: self._alarm,
        }

    @property
    def replica(self) -> Replica:
        """The replica, for its status only."""
        return self._replica

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
        while self._commit_task is not None:
            await self._commit_task
        for task in self._tasks:  # what they would give is no input any more
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.journal.close()
        self._writer.shutdown()

    def received(self, sender: int, message: Message) -> None:
        """A message of consensus from a validator."""
        self._step(Received(sender=sender, message=message, now_ms=self._now_ms, clock_ms=self._clock_ms))

    def connected(self, sender: int) -> None:
        """A link to a validator is up."""
        self._step(PeerConnected(sender=sender, now_ms=self._now_ms, clock_ms=self._clock_ms))

    def pending_changed(self) -> None:
        """Records were admitted, or left the pool."""
        self._on_pool_changed()
        self._step(PendingChanged(count=len(self._mempool), now_ms=self._now_ms, clock_ms=self._clock_ms))

    def keep_cosignature(self, cosignature: Cosignature) -> None:
        """Keep a peer's cosignature that counts here, for a restart."""
        self.journal.keep_cosignature(
            cosignature.size,
            cosignature.signer,
            encode_cosignature(cosignature),
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

    def _spawn(self, work: Coroutine[Any, Any, None], *, on_error: Callable[[Exception], None]) -> None:
        """Start work whose answer the replica waits for; an error that it does not answer itself goes to `on_error`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def finished(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                on_error(error)

        task.add_done_callback(finished)

    # --- sends and timers ---------------------------------------------------------------------------------------------

    def _send(self, to: int, message: Message) -> None:
        if to >= 0:
            self._transport.send(to, message)

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

    # --- the application: build, check, commit, drop ------------------------------------------------------------------

    async def _build(self, effect: Build) -> None:
        plan = BlockPlan(**{name: getattr(effect, name) for name in BlockPlan.__struct_fields__})

        def build() -> tuple[Block | None, bool, bool]:
            before = len(self._mempool)
            block = self._executor.build(plan)
            closing = block is not None and self._executor.is_closing(block.digest)
            return block, closing, len(self._mempool) != before

        outcome: Literal["built", "empty", "failed"]
        try:
            block, closing, has_refused = await self._worker.call(build, urgent=True)
            outcome = "empty" if block is None else "built"
        except (InternalError, StoreError) as error:
            self._fault(error)
            outcome, block, closing, has_refused = "failed", None, False, False
        self._counters.blocks_built += block is not None
        self._step(
            Built(
                epoch=effect.epoch,
                view=effect.view,
                outcome=outcome,
                block=block,
                closing=closing,
                now_ms=self._now_ms,
                clock_ms=self._clock_ms,
            )
        )
        if has_refused:
            self.pending_changed()

    async def _check(self, block: Block) -> None:
        def check() -> bool:
            self._executor.check(block)
            return self._executor.is_closing(block.digest)

        verdict: Literal["valid", "invalid", "failed"] = "valid"
        closing, reason = False, ""
        try:
            closing = await self._worker.call(check, urgent=True)
            self._counters.blocks_checked += 1
        except InvalidBlockError as error:
            self._counters.blocks_invalid += 1
            _log.warning("a proposed block is invalid", height=block.header.height, **error.as_dict())
            verdict, reason = "invalid", str(error)
        except (InternalError, StoreError) as error:
            self._fault(error)
            verdict, reason = "failed", str(error)
        self._step(
            Checked(
                digest=block.digest,
                verdict=verdict,
                closing=closing,
                reason=reason,
                now_ms=self._now_ms,
                clock_ms=self._clock_ms,
            )
        )

    def _fault(self, error: TracemarkError) -> None:
        """A fault of ours while building or checking ends our voting, unless the parent was dropped or overtaken by a
        commit meanwhile."""
        if error.code in _OVERTAKEN:
            _log.info("a block's parent went before it was built or checked", **error.as_dict())
        else:
            self.fail(error)

    def _enqueue_commit(self, effect: Commit) -> None:
        self._commits.append(effect)
        if self._commit_task is None:
            self._commit_task = asyncio.get_running_loop().create_task(self._commit_all())

    async def _commit_all(self) -> None:
        try:
            while self._commits and self.failure is None:
                await self._commit(self._commits.popleft())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not known whether the block is committed
            self.fail(error)
        finally:
            self._commit_task = None

    async def _commit(self, effect: Commit) -> None:
        """One block: rows, transaction, and the state moves on; then its cosignature goes out.

        Raises:
            StoreError, InternalError: it is not known to be committed; a restart finds out.
        """
        block, floor = effect.block, effect.floor
        newest = self._cosigning.newest
        commit = await self._worker.call(
            lambda: self._executor.prepare(
                block,
                epoch=floor.epoch,
                view=floor.view,
                certificate=msgspec.msgpack.encode(effect.certificate),
                cosign=self._cosigning.cosign,
                oldest_height=0 if newest is None else newest.height,
            ),
            urgent=True,
        )
        await asyncio.get_running_loop().run_in_executor(self._writer, self._stores.ledger.commit, commit)

        def advance() -> tuple[Overlay, list[int]]:
            overlay, admitted_ms = self._executor.advance(block.digest)
            self._admission.refresh(overlay)
            return overlay, admitted_ms

        overlay, admitted_ms = await self._worker.call(advance, urgent=True)
        self._counters.blocks_committed += 1
        self._counters.records_final += len(overlay.record_ids)
        counted = self._cosigning.committed(
            height=overlay.height, size=overlay.frontier.size, root=overlay.frontier.root, own=commit.cosignature
        )
        for cosignature in counted:
            self.keep_cosignature(cosignature)
        self._step(
            Committed(height=overlay.height, digest=overlay.digest, now_ms=self._now_ms, clock_ms=self._clock_ms)
        )
        self._send_cosignature()
        self._on_applied(Applied(overlay=overlay, admitted_ms=admitted_ms))
        self.pending_changed()

    def _send_cosignature(self) -> None:
        own = self._cosigning.own_newest()
        if own is not None:
            self._transport.broadcast(Cosignatures(items=(own,)))
            self._step(Cosigned(cosignature=encode_cosignature(own), now_ms=self._now_ms, clock_ms=self._clock_ms))

    async def _drop(self, effect: Drop) -> None:
        await self._worker.call(lambda: self._executor.drop(effect.digests), urgent=True)
        self.pending_changed()

    # --- blocks for others, and from others -----------------------------------------------------------------------------

    def _serve(self, effect: ServeBlock) -> None:
        if self._serving[effect.to] < NEAR_BLOCKS:  # an honest peer asks for no more at once, and asks again
            self._serving[effect.to] += 1
            self._spawn(self._find_and_send(effect), on_error=_log_error)

    async def _find_and_send(self, effect: ServeBlock) -> None:
        try:
            block = await asyncio.to_thread(self._find_block, effect.digest)
            self._send(effect.to, BlockResponse(digest=effect.digest, block=block))
        except CorruptionError as error:
            self.fail(error)
        finally:
            self._serving[effect.to] -= 1

    def _find_block(self, digest: bytes) -> Block | None:
        with self._stores.ledger.read() as reader:
            place = reader.place_of_digest(digest)
            stored = None if place is None else reader.block(place.height)
            return None if stored is None else stored.block

    async def _fetch(self, effect: FetchBlocks) -> None:
        """Ask one random connected peer (P7.2); the replica asks again if it gave nothing."""
        peers = sorted(self._transport.connected())
        sender = random.choice(peers) if peers else 0  # noqa: S311 - spreads load, decides nothing
        blocks: list[tuple[Block, Certificate]] = []
        if peers:
            try:
                for item in await self._fetcher.fetch_blocks(sender, effect.first_height, effect.count):
                    if item.certificate is None:
                        break
                    blocks.append((item.block, item.certificate))
            except PeerError as error:
                _log.info("blocks could not be fetched", peer=sender, **error.as_dict())
            except Exception as error:  # noqa: BLE001 - what a peer sends must not end our voting, nor the catch-up
                _log_error(error)
        self._step(
            BlocksFetched(
                sender=sender,
                first_height=effect.first_height,
                blocks=tuple(blocks),
                now_ms=self._now_ms,
                clock_ms=self._clock_ms,
            )
        )

    # --- what an operator should know -----------------------------------------------------------------------------------

    def _report_evidence(self, effect: ReportEvidence) -> None:
        self._counters.evidence += 1
        vote = effect.evidence.first
        _log.error("a validator signed two conflicting votes", validator=vote.signer, epoch=vote.epoch, view=vote.view)

    def _charge(self, effect: Charge) -> None:
        self._counters.charges[effect.code] += 1
        if (effect.sender, effect.code) not in self._charged:  # once each, so that a flood does not fill the log
            self._charged.add((effect.sender, effect.code))
            _log.warning(
                "a peer sent what no honest peer sends", peer=effect.sender, code=effect.code, text=effect.text
            )

    def _alarm(self, effect: Alarm) -> None:
        self._counters.alarms[effect.code] += 1
        help_text = _HELP.get(effect.code, _KEEP)
        _log.critical("alarm", code=effect.code, text=effect.text, stopped=effect.stopped, help=help_text)
        if effect.stopped and self.stopped is None:
            self.stopped = f"{effect.text} [{effect.code}]. {help_text}"
