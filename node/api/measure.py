"""How long requests took, by route, method and status: ASGI middleware that adds nothing else."""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Observe = Callable[[str, str, int, float], None]
"""(method, route's path template, status, seconds)."""


class Measured:
    """Wraps an ASGI application. A request that matches no route counts under the template `-`."""

    def __init__(self, app: ASGIApp, *, observe: Observe) -> None:
        self._app = app
        self._observe = observe

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

        started_s = time.perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            template = getattr(scope.get("route"), "path", "-")
            method = scope["method"] if template != "-" else "-"  # methods come from outside: bounded with a route only
            self._observe(method, template, status, time.perf_counter() - started_s)
