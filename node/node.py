"""The running node: what the API and the peer links call.

It takes records in, tells what became of them, follows commits and cosignatures, and gives views of the ledger. The order
of things is the driver's, what is lawful the admission's and the executor's; this module only joins them.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from ledger.consensus.durable import Durable
from ledger.consensus.epoch import Epoch
from ledger.consensus.parameters import Parameters
from ledger.consensus.replica import Replica
from ledger.errors import StoreError, TracemarkError
from ledger.genesis import Genesis
from ledger.limits import NEAR_BLOCKS
from ledger.quorum import quorum
from node.admission import Admission
from node.clock import Clock
from node.conversation import Conversation
from node.cosigning import CosignedCheckpoint, Cosigning, decode_cosignature
from node.counters import NodeCounters
from node.driver import Applied, BlockFetcher, Driver
from node.execution.documents import Documents
from node.execution.executor import Executor
from node.execution.opening import open_state
from node.execution.overlay import Overlay
from node.execution.signatures import Signatures
from node.execution.versions import Versions, version_of
from node.keys import NodeKeys
from node.mempool import Mempool, PoolLimits
from node.peers.transport import Transport
from node.peers.wire import gossip_frames
from node.service.ports import NodeStatus, Outcome, PeerStatus
from node.storage import Head, Stores
from node.views import CosignedViews
from node.waiting import FinalityWaiters
from node.worker import Worker

_log: Final = structlog.get_logger("node")

ADMISSION_SLICE: Final = 128
"""Records admitted at a stretch: about 10 ms, so that a block's check never waits longer for the executor."""
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


def parameters_of(genesis: Genesis) -> Parameters:
    """The replica's times, from the parameters that all agencies agreed on."""
    agreed = genesis.parameters
    return Parameters(
        lead_timeout_ms=agreed.lead_timeout_ms,
        advance_timeout_ms=max(agreed.advance_timeout_ms, agreed.lead_timeout_ms + 1),
        heartbeat_s=agreed.heartbeat_s,
    )


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
        parameters: Parameters | None = None,
        pool_limits: PoolLimits | None = None,
        on_final: Callable[[float], None] | None = None,
    ) -> None:
        """Take up the ledger where the stores ended. Blocks; needs no running event loop.

        Args:
            genesis: the genesis document, checked.
            keys: of one of its agencies.
            stores: opened; the node closes them.
            transport: links to the other validators.
            fetcher: fetches blocks from them.
            clock: the one source of time.
            parameters: of the replica, instead of the genesis document's.
            pool_limits: of the mempool, instead of the ledger's limits.
            on_final: told the seconds from admission to commit of each record admitted here.

        Raises:
            ConfigurationError: the stores hold another ledger.
            CorruptionError: what the stores hold is not what was written.
            StoreError: the stores failed.
        """
        self.genesis = genesis
        self.counters = NodeCounters()
        self._parties = [agency.party for agency in genesis.agencies]
        self._own = self._parties.index(keys.party)
        self._stores = stores
        self._transport = transport
        self._clock = clock
        self._parameters = parameters or parameters_of(genesis)
        self._on_final = on_final
        self.cosigning = Cosigning(genesis, keys, clock)
        head, base = open_state(genesis, stores.ledger, self.cosigning.cosign)
        self._load_cosignatures(head)
        self.mempool = Mempool(pool_limits or PoolLimits())
        self._signatures = Signatures()
        versions = Versions(version_of(base))
        executor = Executor(
            genesis=genesis,
            store=stores.ledger,
            documents=Documents(stores.ledger, base),
            versions=versions,
            mempool=self.mempool,
            signatures=self._signatures,
        )
        self._admission = Admission(
            executor=executor, mempool=self.mempool, signatures=self._signatures, store=stores.ledger, clock=clock
        )
        self.views = CosignedViews(stores.ledger, versions, self.cosigning)
        self._base: Overlay = base
        self._waiters = FinalityWaiters()
        self._followers: list[Callable[[Overlay], None]] = []
        self._worker = Worker("executor")
        self._driver = Driver(
            replica=self._restore(head, keys),
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
            on_applied=self._applied,
            on_pool_changed=self._pool_changed,
        )
        self._conversation = Conversation(
            parties=self._parties,
            transport=transport,
            driver=self._driver,
            admission=self._admission,
            admit=self._admit,
            mempool=self.mempool,
            cosigning=self.cosigning,
            worker=self._worker,
            clock=clock,
            counters=self.counters,
            standstill_ms=self._parameters.standstill_ms,
            on_cosigned=self._cosigned,
        )
        self._cosigned()

    def _restore(self, head: Head, keys: NodeKeys) -> Replica:
        validators = tuple(bytes.fromhex(agency.node.consensus.public) for agency in self.genesis.agencies)
        return Replica.restore(
            chain=self.genesis.chain_id,
            key=keys.consensus,
            epoch=Epoch(number=head.epoch, validators=validators, opening_digest=self.genesis.chain_id),
            parameters=self._parameters,
            durable=Durable(
                floor=head.floor,
                records=self._stores.votes.load(),
                signing_floor=self._stores.votes.signing_floor(),
            ),
        )

    def _load_cosignatures(self, head: Head) -> None:
        """The newest block boundary with its cosignatures. Earlier ones could be counted, but no longer be shown."""
        with self._stores.ledger.read() as reader:
            place = reader.place_at_height(head.height)
        own = None if place is None else place.cosignature
        self.cosigning.committed(height=head.height, size=head.size, root=head.log_root, own=own)
        kept = self._stores.votes.cosignatures()
        self.cosigning.load(decode_cosignature(data) for size, _, data in kept if size == head.size)

    async def start(self) -> None:
        """Begin: the replica's first step, then the links."""
        self._driver.start()
        self._conversation.start()
        await self._transport.start(self._conversation)
        _log.info(
            "the node runs", height=self._base.height, size=self._base.frontier.size, party=self._parties[self._own]
        )

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

    async def submit(self, entries: Sequence[bytes], *, source: str) -> list[Outcome]:
        """Admit entries: one outcome for each, in order. `source` names who is charged for the mempool's room.

        Raises:
            StoreError: this node has stopped taking part; its readiness says why.
        """
        self._require_working()
        self.counters.records_submitted += len(entries)
        return await self._admit(entries, source=source, from_peer=False)

    async def _admit(self, entries: Sequence[bytes], *, source: str, from_peer: bool) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for at in range(0, len(entries), ADMISSION_SLICE):
            part = entries[at : at + ADMISSION_SLICE]
            try:
                decided, fresh = await self._worker.call(
                    partial(self._admission.admit, part, source=source, from_peer=from_peer)
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
        reasons: list[str] = []
        if self._driver.failure is not None:
            reasons.append(f"stopped voting: {self._driver.failure}")
        elif self._driver.stopped is not None:
            reasons.append(f"stopped voting: {self._driver.stopped}")
        size = len(self._parties)
        linked = 1 + len(self._transport.connected())
        if linked < quorum(size):
            reasons.append(f"connected to {linked - 1} of {size - 1} other agencies: no quorum")
        behind = max(self._conversation.heights.values(), default=0) - self._base.height
        if behind > NEAR_BLOCKS:
            reasons.append(f"catching up: {behind} blocks behind")
        return tuple(reasons)

    def status(self) -> NodeStatus:
        """The node now."""
        newest, connected = self.cosigning.newest, self._transport.connected()
        return NodeStatus(
            epoch=self._driver.replica.epoch.number,
            height=self._base.height,
            size=self._base.frontier.size,
            log_root=self._base.frontier.root,
            state_root=self._base.tree.root,
            pending=len(self.mempool),
            reasons=self.reasons(),
            validators=tuple(
                PeerStatus(
                    party=party,
                    connected=index == self._own or index in connected,
                    height=self._base.height if index == self._own else self._conversation.heights.get(index),
                )
                for index, party in enumerate(self._parties)
            ),
            cosigned=None if newest is None else (newest.height, newest.size),
        )

    def fail(self, error: TracemarkError) -> None:
        """A reader found the ledger's store broken: vote no more, and say so."""
        self._driver.fail(error)

    def _require_working(self) -> None:
        """A node that signs no more still takes records for the others, if there are any."""
        reason: object = self._driver.failure
        if reason is None and len(self._parties) == 1:
            reason = self._driver.stopped
        if reason is not None:
            raise StoreError(
                "this node has stopped taking part",
                actual=str(reason),
                help="Ask another node; this one needs its operator.",
            )
