"""The page ahead: fetched while the one before is executed, from another peer, and let go where it is not the next."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from ledger.block import Block
from ledger.errors import PeerError
from node.catching_up import PageAhead
from node.peers.catchup import CertifiedBlock
from tests.node.peers.support import block, certified

PEERS = ("customs", "police")
LIAR = "liar"
LAST = 150


class Nodes:
    """Nodes with blocks up to a height."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.refuse = False
        self.epoch_ends = LAST
        """The last block of epoch 0."""

    async def fetch(self, party: str, first: int, count: int) -> Sequence[CertifiedBlock]:
        self.asked.append((party, first))
        await asyncio.sleep(0)
        if self.refuse:
            raise PeerError("down", code="unreachable")
        return [certified(self.block(height)) for height in range(first, min(first + count, LAST + 1))]

    def block(self, height: int) -> Block:
        found = block(height)
        return Block(
            header=replace(found.header, epoch=int(height > self.epoch_ends)), entries=found.entries, seal=found.seal
        )


def heights(blocks: object) -> list[int]:
    return [each.header.height for each, _ in blocks]  # type: ignore[attr-defined]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_next_page_is_under_way_from_another_peer_before_it_is_asked_for() -> None:
    async def scenario() -> None:
        nodes = Nodes()
        ahead = PageAhead(nodes.fetch)
        first, blocks = await ahead.take(PEERS, 1, 64)
        assert heights(blocks) == list(range(1, 65))
        await turns()
        assert [height for _, height in nodes.asked] == [1, 65]
        assert nodes.asked[1][0] != first
        second, blocks = await ahead.take(PEERS, 65, 64)
        assert (second, heights(blocks)) == (nodes.asked[1][0], list(range(65, 129)))
        _, blocks = await ahead.take(PEERS, 129, 64)
        assert heights(blocks) == list(range(129, LAST + 1))
        await turns()
        assert [height for _, height in nodes.asked] == [1, 65, 129, 151], "each page once"

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_page_that_is_not_the_next_is_let_go() -> None:
    async def scenario() -> None:
        nodes = Nodes()
        ahead = PageAhead(nodes.fetch)
        await ahead.take(PEERS, 1, 64)
        _, blocks = await ahead.take(PEERS, 33, 64)
        assert heights(blocks) == list(range(33, 97))

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_where_nothing_came_it_is_asked_again_and_nothing_is_fetched_ahead() -> None:
    async def scenario() -> None:
        nodes = Nodes()
        ahead = PageAhead(nodes.fetch)
        nodes.refuse = True
        assert (await ahead.take(PEERS, 1, 64))[1] == ()
        await turns()
        assert len(nodes.asked) == 1
        nodes.refuse = False
        assert heights((await ahead.take(PEERS, 1, 64))[1])[0] == 1
        ahead.stop()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_peer_that_gives_nothing_is_hardly_asked_while_others_give() -> None:
    """It might take a minute each time, and of three peers it would be asked for every third page."""

    class OneLiar(Nodes):
        async def fetch(self, party: str, first: int, count: int) -> Sequence[CertifiedBlock]:
            found = await super().fetch(party, first, count)
            if party == "liar":
                raise PeerError("a minute later", code="unreachable")
            return found

    async def scenario() -> None:
        nodes = OneLiar()
        ahead = PageAhead(nodes.fetch)
        height = 1
        while height <= LAST:
            _, blocks = await ahead.take((*PEERS, "liar"), height, 1)
            height += len(blocks)
        assert sum(party == "liar" for party, _ in nodes.asked) <= 1
        assert {party for party, _ in nodes.asked} >= set(PEERS)
        alone = PageAhead(nodes.fetch)
        for _ in range(3):
            assert (await alone.take(("liar",), 1, 1))[1] == (), "whoever is left is asked"

    asyncio.run(asyncio.wait_for(scenario(), 10))


@pytest.mark.parametrize("is_refused", [False, True], ids=["a block at a time", "what does not hold"])
def test_who_takes_long_for_little_or_gives_what_leads_nowhere_is_asked_last(is_refused: bool) -> None:
    async def scenario() -> None:
        nodes, now_s, height = Nodes(), 0.0, 1

        async def fetch(party: str, first: int, count: int) -> Sequence[CertifiedBlock]:
            nonlocal now_s
            page = await nodes.fetch(party, first, count)
            if party == LIAR and not is_refused:
                now_s += 59
                return page[:1]
            return page

        ahead = PageAhead(fetch, now_s=lambda: now_s)
        for _ in range(30):
            party, blocks = await ahead.take((*PEERS, LIAR), height, 4)
            height += 0 if party == LIAR and is_refused else len(blocks)
            await turns()
        ahead.stop()
        asked = Counter(party for party, _ in nodes.asked)
        assert asked[LIAR] <= 3
        assert min(asked[party] for party in PEERS) >= 10

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_blocks_of_the_next_epoch_are_held_against_nobody() -> None:
    async def scenario() -> None:
        nodes = Nodes()
        ahead = PageAhead(nodes.fetch)
        nodes.epoch_ends = 6
        _, blocks = await ahead.take(PEERS, 1, 10)
        assert len(blocks) == 10
        await ahead.take(PEERS, 7, 10)  # what is of the next epoch is asked for again once this one is over
        assert not ahead._in_vain.total()
        ahead.stop()

    asyncio.run(asyncio.wait_for(scenario(), 10))
