"""Blocks and seals: one form, limits, and the commitment of header to body."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ledger.block import Block, BlockHeader, Seal, check_block, decode_seal, payload_root
from ledger.errors import EncodingError
from ledger.limits import MAX_BLOCK_BYTES, MAX_BLOCK_RECORDS, MAX_ENTRY_BYTES
from ledger.merkle.hashing import leaf_hash
from tests.reference import merkle


def _seal(**changes: Any) -> Seal:
    fields: dict[str, Any] = {
        "height": 1, "view": 3, "epoch": 0, "prev_seal": "1" * 64, "time": 1_000, "record_count": 2,
        "state_root": "2" * 64, "validators": "3" * 64, "version": 1,
    }  # fmt: skip
    return Seal(**{**fields, **changes})


def _block(entries: tuple[bytes, ...] = (b"one", b"two"), **changes: Any) -> Block:
    seal = _seal(record_count=len(entries)).to_bytes()
    fields: dict[str, Any] = {
        "chain": b"c" * 32, "epoch": 0, "view": 3, "height": 1, "parent_view": 1, "parent_digest": b"d" * 32,
        "parent_seal": b"s" * 32, "payload_root": payload_root((*map(leaf_hash, entries), leaf_hash(seal))),
        "proposer": 0, "time": 1_000,
    }  # fmt: skip
    return Block(header=BlockHeader(**{**fields, **changes}), entries=entries, seal=seal)


def test_a_seal_decodes_to_itself() -> None:
    for seal in (_seal(), _seal(snapshot="4" * 64)):
        assert decode_seal(seal.to_bytes()) == seal
    assert b"snapshot" not in _seal().to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"height": -1}, {"view": -1}, {"epoch": -1}, {"time": -1}, {"record_count": -1}, {"version": 0},
        {"height": 2**53}, {"prev_seal": "1" * 63}, {"state_root": "A" * 64}, {"validators": ""},
        {"snapshot": "x" * 64}, {"snapshot": None}, {"extra": 1}, {"time": 1.0},
    ],
)  # fmt: skip
def test_what_is_no_seal(changes: dict[str, Any]) -> None:
    document = {**json.loads(_seal().to_bytes()), **changes}
    with pytest.raises(EncodingError):
        decode_seal(msgspec.json.encode(document, order="sorted"))


def test_the_payload_root_is_that_of_the_log() -> None:
    block = _block()
    check_block(block)
    assert block.header.payload_root == merkle.mth([b"one", b"two", block.seal])
    assert block.seal_hash == hashlib.sha256(block.seal).digest()
    assert block.body_bytes == 6
    check_block(_block(entries=()))


SPOILERS: dict[str, Callable[[Block], Block]] = {
    "entry dropped": lambda block: msgspec.structs.replace(block, entries=block.entries[1:]),
    "entries swapped": lambda block: msgspec.structs.replace(block, entries=block.entries[::-1]),
    "entry repeated": lambda block: msgspec.structs.replace(block, entries=(*block.entries, block.entries[0])),
    "seal changed": lambda block: msgspec.structs.replace(block, seal=_seal(state_root="9" * 64).to_bytes()),
    "seal as an entry": lambda block: msgspec.structs.replace(block, entries=(*block.entries, block.seal)),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_a_body_that_the_header_does_not_name(name: str) -> None:
    with pytest.raises(EncodingError) as caught:
        check_block(SPOILERS[name](_block()))
    assert caught.value.code == "payload_mismatch"


@pytest.mark.parametrize(
    "changes",
    [{"chain": b"c" * 31}, {"parent_digest": b""}, {"parent_seal": b"s" * 33}, {"view": -1}, {"proposer": -1}],
)
def test_header_fields_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(EncodingError) as caught:
        check_block(_block(**changes))
    assert caught.value.code == "bad_block"


def test_limits() -> None:
    check_block(_block(entries=(b"e",) * MAX_BLOCK_RECORDS))
    full = (b"e" * MAX_ENTRY_BYTES,) * (MAX_BLOCK_BYTES // MAX_ENTRY_BYTES)
    check_block(_block(entries=full))
    for entries in ((b"e",) * (MAX_BLOCK_RECORDS + 1), (b"e" * (MAX_ENTRY_BYTES + 1),), (*full, full[0])):
        with pytest.raises(EncodingError) as caught:
            check_block(_block(entries=entries))
        assert caught.value.code == "bad_block"


def test_the_digest_covers_every_field_of_the_header() -> None:
    block = _block()
    other: dict[str, Any] = {
        name: b"x" * 32 if isinstance(value, bytes) else value + 1
        for name in BlockHeader.__struct_fields__
        for value in (getattr(block.header, name),)
    }
    digests = {msgspec.structs.replace(block.header, **{name: value}).digest for name, value in other.items()}
    assert len(digests | {block.digest}) == len(other) + 1
