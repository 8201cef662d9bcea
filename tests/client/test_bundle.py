"""The evidence bundle: what it proves, and that nothing but the one right file is accepted."""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from ledger.bundle import Bundle, ProvenEntry, build_bundle, verify_bundle
from ledger.codec import Envelope, b64decode, b64encode
from ledger.errors import VerificationError
from ledger.records import Record
from ledger.records.envelope import ParsedRecord, SignedRecord
from ledger.signing import SigningKey, key_id
from ledger.state.model import KeyDoc, StateKey, WeaponDoc, encode_document
from tests.toyledger import ToyLedger, toy_policy
from tests.world import GENESIS, key_named

POLICY = toy_policy()
replace = msgspec.structs.replace


def traded(ledger: ToyLedger) -> str:
    """A weapon that goes from its maker to a dealer, is stolen and seized; five records by three keys."""
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC",)))
    ledger.submit(ledger.enrol("interior", "dealer", "dealer"))
    ledger.seal()
    lot = ledger.register("maker", "AB123", "AB124")
    ledger.submit(lot)
    ledger.seal()
    weapon = lot.identities[0].id
    offer = ledger.submit(ledger.offer("maker", "dealer", weapon))
    ledger.submit(ledger.accept("dealer", offer, weapon))
    ledger.seal()
    ledger.submit(ledger.report("dealer", "stolen", weapon))
    ledger.seal()
    ledger.submit(ledger.report("police", "seized", weapon))
    ledger.seal()
    return weapon


@cache
def example() -> tuple[ToyLedger, str, Bundle]:
    ledger = ToyLedger()
    weapon = traded(ledger)
    return ledger, weapon, ledger.bundle(weapon)


def refused(data: bytes | Bundle, code: str) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify_bundle(data if isinstance(data, bytes) else data.to_bytes(), POLICY)
    assert caught.value.code == code, str(caught.value)
    return caught.value


def test_a_bundle_tells_the_whole_chain_and_as_of_when() -> None:
    ledger, weapon, bundle = example()
    trace = verify_bundle(bundle.to_bytes(), POLICY)
    assert [(hop.after.owner, hop.after.possessor, hop.after.status) for hop in trace.hops] == [
        ("maker", "maker", "held"),
        ("maker", "maker", "held"),
        ("dealer", "dealer", "held"),
        ("dealer", None, "stolen"),
        ("dealer", "police", "seized"),
    ]
    assert trace.weapon == weapon
    assert trace.document == ledger.weapon(weapon)
    assert [hop.index for hop in trace.hops] == [index for index, _ in ledger.history[weapon]]
    assert [hop.signer for hop in trace.hops] == [
        key_named(f"{party} record").public.hex() for party in ("maker", "maker", "dealer", "dealer", "police")
    ]
    assert (trace.as_of.size, trace.as_of.root) == (ledger.size, ledger.root().hex())
    assert trace.as_of.height == ledger.height - 1
    assert [name for name, _ in trace.as_of.cosignatures] == ["customs", "interior", "neighbour"]


def test_every_changed_byte_is_refused() -> None:
    data = example()[2].to_bytes()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(VerificationError):
            verify_bundle(bytes(changed), POLICY)


def test_every_missing_and_every_doubled_byte_is_refused() -> None:
    data = example()[2].to_bytes()
    for at in range(len(data)):
        for changed in (data[:at] + data[at + 1 :], data[:at] + data[at : at + 1] + data[at:]):
            if changed != data:
                with pytest.raises(VerificationError):
                    verify_bundle(changed, POLICY)


@pytest.mark.parametrize("tail", [b" ", b"\n", b"\x00", b"{}"])
def test_appended_bytes_are_refused(tail: bytes) -> None:
    refused(example()[2].to_bytes() + tail, "bundle_form")


def test_cut_files_are_refused() -> None:
    data = example()[2].to_bytes()
    for size in range(0, len(data), 97):
        refused(data[:size], "bundle_form")


@pytest.mark.parametrize("missing", range(5))
def test_no_hop_may_be_missing(missing: int) -> None:
    bundle = example()[2]
    records = bundle.records[:missing] + bundle.records[missing + 1 :]
    refused(replace(bundle, records=records), "history_incomplete")


def test_no_hop_may_be_exchanged_for_another_record() -> None:
    ledger, _, bundle = example()
    other = ledger.index_of(ledger.history[example()[1]][0][1].id) - 2  # an enrolment
    entry = ProvenEntry(entry=b64encode(ledger.entries[other]), proof=ledger.head(other))
    refused(replace(bundle, records=(entry, *bundle.records[1:])), "history_replay")


def test_records_stand_in_log_order() -> None:
    bundle = example()[2]
    first, second, *rest = bundle.records
    refused(replace(bundle, records=(second, first, *rest)), "record_order")


def test_a_record_may_not_stand_twice() -> None:
    bundle = example()[2]
    refused(replace(bundle, records=(bundle.records[0], *bundle.records)), "record_order")


def test_an_older_seal_would_hide_the_last_hop() -> None:
    """Everything in this bundle is in the log and proven; only the seal is not the checkpoint's last entry."""
    ledger = ToyLedger()
    weapon = traded(ledger)
    document, proof = ledger.document("weapon", weapon), ledger.prove("weapon", weapon)
    public = {record.record.issuer: ledger.signer(record) for _, record in ledger.history[weapon]}
    keys = [(key, ledger.document("key", key), ledger.prove("key", key)) for key in public.values()]
    old_seal = ledger.size - 1
    history = list(ledger.history[weapon])
    ledger.submit(ledger.offer("police", "customs", weapon, moves="custody"))
    ledger.seal()
    bundle = build_bundle(
        ledger=GENESIS.ledger_id,
        weapon=(weapon, document or b"", proof),
        records=[(ledger.entries[index], ledger.head(index)) for index, _ in history],
        keys=[(key, data or b"", key_proof) for key, data, key_proof in keys],
        seal=(ledger.entries[old_seal], ledger.head(old_seal)),
        checkpoint=ledger.checkpoint().decode(),
    )
    refused(bundle, "seal_position")
    assert verify_bundle(ledger.bundle(weapon).to_bytes(), POLICY).document.history_count == 6


def test_a_record_is_no_seal() -> None:
    ledger, _, bundle = example()
    record = ProvenEntry(entry=bundle.records[-1].entry, proof=ledger.head(ledger.size - 2))
    refused(replace(bundle, seal=record), "seal_form")


def test_an_older_bundle_is_good_and_says_so() -> None:
    ledger = ToyLedger()
    weapon = traded(ledger)
    bundle, size = ledger.bundle(weapon).to_bytes(), ledger.size
    ledger.submit(ledger.enrol("interior", "late", "dealer"))
    ledger.seal()
    assert verify_bundle(bundle, POLICY).as_of.size == size < ledger.size


def _more_cosignatures(ledger: ToyLedger) -> bytes:
    return ledger.checkpoint(cosigners=("customs", "interior", "neighbour", "police"))


def _two_log_lines(ledger: ToyLedger) -> bytes:
    first, second = ledger.checkpoint().split(b"\n\n"), ledger.checkpoint(log="police").split(b"\n\n")
    return first[0] + b"\n\n" + second[1].split(b"\n")[0] + b"\n" + first[1]


def _unknown_line(ledger: ToyLedger) -> bytes:
    return ledger.checkpoint() + "— stranger.example AAAAAAAA\n".encode()


def _unsorted(ledger: ToyLedger) -> bytes:
    return ledger.checkpoint(cosigners=("interior", "customs", "neighbour"))


@pytest.mark.parametrize("spelling", [_more_cosignatures, _two_log_lines, _unknown_line, _unsorted])
def test_the_checkpoint_has_one_spelling(spelling: Callable[[ToyLedger], bytes]) -> None:
    ledger, weapon, _ = example()
    note = spelling(ledger)
    POLICY.verify_checkpoint(note)  # good enough for a receipt
    refused(ledger.bundle(weapon, checkpoint=note), "not_minimal")


def test_too_few_cosignatures_are_refused() -> None:
    ledger, weapon, _ = example()
    refused(ledger.bundle(weapon, checkpoint=ledger.checkpoint(cosigners=("customs", "police"))), "no_quorum")


def test_a_checkpoint_without_its_log_line_is_refused() -> None:
    ledger, weapon, _ = example()
    text, lines = ledger.checkpoint().split(b"\n\n")
    note = text + b"\n\n" + lines.split(b"\n", 1)[1]
    refused(ledger.bundle(weapon, checkpoint=note), "no_log_signature")


def test_extra_data_in_a_proof_is_refused() -> None:
    bundle = example()[2]
    head = bundle.records[0].proof.replace("index", "extra AAAA\nindex", 1)
    records = (replace(bundle.records[0], proof=head), *bundle.records[1:])
    refused(replace(bundle, records=records), "record_inclusion")
    seal = replace(bundle.seal, proof=bundle.seal.proof.replace("index", "extra AAAA\nindex", 1))
    refused(replace(bundle, seal=seal), "seal_inclusion")


def test_a_key_too_few_or_too_many_is_refused() -> None:
    ledger, _, bundle = example()
    for at in range(len(bundle.keys)):
        refused(replace(bundle, keys=bundle.keys[:at] + bundle.keys[at + 1 :]), "key_missing")
    public = key_named("customs record").public.hex()
    extra = replace(
        bundle.keys[0],
        public=public,
        document=b64encode(ledger.document("key", public) or b""),
        proof=ledger.prove("key", public),
    )
    keys = tuple(sorted((*bundle.keys, extra), key=lambda key: key.public))
    refused(replace(bundle, keys=keys), "key_unused")
    refused(replace(bundle, keys=tuple(reversed(bundle.keys))), "key_order")
    refused(replace(bundle, keys=(bundle.keys[0], *bundle.keys)), "key_order")


def test_another_ledger_is_refused() -> None:
    bundle = example()[2]
    refused(replace(bundle, ledger="elsewhere.test/log#0123456789abcdef"), "ledger_origin")
    refused(replace(bundle, ledger=GENESIS.origin + "#0123456789abcdef"), "record_ledger")


def test_another_weapons_document_is_refused() -> None:
    ledger, weapon, bundle = example()
    other = next(key.id for key in ledger.state if key.kind == "weapon" and key.id != weapon)
    refused(replace(bundle, weapon=ledger.bundle(other).weapon), "history_incomplete")
    refused(replace(bundle, weapon=replace(bundle.weapon, id=other)), "weapon_proof")


def _forged(change: Callable[[ToyLedger, str], None]) -> Bundle:
    """A bundle of a ledger whose agencies wrote something into the state that its records do not say."""
    ledger = ToyLedger()
    weapon = traded(ledger)
    change(ledger, weapon)
    ledger.seal()
    return ledger.bundle(weapon)


def _set_maker_key(ledger: ToyLedger, **changes: Any) -> None:
    key = StateKey("key", key_named("maker record").public.hex())
    document = ledger.state[key]
    assert isinstance(document, KeyDoc)
    ledger.state[key] = replace(document, **changes)


def _set_weapon(ledger: ToyLedger, weapon: str, **changes: Any) -> None:
    document = ledger.state[StateKey("weapon", weapon)]
    assert isinstance(document, WeaponDoc)
    ledger.state[StateKey("weapon", weapon)] = replace(document, **changes)


def test_a_key_must_be_in_force_at_the_record() -> None:
    ledger, weapon, _ = example()
    maker = [index for index, record in ledger.history[weapon] if record.record.issuer == "maker"]
    refused(_forged(lambda forged, _: _set_maker_key(forged, revoked=maker[-1])), "key_not_in_force")
    refused(_forged(lambda forged, _: _set_maker_key(forged, revoked=maker[0])), "key_not_in_force")
    refused(_forged(lambda forged, _: _set_maker_key(forged, added=maker[0])), "key_not_in_force")
    good = _forged(lambda forged, _: _set_maker_key(forged, revoked=maker[-1] + 1, added=maker[0] - 1))
    verify_bundle(good.to_bytes(), POLICY)


def test_a_key_revoked_later_still_proves_what_it_signed_before() -> None:
    ledger = ToyLedger()
    weapon = traded(ledger)
    ledger.submit(ledger.revoke_key("maker", "maker", ledger.keys["maker"]))
    ledger.seal()
    trace = verify_bundle(ledger.bundle(weapon).to_bytes(), POLICY)
    assert len(trace.hops) == 5


def test_a_key_must_be_its_issuers_record_key() -> None:
    refused(_forged(lambda ledger, _: _set_maker_key(ledger, party="dealer")), "key_not_issuers")
    refused(_forged(lambda ledger, _: _set_maker_key(ledger, role="log")), "key_not_issuers")


def test_the_document_must_follow_from_the_records() -> None:
    refused(_forged(lambda ledger, weapon: _set_weapon(ledger, weapon, owner="police")), "history_replay")
    refused(_forged(lambda ledger, weapon: _set_weapon(ledger, weapon, history_head="0" * 64)), "history_incomplete")
    refused(_forged(lambda ledger, weapon: _set_weapon(ledger, weapon, history_count=6)), "history_incomplete")


class _BadSigner(ToyLedger):
    """Agencies that let a record into the log that its issuer's key did not sign."""

    def sign(self, record: Record, *keys: SigningKey) -> tuple[ParsedRecord, SignedRecord]:
        parsed, signed = super().sign(record, *keys)
        if record.issuer == "police":
            forged = key_named("intruder").sign(parsed.signed)
            signature = replace(parsed.envelope.signatures[0], sig=b64encode(forged))
            self._last_entry = replace(parsed.envelope, signatures=(signature,)).to_bytes()
        return parsed, signed


def test_every_signature_is_verified() -> None:
    ledger = _BadSigner()
    weapon = traded(ledger)
    refused(ledger.bundle(weapon), "record_signature")


def test_other_json_of_the_same_value_is_refused() -> None:
    data = example()[2].to_bytes()
    refused(msgspec.json.format(data, indent=1), "bundle_form")
    refused(data.replace(b'{"checkpoint":', b'{"added":1,"checkpoint":', 1), "bundle_form")


def test_the_envelopes_in_it_are_the_log_entries() -> None:
    ledger, weapon, bundle = example()
    for (index, record), proven in zip(ledger.history[weapon], bundle.records, strict=True):
        entry = b64decode(proven.entry)
        assert entry == ledger.entries[index]
        envelope = msgspec.json.decode(entry, type=Envelope)
        assert envelope.signatures[0].keyid == key_id(ledger.keys[record.record.issuer].public)
    assert b64decode(bundle.weapon.document) == encode_document(ledger.weapon(weapon))


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (b'"checkpoint":"', b'"checkpoint":"\\ud800'),
        (b'"checkpoint":"', '"checkpoint":"\u2028'.encode()),
        (b'"proof":"c2sp', '"proof":"é'.encode()),
        (b'"siblings":["', b'"siblings":["A'),
        (b"index ", b"index 9999999999999999999999"),
        (b"index ", b"index -"),
        (b'"ledger":"', b'"ledger":"\\n'),
        (b'{"checkpoint"', b"[" * 100_000 + b'{"checkpoint"'),
    ],
)
def test_strange_values_are_refused_as_everything_else(found: bytes, instead: bytes) -> None:
    data = example()[2].to_bytes()
    assert found in data
    with pytest.raises(VerificationError):
        verify_bundle(data.replace(found, instead, 1), POLICY)
