"""What a node remembers to tell how it is getting on: commits of late, links lost, the others' clocks. Event loop only."""

from collections import deque
from typing import Final

WINDOW_MS: Final = 5_000
"""Commits within it make the rate that is told."""
CLOCK_SAMPLES: Final = 8
"""Of each peer's clock, the newest."""


class Pace:
    """Counts commits, and keeps when the last was. Times are monotonic milliseconds."""

    def __init__(self) -> None:
        self._commits: deque[int] = deque()
        self.last_ms: int | None = None

    def note(self, now_ms: int) -> None:
        """A block was committed."""
        self._commits.append(now_ms)
        self._forget(now_ms)
        self.last_ms = now_ms

    def per_s(self, now_ms: int) -> float:
        """Blocks a second within the last `WINDOW_MS`."""
        self._forget(now_ms)
        return len(self._commits) * 1000 / WINDOW_MS

    def _forget(self, now_ms: int) -> None:
        while self._commits and self._commits[0] <= now_ms - WINDOW_MS:
            self._commits.popleft()


class Clocks:
    """The others' wall clocks against this one, from cosignatures that state the moment they were made at.

    A statement is as old as its way here was long, so a sample says at least how far ahead the other is; the highest of the
    last few is the nearest.
    """

    def __init__(self) -> None:
        self._samples: dict[str, deque[int]] = {}

    def note(self, party: str, *, stated_ms: int, received_ms: int) -> None:
        """A party's clock said `stated_ms` when it sent what came here at `received_ms` of this clock."""
        self._samples.setdefault(party, deque(maxlen=CLOCK_SAMPLES)).append(stated_ms - received_ms)

    def offsets_ms(self) -> dict[str, int]:
        """For each party heard of, its clock less this one."""
        return {party: max(samples) for party, samples in self._samples.items()}
