"""The messages' one bounded binary form, and what signatures cover (P1.4)."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.consensus.messages import (
    BlockRequest,
    BlockResponse,
    CertificateMessage,
    CertificateRequest,
    EntryAnswer,
    EntryRequest,
    Evidence,
    EvidenceMessage,
    Kind,
    Message,
    Page,
    Proposal,
    Status,
    VoteMessage,
    block_in,
    decode_message,
    encode_message,
    vote_bytes,
)
from ledger.errors import EncodingError, TracemarkError
from ledger.limits import ENTRY_NONCE_BYTES
from tests.ledger.consensus.kit import (
    CHAIN,
    GENESIS,
    block_on,
    finalization,
    finalize,
    notarization,
    notarize,
    nullification,
    nullify,
    proposal_for,
    proposal_message,
)

X = block_on(GENESIS, 1, name="X")
MESSAGES: list[Message] = [
    proposal_message(X, parent=finalization(X), nullifications=(nullification(1), nullification(2))),
    VoteMessage(vote=notarize(1, proposal_for(X))),
    VoteMessage(vote=nullify(1, 9)),
    VoteMessage(vote=finalize(1, proposal_for(X))),
    CertificateMessage(certificate=notarization(X)),
    Page(certificates=(nullification(3),), votes=(nullify(0, 4),)),
    EvidenceMessage(evidence=Evidence(first=nullify(1, 1), second=finalize(1, proposal_for(X)))),
    Status(epoch=0, view=3, entry=nullification(2), finalized_view=1, height=1, digest=X.digest, cosignature=b"c"),
    CertificateRequest(epoch=0, views=(1, 2)),
    BlockRequest(digest=X.digest),
    BlockResponse(digest=X.digest, block=X),
    BlockResponse(digest=X.digest, block=None),
    EntryRequest(epoch=1, nonce=bytes(ENTRY_NONCE_BYTES)),
    EntryAnswer(epoch=0, nonce=bytes(ENTRY_NONCE_BYTES), entry=nullification(2)),
    EntryAnswer(epoch=0, nonce=bytes(ENTRY_NONCE_BYTES), entry=None),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_survive_the_wire(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_the_block_to_be_checked_is_found() -> None:
    assert [block_in(message) for message in MESSAGES].count(X) == 2


@given(st.sampled_from(MESSAGES), st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_another_message_or_our_own_error(message: Message, place: int, byte: int) -> None:
    data = bytearray(encode_message(message))
    data[place % len(data)] = byte
    try:
        decode_message(bytes(data))
    except TracemarkError as error:
        assert isinstance(error, EncodingError)


@given(st.binary(max_size=200))
def test_garbage_is_our_own_error(data: bytes) -> None:
    with pytest.raises(EncodingError):
        decode_message(data)


@pytest.mark.parametrize(
    "changes",
    [{"signature": bytes(63)}, {"signer": 64}, {"signer": -1}, {"view": 0}, {"view": 2**53}, {"epoch": -1}],
    ids=str,
)
def test_fields_out_of_bounds_are_refused(changes: dict[str, object]) -> None:
    message = VoteMessage(vote=msgspec.structs.replace(nullify(1, 1), **changes))
    with pytest.raises(EncodingError):
        decode_message(encode_message(message))


def test_lists_out_of_bounds_are_refused() -> None:
    too_many = tuple((signer, bytes(64)) for signer in range(65))
    overfull: list[Message] = [
        CertificateMessage(certificate=msgspec.structs.replace(nullification(1), signatures=too_many)),
        CertificateMessage(certificate=msgspec.structs.replace(nullification(1), signatures=())),
        Page(votes=(nullify(1, 1),) * 65),
        CertificateRequest(epoch=0, views=tuple(range(65))),
        CertificateRequest(epoch=0, views=()),
        BlockRequest(digest=bytes(31)),
        EntryRequest(epoch=0, nonce=bytes(ENTRY_NONCE_BYTES + 1)),
        EntryAnswer(epoch=0, nonce=bytes(ENTRY_NONCE_BYTES - 1), entry=None),
    ]
    for message in overfull:
        with pytest.raises(EncodingError):
            decode_message(encode_message(message))


def test_no_two_votes_share_their_signed_bytes() -> None:
    proposals = [Proposal(epoch=0, view=1, parent_view=p, digest=bytes([d]) * 32) for p in (0, 1) for d in (0, 1)]
    kinds: tuple[Kind, ...] = ("notarize", "finalize")
    seen = [
        vote_bytes(chain, kind, epoch, view, proposal)
        for chain in (CHAIN, bytes([1]) * 32)
        for epoch, view in itertools.product((0, 1), (1, 256))
        for kind in kinds
        for proposal in proposals
    ]
    seen += [vote_bytes(CHAIN, "nullify", epoch, view, None) for epoch, view in itertools.product((0, 1), (1, 256))]
    assert len(set(seen)) == len(seen)
    expected = b"tracemark/consensus/1\x00" + CHAIN + b"\x02" + bytes(8) + bytes(7) + b"\x09"
    assert vote_bytes(CHAIN, "nullify", 0, 9, None) == expected
