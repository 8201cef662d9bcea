"""How many answers are made at once for peers that catch up: in all, and for one agency, so that none keeps all the others
waiting. They are made in threads of their own: nothing that consensus or a client waits for stands behind them.

Lives on the event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ledger.limits import CATCHUP_CONCURRENCY, CATCHUP_PARTY_CONCURRENCY

T = TypeVar("T")


class Serving:
    """Places for answers being made, and the threads for them (which end with it)."""

    def __init__(self) -> None:
        self._busy: Final[Counter[str]] = Counter()
        self._threads: Final = ThreadPoolExecutor(CATCHUP_CONCURRENCY, thread_name_prefix="pages")

    def has_place(self, party: str) -> bool:
        """Whether an answer to this agency may be made now."""
        return self._busy.total() < CATCHUP_CONCURRENCY and self._busy[party] < CATCHUP_PARTY_CONCURRENCY

    async def make(self, party: str, work: Callable[[], T]) -> T:
        """Make one answer in a thread. Requires `has_place`. Its place is free when the thread is: not when whoever asked
        hangs up, or they could ask for more than the threads ever make."""
        loop = asyncio.get_running_loop()
        self._busy[party] += 1
        future = self._threads.submit(work)

        def free(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._busy.subtract, (party,))

        future.add_done_callback(free)
        return await asyncio.wrap_future(future)
