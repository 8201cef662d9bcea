"""The application behind consensus, as the driver calls it: build, check, commit and drop blocks (PROTOCOL P5, DESIGN 8).

Each is asked for by an effect, done on the executor's thread (a block's rows are written by a thread of their own), and
answered by an input. What a crash leaves behind: before the block's transaction, the old floor and the votes above it, from
which the replica asks for the commit again; after it, the new floor. While this node catches up, a few blocks share a
transaction: it holds all of them or none, and of those that were fetched the newest alone is cosigned. Blocks that become
final faster than they are written share one, too, but are cosigned each.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Literal

import msgspec
import structlog

from ledger.block import Block
from ledger.consensus.effects import Build, Check, Commit, Drop
from ledger.consensus.inputs import AnyInput, Built, Checked, Committed
from ledger.consensus.parameters import Parameters
from ledger.errors import InternalError, StoreError, TracemarkError
from ledger.state.model import PARAMETERS_KEY, VALIDATORS_KEY, ParametersDoc, ValidatorsDoc
from node.admission import Admission
from node.clock import Clock
from node.cosigning import Cosigning
from node.counters import NodeCounters
from node.execution.executor import BlockPlan, Executor, InvalidBlockError
from node.execution.overlay import Overlay
from node.grouping import may_grow, take_group
from node.membership import Members
from node.mempool import Mempool
from node.peers.wire import Cosignature
from node.storage import BlockCommit, LedgerStore
from node.timing import with_agreed
from node.worker import Worker

_LOG: Final = structlog.get_logger("node.driver")
_OVERTAKEN: Final = frozenset({"unknown_parent", "stale_parent"})
"""Codes of the executor's errors that say nothing of this node's health."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A committed block, for those who follow the ledger. `admitted_ms`: when those of its records that were pending here
    had been admitted (monotonic). `cosignatures`: peers' that count now, to be kept."""

    overlay: Overlay
    admitted_ms: list[int]
    cosignatures: tuple[Cosignature, ...]


class Consensus(msgspec.Struct, frozen=True, kw_only=True):
    """What the application tells the driver. `step`: an answer. `fail`: a fault after which nothing may be signed.
    `opened`: a closing block is durable, and these validators follow; called before its `Committed`. `applied`: a block is
    durable, and the state moved on; called after its `Committed`. `pending_changed`: records left the pool or came back."""

    step: Callable[[AnyInput], None]
    fail: Callable[[Exception], None]
    opened: Callable[[Members], None]
    applied: Callable[[Applied], None]
    pending_changed: Callable[[], None]


class Application:
    """Executes blocks for one replica. Lives on the event loop."""

    def __init__(
        self,
        *,
        executor: Executor,
        admission: Admission,
        mempool: Mempool,
        worker: Worker,
        store: LedgerStore,
        cosigning: Cosigning,
        clock: Clock,
        counters: NodeCounters,
        parameters: Parameters,
        consensus: Consensus,
    ) -> None:
        """`parameters`: the replica's, in force now."""
        self._executor = executor
        self._admission = admission
        self._mempool = mempool
        self._worker = worker
        self._store = store
        self._cosigning = cosigning
        self._clock = clock
        self._counters = counters
        self._parameters = parameters
        self._consensus = consensus
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._commits: deque[Commit] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._checking = 0
        self._expected_height = 0
        self._stirred = asyncio.Event()
        """Something changed that the commits may be waiting for."""
        self._is_over = False
        """Nothing more is committed: something failed, or the node stops."""

    async def build(self, effect: Build) -> None:
        """Build a block of pending records; answers `Built`."""
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
        self._consensus.step(
            Built(
                epoch=effect.epoch,
                view=effect.view,
                outcome=outcome,
                block=block,
                closing=closing,
                now_ms=self._clock.monotonic_ms(),
                clock_ms=self._clock.wall_ms(),
            )
        )
        if has_refused:
            self._consensus.pending_changed()

    async def check(self, effect: Check) -> None:
        """Execute a block on its parent; answers `Checked`."""
        block = effect.block

        def check() -> bool:
            self._executor.check(block)
            return self._executor.is_closing(block.digest)

        verdict: Literal["valid", "invalid", "failed"] = "valid"
        closing, reason = False, ""
        self._checking += 1
        try:
            closing = await self._worker.call(check, urgent=True)
            self._counters.blocks_checked += 1
        except InvalidBlockError as error:
            self._counters.blocks_invalid += 1
            _LOG.warning("a proposed block is invalid", height=block.header.height, **error.as_dict())
            verdict, reason = "invalid", str(error)
        except (InternalError, StoreError) as error:
            self._fault(error)
            verdict, reason = "failed", str(error)
        finally:
            self._checking -= 1
        self._consensus.step(
            Checked(
                digest=block.digest,
                verdict=verdict,
                closing=closing,
                reason=reason,
                now_ms=self._clock.monotonic_ms(),
                clock_ms=self._clock.wall_ms(),
            )
        )
        self._stirred.set()  # after the step, which may ask for the next check

    def _fault(self, error: TracemarkError) -> None:
        """A fault of ours while building or checking ends our voting, unless the parent was dropped or overtaken by a
        commit meanwhile."""
        if error.code in _OVERTAKEN:
            _LOG.info("a block's parent went before it was built or checked", **error.as_dict())
        else:
            self._consensus.fail(error)

    async def drop(self, effect: Drop) -> None:
        """Blocks can no longer become final: their records are pending again."""
        await self._worker.call(lambda: self._executor.drop(effect.digests), urgent=True)
        self._consensus.pending_changed()

    # --- commits, one after the other -----------------------------------------------------------------------------------

    def expect(self, height: int) -> None:
        """Blocks up to this height were fetched: lower ones may wait to be committed together with those after them."""
        self._expected_height = height

    def commit(self, effect: Commit) -> None:
        """Commit a block after those asked for before it; answers `Committed`."""
        self._commits.append(effect)
        self._stirred.set()
        if self._committing is None:
            self._committing = asyncio.get_running_loop().create_task(self._commit_all())

    async def finish(self) -> None:
        """Wait until what was asked to be committed is, and end the writer's thread."""
        self._expected_height = 0
        self._stirred.set()
        while self._committing is not None:
            await self._committing
        self._is_over = True  # what waits for the votes still is committed at the next start
        self._writer.shutdown()

    async def abandon(self) -> None:
        """End where it stands: what is not being written is not written any more."""
        if self._committing is not None:
            self._committing.cancel()
        await asyncio.to_thread(self._writer.shutdown, cancel_futures=True)

    async def _commit_all(self) -> None:
        try:
            while self._commits and not self._is_over:
                if may_grow(self._commits, checking=self._checking, expected_height=self._expected_height):
                    self._stirred.clear()
                    await self._stirred.wait()
                else:
                    await self._commit(take_group(self._commits, self._executor.is_closing))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not known whether the blocks are committed
            self._is_over = True
            self._consensus.fail(error)
        finally:
            self._committing = None

    def fail(self) -> None:
        """The node has failed elsewhere: commit nothing that waits."""
        self._is_over = True
        self._stirred.set()

    async def _commit(self, group: Sequence[Commit]) -> None:
        """Some blocks: rows, transaction, and the state moves on.

        Raises:
            StoreError, InternalError: they are not known to be committed; a restart finds out.
        """
        last = group[-1]
        newest = self._cosigning.newest
        closing = self._executor.is_closing(last.block.digest)
        fetched_height = self._expected_height

        def is_fetched(effect: Commit) -> bool:
            return effect.block.header.height <= fetched_height

        def prepare() -> list[BlockCommit]:
            return [
                self._executor.prepare(
                    effect.block,
                    epoch=effect.floor.epoch + (closing and effect is last),  # P8.2: then the floor is
                    view=0 if closing and effect is last else effect.floor.view,  # view 0 of the next epoch
                    certificate=msgspec.msgpack.encode(effect.certificate),
                    cosign=_cosign_nothing if effect is not last and is_fetched(effect) else self._cosigning.cosign,
                    oldest_height=0 if newest is None else newest.height,
                )
                for effect in group
            ]

        def advance() -> list[tuple[Overlay, list[int]]]:
            return [self._advance(effect.block) for effect in group]

        commits = await self._worker.call(prepare, urgent=True)
        await asyncio.get_running_loop().run_in_executor(self._writer, partial(self._store.commit, *commits))
        for commit, (overlay, admitted_ms) in zip(commits, await self._worker.call(advance, urgent=True), strict=True):
            self._committed(overlay, admitted_ms, commit.cosignature, closing=closing and commit is commits[-1])

    def _advance(self, block: Block) -> tuple[Overlay, list[int]]:
        overlay, admitted_ms = self._executor.advance(block.digest)
        self._admission.refresh(overlay)
        return overlay, admitted_ms

    def _committed(self, overlay: Overlay, admitted_ms: list[int], cosignature: bytes | None, *, closing: bool) -> None:
        """Tell of a block that is durable now."""
        self._counters.blocks_committed += 1
        self._counters.records_final += len(overlay.record_ids)
        counted = self._cosigning.committed(
            height=overlay.height,
            size=overlay.frontier.size,
            root=overlay.frontier.root,
            own=cosignature,
            closing=closing,
        )
        validators = None
        if closing:
            members = members_after(overlay)
            self._cosigning.open_epoch(members)
            self._consensus.opened(members)
            validators = members.consensus_keys
        agreed = overlay.documents.get(PARAMETERS_KEY)
        if isinstance(agreed, ParametersDoc):
            self._parameters = with_agreed(agreed, self._parameters)
        self._consensus.step(
            Committed(
                height=overlay.height,
                digest=overlay.digest,
                validators=validators,
                parameters=self._parameters if agreed is not None else None,
                pending=len(self._mempool),
                now_ms=self._clock.monotonic_ms(),
                clock_ms=self._clock.wall_ms(),
            )
        )
        self._consensus.applied(Applied(overlay=overlay, admitted_ms=admitted_ms, cosignatures=counted))


def _cosign_nothing(_size: int, _root: bytes) -> None:
    """What was fetched, others have cosigned long ago, and the cosignature of a later block says the same (DESIGN 6: a node
    catching up may skip sizes). At the tip, each is cosigned: no two nodes' groups end with the same blocks."""


def members_after(overlay: Overlay) -> Members:
    """The validators of the epoch that a closing block opens.

    Raises:
        InternalError: code `not_closing`.
    """
    document = overlay.documents.get(VALIDATORS_KEY)
    if not isinstance(document, ValidatorsDoc):
        raise InternalError("the block does not change the validators", code="not_closing", actual=overlay.height)
    return Members.of_document(document, overlay.digest)
