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
MAX_QUEUED_UNKNOWN: Final = MAX_QUEUED // 8
"""Of them, those of callers without a token: no quota bounds these, and whoever has one must be heard beside them."""


class Readers:
    """A bounded pool. Lives on the event loop; the work runs in its threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="reader")
        self._queued = 0
        self._queued_unknown = 0

    async def run(self, work: Callable[[], T], *, is_known: bool = True) -> T:
        """Run blocking work and return, or raise, what it does. `is_known`: whether it is for a caller with a token, or the
        node's own.

        Raises:
            OverloadError: code `too_many_questions`.
        """
        if self._queued >= MAX_QUEUED or (not is_known and self._queued_unknown >= MAX_QUEUED_UNKNOWN):
            raise OverloadError(
                "too many questions are waiting",
                code="too_many_questions",
                expected=f"<= {MAX_QUEUED if is_known else MAX_QUEUED_UNKNOWN}",
                help="Ask again.",
            )
        self._queued += 1
        self._queued_unknown += not is_known
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._queued -= 1
            self._queued_unknown -= not is_known

    def close(self) -> None:
        """Let what runs finish, and end the threads."""
        self._pool.shutdown(cancel_futures=True)
