"""Nodes of several agencies in one event loop: real stores, real consensus, links and catch-up in memory.

A node is crashed by abandoning its objects (nothing is closed, flushed or told) and restarted on the files it left.

Every wait has a bound after which it fails and says what did not happen: a node that should have been woken, and was not,
must not look like a slow one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ledger.consensus.parameters import Parameters
from ledger.errors import PeerError
from ledger.genesis import Genesis
from ledger.signing import Role, SigningKey
from node.clock import SystemClock
from node.keys import NodeKeys
from node.membership import Contact
from node.mempool import PoolLimits
from node.node import Node
from node.peers.catchup import CertifiedBlock
from node.peers.stored import StoredBlocks
from node.peers.transport import Handler
from node.peers.wire import Gossip, PeerMessage, decode_frame, encode_frame
from node.service.ports import Outcome
from node.storage import Stores, open_stores
from tests.world import START_MS, World, build_agency, key_named, node_key

PATIENCE_S: Final = 30.0
"""How long a test waits for what must happen; nothing waits this long unless it fails."""
SCENARIO_S: Final = 120.0
"""How long a test with a cluster may take in all; the longest takes some seconds."""
QUICK: Final = Parameters(
    lead_timeout_ms=300,
    advance_timeout_ms=600,
    retry_ms=200,
    standstill_ms=300,
    status_ms=100,
    fetch_ms=50,
    heartbeat_s=3_600,
)
"""Timers for processes that share one core with nothing else between them."""


class ShiftedClock:
    """The machine's clocks, with the wall clock set to the tests' world."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self._shift_ms = START_MS + 60_000 - self._real.wall_ms()

    def wall_ms(self) -> int:
        return self._real.wall_ms() + self._shift_ms

    def monotonic_ms(self) -> int:
        return self._real.monotonic_ms()

    async def sleep_ms(self, duration_ms: int) -> None:
        await self._real.sleep_ms(duration_ms)

    def jump(self, duration_ms: int) -> None:
        """Set the wall clock forward."""
        self._shift_ms += duration_ms


def keys_of(party: str, generation: int = 0) -> NodeKeys:
    """The keys that the tests' genesis document names, or those of a later generation."""

    def key(role: Role) -> SigningKey:
        return node_key(party, role, generation)

    return NodeKeys(
        party=party,
        record=key_named(f"{party} record"),
        consensus=key("consensus"),
        cosigner=key("cosigner"),
        log=key("log"),
        governance=key("governance"),
        transport=key("transport"),
    )


@asynccontextmanager
async def within(what: str, *, timeout_s: float = PATIENCE_S) -> AsyncIterator[None]:
    """Within it, `what` must happen before the time is over.

    Raises:
        AssertionError: it has not.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise AssertionError(f"not within {timeout_s:g} s: {what}") from error


class Link:
    """One node's end of the links: frames go through their encoded form, in order, by a task for each direction."""

    def __init__(self, hub: "Cluster", party: str) -> None:
        self._hub = hub
        self.party = party
        self.handler: Handler | None = None
        self.contacts: Mapping[str, Contact] = {}
        self.dropped: list[tuple[str, str]] = []
        """Whose links were dropped for what they sent, and by which code."""
        self._queues: dict[str, asyncio.Queue[bytes]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def send(self, party: str, message: PeerMessage) -> None:
        queue = self._queues.get(party)
        if queue is not None and not (self._hub.loses_gossip and isinstance(message, Gossip)):
            queue.put_nowait(encode_frame(message))

    def broadcast(self, message: PeerMessage) -> None:
        for party in self._queues:
            self.send(party, message)

    def connected(self) -> set[str]:
        return set(self._queues)

    def set_contacts(self, contacts: Mapping[str, Contact]) -> None:
        for party, contact in self.contacts.items():
            if contacts.get(party) != contact:
                self.part(party)
                self._hub.link_of(party).part(self.party)
        self.contacts = contacts
        if self.handler is not None:
            asyncio.get_running_loop().call_soon(self._hub.join_all)

    async def start(self, handler: Handler) -> None:
        self.handler = handler
        self._hub.join_all()

    async def stop(self) -> None:
        self.handler = None
        for other in self._hub.links.values():
            other.part(self.party)
            self.part(other.party)

    def join(self, other: "Link") -> None:
        """Begin to deliver to `other`."""
        if other.party in self._queues or self.handler is None:
            return
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues[other.party] = queue
        self._tasks[other.party] = asyncio.get_running_loop().create_task(self._deliver(queue, other))
        self.handler.on_connect(other.party)

    def part(self, party: str) -> None:
        """Lose the link and what was queued for it."""
        task = self._tasks.pop(party, None)
        if task is not None:
            task.cancel()
        if self._queues.pop(party, None) is not None and self.handler is not None:
            self.handler.on_disconnect(party)

    async def _deliver(self, queue: "asyncio.Queue[bytes]", other: "Link") -> None:
        while True:
            frame = await queue.get()
            if other.handler is not None:
                try:
                    await other.handler.on_message(self.party, decode_frame(frame))
                except PeerError as error:
                    other.dropped.append((self.party, error.code))
                    other.part(self.party)
                    self.part(other.party)


class Cluster:
    """All nodes, by the index of their party in `parties`. Times out rather than hangs.

    Those of the genesis document come first, in its order; `add` appends others. Nodes that start after it let those link to
    them, too, as observers."""

    def __init__(self, folder: Path, genesis: Genesis, *, parameters: Parameters = QUICK) -> None:
        self.folder = folder
        self.genesis = genesis
        self.parties = [agency.party for agency in genesis.agencies]
        self.clock = ShiftedClock()
        self.parameters = parameters
        self.identities = {party: build_agency(party) for party in self.parties}
        self.keys = {party: keys_of(party) for party in self.parties}
        self.links = {party: Link(self, party) for party in self.parties}
        self.nodes: list[Node | None] = [None] * len(self.parties)
        self.world = World(genesis)
        self.loses_gossip = False
        self._cut: set[frozenset[str]] = set()
        self._committed = asyncio.Event()

    def add(self, party: str) -> int:
        """One more agency, which no ledger knows yet; its index. It is still to be started."""
        self.parties.append(party)
        self.identities[party] = build_agency(party)
        self.keys[party] = keys_of(party)
        self.links[party] = Link(self, party)
        self.nodes.append(None)
        self.world.keys[party] = key_named(f"{party} record")
        self.world.governance[party] = node_key(party, "governance")
        return len(self.parties) - 1

    def rotate(self, party: str, generation: int) -> None:
        """From its next start on, an agency's node has other keys."""
        self.identities[party] = build_agency(party, generation)
        self.keys[party] = keys_of(party, generation)
        self.world.governance[party] = node_key(party, "governance", generation)

    def link_of(self, party: str) -> Link:
        """An agency's end of its links."""
        return self.links[party]

    def join_all(self) -> None:
        """Make the links that can be: of running nodes that know each other and are not cut off."""
        for a in self.links.values():
            for b in self.links.values():
                if a.party < b.party and self._may_link(a, b):
                    a.join(b)
                    b.join(a)

    def _may_link(self, a: Link, b: Link) -> bool:
        known = b.party in a.contacts and a.party in b.contacts
        return known and None not in (a.handler, b.handler) and frozenset((a.party, b.party)) not in self._cut

    def node(self, index: int) -> Node:
        """A running node."""
        node = self.nodes[index]
        assert node is not None
        return node

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes if node is not None]

    async def start(
        self, *indices: int, stores: Callable[[Path], Stores] = open_stores, limits: PoolLimits | None = None
    ) -> None:
        """Start nodes (all if none are named) on the files of their folders."""
        for index in indices or range(len(self.parties)):
            party = self.parties[index]
            self.links[party] = Link(self, party)
            node = Node(
                genesis=self.genesis,
                keys=self.keys[party],
                stores=stores(self.folder / party),
                transport=self.links[party],
                fetcher=self,
                observers=tuple(self.identities[other] for other in self.parties[len(self.genesis.agencies) :]),
                clock=self.clock,
                parameters=self.parameters,
                pool_limits=limits,
            )
            node.follow(lambda _: self._committed.set())
            self.nodes[index] = node
            await node.start()

    async def stop(self) -> None:
        """Stop what runs, cleanly."""
        for index, node in enumerate(self.nodes):
            if node is not None:
                self.nodes[index] = None
                async with within(f"{self.parties[index]} stops"):
                    await node.stop()

    async def crash(self, index: int) -> None:
        """Abandon a node: its links are lost, its tasks and timers end where they stand, its files stay as they are."""
        node = self.node(index)
        self.nodes[index] = None
        await self.links[self.parties[index]].stop()
        await node.abandon()

    def cut(self, index: int) -> None:
        """Cut a node off from all others."""
        party = self.parties[index]
        for other in self.parties:
            if other != party:
                self._cut.add(frozenset((party, other)))
                self.links[party].part(other)
                self.links[other].part(party)

    def heal(self) -> None:
        """All links again."""
        self._cut.clear()
        self.join_all()

    def set_contacts(self, contacts: Mapping[str, Contact]) -> None:
        """Whoever is linked may be fetched from."""

    def reaches(self, party: str) -> bool:
        return party in self.parties

    async def fetch_blocks(self, party: str, from_height: int, count: int) -> Sequence[CertifiedBlock]:
        """Catch-up in memory (`node.exchange.BlockFetcher`)."""
        node = self.nodes[self.parties.index(party)]
        if node is None:
            raise PeerError("the peer is down", code="unreachable")
        return await asyncio.to_thread(
            lambda: list(StoredBlocks(node._stores.ledger).certified_blocks(from_height, count))
        )

    async def final(self, index: int, *entries: bytes) -> list[Outcome]:
        """Submit to one node, and wait until final under a cosigned checkpoint."""
        node = self.node(index)
        outcomes = await node.submit(entries, source="test")
        refused = [outcome.error for outcome in outcomes if outcome.status == "refused"]
        assert not refused, refused
        ids = [outcome.id for outcome in outcomes if outcome.id is not None]
        final = await self.decided(index, *ids)
        assert [outcome.status for outcome in final] == ["final"] * len(ids), final
        return final

    async def decided(self, index: int, *record_ids: str) -> list[Outcome]:
        """Wait at one node until it tells that these records are refused, expired, or final under a cosigned checkpoint.

        The node itself must end the wait: at the end of its own patience it would also answer with what it holds, cosigned
        or not, and hide that nobody was woken.
        """
        node = self.node(index)
        async with within(f"{self.parties[index]} tells what became of {len(record_ids)} records"):
            return await node.wait_final(record_ids, timeout_s=2 * PATIENCE_S)

    async def next_commit(self) -> None:
        """Wait until any node commits a block."""
        self._committed.clear()
        async with within("any node commits a block"):
            await self._committed.wait()

    async def level(self) -> None:
        """Wait until all running nodes are at one height with nothing pending; their roots must be equal."""
        async with within("all running nodes are at one height"):
            while True:
                self._committed.clear()
                if len({node.status().height for node in self.running}) == 1:
                    break
                await self._committed.wait()
        statuses = [node.status() for node in self.running]
        assert len({(status.size, status.log_root, status.state_root) for status in statuses}) == 1, statuses


@asynccontextmanager
async def cluster_of(folder: Path, genesis: Genesis, *, parameters: Parameters = QUICK) -> AsyncIterator[Cluster]:
    """A cluster with all nodes running, stopped at the end; what is done within is bounded in time."""
    cluster = Cluster(folder, genesis, parameters=parameters)
    try:
        async with within("the whole of the test", timeout_s=SCENARIO_S):
            await cluster.start()
            yield cluster
    finally:
        await cluster.stop()
