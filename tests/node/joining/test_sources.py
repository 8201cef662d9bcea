"""Whom a joining node asks, and for how long."""

import asyncio

import pytest

from ledger.errors import PeerError
from node.clock import SystemClock
from node.joining.sources import NoSourceError, Sources


class SteppingClock(SystemClock):
    """A clock that goes on only by being slept on."""

    def __init__(self) -> None:
        self.now_ms = 0

    def monotonic_ms(self) -> int:
        return self.now_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        self.now_ms += duration_ms


def test_a_node_that_is_busy_for_ever_is_not_waited_for_for_ever() -> None:
    """The others lack what it has: joining begins anew, with a snapshot that somebody gives, or goes by blocks."""
    clock = SteppingClock()
    sources = Sources(["customs", "police"], clock)
    sources.failed("customs", PeerError("gone", code="no_such_page"))

    async def ask() -> None:
        while True:
            party = await sources.next()
            assert party == "police"
            sources.failed(party, PeerError("come again", code="busy"))

    with pytest.raises(NoSourceError):
        asyncio.run(ask())
    assert 60_000 < clock.now_ms < 600_000
    assert not sources.refused


def test_an_answer_ends_the_count() -> None:
    clock = SteppingClock()
    sources = Sources(["police"], clock)

    async def ask() -> None:
        for _ in range(200):
            party = await sources.next()
            sources.failed(party, PeerError("come again", code="busy"))
            assert await sources.next() == party
            sources.answered(party)

    asyncio.run(ask())
