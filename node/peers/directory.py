"""A link to every other validator, kept up (DESIGN 10): the `Transport` of a running node.

Of each pair, the validator with the lower index dials and dials again, with growing and jittered pauses; the other
listens. So there is one link a pair; if its dialler comes again, its new link takes the old one's place (the old one is
dead, or it would not).
"""

import asyncio
import random
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
import websockets.exceptions
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from ledger.errors import ConfigurationError, PeerError
from ledger.genesis import Genesis
from ledger.limits import (
    LINK_STABLE_MS,
    MAX_FRAME_BYTES,
    MAX_PEER_QUEUE_BYTES,
    MAX_PEER_QUEUE_FRAMES,
    OPENING_TIMEOUT_MS,
    RECONNECT_FIRST_MS,
    RECONNECT_MAX_MS,
)
from ledger.signing import SigningKey
from node.clock import Clock
from node.config import Address, TlsConfig
from node.peers.catchup import PATH, BlockServer, BlockSource, respond
from node.peers.certificates import (
    agency_authority,
    certificate_hash,
    client_context,
    issuer_index,
    public_key_hash,
    server_context,
)
from node.peers.counters import PeerCounters
from node.peers.gate import Gate
from node.peers.link import Link, open_link, peer_certificate, refuse, within
from node.peers.opening import NONCE_BYTES, Opening, Side
from node.peers.queue import SendQueue
from node.peers.reach import notice_silence, reach
from node.peers.transport import Handler
from node.peers.wire import PeerMessage, encode_frame, is_urgent

LINK_PATH: Final = "/link"
RECEIVE_QUEUE_FRAMES: Final = 4
"""Frames read ahead of the driver on one link, each up to `MAX_FRAME_BYTES`: beyond, the peer waits."""
PING_INTERVAL_S: Final = 2
PING_TIMEOUT_S: Final = 20
"""A link that does not answer a ping for so long is dead, whatever TCP believes."""
CLOSE_TIMEOUT_S: Final = 2
HTTP_TIMEOUT_S: Final = 60
"""A catch-up answer on its way out; openings of links have their own, shorter bound."""

_LOG: Final = structlog.get_logger("peers")


class PeerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the links; tests take smaller ones."""

    queue_frames: int = MAX_PEER_QUEUE_FRAMES
    queue_bytes: int = MAX_PEER_QUEUE_BYTES
    opening_timeout_ms: int = OPENING_TIMEOUT_MS
    reconnect_first_ms: int = RECONNECT_FIRST_MS
    reconnect_max_ms: int = RECONNECT_MAX_MS


class PeerDirectory:
    """The links of one node."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        party: str,
        transport_key: SigningKey,
        tls: TlsConfig,
        listen: Address,
        addresses: Mapping[str, Address],
        blocks: BlockSource,
        clock: Clock,
        limits: PeerLimits = PeerLimits(),  # noqa: B008 - frozen
        jitter: random.Random | None = None,
    ) -> None:
        """
        Args:
            genesis: its agencies, in order, are the validators.
            party: this node's agency.
            transport_key: its key that proves a link.
            tls: its certificate and key files.
            listen: where to listen; port 0 takes a free one (see `port`).
            addresses: the other agencies' peer addresses; needed of those with a higher index, which this node dials.
            blocks: what catch-up requests are answered from.
            clock: for pauses.
            limits: bounds.
            jitter: spreads the pauses.

        Raises:
            ConfigurationError: a needed address is missing, or the certificate cannot be used.
        """
        self._genesis: Final = genesis
        self.own_index: Final = [agency.party for agency in genesis.agencies].index(party)
        self._addresses: Final = _addresses_to_dial(genesis, self.own_index, addresses)
        self._key: Final = transport_key
        self._tls: Final = tls
        self._listen: Final = listen
        self._clock: Final = clock
        self._limits: Final = limits
        self._jitter: Final = jitter or random.SystemRandom()
        self.counters: Final = PeerCounters()
        self._blocks: Final = BlockServer(blocks, self.counters)
        self._authorities: Final = [agency_authority(agency) for agency in genesis.agencies]
        self._gate: Final = Gate(self._authorities, self.counters)
        self._own_key_hash: Final = certificate_hash(tls.certificate)
        self._server_context: Final = server_context(tls.certificate, tls.key, genesis.agencies)
        self._client_contexts: Final = {
            index: client_context(tls.certificate, tls.key, genesis.agencies[index])
            for index in range(self.own_index + 1, len(genesis.agencies))
        }
        self._links: Final[dict[int, Link]] = {}
        self._dialling: Final[dict[int, asyncio.Task[None]]] = {}
        self._handler: Handler | None = None
        self._server: Server | None = None

    # --- what the driver calls ------------------------------------------------------------------------------------------

    def send(self, index: int, message: PeerMessage) -> None:
        """Queue a message for one validator; lost without a link."""
        self._send_frame(index, encode_frame(message), urgent=is_urgent(message))

    def broadcast(self, message: PeerMessage) -> None:
        """Queue a message for every validator that has a link; encoded once."""
        frame, urgent = encode_frame(message), is_urgent(message)
        for index in range(len(self._genesis.agencies)):
            if index != self.own_index:
                self._send_frame(index, frame, urgent=urgent)

    def connected(self) -> set[int]:
        """Indices of the validators with a link."""
        return set(self._links)

    def party_of(self, index: int) -> str:
        """The party of a validator."""
        return self._genesis.agencies[index].party

    @property
    def waiting(self) -> dict[int, tuple[int, int]]:
        """For each link, the frames and bytes that wait to be sent."""
        return {index: (link.waiting_frames, link.waiting_bytes) for index, link in self._links.items()}

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        assert self._server is not None, "start comes first"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, handler: Handler) -> None:
        """Listen, and begin to dial.

        Raises:
            ConfigurationError: code `cannot_listen`.
        """
        self._handler = handler
        try:
            self._server = await serve(
                self._accept,
                self._listen.host,
                self._listen.port,
                ssl=self._server_context,
                create_connection=self._gate.connection_class(),
                process_request=self._process_request,
                server_header=None,
                compression=None,
                max_size=MAX_FRAME_BYTES,
                max_queue=RECEIVE_QUEUE_FRAMES,
                open_timeout=HTTP_TIMEOUT_S,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ssl_handshake_timeout=self._limits.opening_timeout_ms / 1000,
                ssl_shutdown_timeout=HTTP_TIMEOUT_S,
            )
        except OSError as error:
            raise ConfigurationError(
                f"peers.listen: cannot listen on {self._listen}",
                code="cannot_listen",
                expected="a free port of this machine",
                actual=error.strerror,
            ) from error
        for index in range(self.own_index + 1, len(self._genesis.agencies)):
            self._start_dialling(index)

    async def stop(self) -> None:
        """Stop dialling, close every link, stop listening."""
        tasks = list(self._dialling.values())
        self._dialling.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    # --- dialling -------------------------------------------------------------------------------------------------------

    def _start_dialling(self, index: int) -> None:
        task = asyncio.create_task(self._keep_dialling(index), name=f"dial {self.party_of(index)}")
        self._dialling[index] = task
        task.add_done_callback(lambda done: self._on_dialling_ended(index, done))

    def _on_dialling_ended(self, index: int, task: asyncio.Task[None]) -> None:
        """A dialling task ends only when it is stopped, or by an error of ours: say so, and go on."""
        if index in self._dialling and not task.cancelled():
            _LOG.error("dialling failed", peer=self.party_of(index), exc_info=task.exception())
            self._start_dialling(index)

    async def _keep_dialling(self, index: int) -> None:
        failures = 0
        while True:
            started_ms = self._clock.monotonic_ms()
            try:
                await self._dial(index)
            except PeerError as error:
                _LOG.warning("peer refused", peer=self.party_of(index), error=error.as_dict())
            except (OSError, websockets.exceptions.WebSocketException) as error:
                self.counters.dials_failed += 1
                _LOG.debug("peer not reached", peer=self.party_of(index), reason=str(error) or type(error).__name__)
            lived_ms = self._clock.monotonic_ms() - started_ms
            failures = 0 if lived_ms >= LINK_STABLE_MS else failures + 1
            await self._clock.sleep_ms(self._pause_ms(failures))

    def _pause_ms(self, failures: int) -> int:
        """Doubling with every failure up to the bound, then between half and all of it."""
        longest = min(self._limits.reconnect_first_ms << min(failures, 16), self._limits.reconnect_max_ms)
        return self._jitter.randint(longest // 2, longest)

    async def _dial(self, index: int) -> None:
        connection = await connect(
            f"wss://{self._addresses[index]}{LINK_PATH}",
            sock=await reach(self._addresses[index]),
            ssl=self._client_contexts[index],
            server_hostname=self.party_of(index),
            proxy=None,
            user_agent_header=None,
            compression=None,
            max_size=MAX_FRAME_BYTES,
            max_queue=RECEIVE_QUEUE_FRAMES,
            open_timeout=self._limits.opening_timeout_ms / 1000,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
        )
        async with connection:
            await self._serve_link(connection, "initiator")

    # --- listening ------------------------------------------------------------------------------------------------------

    async def _process_request(self, _connection: ServerConnection, request: Request) -> Response | None:
        """Catch-up requests are answered, links go on to their opening. The gate has seen an agency's certificate."""
        path = request.path.partition("?")[0]
        if path == LINK_PATH:
            return None
        return await self._blocks.answer(request) if path == PATH else respond(HTTPStatus.NOT_FOUND)

    async def _accept(self, connection: ServerConnection) -> None:
        address = str(connection.remote_address)
        try:
            await self._serve_link(connection, "responder")
        except PeerError as error:
            _LOG.warning("peer refused", address=address, error=error.as_dict())

    # --- links ----------------------------------------------------------------------------------------------------------

    async def _serve_link(self, connection: Connection, side: Side) -> None:
        """Open a link on a connection and run it to its end.

        Raises:
            PeerError: the peer was refused, or broke the protocol; it has been told.
        """
        assert self._handler is not None, "start comes first"
        notice_silence(connection)
        try:
            index = await self._open(connection, side)
        except PeerError as error:
            self.counters.links_refused[error.code] += 1
            await refuse(connection, error)
            raise
        queue = SendQueue(limit_frames=self._limits.queue_frames, limit_bytes=self._limits.queue_bytes)
        link = Link(index, connection, queue, self.counters)
        self._register(link, self._handler)
        try:
            reason = await link.run(self._handler)
        except PeerError as error:
            self.counters.links_dropped[error.code] += 1
            self._forget(link, self._handler)
            await refuse(connection, error)
            raise
        finally:
            self._forget(link, self._handler)
        self.counters.links_dropped[reason] += 1
        _LOG.info("link ended", peer=self.party_of(index), reason=reason)

    async def _open(self, connection: Connection, side: Side) -> int:
        """The index of the validator that has proved itself on this connection."""
        certificate = peer_certificate(connection)
        index = issuer_index(certificate, self._authorities)
        if (index < self.own_index) != (side == "responder") or index == self.own_index:
            raise PeerError(
                "a link is dialled by the lower index only",
                code="wrong_direction",
                actual=self.party_of(index),
            )
        opening = Opening(
            genesis=self._genesis,
            own_index=self.own_index,
            key=self._key,
            side=side,
            nonce=secrets.token_bytes(NONCE_BYTES),
            own_key_hash=self._own_key_hash,
            peer_key_hash=public_key_hash(certificate),
            certificate_index=index,
        )
        await within(self._limits.opening_timeout_ms, open_link(connection, opening, side))
        return index

    def _register(self, link: Link, handler: Handler) -> None:
        old = self._links.get(link.index)
        if old is not None:
            old.cut("replaced")
            handler.on_disconnect(link.index)
        self._links[link.index] = link
        self.counters.links_opened += 1
        _LOG.info("link up", peer=self.party_of(link.index))
        handler.on_connect(link.index)

    def _forget(self, link: Link, handler: Handler) -> None:
        if self._links.get(link.index) is link:
            del self._links[link.index]
            handler.on_disconnect(link.index)

    def _send_frame(self, index: int, frame: bytes, *, urgent: bool) -> None:
        link = self._links.get(index)
        if link is None:
            self.counters.frames_lost += 1
        else:
            link.send(frame, urgent=urgent)


def _addresses_to_dial(genesis: Genesis, own_index: int, addresses: Mapping[str, Address]) -> dict[int, Address]:
    """Addresses of the validators after this one, by index.

    Raises:
        ConfigurationError: one is missing.
    """
    dialled: dict[int, Address] = {}
    for index, agency in enumerate(genesis.agencies):
        if index <= own_index:
            continue
        if agency.party not in addresses:
            raise ConfigurationError(
                f"peers.addresses.{agency.party} is missing: this node dials {agency.party}",
                expected="host:port",
                actual="nothing",
            )
        dialled[index] = addresses[agency.party]
    return dialled
