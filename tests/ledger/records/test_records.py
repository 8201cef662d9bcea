"""Every kind of record has one form: what is encoded decodes to itself, and nothing else decodes (DESIGN 4.2)."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.codec import canonical, decode, encode
from ledger.errors import EncodingError
from ledger.limits import MAX_ENTRY_BYTES
from ledger.records import Record
from ledger.records.fields import format_time, parse_time
from ledger.state.weapons.writing import kind_of
from tests import strategies
from tests.world import trading_world

KINDS = tuple(strategies.BODIES)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _decode(data: bytes) -> Record:
    record: Record = decode(data, Record, limit=MAX_ENTRY_BYTES)
    return record


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
@quick
@given(data=st.data())
def test_a_record_decodes_to_itself(kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(strategies.records_of(kind))
    encoded = encode(record)
    assert _decode(encoded) == record
    assert type(_decode(encoded)) is kind
    untyped = json.loads(encoded)
    assert untyped["kind"] == kind_of(record)
    assert canonical(untyped) == encoded, "the typed and the untyped canonical form are one"
    assert b"null" not in encoded.replace(json.dumps("null").encode(), b"").replace(b'"nullify"', b"")


@quick
@given(record=strategies.records, data=st.data())
def test_any_changed_spelling_is_refused(record: Record, data: st.DataObject) -> None:
    encoded = encode(record)
    untyped = json.loads(encoded)
    unsorted = json.dumps(dict(reversed(untyped.items())), separators=(",", ":"), ensure_ascii=False).encode()
    spelt = [
        b" " + encoded,
        encoded + b"\n",
        encoded.replace(b":", b": ", 1),
        unsorted,
        encoded[:-1] + b',"nonce":"' + untyped["nonce"].encode() + b'"}',
        encoded.replace(b'"schema":1', b'"schema":1.0'),
        encoded.replace(b'"schema":1', b'"schema":1e0'),
        encoded.replace(b'"kind"', b'"\\u006bind"', 1),
        encoded.replace(b'"issuer":"', b'"issuer":"\\u0061', 1),
    ]
    for data_bytes in spelt:
        assert data_bytes != encoded
        with pytest.raises(EncodingError):
            _decode(data_bytes)
    cut = data.draw(st.integers(min_value=0, max_value=len(encoded) - 1))
    with pytest.raises(EncodingError):
        _decode(encoded[:cut])


@quick
@given(record=strategies.records)
def test_unknown_missing_and_null_fields_are_refused(record: Record) -> None:
    untyped = json.loads(encode(record))
    body = untyped["body"]
    spoilt: list[dict[str, Any]] = [
        {**untyped, "extra": 1},
        {**untyped, "body": {**body, "extra": 1}},
        {**untyped, "body": {**body, "remark": None}},
        {**untyped, "kind": "weapon.vanish"},
        {**untyped, "schema": 2},
        {**untyped, "refs": None},
        *({name: value for name, value in untyped.items() if name != gone} for gone in untyped),
    ]
    for wrong in spoilt:
        with pytest.raises(EncodingError):
            _decode(msgspec.json.encode(wrong, order="sorted"))


@given(data=st.binary(max_size=200))
def test_noise_is_refused_with_our_own_error(data: bytes) -> None:
    with pytest.raises(EncodingError):
        _decode(data)


def test_deep_nesting_and_size_are_refused_with_our_own_error() -> None:
    for bomb in (b"[" * 50_000, b'{"a":' * 10_000, b'"' + b"a" * MAX_ENTRY_BYTES + b'"'):
        with pytest.raises(EncodingError):
            _decode(bomb)


@pytest.mark.parametrize("name", ["", "\n", "a\u200bb", "a\u202eb", "\ufeff", "a" * 101, "\U000e0041", "tab\t", "\x7f"])
def test_names_without_hidden_characters(name: str) -> None:
    record = trading_world().register("maker", "A1")
    defaults = msgspec.structs.replace(record.body.defaults, model=name)
    with pytest.raises(EncodingError):
        _decode(encode(msgspec.structs.replace(record, body=msgspec.structs.replace(record.body, defaults=defaults))))


@given(seconds=st.integers(min_value=0, max_value=32_503_679_999))
def test_times_have_one_spelling(seconds: int) -> None:
    assert parse_time(format_time(seconds * 1000)) == seconds * 1000
    assert format_time(seconds * 1000 + 999) == format_time(seconds * 1000)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.0Z",
        "2026-01-01T00:00:00Z\n", "２026-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(EncodingError) as caught:
        parse_time(text)
    assert caught.value.code == "bad_time"


def test_a_moment_past_the_calendar_has_words_too() -> None:
    """Whoever signs a seal or a cosignature chooses its number; refusing or showing it must not fail."""
    assert format_time(253_402_300_799_999) == "9999-12-31T23:59:59Z"
    for time_ms in (253_402_300_800_000, 2**53 - 1, (2**63 - 1) * 1000):
        assert format_time(time_ms) == "9999-12-31T23:59:59Z"
