"""Two real links over loopback TLS: openings that succeed and fail, frames, bounds, order, and coming back."""

import asyncio
import ssl
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop
import websockets.exceptions
from structlog.testing import capture_logs
from websockets.asyncio.client import connect

from ledger.consensus.messages import BlockResponse
from ledger.errors import ConfigurationError, PeerError
from ledger.genesis import Parameters
from ledger.limits import LINK_GRACE_MS, LINK_REFUSED_MS, MAX_CONNECTIONS_PER_PEER, MAX_FRAME_BYTES
from node.config import Address
from node.membership import Contact
from node.peers.certificates import issue_certificate, trusting_context
from node.peers.directory import PeerDirectory, PeerLimits
from node.peers.transport import FORGERIES
from node.peers.wire import Gossip, encode_frame
from node.service.ceremony import assemble, write_identity
from tests.node.peers.support import (
    CHEAP,
    NOW_MS,
    ORIGIN,
    Net,
    StepClock,
    block,
    blocks_chain,
    contacts_of,
    fetcher,
    identity,
    intrude,
    pair,
    running,
    soon,
    tampered,
    until,
    vote,
)


@pytest.fixture
def net(tmp_path: Path) -> Net:
    """Two agencies, of which customs sorts first, and dials."""
    return Net(tmp_path, "customs", "police")


EAGER = PeerLimits(grace_ms=1, reconnect_first_ms=1, reconnect_max_ms=8)
"""Who does not wait for long to be dialled."""


def at(directory: PeerDirectory) -> Address:
    """Where a started node listens."""
    return Address(host="127.0.0.1", port=directory.port)


# --- frames ---


def test_messages_travel_both_ways_and_arrive_as_sent(net: Net) -> None:
    async def scene() -> None:
        async with pair(net) as (first, first_recorder, second, second_recorder):
            assert first.connected() == {"police"}
            assert second.connected() == {"customs"}
            response = BlockResponse(digest=bytes(32), block=block(7))
            first.send("police", response)
            second.broadcast(vote(3))
            assert await second_recorder.expect_message() == ("customs", response)
            assert await first_recorder.expect_message() == ("police", vote(3))

    asyncio.run(scene())


def test_a_block_of_the_largest_size_arrives(net: Net) -> None:
    async def scene() -> None:
        async with pair(net) as (first, _, _, recorder):
            large = block(1, entries=tuple(number.to_bytes(4) + bytes(60_000) for number in range(69)))
            first.send("police", BlockResponse(digest=large.digest, block=large))
            _, message = await recorder.expect_message()
            assert isinstance(message, BlockResponse)
            assert message.block == large

    asyncio.run(scene())


@pytest.mark.parametrize("entries", [(b"{}",), (bytes(50_000), bytes(50_000))], ids=["inline", "in a thread"])
def test_a_block_with_another_body_costs_the_link_and_is_not_seen(net: Net, entries: tuple[bytes, ...]) -> None:
    async def scene() -> None:
        async with pair(net) as (first, first_recorder, second, recorder):
            first.send("police", BlockResponse(digest=bytes(32), block=tampered(block(1, entries=entries))))
            await recorder.expect_event("down", "customs")
            await first_recorder.expect_event("down", "police")
            assert second.counters.links_dropped["bad_block"] == 1
            assert recorder.messages.empty()

    asyncio.run(scene())


@pytest.mark.parametrize(
    "frame",
    [b"", b"garbage", b"\xc1", b"\x91" * 5_000, b"\x92\xa6Gossip\x05", b"\x91\xa7Unknown"],
    ids=["empty", "text", "reserved", "nested", "wrong type", "unknown kind"],
)
def test_garbage_costs_the_link_and_the_node_goes_on(net: Net, frame: bytes) -> None:
    async def scene() -> None:
        police = net.directory("police")
        async with running(police) as recorder:
            intruder = await intrude(net, police, party="customs", towards="police")
            await intruder.complete(intruder.opening("police"))
            await recorder.expect_event("up", "customs")
            await intruder.connection.send(frame)
            assert await intruder.refusal() == "bad_frame"
            await recorder.expect_event("down", "customs")
            assert police.counters.links_dropped["bad_frame"] == 1
            customs = net.directory("customs", {"police": at(police)})
            async with running(customs):
                await recorder.expect_event("up", "customs")

    asyncio.run(scene())


def test_an_oversized_frame_costs_the_link(net: Net) -> None:
    async def scene() -> None:
        police = net.directory("police")
        async with running(police) as recorder:
            intruder = await intrude(net, police, party="customs", towards="police")
            await intruder.complete(intruder.opening("police"))
            await recorder.expect_event("up", "customs")
            sending = asyncio.ensure_future(intruder.connection.send(bytes(MAX_FRAME_BYTES + 1)))
            await recorder.expect_event("down", "customs")
            assert police.counters.links_dropped["bad_frame"] == 1
            assert police.counters.frames_received == 0
            await asyncio.wait([sending])
            sending.exception()

    asyncio.run(scene())


def test_a_peer_that_sends_without_end_is_read_at_its_share_of_the_time(net: Net) -> None:
    """Each message costs the receiver 10 ms: of a peer's 200 within a second, some tenth is read."""

    async def scene() -> None:
        police = net.directory("police", limits=PeerLimits(time_share=0.1, time_burst_s=0.1))
        async with running(police) as recorder:
            recorder.cost_s = 0.01
            intruder = await intrude(net, police, party="customs", towards="police")
            await intruder.complete(intruder.opening("police"))
            await recorder.expect_event("up", "customs")
            frame = encode_frame(vote(1))
            for _ in range(200):
                await intruder.connection.send(frame)
            await until(lambda: police.counters.pauses >= 3)
            await asyncio.sleep(0)
            assert police.counters.frames_received < 100
            assert police.connected() == {"customs"}

    asyncio.run(scene())


def test_a_peer_error_of_the_handler_costs_the_link(net: Net) -> None:
    async def scene() -> None:
        async with pair(net) as (first, _, second, recorder):
            recorder.refuse = PeerError("no honest peer says this", code="peer_misbehaved")
            first.send("police", vote(1))
            await recorder.expect_event("down", "customs")
            assert second.counters.links_dropped["peer_misbehaved"] == 1

    asyncio.run(scene())


@pytest.mark.parametrize("forger", ["customs", "police"])
def test_who_sends_forgeries_without_end_gets_no_link_for_a_while(net: Net, forger: str) -> None:
    """Whether it dials or is dialled."""

    async def scene(shunned_ms: int) -> tuple[int, int]:
        limits = PeerLimits(reconnect_first_ms=1, reconnect_max_ms=8, shunned_ms=shunned_ms)
        async with pair(net, limits=limits) as (first, first_recorder, second, second_recorder):
            sender, judge = (first, second) if forger == "customs" else (second, first)
            recorder = second_recorder if forger == "customs" else first_recorder
            recorder.refuse = PeerError("forged", code=FORGERIES)
            sender.broadcast(vote(1))
            await until(lambda: judge.counters.links_dropped[FORGERIES] == 1)
            recorder.refuse = None
            if shunned_ms < 1_000:
                await until(lambda: judge.counters.links_opened == 2)
            elif forger == "customs":
                await until(lambda: judge.counters.links_refused["shunned"] >= 2)
            else:
                await asyncio.sleep(0.1)  # ten of its pauses
            return judge.counters.links_opened, len(judge.connected())

    assert asyncio.run(scene(600_000)) == (1, 0)
    assert asyncio.run(scene(10))[0] == 2


def test_links_and_catch_up_work_on_uvloop_too(net: Net) -> None:
    """The loop that nodes run on: its TLS and its sockets are not asyncio's."""

    async def scene() -> None:
        async with pair(net) as (first, _, second, recorder):
            first.send("police", vote(1))
            assert await recorder.expect_message() == ("customs", vote(1))
            intruder = await intrude(net, second, party="customs", towards="police")
            await intruder.connection.send(b"garbage")
            assert await intruder.refusal() == "bad_opening"
        police = net.directory("police", blocks=blocks_chain(20, entries=(bytes(60_000),) * 16))
        async with running(police), fetcher(net, police) as customs:
            assert len(await customs.fetch_blocks("police", 1, 64)) == 8

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


def refusals(lines: Sequence[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    """The peers that refused, or were refused, as the log tells it, with the codes."""
    return [(line["peer"], line["error"]["code"]) for line in lines if line["event"] == "peer refused"]


# --- openings -----------------------------------------------------------------------------------------------------------


def test_a_certificate_under_a_foreign_authority_does_not_get_in(net: Net, tmp_path: Path) -> None:
    async def scene() -> None:
        stranger = Net(tmp_path / "stranger", "customs", "police")
        police = net.directory("police")
        async with running(police) as recorder:
            context = stranger.client_context("customs", "police")
            context.load_verify_locations(cadata=net.identities["police"].authority.der)
            with capture_logs() as lines:
                for _ in range(3):
                    with pytest.raises((OSError, websockets.exceptions.WebSocketException)):
                        await connect(
                            f"wss://127.0.0.1:{police.port}/link", ssl=context, server_hostname="police", proxy=None
                        )
            assert recorder.events.empty()
            assert police.counters.links_opened == 0
            assert police.counters.links_refused == {"unknown_authority": 3}
            [told] = [line for line in lines if line["event"] == "a connection to the peer port was refused"]
            assert (told["code"], told["log_level"], told["times"]) == ("unknown_authority", "warning", 1)
            assert "[peers] observers" in told["help"]

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["/link", "/blocks?from=1&count=1"])
def test_who_shows_no_certificate_gets_neither_link_nor_blocks(net: Net, path: str) -> None:
    async def scene() -> None:
        police = net.directory("police", blocks=blocks_chain(1))
        async with running(police):
            context = trusting_context(net.genesis.agencies[1])
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", police.port, ssl=context, server_hostname="police"
            )
            writer.write(f"GET {path} HTTP/1.1\r\nHost: police\r\n\r\n".encode())
            try:
                answer = await soon(reader.read())
            except (ssl.SSLError, OSError):
                answer = b""
            writer.transport.abort()
            assert answer == b""
            assert police.counters.links_refused == {"no_certificate": 1}, "by TLS, before anything of ours runs"
            assert police.counters.catchup_served == 0

    asyncio.run(scene())


def test_who_answers_under_another_agencys_authority_is_not_linked_to(net: Net) -> None:
    """A certificate in the name of the police, but issued by customs, does not make its bearer the police."""

    async def scene() -> None:
        issued = issue_certificate(net.identities["customs"].authority, ("police",), now_ms=NOW_MS)
        net.tls("police").certificate.write_bytes(issued.certificate_pem)
        net.tls("police").key.write_bytes(issued.key_pem)
        impostor = net.directory("police")
        async with running(impostor) as recorder:
            customs = net.directory("customs", {"police": at(impostor)})
            with capture_logs() as lines:
                async with running(customs):
                    await until(lambda: customs.counters.dials_failed >= 3)
                    assert customs.connected() == set()
                    assert recorder.events.empty()
            assert refusals(lines) == [("police", "wrong_certificate")], "once, however often it is dialled"

    asyncio.run(scene())


def test_who_is_not_let_in_is_told_in_its_own_log(net: Net, tmp_path: Path) -> None:
    """TLS of the other refuses it, so it hears no reason, but neither is it a peer that could not be reached."""

    async def scene() -> None:
        police = net.directory("police")
        async with running(police):
            police.set_contacts({})
            customs = net.directory("customs", {"police": at(police)})
            with capture_logs() as lines:
                async with running(customs):
                    await until(lambda: customs.counters.dials_failed >= 3)
            assert refusals(lines) == [("police", "not_let_in")]
            assert customs.counters.links_refused["not_let_in"] >= 3

    asyncio.run(scene())


def test_one_agencys_certificate_with_anothers_key_or_name_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        net = Net(tmp_path, "customs", "interior", "police")
        interior_key = net.identities["interior"].keys.transport
        police = net.directory("police")
        async with running(police) as recorder:
            for claimed, code in (("customs", "bad_proof"), ("interior", "wrong_certificate")):
                intruder = await intrude(net, police, party="customs", towards="police")
                opening = intruder.opening("police", claimed=claimed, key=interior_key)
                await intruder.connection.send(opening.hello())
                opening.receive_hello(await soon(intruder.connection.recv(decode=False)))
                await intruder.connection.send(opening.proof())
                assert await intruder.refusal() == code
                assert police.counters.links_refused[code] == 1
            assert recorder.events.empty()
            assert police.connected() == set()

    asyncio.run(scene())


def test_a_replayed_opening_is_refused(net: Net) -> None:
    """What was said on one connection is worth nothing on the next: the responder's nonce is another."""

    async def scene() -> None:
        police = net.directory("police")
        async with running(police) as recorder:
            honest = await intrude(net, police, party="customs", towards="police")
            opening = honest.opening("police")
            await honest.complete(opening)
            await recorder.expect_event("up", "customs")
            recorded = (opening.hello(), opening.proof())
            replay = await intrude(net, police, party="customs", towards="police")
            for message in recorded:
                await replay.connection.send(message)
            assert await replay.refusal() == "bad_proof"
            assert police.counters.links_refused["bad_proof"] == 1
            assert police.connected() == {"customs"}
            await honest.connection.close()

    asyncio.run(scene())


def test_the_responders_own_words_do_not_open_a_link(net: Net) -> None:
    """Reflection: a Hello sent back is refused for its certificate, so that its proof is never asked for."""

    async def scene() -> None:
        police = net.directory("police")
        async with running(police):
            intruder = await intrude(net, police, party="customs", towards="police")
            await intruder.connection.send(await soon(intruder.connection.recv(decode=False)))
            assert await intruder.refusal() == "wrong_certificate"

    asyncio.run(scene())


def test_another_ledger_is_refused_by_name(net: Net) -> None:
    async def scene() -> None:
        other = assemble(
            [each.agency for each in net.identities.values()],
            origin=ORIGIN,
            time_ms=NOW_MS - 60_000,
            parameters=Parameters(),
        )
        police = net.directory("police")
        async with running(police) as recorder:
            customs = net.directory("customs", {"police": at(police)}, genesis=other)
            with capture_logs() as lines:
                async with running(customs):
                    await until(lambda: police.counters.links_refused["wrong_ledger"] > 3)
                    assert customs.connected() == set()
                    assert recorder.events.empty()
            said = refusals(lines)
            assert ("customs", "wrong_ledger") in said, "as the police tell it"
            assert len(said) == len(set(said)), "once, however often it is dialled"

    asyncio.run(scene())


@pytest.mark.parametrize("message", [b"", b"hello", bytes(2_000)], ids=["empty", "garbage", "too large"])
def test_garbage_for_a_hello_is_refused(net: Net, message: bytes) -> None:
    async def scene() -> None:
        police = net.directory("police")
        async with running(police):
            intruder = await intrude(net, police, party="customs", towards="police")
            await intruder.connection.send(message)
            assert await intruder.refusal() == "bad_opening"

    asyncio.run(scene())


def test_a_silent_dialler_is_let_go(net: Net) -> None:
    async def scene() -> None:
        police = net.directory("police", limits=PeerLimits(opening_timeout_ms=200))
        async with running(police):
            intruder = await intrude(net, police, party="customs", towards="police")
            await intruder.refusal()
            assert police.counters.links_refused["opening_timeout"] == 1

    asyncio.run(scene())


def test_an_agency_that_holds_many_connections_takes_no_place_of_others(tmp_path: Path) -> None:
    async def scene() -> None:
        net = Net(tmp_path, "customs", "interior", "police")
        police = net.directory("police")
        async with running(police) as recorder:
            silent = [
                await intrude(net, police, party="customs", towards="police") for _ in range(MAX_CONNECTIONS_PER_PEER)
            ]
            with pytest.raises((OSError, websockets.exceptions.WebSocketException)):
                await intrude(net, police, party="customs", towards="police")
            assert police.counters.links_refused["too_many_connections"] == 1
            interior = net.directory("interior", {"police": at(police)})
            async with running(interior):
                await recorder.expect_event("up", "interior")
            for intruder in silent:
                await intruder.connection.close()
            customs = net.directory("customs", {"police": at(police)})
            async with running(customs):
                await recorder.expect_event("down", "interior")
                await recorder.expect_event("up", "customs")

    asyncio.run(scene())


def test_a_node_that_dials_the_other_refuses_to_be_dialled(net: Net) -> None:
    async def scene() -> None:
        customs = net.directory("customs")
        async with running(customs):
            intruder = await intrude(net, customs, party="police", towards="customs")
            assert await intruder.refusal() == "wrong_direction"
            assert customs.counters.links_refused["wrong_direction"] == 1

    asyncio.run(scene())


# --- bounds, order, coming back -----------------------------------------------------------------------------------------


def test_a_peer_that_does_not_read_loses_its_link_not_our_memory(net: Net) -> None:
    async def scene() -> None:
        limits = PeerLimits(queue_bytes=4 * 1024 * 1024, reconnect_first_ms=1, reconnect_max_ms=8)
        async with pair(net, limits=limits) as (first, first_recorder, _, recorder):
            recorder.gate.clear()
            gossip = Gossip(entries=(bytes(50_000),) * 5)
            most = 0
            while first.counters.links_dropped["slow_peer"] == 0:
                first.send("police", gossip)
                most = max(most, *(waiting for _, waiting in first.waiting.values()), 0)
                await asyncio.sleep(0)
            await first_recorder.expect_event("down", "police")
            assert most <= limits.queue_bytes
            assert first.counters.frames_lost > 0

    asyncio.run(scene())


def test_a_vote_overtakes_gossip_that_waits(net: Net) -> None:
    async def scene() -> None:
        async with pair(net) as (first, _, _, recorder):
            gossip = [Gossip(entries=(number.to_bytes(4) + bytes(50_000),) * 5) for number in range(40)]
            for message in gossip:
                first.send("police", message)
            first.send("police", vote(1))
            first.send("police", vote(2))
            arrived = [(await recorder.expect_message())[1] for _ in range(42)]
            assert arrived.index(vote(1)) + 1 == arrived.index(vote(2)) < 42 // 2
            assert [message for message in arrived if isinstance(message, Gossip)] == gossip

    asyncio.run(scene())


def test_a_lost_link_is_dialled_again_with_growing_pauses(net: Net) -> None:
    async def scene() -> None:
        clock = StepClock()
        police = net.directory("police")
        async with running(police):
            address = at(police)
        customs = net.directory(
            "customs",
            {"police": address},
            clock=clock,
            limits=PeerLimits(reconnect_first_ms=100, reconnect_max_ms=1_000),
        )
        async with running(customs) as recorder:
            pauses = []
            for _ in range(6):
                pauses.append(await soon(clock.pauses.get()))
                clock.go.release()
            bounds = [200, 400, 800, 1_000, 1_000, 1_000]
            assert all(bound // 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
            back = net.directory("police", listen=address)
            async with running(back) as back_recorder:
                clock.go.release()
                clock.go.release()
                await recorder.expect_event("up", "police")
                await back_recorder.expect_event("up", "customs")
            await recorder.expect_event("down", "police")
            assert customs.connected() == set()

    asyncio.run(scene())


def test_a_peer_that_redirects_is_dialled_no_oftener_than_one_that_is_down(net: Net) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def scene() -> None:
        tls = net.tls("police")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        liar = await asyncio.start_server(redirect, "127.0.0.1", 0, ssl=context)
        address = Address(host="127.0.0.1", port=liar.sockets[0].getsockname()[1])
        clock = StepClock()
        customs = net.directory("customs", {"police": address}, clock=clock)
        with capture_logs() as lines:
            async with liar, running(customs):
                for dials in range(1, 4):
                    await soon(clock.pauses.get())
                    assert customs.counters.dials_failed == dials
                    clock.go.release()
        assert refusals(lines) == [("police", "no_node")], "once, however often it is dialled"
        assert [line for line in lines if line["log_level"] == "error"] == []

    asyncio.run(scene())


def test_a_new_link_takes_the_place_of_the_old_one(net: Net) -> None:
    async def scene() -> None:
        async with pair(net) as (_, first_recorder, second, recorder):
            intruder = await intrude(net, second, party="customs", towards="police")
            await intruder.complete(intruder.opening("police"))
            await recorder.expect_event("down", "customs")
            await recorder.expect_event("up", "customs")
            await first_recorder.expect_event("down", "police")
            await until(lambda: second.counters.links_dropped["replaced"] >= 1)
            await intruder.connection.close()

    asyncio.run(scene())


def test_sending_without_a_link_loses_the_message_and_says_so(net: Net) -> None:
    async def scene() -> None:
        police = net.directory("police")
        async with running(police):
            police.send("customs", vote(1))
            police.broadcast(vote(2))
            assert police.counters.frames_lost == 2

    asyncio.run(scene())


def test_who_is_not_known_where_it_is_dials_though_it_sorts_last(net: Net) -> None:
    """A newcomer has everybody's address, and nobody has its own yet."""

    async def scene() -> None:
        customs = net.directory("customs", known=False)
        async with running(customs) as recorder:
            police = net.directory("police", {"customs": at(customs)}, limits=EAGER)
            async with running(police):
                await recorder.expect_event("up", "police")
                assert police.connected() == {"customs"}
            await recorder.expect_event("down", "police")
            back = net.directory("police", {"customs": at(customs)}, limits=EAGER)
            async with running(back):
                await recorder.expect_event("up", "police")
        assert customs.counters.links_refused.total() == 0

    asyncio.run(scene())


def test_who_is_refused_by_a_node_that_dials_itself_leaves_it_at_that_for_a_while(net: Net) -> None:
    async def scene() -> None:
        clock = StepClock()
        customs = net.directory("customs")
        async with running(customs) as recorder:
            police = net.directory("police", {"customs": at(customs)}, clock=clock)
            async with running(police):
                assert await soon(clock.pauses.get()) == LINK_GRACE_MS
                clock.go.release()
                assert await soon(clock.pauses.get()) == LINK_REFUSED_MS
                assert customs.counters.links_refused["wrong_direction"] == 1
                assert recorder.events.empty()

    asyncio.run(scene())


# --- other contacts -----------------------------------------------------------------------------------------------------


def test_who_becomes_a_contact_is_linked_to_and_who_is_none_any_more_is_cut_off(tmp_path: Path) -> None:
    async def scene() -> None:
        net = Net(tmp_path, "customs", "interior", "police")
        everybody = contacts_of(net.genesis, "police")
        police = net.directory("police")
        async with running(police) as recorder:
            police.set_contacts({"interior": everybody["interior"]})
            customs = net.directory("customs", {"police": at(police)})
            interior = net.directory("interior", {"police": at(police)})
            async with running(customs), running(interior):
                await recorder.expect_event("up", "interior")
                await until(lambda: police.counters.links_refused["wrong_certificate"] > 0)
                police.set_contacts({"customs": everybody["customs"]})
                await recorder.expect_event("down", "interior")
                await recorder.expect_event("up", "customs")
                assert police.connected() == {"customs"}

    asyncio.run(scene())


def test_a_new_contact_that_has_an_address_is_dialled(net: Net) -> None:
    async def scene() -> None:
        police = net.directory("police")
        async with running(police):
            customs = net.directory("customs", {"police": at(police)})
            everybody = contacts_of(net.genesis, "customs")
            customs.set_contacts({})
            async with running(customs) as recorder:
                customs.set_contacts(everybody)
                await recorder.expect_event("up", "police")

    asyncio.run(scene())


def test_a_contact_under_new_keys_is_met_again_by_these_only(tmp_path: Path) -> None:
    """Rotated keys: the link under the old ones ends at once, and only the new ones open another."""

    async def scene() -> None:
        net, renewed = Net(tmp_path / "old", "customs", "police"), identity("customs")
        write_identity(renewed, tmp_path / "new", derivation=CHEAP)
        async with pair(net) as (_, _, police, recorder):
            contact = Contact(party="customs", transport=renewed.agency.node.transport.public, ca=renewed.agency.ca)
            police.set_contacts({"customs": contact})
            await recorder.expect_event("down", "customs")
            await until(lambda: police.counters.links_refused["wrong_certificate"] > 0)
            assert police.connected() == set()
            net.identities["customs"] = renewed
            (tmp_path / "old" / "customs").rename(tmp_path / "aside")
            (tmp_path / "new").rename(tmp_path / "old" / "customs")
            customs = net.directory("customs", {"police": at(police)})
            async with running(customs):
                await recorder.expect_event("up", "customs")

    asyncio.run(scene())


def test_an_authority_that_is_none_costs_that_contact_only(net: Net) -> None:
    """What the ledger says of one agency must not keep the others apart."""

    async def scene() -> None:
        police = net.directory("police")
        async with running(police):
            customs = net.directory("customs", {"police": at(police)})
            unusable = Contact(party="broken", transport="00" * 32, ca="AAAA")
            customs.set_contacts({"broken": unusable, **contacts_of(net.genesis, "customs")})
            async with running(customs) as recorder:
                await recorder.expect_event("up", "police")
                customs.broadcast(vote(1))

    asyncio.run(scene())


def test_a_port_in_use_is_said_plainly(net: Net) -> None:
    async def scene() -> None:
        police = net.directory("police")
        async with running(police):
            second = net.directory("police", listen=at(police))
            with pytest.raises(ConfigurationError, match="cannot listen"):
                async with running(second):
                    pass

    asyncio.run(scene())
