"""Blocks for others, and from others: committed ones for a peer that asks (P7.4), pages fetched by height (P7.2)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import structlog

from ledger.block import Block
from ledger.errors import CorruptionError
from ledger.limits import NEAR_BLOCKS
from node.catching_up import FetchedBlocks, PageAhead
from node.membership import Contact
from node.peers.catchup import CertifiedBlock
from node.storage import LedgerStore
from node.tasks import Tasks

_LOG: Final = structlog.get_logger("node.driver")


class BlockFetcher(Protocol):
    """Where blocks are fetched by height (P7.2); `node.peers.catchup.BlockFetcher` over HTTP."""

    def set_contacts(self, contacts: Mapping[str, Contact]) -> None:
        """From now on, fetch from these agencies, by party, known by these keys."""
        ...

    def reaches(self, party: str) -> bool:
        """Whether there is an address to fetch from."""
        ...

    async def fetch_blocks(self, party: str, from_height: int, count: int) -> Sequence[CertifiedBlock]:
        """A page of final blocks of an agency's node, rising from `from_height`; PeerError if it cannot be had."""
        ...


class BlockExchange:
    """Lives on the event loop."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        fetcher: BlockFetcher,
        on_corrupt: Callable[[Exception], None],
        on_page: Callable[[Collection[Block]], None],
    ) -> None:
        """`on_corrupt`: told where the store holds something other than was written. `on_page`: told of fetched blocks as
        soon as they are here, before the replica asks for them."""
        self._store = store
        self._fetcher = fetcher
        self._on_corrupt = on_corrupt
        self._on_page = on_page
        self._serving: Counter[str] = Counter()
        self._ahead = PageAhead(self._fetch_page)

    def serve(self, tasks: Tasks, party: str, digest: bytes, send: Callable[[Block | None], None]) -> None:
        """Look a committed block up and send it, or None; an honest peer asks for few at once, and asks again."""
        if self._serving[party] < NEAR_BLOCKS:
            self._serving[party] += 1
            tasks.spawn(self._find_and_send(party, digest, send), on_error=log_error)

    async def _find_and_send(self, party: str, digest: bytes, send: Callable[[Block | None], None]) -> None:
        try:
            send(await asyncio.to_thread(self._find_block, digest))
        except CorruptionError as error:
            self._on_corrupt(error)
        finally:
            self._serving[party] -= 1

    def _find_block(self, digest: bytes) -> Block | None:
        with self._store.read() as reader:
            place = reader.place_of_digest(digest)
            stored = None if place is None else reader.block(place.height)
            return None if stored is None else stored.block

    async def fetch(self, connected: Sequence[str], first_height: int, count: int) -> tuple[str | None, FetchedBlocks]:
        """Ask one of the connected peers, by chance (P7.2): who gave the blocks, and which, if any. The replica asks again
        where there were none."""
        peers = [party for party in sorted(connected) if self._fetcher.reaches(party)]
        if not peers:
            return None, ()
        return await self._ahead.take(peers, first_height, count)

    async def _fetch_page(self, party: str, first_height: int, count: int) -> Sequence[CertifiedBlock]:
        page = await self._fetcher.fetch_blocks(party, first_height, count)
        self._on_page([item.block for item in page])
        return page

    def stop(self) -> None:
        """Fetch no more."""
        self._ahead.stop()


def log_error(error: Exception) -> None:
    """Say that work which nobody depends on ended in an error."""
    _LOG.error("work for consensus ended in an error", exc_info=error)
