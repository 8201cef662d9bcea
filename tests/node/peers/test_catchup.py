"""Catch-up by blocks over HTTP on the peer port: what is served, to whom, and how much of it is believed."""

import asyncio
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs
from websockets.datastructures import Headers
from websockets.http11 import Request

from ledger.errors import CorruptionError, PeerError
from ledger.limits import CATCHUP_CONCURRENCY, CATCHUP_PARTY_CONCURRENCY, MAX_BLOCKS_PER_REQUEST, MAX_FRAME_BYTES
from node.config import Address
from node.peers.catchup import BlockServer, CertifiedBlock, decode_page, encode_page
from node.peers.counters import PeerCounters
from node.peers.pages import PageClient
from tests.node.peers.support import (
    PATIENCE_S,
    Blocks,
    Net,
    block,
    blocks_chain,
    certified,
    contacts_of,
    fetcher,
    fetcher_to,
    running,
    soon,
    tampered,
)


@pytest.fixture
def net(tmp_path: Path) -> Net:
    """Two agencies: customs is index 0, police index 1."""
    return Net(tmp_path, "customs", "police")


def test_a_page_holds_what_was_asked_for_and_is_there(net: Net) -> None:
    async def scene() -> None:
        source = blocks_chain(100)
        police = net.directory("police", blocks=source)
        async with running(police), fetcher(net, police) as customs:
            assert tuple(await customs.fetch_blocks("police", 1, 5)) == source.blocks[:5]
            assert tuple(await customs.fetch_blocks("police", 98, 64)) == source.blocks[97:]
            assert tuple(await customs.fetch_blocks("police", 101, 64)) == ()
            assert len(await customs.fetch_blocks("police", 1, MAX_BLOCKS_PER_REQUEST)) == MAX_BLOCKS_PER_REQUEST
            assert police.counters.catchup_served == 4

    asyncio.run(scene())


def test_a_page_ends_where_a_frame_would_be_full(net: Net) -> None:
    async def scene() -> None:
        source = Blocks(tuple(certified(block(height, entries=(bytes(60 * 1024),) * 16)) for height in range(1, 20)))
        police = net.directory("police", blocks=source)
        async with running(police), fetcher(net, police) as customs:
            first = await customs.fetch_blocks("police", 1, 64)
            assert tuple(first) == source.blocks[: len(first)]
            assert len(first) == MAX_FRAME_BYTES // len(msgspec.msgpack.encode(source.blocks[0]))
            assert (await customs.fetch_blocks("police", 1 + len(first), 1))[0] == source.blocks[len(first)]

    asyncio.run(scene())


def test_the_peer_must_show_a_certificate_of_an_agency(net: Net, tmp_path: Path) -> None:
    async def scene() -> None:
        police = net.directory("police", blocks=blocks_chain(3))
        stranger = Net(tmp_path / "stranger", "customs", "police")
        async with running(police):
            context = stranger.client_context("customs", "police")
            context.load_verify_locations(cadata=net.identities["police"].authority.der)
            url = f"https://127.0.0.1:{police.port}/blocks?from=1&count=1"
            async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                with pytest.raises(httpx.TransportError):
                    await client.get(url, extensions={"sni_hostname": "police"})
            assert police.counters.catchup_served == 0

    asyncio.run(scene())


def test_who_serves_blocks_must_be_the_agency_asked(net: Net) -> None:
    async def scene() -> None:
        customs = net.directory("customs", blocks=blocks_chain(3))
        async with running(customs):
            address = Address(host="127.0.0.1", port=customs.port)
            async with fetcher_to(net, address) as mistaken:
                with pytest.raises(PeerError) as refused:
                    await mistaken.fetch_blocks("police", 1, 1)
                assert refused.value.code == "unreachable"
                with pytest.raises(PeerError, match="no address"):
                    await mistaken.fetch_blocks("interior", 1, 1)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/blocks", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=1", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=1&count=0", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=1&count=65", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=-1&count=1", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=01&count=1", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=%D9%A1&count=1", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=99999999999999999999&count=1", HTTPStatus.BAD_REQUEST),
        ("/blocks?from=1&count=1&count=2", HTTPStatus.BAD_REQUEST),
        ("/secrets", HTTPStatus.NOT_FOUND),
        ("/", HTTPStatus.NOT_FOUND),
    ],
)
def test_other_requests_are_refused(net: Net, path: str, status: HTTPStatus) -> None:
    async def scene() -> None:
        police = net.directory("police", blocks=blocks_chain(3))
        async with running(police):
            context = net.client_context("customs", "police")
            async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                url = f"https://127.0.0.1:{police.port}{path}"
                answer = await client.get(url, extensions={"sni_hostname": "police"})
            assert answer.status_code == status
            assert answer.content == b""

    asyncio.run(scene())


class Stuck(Blocks):
    """A source that waits until the test lets it go."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__(())
        self._gate = gate

    def certified_blocks(self, first_height: int, count: int) -> Iterator[CertifiedBlock]:
        """Waits in its thread."""
        assert self._gate.wait(PATIENCE_S)
        yield from ()


def test_no_more_than_a_few_answers_are_made_at_once_and_half_of_them_for_one_agency() -> None:
    async def scene() -> None:
        gate = threading.Event()
        counters = PeerCounters()
        server = BlockServer(Stuck(gate), counters)
        request = Request("/blocks?from=1&count=1", Headers())
        assert CATCHUP_CONCURRENCY == 2 * CATCHUP_PARTY_CONCURRENCY
        answers = []
        for party in ("customs", "police"):
            answers += [asyncio.ensure_future(server.answer(request, party)) for _ in range(CATCHUP_PARTY_CONCURRENCY)]
            await asyncio.sleep(0)
            assert (await soon(server.answer(request, party))).status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert (await soon(server.answer(request, "neighbour"))).status_code == HTTPStatus.SERVICE_UNAVAILABLE
        gate.set()
        assert {(await soon(answer)).status_code for answer in answers} == {HTTPStatus.OK}
        assert (await soon(server.answer(request, "neighbour"))).status_code == HTTPStatus.OK
        assert counters.catchup_refused["503"] == 3

    asyncio.run(scene())


def test_an_authority_that_is_none_makes_that_agency_unreachable_and_nothing_worse(net: Net) -> None:
    """No rule of the ledger asks whether a validator's CA certificate can be read."""

    async def scene() -> None:
        contacts = contacts_of(net.genesis, "customs")
        unreadable = {"police": msgspec.structs.replace(contacts["police"], ca="A" * 100)}
        address = Address(host="127.0.0.1", port=1)
        blocks, pages = fetcher_to(net, address), PageClient({"police": address}, net.tls("customs"))
        async with blocks, pages:
            for client in (blocks, pages):
                client.set_contacts(unreadable)
            with pytest.raises(PeerError) as refused:
                await blocks.fetch_blocks("police", 1, 5)
            assert refused.value.code == "unreachable"
            with pytest.raises(PeerError) as refused:
                await pages.fetch("police", "/snapshot")
            assert refused.value.code == "unreachable"
            assert "bad_certificate" in (refused.value.actual or "")

    asyncio.run(scene())


def test_a_store_that_fails_is_said_and_answered_as_our_fault() -> None:
    class Broken:
        def certified_blocks(self, first_height: int, count: int) -> Iterator[CertifiedBlock]:
            raise CorruptionError(f"block {first_height} is not what was committed")

    async def scene() -> None:
        counters = PeerCounters()
        server = BlockServer(Broken(), counters)
        request = Request("/blocks?from=7&count=1", Headers())
        with capture_logs() as lines:
            answers = [await server.answer(request, "police") for _ in range(CATCHUP_CONCURRENCY + 1)]
        assert {answer.status_code for answer in answers} == {HTTPStatus.INTERNAL_SERVER_ERROR}, "no place stays taken"
        assert {line["code"] for line in lines} == {"store_corrupt"}
        assert counters.catchup_refused["500"] == len(answers)
        assert counters.catchup_served == 0

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("page", "code"),
    [
        ((certified(block(2)), certified(block(1))), "bad_page"),
        ((certified(block(1)), certified(block(3))), "bad_page"),
        ((certified(block(2)),), "bad_page"),
        ((certified(block(1)), certified(block(2)), certified(block(3))), "bad_page"),
        ((certified(tampered(block(1))),), "bad_block"),
        ("garbage", "bad_page"),
    ],
    ids=["falling", "gap", "other height", "too many", "other body", "no page"],
)
def test_a_page_that_was_not_asked_for_is_not_believed(page: object, code: str) -> None:
    with pytest.raises(PeerError) as refused:
        decode_page(msgspec.msgpack.encode(page), 1, 2)
    assert refused.value.code == code


def test_a_page_survives_its_encoding_and_no_cut_of_it_does() -> None:
    source = blocks_chain(3)
    data = encode_page(source, 1, 3)
    assert decode_page(data, 1, 3) == source.blocks
    for length in range(0, len(data), 7):
        with pytest.raises(PeerError):
            decode_page(data[:length], 1, 3)
    with pytest.raises(PeerError):
        decode_page(data + b"\x00", 1, 3)
