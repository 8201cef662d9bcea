"""Whom to ask while joining.

A node that sent what does not hold is not asked again; one that cannot be reached, or is busy, is asked again later; one
that lacks something is not asked for it again, nor, while others lack it, one that gave nothing for minutes. Those that
least often took long for little are asked first.
"""

from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from typing import Final

import structlog

from ledger.errors import PeerError, TracemarkError
from node.clock import Clock
from node.peers.reach import is_too_slow

_FIRST_PAUSE_MS: Final = 100
_LONGEST_PAUSE_MS: Final = 5_000
_MOST_FAILURES: Final = 40
"""In a row, some three minutes: then a node is not waited for any longer, if the others answer that they lack what is asked
for. (Where nobody answers at all, waiting is all that is left.)"""
_FEW_FAILURES: Final = 8
"""In a row, some seconds: so long one that may only be busy is waited for, before others are asked that took long."""
_LOG: Final = structlog.get_logger("node.joining")


class NoSourceError(PeerError):
    """Nobody is left who could be asked."""

    default_code = "no_source"


class Sources:
    """The agencies that can be asked, in turn. Lives on the event loop."""

    def __init__(self, parties: Iterable[str], clock: Clock) -> None:
        self._parties: Final = list(parties)
        self._clock = clock
        self._lacking: set[str] = set()
        self._resting_until_ms: dict[str, int] = {}
        self._failures: Counter[str] = Counter()
        self._slow: Counter[str] = Counter()
        self._turn = 0
        self.refused: Final[dict[str, str]] = {}
        """Those that sent what does not hold, and the code of what was wrong."""

    @property
    def left(self) -> Sequence[str]:
        """Those that can be asked, now or later."""
        return [party for party in self._parties if party not in self.refused and party not in self._lacking]

    async def next(self) -> str:
        """Whom to ask now; waits while all are resting.

        Raises:
            NoSourceError: nobody is left.
        """
        while True:
            left = self.left
            if not left:
                raise NoSourceError(
                    "no agency's node is left that could be asked",
                    expected="one that has the snapshot and serves what holds",
                    actual=", ".join(f"{party}: {code}" for party, code in self.refused.items()) or "none has it",
                )
            now_ms, first = self._clock.monotonic_ms(), self._first_of(left)
            for step in range(len(first)):
                party = first[(self._turn + step) % len(first)]
                if self._resting_until_ms.get(party, 0) <= now_ms:
                    self._turn += step + 1
                    return party
            await self._clock.sleep_ms(min(self._resting_until_ms[party] for party in first) - now_ms)

    def _first_of(self, parties: Sequence[str]) -> Sequence[str]:
        """Those of them to be asked before the others."""
        answering = [party for party in parties if self._failures[party] < _FEW_FAILURES] or parties
        fewest = min(self._slow[party] for party in answering)
        return [party for party in parties if self._slow[party] <= fewest]

    async def timed(self, party: str, fetching: Awaitable[bytes]) -> bytes:
        """A page that is fetched of it, and how long that takes is held against it.

        Raises:
            PeerError: as `fetching` does.
        """
        began_ms, size = self._clock.monotonic_ms(), 0
        try:
            page = await fetching
            size = len(page)
            return page
        finally:
            if is_too_slow(size, self._clock.monotonic_ms() - began_ms):
                self._slow[party] += 1

    def answered(self, party: str) -> None:
        """It gave what holds."""
        self._failures.pop(party, None)

    def failed(self, party: str, error: TracemarkError) -> None:
        """It gave nothing, or what does not hold."""
        if error.code == "no_such_page":
            self._lacking.add(party)
        elif error.code in ("unreachable", "busy"):
            self._failures[party] += 1
            pause_ms = min(_FIRST_PAUSE_MS << min(self._failures[party] - 1, 16), _LONGEST_PAUSE_MS)
            self._resting_until_ms[party] = self._clock.monotonic_ms() + pause_ms
            if self._failures[party] >= _MOST_FAILURES and self._lacking:
                self._lacking.add(party)
            if self._failures[party] == 1:
                _LOG.info("a node gives nothing to join by", peer=party, **error.as_dict())
        else:
            self.refused[party] = error.code
            _LOG.warning("a node sent what does not hold; it is not asked again", peer=party, **error.as_dict())

    def renew(self) -> None:
        """What somebody lacked, they may have now, or other things may be asked for."""
        self._lacking.clear()
