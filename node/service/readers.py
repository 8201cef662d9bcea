"""The threads in which questions are answered: few, with a bounded queue, so that readers never starve the ledger."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ledger.errors import OverloadError

T = TypeVar("T")

READER_THREADS: Final = 4
"""SQLite reads release the interpreter's lock; more threads than this would only take turns for it."""
MAX_QUEUED: Final = 512
"""Questions under way and waiting: at a few milliseconds each, what is beyond would wait for seconds."""


class Readers:
    """A bounded pool. Lives on the event loop; the work runs in its threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="reader")
        self._queued = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work and return, or raise, what it does.

        Raises:
            OverloadError: code `too_many_questions`.
        """
        if self._queued >= MAX_QUEUED:
            raise OverloadError(
                "too many questions are waiting",
                code="too_many_questions",
                expected=f"<= {MAX_QUEUED}",
                help="Ask again.",
            )
        self._queued += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._queued -= 1

    def close(self) -> None:
        """Let what runs finish, and end the threads."""
        self._pool.shutdown(cancel_futures=True)
