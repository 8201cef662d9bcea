"""The running node: what the API and the peer links call.

It takes records in, tells what became of them, follows commits and cosignatures, and gives views of the ledger. The order
of things is the driver's, what is lawful the admission's and the executor's; this module only joins them.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from ledger.consensus.parameters import Parameters
from ledger.errors import StoreError, TracemarkError
from ledger.genesis import Agency, Genesis
from ledger.limits import NEAR_BLOCKS
from ledger.records.evidence import Evidence
from ledger.state.model import PARAMETERS_KEY, ParametersDoc
from node.admission import Admission, slices
from node.application import Applied
from node.clock import Clock
from node.conversation import Conversation
from node.cosigning import CosignedCheckpoint, Cosigning
from node.counters import NodeCounters
from node.driver import Driver
from node.evidence import FOLDER as EVIDENCE_FOLDER
from node.evidence import EvidenceBook
from node.exchange import BlockFetcher
from node.execution.executor import Executor
from node.execution.overlay import Overlay
from node.execution.signatures import Signatures
from node.execution.versions import Versions, version_of
from node.intake import Intake
from node.keys import NodeKeys
from node.membership import Members, Roster
from node.mempool import Mempool, PoolLimits
from node.peers.transport import Transport
from node.peers.wire import gossip_frames
from node.progress import Progress
from node.recovery import recovery_reason
from node.restoring import restore_ledger, restore_replica
from node.service.ports import NodeStatus, Outcome
from node.standing import Standing
from node.storage import Stores
from node.succession import SuccessionBook
from node.views import CosignedViews
from node.waiting import FinalityWaiters
from node.worker import Worker

_log: Final = structlog.get_logger("node")

GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Records, documents and messages have no cycles: reference counts free them. What is left to find is rare."""
SWITCH_INTERVAL_S: Final = 0.001
"""How long one thread may keep the interpreter's lock while another wants it: a vote waits for no more than this."""


def tune_interpreter() -> None:
    """Set the interpreter up for a node's process, once its nodes are made: short turns of the interpreter's lock, and a
    garbage collector that leaves alone what stays (the state tree) and looks less often at what comes and goes."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Node:
    """One agency's node. Fits `node.service.ports.Node`. Lives on the event loop."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        keys: NodeKeys,
        stores: Stores,
        transport: Transport,
        fetcher: BlockFetcher,
        clock: Clock,
        observers: Sequence[Agency] = (),
        parameters: Parameters | None = None,
        pool_limits: PoolLimits | None = None,
        on_final: Callable[[float], None] | None = None,
        disk_free: Callable[[], int] | None = None,
    ) -> None:
        """Take up the ledger where the stores ended. Blocks; needs no running event loop.

        Args:
            genesis: the genesis document, checked.
            keys: this node's; it votes in those epochs whose validators they are of, and else follows and serves.
            stores: opened; the node closes them.
            transport: links to the other validators.
            fetcher: fetches blocks from them.
            clock: the one source of time.
            observers: agencies that are no validators, to be linked to.
            parameters: of the replica, instead of those that the agencies agreed on, until they agree on others.
            pool_limits: of the mempool, instead of the ledger's limits.
            on_final: told the seconds from admission to commit of each record admitted here.
            disk_free: the free bytes of the data directory's disk; cheap.

        Raises:
            ConfigurationError: the stores hold another ledger.
            CorruptionError: what the stores hold is not what was written.
            StoreError: the stores failed.
        """
        self.genesis = genesis
        self.counters = NodeCounters()
        self._stores = stores
        self._transport = transport
        self._clock = clock
        self._on_final = on_final
        self.cosigning = Cosigning(genesis.origin, keys, clock, Members.of_genesis(genesis))
        restored = restore_ledger(genesis, stores, self.cosigning)
        base = restored.base
        parameters = parameters or restored.times
        self._agreed = restored.agreed
        self._roster = Roster(keys.party, restored.epochs, observers)
        self.evidence = EvidenceBook(
            stores.folder / EVIDENCE_FOLDER,
            ledger=genesis.ledger_id,
            chain=genesis.chain_id,
            own=keys.party,
            epochs=restored.epochs,
        )
        for votes in stores.votes.evidence():
            self.evidence.take_votes(votes, restored.epochs)
        self.mempool = Mempool(pool_limits or PoolLimits())
        self._signatures = Signatures()
        versions = Versions(version_of(base))
        executor = Executor(
            genesis=genesis,
            store=stores.ledger,
            documents=restored.documents,
            versions=versions,
            mempool=self.mempool,
            signatures=self._signatures,
            monotonic_ms=clock.monotonic_ms,
        )
        self._admission = Admission(
            executor=executor, mempool=self.mempool, signatures=self._signatures, store=stores.ledger, clock=clock
        )
        self.views = CosignedViews(stores.ledger, versions, self.cosigning)
        self._base: Overlay = base
        self._waiters = FinalityWaiters()
        self._followers: list[Callable[[Overlay], None]] = []
        self._worker = Worker("executor")
        self._intake = Intake(monotonic_ms=clock.monotonic_ms)
        self._driver = Driver(
            replica=restore_replica(genesis, stores, restored, keys.consensus, parameters),
            roster=self._roster,
            stores=stores,
            executor=executor,
            admission=self._admission,
            mempool=self.mempool,
            worker=self._worker,
            cosigning=self.cosigning,
            transport=transport,
            fetcher=fetcher,
            clock=clock,
            counters=self.counters,
            evidence=self.evidence,
            parameters=parameters,
            on_applied=self._applied,
            on_pool_changed=self._pool_changed,
        )
        self._conversation = Conversation(
            transport=transport,
            driver=self._driver,
            admission=self._admission,
            admit=self._admit,
            mempool=self.mempool,
            cosigning=self.cosigning,
            worker=self._worker,
            clock=clock,
            counters=self.counters,
            standstill_ms=parameters.standstill_ms,
            on_cosigned=self._cosigned,
        )
        self.succession = SuccessionBook(stores.ledger, self.cosigning)
        self._standing = Standing(
            roster=self._roster,
            transport=transport,
            driver=self._driver,
            conversation=self._conversation,
            cosigning=self.cosigning,
            mempool=self.mempool,
            base=lambda: self._base,
            agreed=lambda: self._agreed,
            clock=clock,
            disk_free=disk_free,
            accused=lambda: tuple(sorted({each.party for each in self.evidence.all.values()})),
        )
        self._cosigned()

    async def start(self) -> None:
        """Begin: the replica's first step, then the links."""
        self._driver.follow_roster()
        self._driver.start()
        self._conversation.start()
        await self._transport.start(self._conversation)
        _log.info("the node runs", height=self._base.height, size=self._base.frontier.size, party=self._roster.party)

    async def abandon(self) -> None:
        """End where it stands, as a crash would: nothing is finished, told or closed. The lock on the files goes, as the
        kernel lets it go for a process that died."""
        self._conversation.abandon()
        await self._driver.abandon()
        await self._worker.close()
        self._stores.lock.release()

    async def stop(self) -> None:
        """End cleanly: no more inputs, what is under way is finished and durable, the stores are closed."""
        self._conversation.pause()
        await self._transport.stop()
        await self._driver.stop()
        await self._conversation.stop()
        await self._worker.close()
        self._signatures.close()
        self._stores.close()
        _log.info("the node has stopped", height=self._base.height)

    # --- records --------------------------------------------------------------------------------------------------------

    def require_turn(self, source: str) -> None:
        """Refuse what a source submits while it would only wait (`node.intake`).

        Raises:
            OverloadError: code `admission_behind`.
        """
        self._intake.require_turn(source)

    async def submit(self, entries: Sequence[bytes], *, source: str) -> list[Outcome]:
        """Admit entries: one outcome for each, in order. `source` names who is charged for the mempool's room.

        Raises:
            StoreError: this node has stopped taking part; its readiness says why.
        """
        self._require_working()
        self.counters.records_submitted += len(entries)
        with self._intake.looking_at(source, len(entries)):
            outcomes = await self._admit(entries, source=source, from_peer=False)
        self._intake.note(source, outcomes)
        return outcomes

    async def _admit(self, entries: Sequence[bytes], *, source: str, from_peer: bool) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for part in slices(entries):
            try:
                decided, fresh = await self._worker.call(
                    partial(self._admission.admit, part, source=source, from_peer=from_peer), whose=source
                )
            except StoreError as error:
                self._driver.fail(error)
                raise
            outcomes += decided
            if fresh:
                if not from_peer:
                    for frame in gossip_frames(fresh):
                        self._transport.broadcast(frame)
                self._driver.pending_changed()
        for outcome in outcomes:
            if outcome.status == "refused" and outcome.error is not None:
                self.counters.records_refused[outcome.error.code] += 1
        return outcomes

    async def wait_final(self, record_ids: Sequence[str], *, timeout_s: float) -> list[Outcome]:
        """Wait until each record is refused, expired, or final under a quorum-cosigned checkpoint; or for `timeout_s`.

        Returns what is known then, in the order asked; a record that this node never saw is left out.

        Raises:
            OverloadError: code `too_many_waiting`.
        """
        waiter = self._waiters.open(record_ids)
        try:
            known = await self.outcomes(record_ids)
            for outcome in known.values():
                self._waiters.known(outcome)
            for record_id in waiter.remaining - known.keys():
                waiter.settle(record_id, Outcome(id=record_id, status="pending"))
            try:
                async with asyncio.timeout(timeout_s):
                    await waiter.decided.wait()
            except TimeoutError:
                known = await self.outcomes(record_ids)
            return [waiter.outcomes.get(record_id, known[record_id]) for record_id in record_ids if record_id in known]
        finally:
            self._waiters.close(waiter, record_ids)

    async def outcome(self, record_id: str) -> Outcome | None:
        """What became of a record; None where this node never saw it."""
        return (await self.outcomes([record_id])).get(record_id)

    async def outcomes(self, record_ids: Sequence[str]) -> dict[str, Outcome]:
        """What became of these records, of those that this node ever saw.

        Raises:
            StoreError: the store could not be read.
        """
        return await asyncio.to_thread(self._find_outcomes, record_ids)

    def _find_outcomes(self, record_ids: Sequence[str]) -> dict[str, Outcome]:
        # In this order: a record leaves the pool only after the store holds it.
        pending = {record_id for record_id in record_ids if record_id in self.mempool}
        found = {record_id: Outcome(id=record_id, status="pending") for record_id in pending}
        others = [record_id for record_id in record_ids if record_id not in pending]
        if others:
            found.update(self._find_final(others))
        for record_id in others:
            fate = self.mempool.fate(record_id)
            if fate is not None and record_id not in found:
                found[record_id] = Outcome(id=record_id, status=fate.status, height=fate.height, error=fate.error)
        return found

    def _find_final(self, record_ids: Sequence[str]) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        with self._stores.ledger.read() as reader:
            for id_bytes, index in reader.known_ids({bytes.fromhex(record_id) for record_id in record_ids}).items():
                place = reader.place_of_index(index)
                height = None if place is None else place.height
                found[id_bytes.hex()] = Outcome(id=id_bytes.hex(), status="final", index=index, height=height)
        return found

    def follow(self, follower: Callable[[Overlay], None]) -> None:
        """Tell `follower` of every commit from now on, on the event loop."""
        self._followers.append(follower)

    def _applied(self, applied: Applied) -> None:
        overlay = applied.overlay
        self._base = overlay
        agreed = overlay.documents.get(PARAMETERS_KEY)
        if isinstance(agreed, ParametersDoc):
            self._agreed = agreed
        if self.cosigning.proven_epoch < self._roster.members.epoch:
            self._conversation.ask_for_proof()
        self._standing.note_block()
        self._waiters.placed(overlay.record_ids, overlay.height)
        self._cosigned()
        if self._on_final is not None:
            now_ms = self._clock.monotonic_ms()
            for admitted_ms in applied.admitted_ms:
                self._on_final((now_ms - admitted_ms) / 1000)
        for follower in self._followers:
            follower(overlay)

    def _cosigned(self) -> None:
        newest = self.cosigning.newest
        if newest is not None:
            self._waiters.cosigned(newest.size)

    def _pool_changed(self) -> None:
        for record_id, fate in self.mempool.take_news():
            self._waiters.known(Outcome(id=record_id, status=fate.status, height=fate.height, error=fate.error))

    # --- status -----------------------------------------------------------------------------------------------------------

    @property
    def cosigned(self) -> CosignedCheckpoint | None:
        """The newest checkpoint with a quorum of cosignatures."""
        return self.cosigning.newest

    def reasons(self) -> tuple[str, ...]:
        """Why this node is not ready, in words; empty if it is."""
        return self.progress().reasons

    def progress(self) -> Progress:
        """How this node is getting on, and what is the matter if it is not."""
        return self._standing.progress()

    def is_behind(self) -> bool:
        """Whether this node is catching up by more than a few blocks."""
        return self._standing.blocks_behind() > NEAR_BLOCKS

    def status(self) -> NodeStatus:
        """The node now."""
        return self._standing.status()

    def evidence_held(self) -> Mapping[str, Evidence]:
        """Evidence against agencies' nodes, by what it is about."""
        return self.evidence.all

    @property
    def votes_suspect(self) -> bool:
        """Whether votes of this node may be lost, so that it signs nothing for now (P7.5)."""
        return self._driver.replica.recovery is not None

    @property
    def votes_unasked(self) -> bool:
        """Whether this node began empty, and nobody has shown yet whether it voted before (P7.5)."""
        return self._driver.replica.unasked

    def told_of_earlier_life(self, *, may_have_voted: bool) -> None:
        """The others have shown whether it did."""
        _log.info("the others have shown whether this node voted before it began empty", may_have_voted=may_have_voted)
        self._driver.told_of_earlier_life(may_have_voted=may_have_voted)

    @property
    def members(self) -> Members:
        """The validators of the current epoch."""
        return self._roster.members

    def fail(self, error: TracemarkError) -> None:
        """A reader found the ledger's store broken: vote no more, and say so."""
        self._driver.fail(error)

    def _require_working(self) -> None:
        """A node that signs no more still takes records for the others, if there are any."""
        reason: object = self._driver.failure
        recovery = self._driver.replica.recovery
        if reason is None and self._roster.members.parties == (self._roster.party,):
            reason = self._driver.stopped
        if reason is None and recovery is not None and not recovery.possible:
            reason = recovery_reason(recovery)
        if reason is not None:
            raise StoreError(
                "this node has stopped taking part",
                actual=str(reason),
                help="Ask another node; this one needs its operator.",
            )
