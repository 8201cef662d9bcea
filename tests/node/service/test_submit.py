"""Reading a batch: the canonical entries of whatever spelling of the same envelopes, and an error in the place of each that
is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import PAYLOAD_TYPE, b64encode, decode_envelope
from ledger.errors import EncodingError
from ledger.limits import MAX_BATCH_RECORDS
from node.service.submit import envelopes_of, read_batch


def _envelope(payload: bytes = b"{}") -> dict[str, Any]:
    return {
        "payload": b64encode(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": "0123456789abcdef", "sig": b64encode(bytes(64))}],
    }


def _body(*envelopes: object) -> bytes:
    return json.dumps({"envelopes": envelopes}).encode()


def _error(item: bytes | EncodingError) -> str:
    assert isinstance(item, EncodingError)
    return item.code


@given(st.binary(max_size=200), st.sampled_from([None, 2]), st.booleans())
def test_every_spelling_of_an_envelope_gives_its_canonical_entry(
    payload: bytes, indent: int | None, is_sorted: bool
) -> None:
    envelope = _envelope(payload)
    body = json.dumps({"envelopes": [envelope]}, indent=indent, sort_keys=is_sorted).encode()
    [entry] = read_batch(envelopes_of(body))
    assert entry == json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()
    assert isinstance(entry, bytes)
    assert decode_envelope(entry)[1] == payload


def test_one_bad_envelope_leaves_the_others_standing() -> None:
    good, other = _envelope(b"1"), _envelope(b"2")
    first, bad, last = read_batch(envelopes_of(_body(good, {**good, "extra": 1}, other)))
    assert isinstance(first, bytes)
    assert isinstance(last, bytes)
    assert _error(bad) == "malformed"


@pytest.mark.parametrize("bad", [None, 1, "x", [], {}, {"payload": "e30="}, {**_envelope(), "payload": 5}])
def test_what_is_no_envelope_is_malformed(bad: object) -> None:
    assert [_error(item) for item in read_batch(envelopes_of(_body(bad)))] == ["malformed"]


def test_an_envelope_that_is_not_utf8_is_malformed() -> None:
    body = _body(_envelope()).replace(b"e30=", b"e3\xff=")
    assert [_error(item) for item in read_batch(envelopes_of(body))] == ["malformed"]


@pytest.mark.parametrize("where", ["payload", "keyid"])
def test_a_key_given_twice_is_refused_wherever_it_is(where: str) -> None:
    body = _body(_envelope()).decode().replace(f'"{where}"', f'"{where}": "e30=", "{where}"')
    assert [_error(item) for item in read_batch(envelopes_of(body.encode()))] == ["non_canonical"]


def test_an_envelope_too_large_for_the_log_is_refused() -> None:
    assert [_error(item) for item in read_batch(envelopes_of(_body(_envelope(bytes(60 * 1024)))))] == ["too_large"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"envelopes": []}',
        b'{"envelopes": {}}',
        b'{"envelopes": [{}], "more": 1}',
        b'{"envelopes": [{}]} x',
        b"\xff",
        b'{"envelopes": ' + b"[" * 100_000,
        _body(*([{}] * (MAX_BATCH_RECORDS + 1))),
    ],
)
def test_a_body_that_is_no_batch_is_malformed_as_a_whole(body: bytes) -> None:
    with pytest.raises(EncodingError) as refused:
        envelopes_of(body)
    assert refused.value.code == "malformed"
