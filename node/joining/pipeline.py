"""Fetching ahead from several nodes, taking in order: a bounded number of pages under way, each from whose turn it is."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from ledger.errors import EncodingError, PeerError, SignatureError, VerificationError
from node.joining.sources import NoSourceError, Sources

K = TypeVar("K")
V = TypeVar("V")

UNBELIEVED: Final = (PeerError, VerificationError, EncodingError, SignatureError)
"""What fetched bytes can be refused with."""


async def ask(sources: Sources, fetch: Callable[[str], Awaitable[V]]) -> tuple[str, V]:
    """What the first node gives that gives what holds, and who that was.

    Raises:
        NoSourceError: nobody is left.
    """
    while True:
        party = await sources.next()
        try:
            value = await fetch(party)
        except NoSourceError:
            raise
        except UNBELIEVED as error:
            sources.failed(party, error)
        else:
            sources.answered(party)
            return party, value


async def in_order(
    keys: Iterator[K],
    sources: Sources,
    *,
    fetch: Callable[[str, K], Awaitable[V]],
    take: Callable[[K, V], Awaitable[K | None]],
    again: Callable[[K], K] = lambda key: key,
    ahead: int,
) -> None:
    """Fetch the pages of these keys, several at once, and take them one after the other.

    Args:
        keys: in the order of taking.
        sources: whom to ask.
        fetch: (party, key) -> the page, verified as far as it can be by itself.
        take: verifies the rest and keeps the page; returns the key of what is still missing of it, if it was cut short.
        again: what is asked for in the place of a page that `take` refused: the same, unless given.
        ahead: how many pages are under way or wait at most.

    Raises:
        NoSourceError: nobody is left. Whatever else `fetch` and `take` raise that is no refusal of what was fetched.
    """
    under_way: deque[tuple[K, asyncio.Task[tuple[str, V]]]] = deque()

    def begin(key: K) -> "asyncio.Task[tuple[str, V]]":
        return asyncio.get_running_loop().create_task(ask(sources, lambda party: fetch(party, key)))

    def fill() -> None:
        while len(under_way) < ahead and (key := next(keys, None)) is not None:
            under_way.append((key, begin(key)))

    try:
        fill()
        while under_way:
            key, task = under_way[0]
            party, page = await task
            try:
                rest = await take(key, page)
            except UNBELIEVED as error:
                sources.failed(party, error)
                rest = again(key)
            if rest is None:
                under_way.popleft()
            else:
                under_way[0] = (rest, begin(rest))
            fill()
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
