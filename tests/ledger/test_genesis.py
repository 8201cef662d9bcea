"""The genesis document: its hash, and what is refused before anybody agrees to it."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ledger.errors import EncodingError, InputError
from ledger.genesis import decode_genesis, keys_of, validators_hash
from ledger.limits import MAX_GENESIS_BYTES
from ledger.merkle.tiles import encode_entries
from tests.world import GENESIS, ORIGIN, START_MS


def test_it_decodes_to_itself_and_names_the_ledger() -> None:
    genesis = decode_genesis(GENESIS.entry)
    assert genesis == GENESIS
    assert genesis.chain_id == hashlib.sha256(GENESIS.entry).digest()
    assert genesis.ledger_id == f"{ORIGIN}#{genesis.chain_id.hex()[:16]}"
    assert genesis.time_ms == START_MS
    assert {role for role, _ in keys_of(genesis.agencies[0])} == {
        "record", "consensus", "cosigner", "governance", "log", "transport",
    }  # fmt: skip


def test_the_parameters_are_stated() -> None:
    assert set(json.loads(GENESIS.entry)["parameters"]) == {
        "version", "heartbeat_s", "lead_timeout_ms", "advance_timeout_ms",
    }  # fmt: skip


def _agencies(document: dict[str, Any], change: Callable[[list[Any]], Any]) -> dict[str, Any]:
    change(document["agencies"])
    return document


SPOILERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "agencies out of order": lambda d: _agencies(d, lambda agencies: agencies.reverse()),
    "an agency twice": lambda d: _agencies(d, lambda agencies: agencies.insert(0, agencies[0])),
    "no agency": lambda d: {**d, "agencies": []},
    "roles out of order": lambda d: _agencies(d, lambda a: a[2]["roles"].reverse()),
    "a grant twice": lambda d: _agencies(d, lambda a: a[1]["grants"].append(a[1]["grants"][-1])),
    "a key of another role": lambda d: _agencies(d, lambda a: a[0]["node"].update(log=a[0]["node"]["cosigner"])),
    "a key of another agency": lambda d: _agencies(d, lambda a: a[0].update(record=a[1]["record"])),
    "a proof of another key": lambda d: _agencies(d, lambda a: a[0]["record"].update(proof=a[1]["record"]["proof"])),
    "another origin": lambda d: {**d, "origin": "elsewhere.test/log"},
    "no calendar date": lambda d: {**d, "time": "2026-02-30T00:00:00Z"},
    "a parameter left out": lambda d: {**d, "parameters": {"version": 1}},
    "a parameter out of bounds": lambda d: {**d, "parameters": {**d["parameters"], "heartbeat_s": 0}},
    "an unknown field": lambda d: {**d, "extra": 1},
}


@pytest.mark.parametrize("name", SPOILERS)
def test_what_is_refused(name: str) -> None:
    spoilt = SPOILERS[name](json.loads(GENESIS.entry))
    with pytest.raises(InputError):
        decode_genesis(msgspec.json.encode(spoilt, order="sorted"))


def test_the_validators_hash_is_that_of_their_list() -> None:
    pairs = (("customs", "aa"), ("police", "bb"))
    assert validators_hash(pairs) == hashlib.sha256(b'[["customs","aa"],["police","bb"]]').digest()
    assert validators_hash(pairs[::-1]) != validators_hash(pairs)


def test_a_document_that_no_tile_of_entries_could_hold_is_refused() -> None:
    """It would become entry 0 of a log that nobody could audit."""
    large = msgspec.structs.replace(GENESIS, agencies=GENESIS.agencies * 16)
    with pytest.raises(EncodingError) as caught:
        decode_genesis(large.entry)
    assert caught.value.code == "too_large"
    with pytest.raises(EncodingError):
        encode_entries([large.entry])
    assert len(encode_entries([bytes(MAX_GENESIS_BYTES)])) == 2 + MAX_GENESIS_BYTES
