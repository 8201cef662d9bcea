"""Work that is started and not waited for: held until it ends, its error told to whoever must know, ended together."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """Tasks of one owner. Lives on the event loop."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None], *, on_error: Callable[[Exception], None]) -> None:
        """Start work; an error that it does not answer itself goes to `on_error`."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)

        def finished(task: "asyncio.Task[None]") -> None:
            self._running.discard(task)
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                on_error(error)

        task.add_done_callback(finished)

    def abandon(self) -> None:
        """Cancel what runs, without waiting for it."""
        for task in self._running:
            task.cancel()

    async def cancel(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        self.abandon()
        await asyncio.gather(*self._running, return_exceptions=True)
