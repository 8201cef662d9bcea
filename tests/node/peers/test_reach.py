"""Connections to peers that say nothing: given up soon, on both event loops that a node may run on."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from ledger.errors import PeerError
from ledger.limits import LINK_SILENCE_MS, LINK_UNSENT_BYTES
from node.config import Address
from node.peers.directory import PeerDirectory
from node.peers.reach import patience, reach
from tests.node.peers.support import Net, fetcher_to, pair, until

LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address at which the kernel answers nobody: its queue of connections is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        place = listening.getsockname()
        for _ in range(4):
            filling = stack.enter_context(closing(socket.socket()))
            filling.setblocking(False)
            filling.connect_ex(place)
        yield Address(host=place[0], port=place[1])


def run(make_loop: Callable[[], asyncio.AbstractEventLoop], scene: Coroutine[Any, Any, None]) -> None:
    """Run on one of the loops."""
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(scene, 20))


@LOOPS
def test_an_address_that_does_not_answer_is_given_up(
    silent: Address, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scene() -> None:
        with pytest.raises(TimeoutError):
            await reach(silent, timeout_ms=50)

    run(make_loop, scene())


@LOOPS
def test_who_answers_is_reached_and_who_refuses_is_not(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene() -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            port = listening.getsockname()[1]
            with closing(await reach(Address(host="localhost", port=port))) as connected:
                assert connected.getpeername()[1] == port
        with pytest.raises(ConnectionRefusedError):
            await reach(Address(host="127.0.0.1", port=port))

    run(make_loop, scene())


def test_a_peer_that_says_nothing_is_not_waited_for_as_long_as_a_whole_page(
    silent: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.peers.reach.LINK_SILENCE_MS", 100)

    async def scene() -> None:
        async with fetcher_to(Net(tmp_path, "customs", "police"), silent) as fetching:
            with pytest.raises(PeerError) as refused:
                await fetching.fetch_blocks("police", 1, 1)
        assert refused.value.code == "unreachable"

    run(asyncio.new_event_loop, scene())


def test_no_part_of_a_short_fetch_takes_longer_than_all_of_it() -> None:
    assert patience(60_000) == httpx.Timeout(10, connect=5)
    assert patience(2_000) == httpx.Timeout(2, connect=2)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system's TCP has no user timeout")
@LOOPS
def test_both_ends_of_a_link_end_it_when_the_other_is_silent(
    tmp_path: Path, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scene() -> None:
        async with pair(Net(tmp_path, "customs", "police")) as (first, _, second, _):
            assert [silence_ms(first), silence_ms(second)] == [LINK_SILENCE_MS] * 2

    def silence_ms(directory: PeerDirectory) -> int:
        [link] = directory._links.values()
        connected = link._connection.transport.get_extra_info("socket")
        value: int = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        return value

    run(make_loop, scene())


@pytest.mark.parametrize("reason", ["lost", "closed"])
def test_a_link_that_broke_is_told_from_one_that_was_ended(tmp_path: Path, reason: str) -> None:
    async def scene() -> None:
        async with pair(Net(tmp_path, "customs", "police")) as (first, _, second, _):
            if reason == "lost":
                [link] = first._links.values()
                link._connection.transport.abort()
            else:
                await first.stop()
            await until(lambda: second.counters.links_dropped[reason] == 1)

    run(asyncio.new_event_loop, scene())


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system's TCP has no such bound")
@LOOPS
def test_what_waits_for_a_link_does_so_where_votes_overtake_it(
    make_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    """The kernel alone would take megabytes: on a slow line a vote would come many seconds after it was sent."""

    async def scene() -> None:
        async with pair(Net(tmp_path, "customs", "police")) as (first, _, second, _):
            for link in (*first._links.values(), *second._links.values()):
                connected = link._connection.transport.get_extra_info("socket")
                held = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
                assert held == LINK_UNSENT_BYTES

    run(make_loop, scene())
