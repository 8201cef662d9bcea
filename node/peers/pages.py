"""Pages of bytes over HTTP on the peer port, under the same mutual TLS (DESIGN 10): what a node that joins asks for.

    GET <path>?<name>=<number>&...   ->   200 and the bytes; 404 if there are none; 503 while too much is being answered

What a page holds is its maker's; what it proves is for the one who asked to decide. One request is one connection, so pages
are large: up to `MAX_FRAME_BYTES`, and more only where a single item is larger.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
import structlog
from websockets.http11 import Request, Response

from ledger.errors import ConfigurationError, PeerError, StoreError
from ledger.limits import CATCHUP_TIMEOUT_MS, MAX_PAGE_BYTES
from node.config import Address, TlsConfig
from node.membership import Contact
from node.peers.catchup import respond
from node.peers.certificates import client_context
from node.peers.counters import PeerCounters
from node.peers.reach import patience
from node.peers.serving import Serving

PageMaker = Callable[[Mapping[str, int]], bytes | None]
"""Makes a page from the request's numbers, in a thread of its own; None if there is none such."""

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_LOG: Final = structlog.get_logger("peers.pages")


class Page(msgspec.Struct, frozen=True):
    """One kind of page: the numbers that a request must give, all of them, and who makes it."""

    fields: frozenset[str]
    make: PageMaker


class PageServer:
    """Answers requests for pages, a few at a time."""

    def __init__(self, pages: Mapping[str, Page], counters: PeerCounters) -> None:
        """`pages`: by path."""
        self._pages: Final = pages
        self._counters: Final = counters
        self._serving: Final = Serving()

    def serves(self, path: str) -> bool:
        """Whether there are pages under a path, without its query."""
        return path in self._pages

    async def answer(self, request: Request, party: str) -> Response:
        """The response to a request by a peer that has presented this agency's certificate. The path must be served."""
        page = self._pages[request.path.partition("?")[0]]
        numbers = _parse_query(request.path, page.fields)
        if numbers is None or request.method != "GET":
            return self._refuse(HTTPStatus.BAD_REQUEST)
        if not self._serving.has_place(party):
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            body = await self._serving.make(party, partial(page.make, numbers))
        except (StoreError, OSError) as error:
            _LOG.error("a page could not be made", path=request.path[:200], reason=str(error))
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
        if body is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        self._counters.catchup_served += 1
        return respond(HTTPStatus.OK, body)

    def _refuse(self, status: HTTPStatus) -> Response:
        self._counters.catchup_refused[str(status.value)] += 1
        return respond(status)


class PageFetcher(Protocol):
    """Where pages of agencies' nodes are fetched; `PageClient` over HTTP."""

    async def fetch(self, party: str, path: str, **numbers: int) -> bytes:
        """A page; PeerError if it cannot be had: codes `unreachable`, `busy`, `no_such_page`, `bad_page`."""
        ...


class PageClient:
    """Asks agencies' nodes for pages. An async context manager: leaving it closes its connections."""

    def __init__(
        self, addresses: Mapping[str, Address], tls: TlsConfig, *, timeout_ms: int = CATCHUP_TIMEOUT_MS
    ) -> None:
        """`addresses`: the agencies' peer ports by party. Whom to believe at them is said by `set_contacts`."""
        self._addresses: Final = addresses
        self._tls: Final = tls
        self._timeout_s: Final = timeout_ms / 1000
        self._contacts: Mapping[str, Contact] = {}
        self._clients: Final[dict[Contact, httpx.AsyncClient]] = {}

    def set_contacts(self, contacts: Mapping[str, Contact]) -> None:
        """From now on, ask these agencies, known by these keys."""
        self._contacts = contacts

    def reachable(self) -> tuple[str, ...]:
        """The agencies that can be asked, sorted."""
        return tuple(sorted(party for party in self._contacts if party in self._addresses))

    async def fetch(self, party: str, path: str, **numbers: int) -> bytes:
        """A page of an agency's node. Requires a party that is `reachable`.

        Raises:
            PeerError: codes `unreachable` (no answer in time, or its authority cannot be used), `no_such_page` (404), `busy`
                (any other status), `bad_page` (over `MAX_PAGE_BYTES`).
        """
        query = "&".join(f"{name}={number}" for name, number in numbers.items())
        url = f"https://{self._addresses[party]}{path}?{query}"
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._get(party, url)
        except (httpx.HTTPError, OSError, ConfigurationError) as error:  # the last: an authority that is none
            raise PeerError(
                f"nothing could be fetched from {party}",
                code="unreachable",
                actual=str(error) or type(error).__name__,
            ) from error

    async def _get(self, party: str, url: str) -> bytes:
        # The certificate must be in the party's name, whatever address it is reached at.
        client, extensions = self._client(self._contacts[party]), {"sni_hostname": party}
        async with client.stream("GET", url, extensions=extensions) as response:
            if response.status_code != HTTPStatus.OK:
                code = "no_such_page" if response.status_code == HTTPStatus.NOT_FOUND else "busy"
                raise PeerError(f"{party} has no answer", code=code, expected=200, actual=response.status_code)
            data = bytearray()
            async for part in response.aiter_raw():
                data += part
                if len(data) > MAX_PAGE_BYTES:
                    raise PeerError("the page is too large", code="bad_page", expected=f"<= {MAX_PAGE_BYTES} bytes")
        return bytes(data)

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

    async def __aenter__(self) -> "PageClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.aclose()


def _parse_query(path: str, fields: frozenset[str]) -> dict[str, int] | None:
    """The numbers of a request, or None if they are not those that it must give."""
    query = urlsplit(path).query
    try:
        pairs = parse_qsl(query, strict_parsing=True, max_num_fields=len(fields)) if query else []
    except ValueError:
        return None
    numbers = {name: int(text) for name, text in pairs if _NUMBER.fullmatch(text)}
    return numbers if numbers.keys() == fields and len(pairs) == len(fields) else None
