"""What peers, nodes and spreadsheets send, with good inputs to bend."""

import asyncio
from datetime import date
from functools import cache
from typing import Final

import msgspec

from client.answers import Batch, Page, decode_answer
from client.http import Answer, read_problem
from client.manifest import read_codes, read_manifest
from ledger.block import Block, BlockHeader, check_block, payload_root
from ledger.consensus.messages import (
    BlockResponse,
    Certificate,
    Notarize,
    Nullify,
    Proposal,
    ProposalMessage,
    Status,
    VoteMessage,
    block_in,
    decode_message,
    encode_message,
)
from ledger.merkle.hashing import leaf_hash
from node.membership import Contact
from node.peers.catchup import CertifiedBlock, decode_page
from node.peers.opening import Opening
from node.peers.wire import Cosignature, Cosignatures, Gossip, encode_frame, receive_frame
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_lines, mutate_msgpack
from tests.fuzz.parsers import ledger, target_of
from tests.world import GENESIS, key_named

_SIGNATURE: Final = bytes(64)


@cache
def _block() -> Block:
    entries, seal = tuple(ledger().entries[2:4]), ledger().entries[4]
    root = payload_root((*map(leaf_hash, entries), leaf_hash(seal)))
    header = BlockHeader(
        chain=GENESIS.chain_id,
        epoch=0,
        view=2,
        height=1,
        parent_view=1,
        parent_digest=bytes(32),
        parent_seal=bytes(32),
        payload_root=root,
        proposer=1,
        time=5,
    )
    return Block(header=header, entries=entries, seal=seal)


def _messages() -> list[ProposalMessage | VoteMessage | Status | BlockResponse]:
    proposal = Proposal(epoch=0, view=2, parent_view=1, digest=_block().digest)
    notarize = Notarize(proposal=proposal, signer=1, signature=_SIGNATURE)
    certificate = _certificate()
    return [
        VoteMessage(vote=Nullify(epoch=0, view=3, signer=1, signature=_SIGNATURE)),
        ProposalMessage(notarize=notarize, block=_block(), parent=certificate, nullifications=(certificate,)),
        Status(epoch=0, view=4, entry=certificate, finalized_view=3, height=3, digest=bytes(32)),
        BlockResponse(digest=_block().digest, block=_block()),
    ]


def _certificate() -> Certificate:
    signatures = tuple((signer, _SIGNATURE) for signer in range(3))
    return Certificate(kind="nullification", epoch=0, view=1, proposal=None, signatures=signatures)


def _frames() -> list[bytes]:
    cosignature = Cosignature(signer=3, size=17, root=bytes(32), time_s=1_790_000_000, signature=_SIGNATURE)
    gossip = Gossip(entries=tuple(ledger().entries[2:4]))
    return [encode_frame(message) for message in (*_messages(), gossip, Cosignatures(items=(cosignature,)))]


@cache
def runner() -> asyncio.Runner:
    """One event loop for everything that needs one: a new one for each input would take most of the time."""
    return asyncio.Runner()


def _frame(data: bytes) -> None:
    assert encode_frame(runner().run(receive_frame(data)))


def _message(data: bytes) -> None:
    message = decode_message(data)
    block = block_in(message)
    if block is not None:
        check_block(block)
    assert decode_message(encode_message(message)) == message


def _pages() -> list[bytes]:
    return [msgspec.msgpack.encode((CertifiedBlock(_block(), _certificate()),))]


def _opening(data: bytes) -> None:
    """Either message of a peer; a proof that was not made for this opening never verifies."""
    opening = Opening(
        chain=GENESIS.chain_id,
        party="customs",
        key=key_named("customs transport"),
        side="initiator",
        nonce=bytes(32),
        own_key_hash=bytes(32),
        peer_key_hash=bytes(32),
        peer=_contact("interior"),
    )
    opening.receive_hello(_hello())
    if b"Hello" in data:
        opening.receive_hello(data)
    else:
        opening.receive_proof(data)
        assert data == _openings()[1], "a forged proof verified"


@cache
def _hello() -> bytes:
    return _peer().hello()


def _peer() -> Opening:
    return Opening(
        chain=GENESIS.chain_id,
        party="interior",
        key=key_named("interior transport"),
        side="responder",
        nonce=b"n" * 32,
        own_key_hash=b"k" * 32,
        peer_key_hash=bytes(32),
        peer=_contact("customs"),
    )


def _contact(party: str) -> Contact:
    agency = next(agency for agency in GENESIS.agencies if agency.party == party)
    return Contact(party=party, transport=agency.node.transport.public, ca=agency.ca)


def _openings() -> list[bytes]:
    peer = _peer()
    hello = Opening(
        chain=GENESIS.chain_id,
        party="customs",
        key=key_named("customs transport"),
        side="initiator",
        nonce=b"m" * 32,
        own_key_hash=bytes(32),
        peer_key_hash=bytes(32),
        peer=_contact("interior"),
    ).hello()
    peer.receive_hello(hello)
    return [_hello(), peer.proof()]


_RESULT: Final = b'{"results":[{"error":{"code":"x","message":"y"},"id":"' + b"0" * 64 + b'","status":"refused"}]}'
_PAGE: Final = b'{"weapons":[{"id":"wabc","make":"GLC","serial":"A1","status":"held","year":1999}],"next":"c"}'
_PROBLEM: Final = b'{"type":"about:blank","status":409,"code":"not_owner","detail":"no","results":[]}'


def _node_answer(data: bytes) -> None:
    answer = Answer(url="https://node.test", status=200, body=data)
    assert read_problem(answer)
    decode_answer(answer, Page if b"weapons" in data else Batch)


def _manifests() -> list[bytes]:
    return [
        b"make_code,serial,country,calibre,year\nGLC,AB123,AT,9,1999\nSW,0012,US,9,\n",
        'make_code;serial;country;model\nGLC;\u0410\u0411 12;AT;"a\nb"\n'.encode("utf-8-sig"),
    ]


def _manifest(data: bytes) -> None:
    """A spreadsheet is read whole, whatever is in it: every line is a row, a problem, or empty."""
    manifest = read_manifest(data, today=date(2026, 11, 21), codes=frozenset({"GLC", "SW"}))
    msgspec.json.encode(manifest.problems)


WIRES: Final = (
    target_of("frame", _frames, (mutate_msgpack, mutate_bytes), _frame),
    target_of("consensus", lambda: list(map(encode_message, _messages())), (mutate_msgpack, mutate_bytes), _message),
    target_of("block-page", _pages, (mutate_msgpack, mutate_bytes), lambda data: decode_page(data, 1, 4)),
    target_of("opening", _openings, (mutate_msgpack, mutate_bytes), _opening),
    target_of("node-answer", lambda: [_RESULT, _PAGE, _PROBLEM], (mutate_json, mutate_bytes), _node_answer),
    target_of("manifest", _manifests, (mutate_lines, mutate_bytes), _manifest),
    target_of(
        "code-list", lambda: [b'code,definition\nGLC,Glock\nSW,"S, W"\n'], (mutate_lines, mutate_bytes), read_codes
    ),
)
"""What a node takes from peers, and the client from nodes and spreadsheets."""
