"""Proposals as bytes: what a hostile body may not say, and whose possession it must prove."""

import json
from typing import Any, Final

import msgspec
import pytest

from ledger.codec import b64encode, encode
from ledger.errors import EncodingError, SignatureError
from ledger.limits import MAX_ENTRY_BYTES
from ledger.records import ProposalOpen, ProposalVote, Record
from ledger.records.envelope import parse_entry, sign_record, verify_entry
from ledger.records.governance import (
    Change,
    ParametersSet,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    new_keys_of,
)
from ledger.signing import SigningKey, key_id
from tests.world import GENESIS, NODE_ROLES, World, build_agency, key_named, node_key_proof

SIGNER: Final = key_named("customs governance")
COAST: Final = build_agency("coast")
ROTATION: Final = ValidatorRotate(
    party="customs", keys=RotatedKeys(**{role: node_key_proof("customs", role, 1) for role in NODE_ROLES})
)
BRINGING_KEYS: Final[tuple[Change, ...]] = (
    ValidatorAdd(agency=COAST),
    ValidatorReplace(party="police", agency=COAST),
    ROTATION,
)


def verified(record: Record, signer: SigningKey = SIGNER) -> None:
    verify_entry(parse_entry(sign_record(record, signer)), (signer.public.hex(),))


def raw(record: Record, *path: str, value: Any) -> bytes:
    """An entry whose record has another value in one place, signed as it is."""
    untyped = json.loads(encode(record))
    place = untyped
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    payload = json.dumps(untyped, sort_keys=True, separators=(",", ":")).encode()
    signature = {"keyid": key_id(SIGNER.public), "sig": b64encode(bytes(64))}
    envelope = {
        "payload": b64encode(payload),
        "payloadType": "application/vnd.tracemark.record+json",
        "signatures": [signature],
    }
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("change", BRINGING_KEYS, ids=lambda change: str(change.__struct_config__.tag))
def test_every_key_that_a_change_brings_in_proves_that_somebody_has_it(change: Change) -> None:
    world = World()
    verified(world.propose("customs", change))
    plain = msgspec.to_builtins(change)
    bringing = plain["agency"]["node"] if "agency" in plain else plain["keys"]
    places = [(bringing, role) for role in bringing] + ([(plain["agency"], "record")] if "agency" in plain else [])
    assert len(places) == len(new_keys_of(change))
    for holder, role in places:
        kept = holder[role]
        strangers = msgspec.to_builtins(node_key_proof("stranger", "log"))
        for wrong in ({**kept, "public": strangers["public"]}, strangers, {**kept, "proof": b64encode(bytes(64))}):
            holder[role] = wrong
            with pytest.raises(SignatureError) as caught:
                verified(world.propose("customs", msgspec.convert(plain, type(change))))
            assert caught.value.code == "bad_possession", role
        holder[role] = kept
    verified(world.propose("customs", msgspec.convert(plain, type(change))))


def test_an_identity_made_for_another_origin_proves_nothing() -> None:
    record = World().propose("customs", ValidatorAdd(agency=COAST))
    other = msgspec.structs.replace(record, ledger=f"another.test/log#{GENESIS.ledger_id[-16:]}")
    with pytest.raises(SignatureError) as caught:
        verified(other)
    assert caught.value.code == "bad_possession"


@pytest.mark.parametrize("certificate", ["!" * 120, "A" * 121, "A" * 118 + "B=", b64encode(bytes(90)) + "\n"])
def test_a_certificate_is_base64_of_one_spelling(certificate: str) -> None:
    world = World()
    for change in (
        ValidatorAdd(agency=msgspec.structs.replace(COAST, ca=certificate)),
        ValidatorReplace(party="police", agency=msgspec.structs.replace(COAST, ca=certificate)),
        msgspec.structs.replace(ROTATION, ca=certificate),
    ):
        with pytest.raises(EncodingError) as caught:
            sign_record(world.propose("customs", change), SIGNER)
        assert caught.value.code == "bad_base64"


def test_a_proposal_ends_at_a_moment_of_the_calendar() -> None:
    record = World().make(
        ProposalOpen, "customs", change=ParametersSet(heartbeat_s=60), expires_at="2026-02-30T00:00:00Z"
    )
    with pytest.raises(EncodingError) as caught:
        sign_record(record, SIGNER)
    assert caught.value.code == "bad_time"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("body", "change", "change"), "validator.appoint"),
        (("body", "change", "change"), None),
        (("body", "change", "party"), "Customs"),
        (("body", "change", "party"), "a" * 41),
        (("body", "change", "agency"), {}),
        (("body", "change"), {"change": "party.suspend"}),
        (("body", "change"), {"change": "parameters.set", "heartbeat_s": 0}),
        (("body", "change"), {"change": "parameters.set", "heartbeat_s": None}),
        (("body", "change"), {"change": "parameters.set", "lead_timeout_ms": 600_001}),
        (("body", "change"), {"change": "parameters.set", "advance_timeout_ms": 1.5}),
        (("body", "change"), {"change": "version.activate", "version": 2, "height": 0}),
        (("body", "change"), {"change": "version.activate", "version": 2, "height": 2**53}),
        (("body", "change"), {"change": "version.activate", "version": True, "height": 2}),
        (("body", "change"), {"change": "validator.rotate", "keys": {"record": {}}, "party": "customs"}),
        (("body", "change"), [1]),
        (("body", "expires_at"), "tomorrow"),
        (("kind",), "proposal.close"),
    ],
)
def test_a_body_that_is_none_is_refused(path: tuple[str, ...], value: Any) -> None:
    record = World().propose("customs", ValidatorRemove(party="police"))
    assert parse_entry(sign_record(record, SIGNER)).record == record
    with pytest.raises(EncodingError) as caught:
        parse_entry(raw(record, *path, value=value))
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(("field", "value"), [("vote", "abstain"), ("vote", None), ("proposal", "0" * 63), ("more", 1)])
def test_a_vote_is_for_or_against_a_proposal(field: str, value: Any) -> None:
    record = World().make(ProposalVote, "customs", proposal="0" * 64, vote="for")
    assert parse_entry(sign_record(record, SIGNER)).record == record
    with pytest.raises(EncodingError):
        parse_entry(raw(record, "body", field, value=value))


def test_the_largest_agency_fits_into_an_entry_and_a_document() -> None:
    wide = msgspec.structs.replace(COAST, name="W" * 100, ca=b64encode(bytes(6_000)))
    record = World().propose("customs", ValidatorReplace(party="police", agency=wide))
    assert len(sign_record(record, SIGNER)) < MAX_ENTRY_BYTES // 3
