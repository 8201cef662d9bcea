"""A thread with two queues: what consensus waits for goes before what clients and gossip wait for.

Work that is long is handed over in slices, so that nothing urgent waits for more than one of them. Those for whom ordinary
work is done take turns, one piece each: who asks for little waits for one piece of everybody else, however much they have.
"""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from ledger.errors import InternalError

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class _Turns:
    """Jobs of several, each one's in order, taken one of each in turn."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, whose: str, job: _Job) -> None:
        self._jobs.setdefault(whose, deque()).append(job)
        self._count += 1

    def popleft(self) -> _Job:
        whose, jobs = next(iter(self._jobs.items()))
        job = jobs.popleft()
        self._count -= 1
        if jobs:
            self._jobs.move_to_end(whose)
        else:
            del self._jobs[whose]
        return job


class Worker:
    """Runs functions one at a time in its thread; results come back on the event loop that asked."""

    def __init__(self, name: str) -> None:
        self._urgent: deque[_Job] = deque()
        self._ordinary = _Turns()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T], *, urgent: bool = False, whose: str = "") -> "asyncio.Future[T]":
        """Run `function` in the thread: urgent work in the order of asking, other work in turn with that of others, `whose`
        it is. Call on the event loop.

        Raises:
            InternalError: code `worker_closed`.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._is_closing:
                raise InternalError("the node is stopping", code="worker_closed")
            if urgent:
                self._urgent.append((function, future))
            else:
                self._ordinary.append(whose, (function, future))
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
