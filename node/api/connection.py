"""One connection to the API: uvicorn's own protocol, with an end to patience.

uvicorn closes a connection that is idle between requests, and waits for ever for one that sends a byte now and then. Here
the line and headers of a request must arrive within `header_timeout_s` of its first byte (the first request's of the
connection's beginning), its body within `body_timeout_s` after them; then the connection is cut off. What the API
itself waits for is not counted: the answer, and a request behind it on the same connection. That the body is late is
said before (`node.api.body`); this is for bodies that nobody reads, such as a refused one.
"""

import asyncio
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ledger.limits import REQUEST_BODY_TIMEOUT_S, REQUEST_HEADER_TIMEOUT_S

_GRACE_S: Final = 5
"""After the body's deadline: for the answer that says so to leave."""


class ApiConnection(HttpToolsProtocol):
    """Lives on the event loop."""

    header_timeout_s: ClassVar[float] = REQUEST_HEADER_TIMEOUT_S
    body_timeout_s: ClassVar[float] = REQUEST_BODY_TIMEOUT_S + _GRACE_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect(self.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest, where bytes came that are no whole request yet."""
        super().data_received(data)
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._expect(self.header_timeout_s)

    def on_headers_complete(self) -> None:
        """Wait for the body."""
        super().on_headers_complete()
        self._expect(self.body_timeout_s)

    def on_message_complete(self) -> None:
        """A request is whole."""
        super().on_message_complete()
        self._settle()

    def _expect(self, timeout_s: float) -> None:
        self._settle()
        self._deadline = self.loop.call_later(timeout_s, self._late, timeout_s)

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self, timeout_s: float) -> None:
        self._deadline = None
        if self.flow.read_paused:  # what is late waits for us, behind an answer or a full buffer
            self._expect(timeout_s)
        else:
            self.transport.abort()  # a closing in good order would wait for the other side again
