"""Agencies on loopback inside one event loop: real TLS, real WebSockets; clocks and handlers that tests hold."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import websockets.exceptions
from websockets.asyncio.client import ClientConnection, connect

from ledger.block import Block, BlockHeader, payload_root
from ledger.consensus.messages import Certificate, Nullify, Proposal, VoteMessage
from ledger.errors import PeerError
from ledger.genesis import Genesis, Parameters
from ledger.keyfile import KeyDerivation
from ledger.merkle.hashing import leaf_hash
from ledger.signing import SigningKey
from node.clock import SystemClock
from node.config import Address, TlsConfig
from node.membership import Contact, Members, Roster
from node.peers.catchup import BlockFetcher, CertifiedBlock
from node.peers.certificates import certificate_hash, client_context, public_key_hash
from node.peers.counters import PeerCounters
from node.peers.directory import LINK_PATH, PeerDirectory, PeerLimits
from node.peers.opening import Opening
from node.peers.wire import PeerMessage
from node.service.ceremony import Identity, assemble, new_identity, write_identity
from node.service.profiles import profile_of

CHEAP: Final = KeyDerivation(memory_bytes=8192, operations=1)
"""Argon2id at its least: what is tested here is not its cost."""
ORIGIN: Final = "tracemark.test/peers"
NOW_MS: Final = SystemClock().wall_ms()
QUICK: Final = PeerLimits(reconnect_first_ms=1, reconnect_max_ms=8)
"""Links that come back at once."""
PATIENCE_S: Final = 20.0
"""How long a test waits for what must happen; nothing waits this long unless it fails."""

T = TypeVar("T")


class Net:
    """Identities and files of a few agencies, sorted by party: their indices."""

    def __init__(self, folder: Path, *parties: str) -> None:
        self.folder = folder
        self.identities: dict[str, Identity] = {}
        for party in sorted(parties):
            self.identities[party] = identity(party)
            write_identity(self.identities[party], folder / party, derivation=CHEAP)
        self.genesis: Genesis = assemble(
            [each.agency for each in self.identities.values()], origin=ORIGIN, time_ms=NOW_MS, parameters=Parameters()
        )

    def tls(self, party: str) -> TlsConfig:
        """The agency's certificate and key files."""
        folder = self.folder / party / "tls"
        return TlsConfig(certificate=folder / "node.pem", key=folder / "node.key")

    def directory(
        self,
        party: str,
        addresses: dict[str, Address] | None = None,
        *,
        blocks: "Blocks | None" = None,
        limits: PeerLimits = QUICK,
        key: SigningKey | None = None,
        genesis: Genesis | None = None,
        clock: SystemClock | None = None,
        listen: Address = Address(host="127.0.0.1", port=0),  # noqa: B008 - immutable
        known: bool = True,
    ) -> PeerDirectory:
        """The agency's links. Addresses that are not given are of a port where nobody listens."""
        nowhere = {other: Address(host="127.0.0.1", port=1) for other in self.identities if other != party}
        ledger = genesis or self.genesis
        return PeerDirectory(
            chain=ledger.chain_id,
            party=party,
            transport_key=key or self.identities[party].keys.transport,
            tls=self.tls(party),
            listen=listen,
            addresses={**(nowhere if known else {}), **(addresses or {})},
            contacts=contacts_of(ledger, party),
            blocks=blocks or Blocks(()),
            clock=clock or SystemClock(),
            limits=limits,
        )

    def client_context(self, party: str, towards: str) -> ssl.SSLContext:
        """A TLS context with `party`'s certificate that trusts the authority of `towards`."""
        tls = self.tls(party)
        agency = next(agency for agency in self.genesis.agencies if agency.party == towards)
        return client_context(tls.certificate, tls.key, agency)


def contacts_of(genesis: Genesis, party: str) -> dict[str, Contact]:
    """Whom a node of this party knows at the start."""
    return Roster(party, [Members.of_genesis(genesis)]).contacts()


def identity(party: str) -> Identity:
    """A fresh identity."""
    return new_identity(
        party,
        origin=ORIGIN,
        name=party,
        jurisdiction="XA",
        profile=profile_of(party),
        hosts=(),
        now_ms=NOW_MS,
    )


class Recorder:
    """A handler that keeps what it is told; a test awaits what it expects."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[str, PeerMessage]] = asyncio.Queue()
        self.events: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuse: PeerError | None = None
        self.cost_s = 0.0

    async def on_message(self, party: str, message: PeerMessage) -> None:
        """Keep the message, once the gate is open; each takes `cost_s` of processor time."""
        await self.gate.wait()
        until_s = time.thread_time() + self.cost_s
        while time.thread_time() < until_s:
            pass
        if self.refuse is not None:
            raise self.refuse
        self.messages.put_nowait((party, message))

    def on_connect(self, party: str) -> None:
        """Keep the event."""
        self.events.put_nowait(("up", party))

    def on_disconnect(self, party: str) -> None:
        """Keep the event."""
        self.events.put_nowait(("down", party))

    async def expect_event(self, event: str, party: str) -> None:
        """The next event is this one."""
        assert await soon(self.events.get()) == (event, party)

    async def expect_message(self) -> tuple[str, PeerMessage]:
        """The next message."""
        return await soon(self.messages.get())


class Blocks:
    """A source of blocks, in memory."""

    def __init__(self, blocks: tuple[CertifiedBlock, ...]) -> None:
        self.blocks = blocks

    def certified_blocks(self, first_height: int, count: int) -> Iterator[CertifiedBlock]:
        """Heights start at 1."""
        yield from self.blocks[max(first_height - 1, 0) : max(first_height - 1, 0) + count]


class StepClock(SystemClock):
    """Pauses are kept, and last until the test says so."""

    def __init__(self) -> None:
        self.pauses: asyncio.Queue[int] = asyncio.Queue()
        self.go = asyncio.Semaphore(0)

    async def sleep_ms(self, duration_ms: int) -> None:
        """Wait for the test."""
        self.pauses.put_nowait(duration_ms)
        await self.go.acquire()


async def soon(work: Awaitable[T]) -> T:
    """Await what must happen now."""
    return await asyncio.wait_for(work, PATIENCE_S)


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds that it alone can bring about."""

    async def turns() -> None:
        while not condition():
            await asyncio.sleep(0)

    await soon(turns())


@asynccontextmanager
async def running(
    directory: PeerDirectory, handler: Callable[[PeerDirectory], Recorder] = lambda _: Recorder()
) -> AsyncIterator[Recorder]:
    """Start a directory with a recorder; stop it at the end."""
    recorder = handler(directory)
    await directory.start(recorder)
    try:
        yield recorder
    finally:
        recorder.gate.set()
        await soon(directory.stop())


@asynccontextmanager
async def pair(
    net: Net,
    *,
    limits: PeerLimits = QUICK,
    handler: Callable[[PeerDirectory], Recorder] = lambda _: Recorder(),
) -> AsyncIterator[tuple[PeerDirectory, Recorder, PeerDirectory, Recorder]]:
    """Two linked nodes of a network of two: the lower (who dialled), then the higher, whose recorder is `handler`'s."""
    low, high = sorted(net.identities)
    second = net.directory(high, limits=limits)
    async with running(second, handler) as second_recorder:
        address = Address(host="127.0.0.1", port=second.port)
        first = net.directory(low, {high: address}, limits=limits)
        async with running(first) as first_recorder:
            await first_recorder.expect_event("up", high)
            await second_recorder.expect_event("up", low)
            yield first, first_recorder, second, second_recorder


class Intruder:
    """A WebSocket to a node's peer port, dialled with `party`'s certificate and driven message by message."""

    def __init__(self, net: Net, party: str, connection: ClientConnection) -> None:
        self._net = net
        self._party = party
        self.connection = connection

    def opening(
        self,
        towards: str,
        *,
        claimed: str | None = None,
        key: SigningKey | None = None,
        nonce: bytes = bytes(range(32)),
        genesis: Genesis | None = None,
    ) -> Opening:
        """The initiator's side, honest but for what is given."""
        tls = self.connection.transport.get_extra_info("ssl_object")
        return Opening(
            chain=(genesis or self._net.genesis).chain_id,
            party=claimed or self._party,
            key=key or self._net.identities[self._party].keys.transport,
            side="initiator",
            nonce=nonce,
            own_key_hash=certificate_hash(self._net.tls(self._party).certificate),
            peer_key_hash=public_key_hash(tls.getpeercert(binary_form=True)),
            peer=contacts_of(self._net.genesis, self._party)[towards],
        )

    async def complete(self, opening: Opening) -> None:
        """Carry an opening through."""
        await self.connection.send(opening.hello())
        opening.receive_hello(await soon(self.connection.recv(decode=False)))
        await self.connection.send(opening.proof())
        opening.receive_proof(await soon(self.connection.recv(decode=False)))

    async def refusal(self) -> str:
        """The reason with which the node closes the connection."""
        try:
            while True:
                await soon(self.connection.recv(decode=False))
        except websockets.exceptions.ConnectionClosed as closed:
            return closed.rcvd.reason if closed.rcvd is not None else ""


async def intrude(net: Net, directory: PeerDirectory, *, party: str, towards: str) -> Intruder:
    """Connect to a node's peer port with `party`'s certificate."""
    connection = await connect(
        f"wss://127.0.0.1:{directory.port}{LINK_PATH}",
        ssl=net.client_context(party, towards),
        server_hostname=towards,
        proxy=None,
        compression=None,
        max_size=None,
    )
    return Intruder(net, party, connection)


def vote(view: int) -> VoteMessage:
    """Any small message of consensus; `view` tells them apart. The signature is nobody's."""
    return VoteMessage(vote=Nullify(epoch=0, view=view, signer=0, signature=bytes(64)))


def block(height: int, *, entries: tuple[bytes, ...] = (b"{}",)) -> Block:
    """A block whose body is the one its header names. Nothing else about it is true."""
    seal = b"{}"
    header = BlockHeader(
        chain=bytes(32),
        epoch=0,
        view=height,
        height=height,
        parent_view=height - 1,
        parent_digest=bytes(32),
        parent_seal=bytes(32),
        payload_root=payload_root((*map(leaf_hash, entries), leaf_hash(seal))),
        proposer=0,
        time=height,
    )
    return Block(header=header, entries=entries, seal=seal)


def certified(body: Block) -> CertifiedBlock:
    """The block with a finalization that nobody signed."""
    header = body.header
    proposal = Proposal(epoch=0, view=header.view, parent_view=header.parent_view, digest=body.digest)
    finalization = Certificate(
        kind="finalization", epoch=0, view=header.view, proposal=proposal, signatures=((0, bytes(64)),)
    )
    return CertifiedBlock(body, finalization)


def blocks_chain(count: int, *, entries: tuple[bytes, ...] = (b"{}",)) -> Blocks:
    """Blocks of heights 1 to `count`, all with these entries."""
    return Blocks(tuple(certified(block(height, entries=entries)) for height in range(1, count + 1)))


def fetcher(net: Net, directory: PeerDirectory) -> BlockFetcher:
    """Customs' fetcher, which knows where the police listen."""
    address = Address(host="127.0.0.1", port=directory.port)
    return fetcher_to(net, address)


def fetcher_to(net: Net, address: Address) -> BlockFetcher:
    """Customs' fetcher, which believes that the police listen there."""
    made = BlockFetcher({"police": address}, net.tls("customs"), PeerCounters())
    made.set_contacts(contacts_of(net.genesis, "customs"))
    return made


def tampered(honest: Block) -> Block:
    """The block with another body of the same size."""
    return msgspec.structs.replace(honest, seal=b"[]")
