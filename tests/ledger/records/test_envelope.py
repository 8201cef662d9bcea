"""Envelopes: ids, signatures, signers, possession (DESIGN 4.1, 4.4)."""

import hashlib
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.codec import PAYLOAD_TYPE, b64decode, b64encode, encode
from ledger.errors import EncodingError, InputError, SignatureError
from ledger.records import Record
from ledger.records.envelope import parse_entry, sign_record, stated_issuer, verify_entry, verify_possession
from ledger.signing import key_id
from tests import strategies
from tests.world import GENESIS, World, key_named, trading_world

KEYS = [key_named(f"signer {number}") for number in range(9)]
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _entry() -> tuple[World, bytes]:
    world = trading_world()
    return world, sign_record(world.register("maker", "A1"), world.keys["maker"])


def _changed(entry: bytes, **fields: Any) -> bytes:
    return encode({**json.loads(entry), **fields})


@quick
@given(record=strategies.records, count=st.integers(min_value=1, max_value=7))
def test_signing_parsing_and_the_id(record: Record, count: int) -> None:
    if not strategies_are_signable(record):
        return
    entry = sign_record(record, *KEYS[:count])
    parsed = parse_entry(entry)
    assert (parsed.record, parsed.entry) == (record, entry)
    payload = encode(record)
    pae = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    assert parsed.id == hashlib.sha256(pae).hexdigest()
    assert parse_entry(sign_record(record, *reversed(KEYS[: count + 1]))).id == parsed.id, "ids exclude signatures"
    assert all(a.keyid < b.keyid for a, b in pairwise(parsed.envelope.signatures))


def strategies_are_signable(record: Record) -> bool:
    """A generated record may be too large for an entry; that is another test's."""
    return len(encode(record)) < 40_000


@quick
@given(record=strategies.records)
def test_what_an_entry_says_of_its_issuer_is_what_parsing_finds(record: Record) -> None:
    if strategies_are_signable(record):
        assert stated_issuer(sign_record(record, KEYS[0])) == record.issuer


@given(st.binary(max_size=300))
def test_an_entry_that_cannot_be_read_names_no_issuer(data: bytes) -> None:
    assert stated_issuer(data) == ""
    _, entry = _entry()
    for payload in (b64encode(data), "?", "W10=", "eyJpc3N1ZXIiOjF9"):
        assert stated_issuer(_changed(entry, payload=payload)) == ""


def test_a_verified_record_names_its_signers() -> None:
    world, entry = _entry()
    public = world.keys["maker"].public.hex()
    assert verify_entry(parse_entry(entry), (public,)).signers == (public,)


def test_every_changed_byte_is_refused() -> None:
    world, entry = _entry()
    signers = (world.keys["maker"].public.hex(),)
    for place in range(len(entry)):
        for change in (
            entry[:place] + bytes([entry[place] ^ 1]) + entry[place + 1 :],
            entry[:place] + entry[place + 1 :],
        ):
            with pytest.raises(InputError):
                verify_entry(parse_entry(change), signers)


def test_another_key_is_refused() -> None:
    _, entry = _entry()
    with pytest.raises(SignatureError) as caught:
        verify_entry(parse_entry(entry), (KEYS[0].public.hex(),))
    assert caught.value.code == "wrong_signers"


def test_a_missing_and_an_extra_signature_are_refused() -> None:
    world = trading_world()
    record, key = world.register("maker", "A1"), world.keys["maker"]
    both = parse_entry(sign_record(record, key, KEYS[0]))
    one = parse_entry(sign_record(record, key))
    for parsed, signers in ((both, (key,)), (one, (key, KEYS[0])), (both, (key, KEYS[1]))):
        with pytest.raises(SignatureError) as caught:
            verify_entry(parsed, tuple(signer.public.hex() for signer in signers))
        assert caught.value.code == "wrong_signers"
    verify_entry(both, (KEYS[0].public.hex(), key.public.hex()))


def test_a_right_keyid_on_a_wrong_signature_is_refused() -> None:
    world, entry = _entry()
    other = parse_entry(sign_record(world.register("maker", "A2"), world.keys["maker"])).envelope.signatures[0]
    wrong = _changed(entry, signatures=[{"keyid": other.keyid, "sig": other.sig}])
    with pytest.raises(SignatureError) as caught:
        verify_entry(parse_entry(wrong), (world.keys["maker"].public.hex(),))
    assert caught.value.code == "bad_signature"


def test_a_wrong_keyid_on_a_right_signature_is_refused() -> None:
    world, entry = _entry()
    right = parse_entry(entry).envelope.signatures[0]
    wrong = _changed(entry, signatures=[{"keyid": key_id(KEYS[0].public), "sig": right.sig}])
    with pytest.raises(SignatureError) as caught:
        verify_entry(parse_entry(wrong), (world.keys["maker"].public.hex(),))
    assert caught.value.code == "wrong_signers"


def test_signatures_are_sorted_distinct_and_at_most_eight() -> None:
    world = trading_world()
    record = world.register("maker", "A1")
    signatures = [
        {"keyid": signature.keyid, "sig": signature.sig}
        for signature in parse_entry(sign_record(record, *KEYS[:3])).envelope.signatures
    ]
    entry = sign_record(record, *KEYS[:3])
    for wrong in ([], signatures[::-1], [signatures[0], *signatures]):
        with pytest.raises(EncodingError) as caught:
            parse_entry(_changed(entry, signatures=wrong))
        assert caught.value.code == "bad_signatures"
    for too_many in (KEYS, [KEYS[0], KEYS[0]]):
        with pytest.raises(EncodingError):
            sign_record(record, *too_many)


@pytest.mark.parametrize("text", ["", "A", "AA=", "AB==", "AA==\n", "AA", "A-==", " AA=="])
def test_signatures_are_strict_base64(text: str) -> None:
    world, entry = _entry()
    keyid = key_id(world.keys["maker"].public)
    with pytest.raises(InputError):
        verify_entry(
            parse_entry(_changed(entry, signatures=[{"keyid": keyid, "sig": text}])),
            (world.keys["maker"].public.hex(),),
        )
    if text:
        with pytest.raises(EncodingError):
            b64decode(text, size=64)


def test_another_payload_type_is_refused() -> None:
    _, entry = _entry()
    with pytest.raises(EncodingError) as caught:
        parse_entry(_changed(entry, payloadType="application/json"))
    assert caught.value.code == "bad_payload_type"


def test_a_date_that_is_not_in_the_calendar_is_refused_wherever_it_stands() -> None:
    world, never = trading_world(), "2026-02-30T00:00:00Z"
    weapon = "w" + "a" * 32
    records: list[Record] = [
        msgspec.structs.replace(world.register("maker", "A1"), issued_at=never),
        world.enrol("interior", "shop", "dealer", valid_until=never),
        world.update("interior", "dealer", valid_until=never),
        world.revoke_key("interior", "dealer", KEYS[0], suspected_from=never),
        world.offer("maker", "dealer", weapon, expires_at=never),
        world.report("maker", "lost", weapon, occurred_at=never),
    ]
    for record in records:
        with pytest.raises(EncodingError) as caught:
            sign_record(record, KEYS[0])
        assert caught.value.code == "bad_time"


def test_possession_is_proved_for_one_ledger_party_role_and_key() -> None:
    world = trading_world()
    new = world.proof("shop", KEYS[0])
    ledger = GENESIS.ledger_id
    verify_possession(new, ledger=ledger, party="shop", role="record")
    other = world.proof("shop", KEYS[1])
    wrong = [
        (msgspec.structs.replace(new, public=other.public), ledger, "shop", "record"),
        (msgspec.structs.replace(new, proof=b64encode(bytes(64))), ledger, "shop", "record"),
        (new, "tracemark.test/log#0123456789abcdef", "shop", "record"),
        (new, ledger, "other", "record"),
        (new, ledger, "shop", "log"),
    ]
    for key, at, party, role in wrong:
        with pytest.raises(SignatureError) as caught:
            verify_possession(key, ledger=at, party=party, role=role)  # type: ignore[arg-type]
        assert caught.value.code == "bad_possession"


@pytest.mark.parametrize("public", ["00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f"])
def test_keys_of_small_order_have_no_possession(public: str) -> None:
    world = trading_world()
    key = msgspec.structs.replace(world.proof("shop", KEYS[0]), public=public, proof=b64encode(bytes(64)))
    with pytest.raises(SignatureError):
        verify_possession(key, ledger=GENESIS.ledger_id, party="shop", role="record")


def test_enrolment_and_key_addition_carry_their_proof() -> None:
    world = trading_world()
    foreign = world.proof("other", KEYS[0])
    for record in (
        world.enrol("interior", "shop", "dealer", key=foreign),
        msgspec.structs.replace(
            world.add_key("dealer", "dealer", KEYS[0]), body=world.add_key("dealer", "other", KEYS[0]).body
        ),
    ):
        body = msgspec.structs.replace(record.body, key=foreign, party="shop")
        wrong = msgspec.structs.replace(record, body=body)
        with pytest.raises(SignatureError) as caught:
            world.sign(wrong)
        assert caught.value.code == "bad_possession"
