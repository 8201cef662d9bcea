"""Every request, counted while it is under way and measured when it is done: ASGI middleware that adds nothing else."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Observe = Callable[[str, str, int, float], None]
"""(method, route's path template, status, seconds)."""


class Underway:
    """The requests that are being answered. Lives on the event loop."""

    def __init__(self) -> None:
        self._requests: set[object] = set()
        self._draining: set[object] | None = None
        self._drained = asyncio.Event()

    def begin(self) -> object:
        """A request came; what to `end` it with."""
        request = object()
        self._requests.add(request)
        return request

    def end(self, request: object) -> None:
        """It is answered."""
        self._requests.discard(request)
        if self._draining is not None:
            self._draining.discard(request)
            if not self._draining:
                self._drained.set()

    async def drain(self, timeout_s: float) -> None:
        """Wait until all that are under way now are answered, or for so long."""
        self._draining = set(self._requests)
        if self._draining:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), timeout_s)


class Measured:
    """Wraps an ASGI application. A request that matches no route counts under the template `-`."""

    def __init__(self, app: ASGIApp, *, observe: Observe, underway: Underway) -> None:
        self._app = app
        self._observe = observe
        self._underway = underway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # of an exception that nothing answered

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        request = self._underway.begin()
        started_s = time.perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            self._underway.end(request)
            template = getattr(scope.get("route"), "path", "-")
            method = scope["method"] if template != "-" else "-"  # methods come from outside: bounded with a route only
            self._observe(method, template, status, time.perf_counter() - started_s)
