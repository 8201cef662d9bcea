"""Canonical JSON, base64 and envelopes: one spelling each, and never another's bytes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import (
    MAX_SAFE_INTEGER,
    PAYLOAD_TYPE,
    Envelope,
    EnvelopeSignature,
    b64decode,
    b64encode,
    canonical,
    decode,
    decode_envelope,
    encode,
    pae,
)
from ledger.errors import EncodingError
from ledger.limits import MAX_ENTRY_BYTES, MAX_SIGNATURES


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A small document."""

    name: str
    count: int
    tags: tuple[str, ...] = ()


GOOD = b'{"count":1,"name":"\xc3\xa9\\n"}'

bmp_text = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
domain = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(bmp_text, inner, max_size=4),
    max_leaves=12,
)


@given(domain)
def test_canonical_agrees_with_a_second_writer(value: Any) -> None:
    """Python's own writer, told to be terse and sorted, writes RFC 8785 on this domain: escapes, order, integers."""
    written = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert canonical(value) == written.encode()


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        [0.5],
        MAX_SAFE_INTEGER + 1,
        -MAX_SAFE_INTEGER - 1,
        10**30,
        {"\U0001f602": 1},
        {1: 2},
        {"a": {"\ud800": 1}},
        "\ud800",
        ["\udfff"],
        b"bytes",
        {1, 2},
        object(),
    ],
)
def test_canonical_refuses_what_is_outside_its_domain(value: Any) -> None:
    with pytest.raises(EncodingError, match="not_canonicalizable"):
        canonical(value)


def test_canonical_refuses_depth() -> None:
    value: Any = 0
    for _ in range(64):
        value = [value]
    assert canonical(value) == b"[" * 64 + b"0" + b"]" * 64
    with pytest.raises(EncodingError, match="not_canonicalizable"):
        canonical([value])


@given(
    st.builds(Shape, name=any_text, count=st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER), tags=st.just(("a", "b")))
)
def test_encode_is_canonical_and_decodes_back(value: Shape) -> None:
    data = encode(value)
    assert decode(data, Shape, limit=10_000) == value
    assert data == canonical(json.loads(data))


@pytest.mark.parametrize(
    "data",
    [
        b'{"name":"\xc3\xa9\\n","count":1}',
        b'{"count": 1,"name":"\xc3\xa9\\n"}',
        b'{"count":1,"name":"\xc3\xa9\\n"} ',
        b'{"count":1,"name":"\xc3\xa9\\n"}\n',
        b'{"count":1,"name":"\\u00e9\\n"}',
        b'{"count":1,"name":"\xc3\xa9\\u000a"}',
        b'{"count":1,"count":1,"name":"\xc3\xa9\\n"}',
        b'{"count":-0,"name":"x"}',
        b'{"count":1e0,"name":"x"}',
        b'{"count":1.0,"name":"x"}',
        b'{"count":01,"name":"x"}',
        b'{"count":1,"name":"x","tags":[]}',
        b'{"count":1,"name":null}',
        b'{"count":true,"name":"x"}',
        b'{"count":"1","name":"x"}',
        b'{"count":1,"name":"x","other":1}',
        b'{"count":1}',
        b'{"count":1,"name":"\xff"}',
        b'{"count":1,"name":"\xed\xa0\x80"}',
        b'{"count":1,"name":"\\ud800"}',
        b'{"count":1,"name":"a\nb"}',
        b"\xef\xbb\xbf" + GOOD,
        GOOD[:-1],
        GOOD + GOOD,
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
    ],
)
def test_every_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        decode(data, Shape, limit=1_000_000)


def test_a_refusal_names_the_first_byte_that_differs_however_large_the_document() -> None:
    """By halves; byte for byte a document of the largest bound would take a minute to refuse."""
    name = "a" * 4_000_000
    for tags in ("", ' "x"'):
        data = f'{{"count":1,"name":"{name}","tags":[{tags}]}}'.encode()
        with pytest.raises(EncodingError) as caught:
            decode(data, Shape, limit=len(data))
        assert caught.value.code == "non_canonical"
        assert f"at byte {20 + len(name) + (9 if tags else 0)} " in str(caught.value.actual)


def test_decode_limit_and_codes() -> None:
    assert decode(GOOD, Shape, limit=len(GOOD)).name == "é\n"
    for data, limit, code in (
        (GOOD, len(GOOD) - 1, "too_large"),
        (b"{}", 9, "malformed"),
        (GOOD + b" ", 99, "non_canonical"),
    ):
        with pytest.raises(EncodingError) as caught:
            decode(data, Shape, limit=limit)
        assert caught.value.code == code


@given(st.binary(max_size=120))
def test_decode_raises_only_our_error(data: bytes) -> None:
    try:
        value: Shape = decode(data, Shape, limit=100)
    except EncodingError:
        return
    assert encode(value) == data


@given(st.binary(max_size=60))
def test_base64_round_trip(data: bytes) -> None:
    assert b64decode(b64encode(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA", "AAA", "AA=", "AB==", "AAB=", "AA==\n", " AA==", "A A=", "AA-_", "AA==AA==", "é", "="]
)
def test_base64_of_another_spelling(text: str) -> None:
    with pytest.raises(EncodingError, match="bad_base64"):
        b64decode(text)


def test_base64_size() -> None:
    assert b64decode("AAAA", size=3) == bytes(3)
    with pytest.raises(EncodingError, match="bad_base64"):
        b64decode("AAAA", size=4)


def test_pae_of_the_dsse_specification() -> None:
    """The example of secure-systems-lab/dsse, protocol.md."""
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("é", b"\xff") == b"DSSEv1 2 \xc3\xa9 1 \xff"


def envelope(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "payload": b64encode(b"{}"),
        "payload_type": PAYLOAD_TYPE,
        "signatures": (EnvelopeSignature(keyid="0a", sig="AAAA"), EnvelopeSignature(keyid="0b", sig="AAAA")),
    }
    return Envelope(**(fields | changes)).to_bytes()


def test_envelope_round_trip() -> None:
    data = envelope()
    parsed, payload = decode_envelope(data)
    assert payload == b"{}"
    assert parsed.to_bytes() == data
    assert data.startswith(
        b'{"payload":"e30=","payloadType":"application/vnd.tracemark.record+json","signatures":[{"keyid":'
    )


def signatures(*keyids: str) -> tuple[EnvelopeSignature, ...]:
    return tuple(EnvelopeSignature(keyid=keyid, sig="AAAA") for keyid in keyids)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payload_type": "application/json"}, "bad_payload_type"),
        ({"payload_type": PAYLOAD_TYPE.upper()}, "bad_payload_type"),
        ({"signatures": ()}, "bad_signatures"),
        ({"signatures": signatures("b", "a")}, "bad_signatures"),
        ({"signatures": signatures("a", "a")}, "bad_signatures"),
        ({"signatures": signatures(*(f"{i:02}" for i in range(MAX_SIGNATURES + 1)))}, "bad_signatures"),
        ({"payload": "e30"}, "bad_base64"),
        ({"payload": "e31="}, "bad_base64"),
        ({"payload": "A" * MAX_ENTRY_BYTES}, "too_large"),
    ],
)
def test_envelopes_that_are_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(EncodingError) as caught:
        decode_envelope(envelope(**changes))
    assert caught.value.code == code


def test_as_many_signatures_as_the_bound() -> None:
    assert decode_envelope(envelope(signatures=signatures(*(f"{i:02}" for i in range(MAX_SIGNATURES)))))
