"""Catching up by blocks over HTTP, on the peer port, under the same mutual TLS (DESIGN 10, PROTOCOL P7.2).

    GET /blocks?from=<height>&count=<1..64>   ->   msgpack [[block, finalization], ...], rising heights from `from`

A page ends early at `MAX_FRAME_BYTES`, or at the newest block; an empty page says that the server holds none of them. One
request is one connection (the WebSocket server closes it after its answer), which is little beside what it carries.
What the blocks prove is for the replica to decide; here they are bounded, in order, and their bodies are those that
their headers name.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Annotated, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
import structlog
from msgspec import Meta
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from ledger.block import Block
from ledger.consensus.messages import Certificate
from ledger.errors import ConfigurationError, PeerError, StoreError
from ledger.limits import CATCHUP_TIMEOUT_MS, MAX_BLOCKS_PER_REQUEST, MAX_FRAME_BYTES
from node.config import Address, TlsConfig
from node.membership import Contact
from node.peers.certificates import client_context
from node.peers.counters import PeerCounters
from node.peers.reach import patience
from node.peers.serving import Serving
from node.peers.wire import check_peer_block

PATH: Final = "/blocks"
_CONTENT_TYPE: Final = "application/vnd.msgpack"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_LOG: Final = structlog.get_logger("peers")
_PAGE_OVERHEAD_BYTES: Final = 16  # the array's own header, and room


class CertifiedBlock(NamedTuple):
    """A final block, and the finalization by which it was committed: its own, or that of a block after it."""

    block: Block
    certificate: Certificate


class BlockSource(Protocol):
    """Where final blocks are read: the ledger's store. Called in a thread of its own."""

    def certified_blocks(self, first_height: int, count: int) -> Iterator[CertifiedBlock]:
        """Final blocks with rising heights from `first_height`, at most `count`, as many as there are.

        Raises:
            StoreError: the store failed.
        """
        ...


_ENCODER: Final = msgspec.msgpack.Encoder()
_Page = Annotated[tuple[CertifiedBlock, ...], Meta(max_length=MAX_BLOCKS_PER_REQUEST)]
_DECODER: Final = msgspec.msgpack.Decoder(_Page)


class BlockServer:
    """Answers catch-up requests, a few at a time."""

    def __init__(self, source: BlockSource, counters: PeerCounters) -> None:
        self._source: Final = source
        self._counters: Final = counters
        self._serving: Final = Serving()

    async def answer(self, request: Request, party: str) -> Response:
        """The response to a request for `PATH` by a peer that has presented this agency's certificate."""
        asked = _parse_query(request.path)
        if asked is None or request.method != "GET":
            return self._refuse(HTTPStatus.BAD_REQUEST)
        if not self._serving.has_place(party):
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            body = await self._serving.make(party, partial(encode_page, self._source, *asked))
        except StoreError as error:
            _LOG.error("a page of blocks could not be made", first_height=asked[0], **error.as_dict())
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._counters.catchup_served += 1
        return respond(HTTPStatus.OK, body)

    def _refuse(self, status: HTTPStatus) -> Response:
        self._counters.catchup_refused[str(status.value)] += 1
        return respond(status)


def encode_page(source: BlockSource, first_height: int, count: int) -> bytes:
    """As many of the blocks asked for as fit into `MAX_FRAME_BYTES`; at least one, if there is one."""
    items: list[msgspec.Raw] = []
    size = _PAGE_OVERHEAD_BYTES
    for item in source.certified_blocks(first_height, count):
        encoded = _ENCODER.encode(item)
        size += len(encoded)
        if size > MAX_FRAME_BYTES:
            break
        items.append(msgspec.Raw(encoded))
    return _ENCODER.encode(items)


def decode_page(data: bytes, first_height: int, count: int) -> tuple[CertifiedBlock, ...]:
    """Parse and check a page: no more than was asked for, rising heights from the first, whole blocks.

    Raises:
        PeerError: codes `bad_page`, `bad_block`.
    """
    try:
        page: tuple[CertifiedBlock, ...] = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PeerError(f"not a page of blocks: {error}", code="bad_page") from error
    heights = [item.block.header.height for item in page]
    expected = list(range(first_height, first_height + len(page)))
    if len(page) > count or heights != expected:
        raise PeerError(
            "not the blocks that were asked for",
            code="bad_page",
            expected=f"at most {count} from height {first_height} on",
            actual=heights,
        )
    for item in page:
        check_peer_block(item.block)
    return page


class BlockFetcher:
    """Fetches pages of blocks from peers. An async context manager: leaving it closes its connections."""

    def __init__(
        self,
        addresses: Mapping[str, Address],
        tls: TlsConfig,
        counters: PeerCounters,
        *,
        timeout_ms: int = CATCHUP_TIMEOUT_MS,
    ) -> None:
        """`addresses`: the agencies' peer ports by party. Whom to believe at them is said by `set_contacts`."""
        self._addresses: Final = addresses
        self._tls: Final = tls
        self._counters: Final = counters
        self._timeout_s: Final = timeout_ms / 1000
        self._contacts: Mapping[str, Contact] = {}
        self._clients: Final[dict[Contact, httpx.AsyncClient]] = {}

    def set_contacts(self, contacts: Mapping[str, Contact]) -> None:
        """From now on, fetch from these agencies, known by these keys."""
        self._contacts = contacts

    def reaches(self, party: str) -> bool:
        """Whether there is an address to fetch from."""
        return party in self._addresses and party in self._contacts

    async def fetch_blocks(self, party: str, from_height: int, count: int) -> tuple[CertifiedBlock, ...]:
        """A page of final blocks of an agency's node, checked as in `decode_page`; empty if it holds none of them.

        Requires 1 <= count <= MAX_BLOCKS_PER_REQUEST.

        Raises:
            PeerError: codes `unreachable` (no address, no answer in time, an error status), `bad_page`, `bad_block`.
        """
        if not self.reaches(party):
            raise PeerError("no address is known of this peer", code="unreachable", actual=party)
        address = self._addresses[party]
        url = f"https://{address}{PATH}?from={from_height}&count={count}"
        try:
            async with asyncio.timeout(self._timeout_s):
                data = await self._get(party, url)
        except (httpx.HTTPError, TimeoutError, ConfigurationError) as error:  # the last: an authority that is none
            raise PeerError(
                f"blocks could not be fetched from {party}",
                code="unreachable",
                actual=str(error) or type(error).__name__,
            ) from error
        page = await asyncio.to_thread(decode_page, data, from_height, count)
        self._counters.catchup_fetched += len(page)
        return page

    def _client(self, contact: Contact) -> httpx.AsyncClient:
        """The client that believes this agency's authority alone; one for each that was ever asked."""
        client = self._clients.get(contact)
        if client is None:
            # No proxy of the environment stands between agencies' nodes; redirects are not followed (httpx's default).
            client = self._clients[contact] = httpx.AsyncClient(
                verify=client_context(self._tls.certificate, self._tls.key, contact),
                trust_env=False,
                timeout=patience(round(self._timeout_s * 1000)),
            )
        return client

    async def _get(self, party: str, url: str) -> bytes:
        # The certificate must be in the party's name, whatever address it is reached at.
        extensions = {"sni_hostname": party}
        async with self._client(self._contacts[party]).stream("GET", url, extensions=extensions) as response:
            if response.status_code != HTTPStatus.OK:
                raise PeerError("the peer refused", code="unreachable", expected=200, actual=response.status_code)
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > MAX_FRAME_BYTES:
                    raise PeerError("the page is too large", code="bad_page", expected=f"<= {MAX_FRAME_BYTES}")
        return bytes(data)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()

    async def __aenter__(self) -> "BlockFetcher":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def respond(status: HTTPStatus, body: bytes = b"") -> Response:
    """An HTTP response after which the connection closes."""
    headers = Headers(
        [
            ("Date", formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Type", _CONTENT_TYPE),
            ("Content-Length", str(len(body))),
        ]
    )
    return Response(status.value, status.phrase, headers, body)


def _parse_query(path: str) -> tuple[int, int] | None:
    """First height and count of a request, or None if it is not one."""
    try:
        pairs = parse_qsl(urlsplit(path).query, strict_parsing=True, max_num_fields=2)
    except ValueError:
        return None
    fields = dict(pairs)
    first, count = fields.get("from", ""), fields.get("count", "")
    if len(pairs) != 2 or not _NUMBER.fullmatch(first) or not _NUMBER.fullmatch(count):
        return None
    return (int(first), int(count)) if 1 <= int(count) <= MAX_BLOCKS_PER_REQUEST else None
