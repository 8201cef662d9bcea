"""Whom a joining node asks, and for how long."""

import asyncio
from collections import Counter

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


def test_who_takes_long_for_little_is_asked_last() -> None:
    clock = SteppingClock()
    sources = Sources(["customs", "liar", "police"], clock)
    asked: Counter[str] = Counter()

    async def fetch(party: str) -> bytes:
        clock.now_ms += 59_000 if party == "liar" else 100
        return b"one item"

    async def ask() -> None:
        for number in range(90):
            party = await sources.next()
            asked[party] += 1
            if number % 3 == 0 and party != "liar":
                sources.failed(party, PeerError("come again", code="busy"))
                continue
            await sources.timed(party, fetch(party))
            sources.answered(party)

    asyncio.run(ask())
    assert asked["liar"] == 1
    assert min(asked.values()) == 1


@pytest.mark.parametrize("how", ["down", "slow as well"])
def test_who_takes_long_is_asked_where_nobody_else_is_better(how: str) -> None:
    clock = SteppingClock()
    sources = Sources(["customs", "slow"], clock)
    given = 0

    async def nothing() -> bytes:
        clock.now_ms += 10_000
        raise PeerError("nobody there", code="unreachable")

    async def little() -> bytes:
        clock.now_ms += 10_000
        return b"one item"

    async def ask() -> None:
        nonlocal given
        while given < 20:
            party = await sources.next()
            try:
                await sources.timed(party, nothing() if (party, how) == ("customs", "down") else little())
            except PeerError as error:
                sources.failed(party, error)
            else:
                sources.answered(party)
                given += party == "slow"

    asyncio.run(asyncio.wait_for(ask(), 10))
    assert clock.now_ms < 30 * 60 * 1000
