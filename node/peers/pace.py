"""How fast one link is read: by the time that its messages take of the event loop, which all links share.

A peer that sends without end (forged votes that must be verified, questions, gossip) is thereby slowed down at its own
socket, as is one whose driver is waited for; the others' messages, and the timers, keep their time.
"""

import time
from collections.abc import Callable
from typing import Final

from ledger.limits import LINK_TIME_BURST_S, LINK_TIME_SHARE

_MOST_S: Final = 0.1
"""What one message can count for: while it waits for something, the time measured is that of others."""


class Pace:
    """A bucket of processor time of one link. Lives on the event loop."""

    def __init__(
        self,
        *,
        share: float = LINK_TIME_SHARE,
        burst_s: float = LINK_TIME_BURST_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`share`: of one processor, in the long run; `burst_s`: at once."""
        self._share: Final = share
        self._burst_s: Final = burst_s
        self._monotonic: Final = monotonic
        self._left_s = burst_s
        self._at_s = monotonic()

    def spend(self, took_s: float) -> float:
        """A message took so much processor time: how long to wait before the next one is read, in seconds; mostly 0."""
        now_s = self._monotonic()
        self._left_s = min(self._burst_s, self._left_s + (now_s - self._at_s) * self._share)
        self._at_s = now_s
        self._left_s -= min(took_s, _MOST_S)
        return max(0.0, -self._left_s / self._share)
