"""A link to every other validator, kept up (DESIGN 10): the `Transport` of a running node.

Of each pair, the agency whose name is lower dials and dials again, with growing and jittered pauses; the other listens. If
the lower has no address of the higher (which joined later, or only observes), the higher dials: it tries where it has
waited for a while in vain, and is refused by a node that dials itself. So there is one link a pair; if its dialler comes
again, its new link takes the old one's place (the old one is dead, or it would not).

With whom there are links changes with the validators (P8): `set_contacts`.
"""

import asyncio
import random
import secrets
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec
import structlog
import websockets.exceptions
from cryptography import x509
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from ledger.errors import ConfigurationError, PeerError
from ledger.limits import (
    LINK_GRACE_MS,
    LINK_REFUSED_MS,
    LINK_SHUNNED_MS,
    LINK_STABLE_MS,
    LINK_TIME_BURST_S,
    LINK_TIME_SHARE,
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
from node.membership import Contact
from node.peers.catchup import PATH, BlockServer, BlockSource, respond
from node.peers.certificates import (
    agency_authority,
    certificate_hash,
    client_context,
    issuer_of,
    public_key_hash,
    server_context,
    trust,
)
from node.peers.counters import PeerCounters
from node.peers.gate import Gate
from node.peers.handshakes import Handshakes
from node.peers.link import Link, open_link, peer_certificate, refuse, within
from node.peers.opening import NONCE_BYTES, Opening, Side
from node.peers.pace import Pace
from node.peers.pages import Page, PageServer
from node.peers.queue import SendQueue
from node.peers.reach import hold_little, notice_silence, reach
from node.peers.transport import FORGERIES, Handler
from node.peers.wire import PeerMessage, encode_frame, is_urgent

LINK_PATH: Final = "/link"
WRONG_DIRECTION: Final = "wrong_direction"
"""The code with which a node refuses a link from another that it dials itself."""
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
    grace_ms: int = LINK_GRACE_MS
    reconnect_first_ms: int = RECONNECT_FIRST_MS
    reconnect_max_ms: int = RECONNECT_MAX_MS
    shunned_ms: int = LINK_SHUNNED_MS
    time_share: float = LINK_TIME_SHARE
    time_burst_s: float = LINK_TIME_BURST_S


def _refusal_of(error: Exception) -> PeerError | None:
    """What a failed dial says of the peer: that it, or this node, was refused; None where it was only not reached."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return PeerError(
            "the peer's certificate is not its agency's",
            code="wrong_certificate",
            expected="a valid one, under the authority that the ledger names",
            actual=error.verify_message,
        )
    if isinstance(error, websockets.exceptions.InvalidMessage):  # TLS was agreed on, and then it hung up
        return PeerError(
            "the peer does not let this node in",
            code="not_let_in",
            help="It knows validators, and the agencies whose identity.json its [peers] observers lists. If this is one of "
            "them: does its certificate stand under the authority in its identity.json, and is it still valid?",
        )
    if isinstance(error, ValueError):  # what `connect` makes of a redirect, since it was given its socket
        return PeerError("the peer does not answer as a node does", code="no_node", actual=str(error))
    return None


class PeerDirectory:
    """The links of one node."""

    def __init__(
        self,
        *,
        chain: bytes,
        party: str,
        transport_key: SigningKey,
        tls: TlsConfig,
        listen: Address,
        addresses: Mapping[str, Address],
        contacts: Mapping[str, Contact],
        blocks: BlockSource,
        clock: Clock,
        pages: Mapping[str, Page] = MappingProxyType({}),
        limits: PeerLimits = PeerLimits(),  # noqa: B008 - frozen
        jitter: random.Random | None = None,
    ) -> None:
        """
        Args:
            chain: the ledger's chain id.
            party: this node's agency.
            transport_key: its key that proves a link.
            tls: its certificate and key files.
            listen: where to listen; port 0 takes a free one (see `port`).
            addresses: the other agencies' peer addresses. Of those that are missing, the agency must have this node's.
            contacts: the agencies to link to, this one not among them.
            blocks: what catch-up requests are answered from.
            clock: for pauses.
            pages: what else a node that joins may ask for, by path.
            limits: bounds.
            jitter: spreads the pauses.

        Raises:
            ConfigurationError: the certificate cannot be used.
        """
        self._chain: Final = chain
        self._party: Final = party
        self._addresses: Final = addresses
        self._key: Final = transport_key
        self._tls: Final = tls
        self._listen: Final = listen
        self._clock: Final = clock
        self._limits: Final = limits
        self._jitter: Final = jitter or random.SystemRandom()
        self.counters: Final = PeerCounters()
        self._blocks: Final = BlockServer(blocks, self.counters)
        self._pages: Final = PageServer(pages, self.counters)
        self._gate: Final = Gate(self.counters)
        self._own_key_hash: Final = certificate_hash(tls.certificate)
        self._server_context: Final = server_context(tls.certificate, tls.key, ())
        Handshakes(self.counters, clock).watch(self._server_context)
        self._contacts: dict[str, Contact] = {}
        self._authorities: dict[str, x509.Certificate] = {}
        self._client_contexts: Final[dict[str, ssl.SSLContext]] = {}
        self._links: Final[dict[str, Link]] = {}
        self._dialling: Final[dict[str, asyncio.Task[None]]] = {}
        self._told: Final[dict[str, str]] = {}
        self._shunned_until_ms: Final[dict[str, int]] = {}
        self._handler: Handler | None = None
        self._server: Server | None = None
        self.set_contacts(contacts)

    # --- what the driver calls ------------------------------------------------------------------------------------------

    def send(self, party: str, message: PeerMessage) -> None:
        """Queue a message for one agency's node; lost without a link."""
        self._send_frame(party, encode_frame(message), urgent=is_urgent(message))

    def broadcast(self, message: PeerMessage) -> None:
        """Queue a message for every node that has a link; encoded once."""
        frame, urgent = encode_frame(message), is_urgent(message)
        for party in self._contacts:
            self._send_frame(party, frame, urgent=urgent)

    def connected(self) -> set[str]:
        """The agencies with a link."""
        return set(self._links)

    def set_contacts(self, contacts: Mapping[str, Contact]) -> None:
        """From now on, link to these agencies, by party, known by these keys, and to nobody else. One whose authority cannot
        be used is left out, and said so: whatever the ledger says of it, the others must go on."""
        before, self._contacts = self._contacts, {}
        authorities: dict[str, x509.Certificate] = {}
        for party, contact in contacts.items():
            try:
                authorities[party] = agency_authority(contact)
                if before.get(party) != contact:
                    trust(self._server_context, (contact,))
                    self._client_contexts[party] = client_context(self._tls.certificate, self._tls.key, contact)
            except ConfigurationError as error:
                _LOG.error("an agency cannot be linked to", **error.as_dict())
                authorities.pop(party, None)
            else:
                self._contacts[party] = contact
        self._authorities = authorities
        self._gate.admit(authorities)
        for party in [party for party, contact in before.items() if self._contacts.get(party) != contact]:
            self._shunned_until_ms.pop(party, None)
            if (link := self._links.get(party)) is not None:
                link.cut("not_a_contact")
            if (task := self._dialling.pop(party, None)) is not None:
                task.cancel()
        if self._server is not None:
            self._dial_contacts()

    @property
    def waiting(self) -> dict[str, tuple[int, int]]:
        """For each link, the frames and bytes that wait to be sent."""
        return {party: (link.waiting_frames, link.waiting_bytes) for party, link in self._links.items()}

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
        self._dial_contacts()

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

    def _dial_contacts(self) -> None:
        """Begin to dial those contacts that have an address and are not dialled yet."""
        for party in self._contacts:
            if party in self._addresses and party not in self._dialling:
                self._start_dialling(party)

    def _start_dialling(self, party: str) -> None:
        task = asyncio.create_task(self._keep_dialling(party), name=f"dial {party}")
        self._dialling[party] = task
        task.add_done_callback(lambda done: self._on_dialling_ended(party, done))

    def _on_dialling_ended(self, party: str, task: asyncio.Task[None]) -> None:
        """A dialling task ends only when it is stopped, or by an error of ours: say so, and go on."""
        if self._dialling.get(party) is task and not task.cancelled():
            _LOG.error("dialling failed", peer=party, exc_info=task.exception())
            self._start_dialling(party)

    async def _keep_dialling(self, party: str) -> None:
        failures = 0
        while True:
            if (shunned_ms := self._shunned_ms(party)) > 0:
                await self._clock.sleep_ms(shunned_ms)
            if self._party > party:
                await self._clock.sleep_ms(self._limits.grace_ms)
                if party in self._links:
                    continue
            started_ms = self._clock.monotonic_ms()
            try:
                await self._dial(party)
            except PeerError as error:
                if error.actual == WRONG_DIRECTION:
                    await self._clock.sleep_ms(LINK_REFUSED_MS)
                    continue
                self._tell_refusal(party, error)
            except (OSError, ValueError, websockets.exceptions.WebSocketException) as error:
                self.counters.dials_failed += 1
                _LOG.debug("peer not reached", peer=party, reason=str(error) or type(error).__name__)
                if (refusal := _refusal_of(error)) is not None:
                    self.counters.links_refused[refusal.code] += 1
                    self._tell_refusal(party, refusal)
            lived_ms = self._clock.monotonic_ms() - started_ms
            failures = 0 if lived_ms >= LINK_STABLE_MS else failures + 1
            await self._clock.sleep_ms(self._pause_ms(failures))

    def _tell_refusal(self, party: str, error: PeerError, **where: str) -> None:
        """Say why there is no link; it comes back with every dial, so once until there is one, or another reason."""
        if self._told.get(party) != error.code:
            self._told[party] = error.code
            _LOG.warning("peer refused", peer=party, **where, error=error.as_dict())

    def _pause_ms(self, failures: int) -> int:
        """Doubling with every failure up to the bound, then between half and all of it."""
        longest = min(self._limits.reconnect_first_ms << min(failures, 16), self._limits.reconnect_max_ms)
        return self._jitter.randint(longest // 2, longest)

    async def _dial(self, party: str) -> None:
        connection = await connect(
            f"wss://{self._addresses[party]}{LINK_PATH}",
            sock=await reach(self._addresses[party]),
            ssl=self._client_contexts[party],
            server_hostname=party,
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

    async def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Catch-up requests are answered, links go on to their opening. The gate has seen an agency's certificate."""
        party = self._gate.party_of(connection)
        if party is None:  # on its way out already
            return respond(HTTPStatus.FORBIDDEN)
        path = request.path.partition("?")[0]
        if path == LINK_PATH:
            return None
        if path == PATH:
            return await self._blocks.answer(request, party)
        return await self._pages.answer(request, party) if self._pages.serves(path) else respond(HTTPStatus.NOT_FOUND)

    async def _accept(self, connection: ServerConnection) -> None:
        address, party = str(connection.remote_address), self._gate.party_of(connection)
        try:
            await self._serve_link(connection, "responder")
        except PeerError as error:
            self._tell_refusal(party or "unknown", error, address=address)

    # --- links ----------------------------------------------------------------------------------------------------------

    async def _serve_link(self, connection: Connection, side: Side) -> None:
        """Open a link on a connection and run it to its end.

        Raises:
            PeerError: the peer was refused, or broke the protocol; it has been told.
        """
        assert self._handler is not None, "start comes first"
        notice_silence(connection)
        hold_little(connection)
        try:
            party = await self._open(connection, side)
        except PeerError as error:
            self.counters.links_refused[error.code] += 1
            await refuse(connection, error)
            raise
        queue = SendQueue(limit_frames=self._limits.queue_frames, limit_bytes=self._limits.queue_bytes)
        pace = Pace(share=self._limits.time_share, burst_s=self._limits.time_burst_s)
        link = Link(party, connection, queue, self.counters, pace)
        self._register(link, self._handler)
        try:
            reason = await link.run(self._handler)
        except PeerError as error:
            self.counters.links_dropped[error.code] += 1
            if error.code == FORGERIES:
                self._shunned_until_ms[party] = self._clock.monotonic_ms() + self._limits.shunned_ms
            self._forget(link, self._handler)
            await refuse(connection, error)
            raise
        finally:
            self._forget(link, self._handler)
        self.counters.links_dropped[reason] += 1
        _LOG.info("link ended", peer=party, reason=reason)

    async def _open(self, connection: Connection, side: Side) -> str:
        """The agency that has proved itself on this connection."""
        certificate = peer_certificate(connection)
        party = issuer_of(certificate, self._authorities)
        if self._shunned_ms(party) > 0:
            raise PeerError("the peer sent forgeries without end a while ago", code="shunned", actual=party)
        if side == "responder" and self._party < party and party in self._addresses:
            raise PeerError("this node dials the other, whose address it has", code=WRONG_DIRECTION, actual=party)
        contact = self._contacts[party]
        opening = Opening(
            chain=self._chain,
            party=self._party,
            key=self._key,
            side=side,
            nonce=secrets.token_bytes(NONCE_BYTES),
            own_key_hash=self._own_key_hash,
            peer_key_hash=public_key_hash(certificate),
            peer=contact,
        )
        await within(self._limits.opening_timeout_ms, open_link(connection, opening, side))
        if self._contacts.get(party) != contact:
            raise PeerError("the agency's keys were changed meanwhile", code="not_a_contact", actual=party)
        return party

    def _shunned_ms(self, party: str) -> int:
        """For how long this agency gets no link yet."""
        return self._shunned_until_ms.get(party, 0) - self._clock.monotonic_ms()

    def _register(self, link: Link, handler: Handler) -> None:
        old = self._links.get(link.party)
        if old is not None:
            old.cut("replaced")
            handler.on_disconnect(link.party)
        self._links[link.party] = link
        self._told.pop(link.party, None)
        self.counters.links_opened += 1
        _LOG.info("link up", peer=link.party)
        handler.on_connect(link.party)

    def _forget(self, link: Link, handler: Handler) -> None:
        if self._links.get(link.party) is link:
            del self._links[link.party]
            handler.on_disconnect(link.party)

    def _send_frame(self, party: str, frame: bytes, *, urgent: bool) -> None:
        link = self._links.get(party)
        if link is None:
            self.counters.frames_lost += 1
        else:
            link.send(frame, urgent=urgent)
