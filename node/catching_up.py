"""Fetching blocks by height ahead of their execution (PROTOCOL P7.2): while the blocks of one page are executed, the next
page is under way, from another peer.

The replica asks for one page at a time, and is given it at once if it is here. Nothing is believed here: what a page proves
is the replica's to decide. One page is held, and bounded by the fetcher. A page in vain (nothing, too little for its time,
or what leads nowhere) may have taken a minute, so those that have given such pages least often are asked first.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import takewhile
from typing import Final

import msgspec
import structlog

from ledger.block import Block
from ledger.consensus.messages import Certificate
from ledger.errors import PeerError
from ledger.limits import MAX_UNPROVEN_BLOCKS
from node.peers.catchup import CertifiedBlock
from node.peers.reach import is_too_slow

FetchedBlocks = tuple[tuple[Block, Certificate], ...]
FetchPage = Callable[[str, int, int], Awaitable[Sequence[CertifiedBlock]]]
"""(party, first height, count) -> a page of that node's final blocks."""

_LOG: Final = structlog.get_logger("node.driver")


class _Page(msgspec.Struct, frozen=True):
    """A page under way, or here: blocks from `first` on, asked of `party`."""

    first: int
    party: str
    task: "asyncio.Task[FetchedBlocks]"


class PageAhead:
    """Lives on the event loop."""

    def __init__(self, fetch: FetchPage, *, now_s: Callable[[], float] = time.monotonic) -> None:
        """`fetch`: how one page is fetched; PeerError if it cannot be had. `now_s`: says how long that took."""
        self._fetch = fetch
        self._now_s = now_s
        self._next: _Page | None = None
        self._in_vain: Counter[str] = Counter()
        self._given: deque[tuple[str, int]] = deque(maxlen=MAX_UNPROVEN_BLOCKS)
        """Who gave pages that may yet prove to lead nowhere, and up to what height."""

    async def take(self, peers: Sequence[str], first: int, count: int) -> tuple[str, FetchedBlocks]:
        """The blocks from height `first` on, at most `count`, and who gave them; none if they could not be had: then the
        replica asks again, and somebody else is asked. Where there were any, the page after them is begun to be fetched.

        Requires at least one peer.
        """
        self._judge(first)
        page, self._next = self._next, None
        if page is not None and page.first != first:
            page.task.cancel()
            page = None
        if page is None:
            page = self._begin(peers, first, count)
        blocks = await page.task
        if not blocks:
            self._in_vain[page.party] += 1
        else:
            self._given.append((page.party, first + _of_one_epoch(blocks) - 1))
            others = [peer for peer in peers if peer != page.party]
            self._next = self._begin(others or peers, first + len(blocks), count)
        return page.party, blocks

    def _judge(self, first: int) -> None:
        """The replica asks for blocks that it was given before: what did not hold is some of what it was given since, and
        nobody knows which. Who is honest is seldom among those who gave it."""
        while self._given and self._given[-1][1] >= first:
            self._in_vain[self._given.pop()[0]] += 1

    def stop(self) -> None:
        """Fetch no more."""
        if self._next is not None:
            self._next.task.cancel()

    def _begin(self, peers: Sequence[str], first: int, count: int) -> _Page:
        fewest = min(self._in_vain[peer] for peer in peers)
        party = random.choice(  # noqa: S311 - spreads load, decides nothing
            [peer for peer in peers if self._in_vain[peer] == fewest]
        )
        return _Page(first, party, asyncio.get_running_loop().create_task(self._fetch_page(party, first, count)))

    async def _fetch_page(self, party: str, first: int, count: int) -> FetchedBlocks:
        began_s = self._now_s()
        try:
            page = await self._fetch(party, first, count)
        except PeerError as error:
            _LOG.info("blocks could not be fetched", peer=party, **error.as_dict())
            return ()
        except Exception as error:  # noqa: BLE001 - what a peer sends must not end our voting, nor the catch-up
            _LOG.error("fetching blocks ended in an error", exc_info=error)
            return ()
        taken_ms = (self._now_s() - began_s) * 1000
        size = sum(item.block.body_bytes for item in page)
        if is_too_slow(size, taken_ms):
            self._in_vain[party] += 1
        return tuple((item.block, item.certificate) for item in page)


def _of_one_epoch(blocks: FetchedBlocks) -> int:
    """How many of them the replica can use: those of its epoch."""
    epoch = blocks[0][0].header.epoch
    return sum(1 for _ in takewhile(lambda item: item[0].header.epoch == epoch, blocks))
