"""Frames, the send queue and the opening's messages, without a network."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.consensus.messages import BlockResponse, CertificateRequest, Notarize, Proposal, ProposalMessage, Status
from ledger.errors import InternalError, PeerError
from ledger.limits import MAX_ENTRY_BYTES, MAX_FRAME_BYTES, MAX_GOSSIP_BYTES, MAX_GOSSIP_RECORDS
from node.peers.queue import SendQueue
from node.peers.wire import (
    Cosignature,
    Cosignatures,
    Gossip,
    PeerMessage,
    decode_frame,
    encode_frame,
    gossip_frames,
    is_urgent,
    receive_frame,
)
from tests.node.peers.support import block, tampered, vote

COSIGNATURE = Cosignature(signer=3, size=17, root=bytes(32), time_s=1_790_000_000, signature=bytes(64))
MESSAGES: Sequence[PeerMessage] = (
    vote(5),
    Status(epoch=0, view=4, entry=None, finalized_view=3, height=3, digest=bytes(32)),
    CertificateRequest(epoch=0, views=(1, 2)),
    BlockResponse(digest=bytes(32), block=block(2)),
    Gossip(entries=(b"{}", b"[]")),
    Gossip(entries=()),
    Cosignatures(items=(COSIGNATURE,)),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_frame_gives_its_message_back(message: PeerMessage) -> None:
    assert decode_frame(encode_frame(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_no_cut_or_extended_frame_is_one(message: PeerMessage) -> None:
    frame = encode_frame(message)
    for length in range(len(frame)):
        with pytest.raises(PeerError):
            decode_frame(frame[:length])
    with pytest.raises(PeerError):
        decode_frame(frame + b"\x00")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_a_peer_error(data: bytes) -> None:
    try:
        message = decode_frame(data)
    except PeerError as error:
        assert error.code == "bad_frame"
    else:
        assert encode_frame(message)


@given(st.sampled_from(MESSAGES), st.data())
def test_a_frame_with_a_byte_changed_is_another_frame_or_a_peer_error(
    message: PeerMessage, data: st.DataObject
) -> None:
    frame = bytearray(encode_frame(message))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    try:
        assert decode_frame(bytes(frame)) is not None
    except PeerError as error:
        assert error.code == "bad_frame"


@pytest.mark.parametrize(
    "value",
    [
        ["Gossip", [bytes(MAX_ENTRY_BYTES + 1)]],
        ["Gossip", [b""] * (MAX_GOSSIP_RECORDS + 1)],
        ["Gossip", [b""], "more"],
        ["Cosignatures", []],
        ["Cosignatures", [[64, 1, bytes(32), 1, bytes(64)]]],
        ["Cosignatures", [[0, -1, bytes(32), 1, bytes(64)]]],
        ["Cosignatures", [[0, 1, bytes(31), 1, bytes(64)]]],
        ["Cosignatures", [[0, 1, bytes(32), 1, bytes(63)]]],
        ["Cosignatures", [[0, 1.0, bytes(32), 1, bytes(64)]]],
    ],
)
def test_out_of_bounds_is_not_a_frame(value: object) -> None:
    with pytest.raises(PeerError):
        decode_frame(msgspec.msgpack.encode(value))


def test_frames_over_the_bound_are_neither_made_nor_read() -> None:
    with pytest.raises(PeerError):
        decode_frame(bytes(MAX_FRAME_BYTES + 1))
    with pytest.raises(InternalError):
        encode_frame(Gossip(entries=(bytes(MAX_ENTRY_BYTES),) * 200))


def test_blocks_in_proposals_and_responses_are_checked() -> None:
    forged = tampered(block(1))
    proposal = Proposal(epoch=0, view=1, parent_view=0, digest=bytes(32))
    notarize = Notarize(proposal=proposal, signer=0, signature=bytes(64))
    for message in (
        BlockResponse(digest=bytes(32), block=forged),
        ProposalMessage(notarize=notarize, block=forged, parent=None),
    ):
        with pytest.raises(PeerError, match="body"):
            asyncio.run(receive_frame(encode_frame(message)))


@given(st.lists(st.integers(0, MAX_ENTRY_BYTES), max_size=60))
def test_gossip_is_cut_in_order_and_within_bounds(sizes: list[int]) -> None:
    entries = [number.to_bytes(4) + bytes(max(size - 4, 0)) for number, size in enumerate(sizes)]
    frames = list(gossip_frames(entries))
    assert [entry for frame in frames for entry in frame.entries] == entries
    assert all(sum(map(len, frame.entries)) <= MAX_GOSSIP_BYTES for frame in frames if len(frame.entries) > 1)
    assert all(1 <= len(frame.entries) <= MAX_GOSSIP_RECORDS for frame in frames)


def test_only_gossip_waits_for_the_rest() -> None:
    assert [is_urgent(message) for message in MESSAGES] == [True, True, True, True, False, False, True]


def test_the_queue_keeps_each_class_in_order_and_urgent_ones_first() -> None:
    async def scene() -> None:
        queue = SendQueue()
        for number in range(6):
            assert queue.offer(b"%d" % number, urgent=number % 2 == 1)
        assert [await queue.take() for _ in range(6)] == [b"1", b"3", b"5", b"0", b"2", b"4"]
        assert len(queue) == queue.size_bytes == 0

    asyncio.run(scene())


def test_the_queue_refuses_what_passes_a_bound_and_keeps_what_it_has() -> None:
    async def scene() -> None:
        frames = SendQueue(limit_frames=2, limit_bytes=100)
        assert frames.offer(b"a", urgent=True)
        assert frames.offer(b"b", urgent=False)
        assert not frames.offer(b"c", urgent=True)
        assert (len(frames), frames.size_bytes) == (2, 2)
        octets = SendQueue(limit_frames=10, limit_bytes=10)
        assert octets.offer(bytes(10), urgent=False)
        assert not octets.offer(b"x", urgent=True)
        await octets.take()
        assert octets.offer(b"x", urgent=True)

    asyncio.run(scene())


def test_taking_waits_for_the_next_frame() -> None:
    async def scene() -> None:
        queue = SendQueue()
        taking = asyncio.ensure_future(queue.take())
        await asyncio.sleep(0)
        assert not taking.done()
        queue.offer(b"x", urgent=False)
        assert await taking == b"x"

    asyncio.run(scene())
