"""The one source of time. Everything that needs a time is given a `Clock`, so that tests own it.

Wall time goes into what is signed or shown; monotonic time measures how long something took or is due.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time, and waiting."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z, as this machine believes."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some fixed moment; never goes back."""
        ...

    async def sleep_ms(self, duration_ms: int) -> None:
        """Return after `duration_ms` of monotonic time."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds of the monotonic clock."""
        return time.monotonic_ns() // 1_000_000

    async def sleep_ms(self, duration_ms: int) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(duration_ms / 1000)
