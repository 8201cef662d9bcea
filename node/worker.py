"""A thread with two queues: what consensus waits for goes before what clients and gossip wait for.

Work that is long is handed over in slices, so that nothing urgent waits for more than one of them.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from ledger.errors import InternalError

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Worker:
    """Runs functions one at a time in its thread; results come back on the event loop that asked."""

    def __init__(self, name: str) -> None:
        self._urgent: deque[_Job] = deque()
        self._ordinary: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T], *, urgent: bool = False) -> "asyncio.Future[T]":
        """Run `function` in the thread, in the order of asking within its queue. Call on the event loop.

        Raises:
            InternalError: code `worker_closed`.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._is_closing:
                raise InternalError("the node is stopping", code="worker_closed")
            (self._urgent if urgent else self._ordinary).append((function, future))
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """Ordinary work that waits."""
        return len(self._ordinary)

    async def close(self) -> None:
        """Do what waits already, take nothing more, end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._urgent and not self._ordinary:
                    if self._is_closing:
                        return
                    self._changed.wait()
                function, future = (self._urgent or self._ordinary).popleft()
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the one who asked
                _deliver(future, None, error)
            else:
                _deliver(future, result, None)


def _deliver(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    def settle() -> None:
        if future.done():  # the one who asked has gone away
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    loop = future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
