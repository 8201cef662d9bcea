"""Signing, parsing and verifying of records in their envelopes (DESIGN 4.1, 4.2, 4.4).

Form first, then signatures: `parse_entry` needs nothing but the bytes; `verify_entry` is given the keys that the state
says are the signers' at that place. Whether the signers may issue the record is the state's business.
"""

import binascii
import hashlib
from typing import Final

import msgspec

from ledger.codec import (
    PAYLOAD_TYPE,
    Envelope,
    EnvelopeSignature,
    b64decode,
    b64encode,
    decode,
    decode_envelope,
    encode,
    pae,
)
from ledger.errors import EncodingError, SignatureError
from ledger.limits import MAX_ENTRY_BYTES
from ledger.records import (
    IncidentReport,
    KeyAdd,
    KeyRevoke,
    PartyEnrol,
    PartyUpdate,
    ProposalOpen,
    Record,
    TransferOffer,
)
from ledger.records.fields import parse_time
from ledger.records.governance import ValidatorAdd, ValidatorReplace, ValidatorRotate, new_keys_of
from ledger.records.membership import NewKey
from ledger.signing import SIGNATURE_BYTES, Role, SigningKey, key_id, public_from_hex, verify

_POSSESSION_DOMAIN: Final = b"tracemark/key/1\x00"


class ParsedRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A well-formed record whose signatures are not verified yet.

    `id` is the record id (64 hex digits), `signed` the bytes under the signatures, `issued_ms` its `issued_at`.
    """

    record: Record
    id: str
    entry: bytes
    signed: bytes
    envelope: Envelope
    issued_ms: int


class SignedRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record whose every signature verified. `signers` are the public keys (hex) that did, the issuer's first."""

    record: Record
    id: str
    entry: bytes
    issued_ms: int
    signers: tuple[str, ...]


def sign_record(record: Record, *keys: SigningKey) -> bytes:
    """The entry bytes of `record` signed by `keys` (distinct).

    Raises:
        EncodingError: code `too_large` if the entry would not fit into the log, or `bad_signatures` for a repeated key.
    """
    payload = encode(record)
    message = pae(PAYLOAD_TYPE, payload)
    signatures = sorted(
        (EnvelopeSignature(keyid=key_id(key.public), sig=b64encode(key.sign(message))) for key in keys),
        key=lambda signature: signature.keyid,
    )
    entry = Envelope(payload=b64encode(payload), payload_type=PAYLOAD_TYPE, signatures=tuple(signatures)).to_bytes()
    parse_entry(entry)
    return entry


def parse_entry(entry: bytes) -> ParsedRecord:
    """Parse entry bytes strictly: envelope, payload, times, certificates. Verifies no signature.

    Raises:
        EncodingError: see `ledger.codec.decode_envelope`; also `bad_time`, `bad_base64`.
    """
    envelope, payload = decode_envelope(entry)
    record: Record = decode(payload, Record, limit=MAX_ENTRY_BYTES)
    _check_times(record)
    _check_certificate(record)
    signed = pae(PAYLOAD_TYPE, payload)
    return ParsedRecord(
        record=record,
        id=hashlib.sha256(signed).hexdigest(),
        entry=entry,
        signed=signed,
        envelope=envelope,
        issued_ms=parse_time(record.issued_at),
    )


class _Stated(msgspec.Struct, frozen=True, gc=False):
    issuer: str


_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_STATED: Final = msgspec.json.Decoder(_Stated)


def stated_issuer(entry: bytes) -> str:
    """Who an entry says issued it; empty where it says nothing that can be read. Checks nothing: for deciding in which turn
    entries are looked at, a tenth of what parsing costs."""
    try:
        return _STATED.decode(binascii.a2b_base64(_ENVELOPE.decode(entry).payload)).issuer
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""


def _check_times(record: Record) -> None:
    """Every stated time is a moment of the calendar; the patterns alone admit 30 February."""
    match record:
        case PartyEnrol() | PartyUpdate():
            stated = record.body.valid_until
        case KeyRevoke():
            stated = record.body.suspected_from
        case TransferOffer() | ProposalOpen():
            stated = record.body.expires_at
        case IncidentReport():
            stated = record.body.occurred_at
        case _:
            return
    if stated is not msgspec.UNSET:
        parse_time(stated)


def _check_certificate(record: Record) -> None:
    """A stated certificate is base64 of one spelling; reading it takes a library that the ledger does without."""
    if not isinstance(record, ProposalOpen):
        return
    match record.body.change:
        case ValidatorAdd() | ValidatorReplace() as change:
            stated = change.agency.ca
        case ValidatorRotate(ca=str(ca)):
            stated = ca
        case _:
            return
    b64decode(stated, what="certificate")


def verify_entry(parsed: ParsedRecord, signers: tuple[str, ...]) -> SignedRecord:
    """Verify that exactly `signers` signed the record, and the possession proofs in its body.

    Args:
        parsed: from `parse_entry`.
        signers: public keys in hex that must have signed, the issuer's first (`ledger.state.transition.signers_of`), then
            those of signers that the body names.

    Raises:
        SignatureError: `wrong_signers` (the key ids are not those of the signers), `bad_signature`, `bad_possession`.
    """
    publics = {key_id(public_from_hex(text)): bytes.fromhex(text) for text in signers}
    keyids = [signature.keyid for signature in parsed.envelope.signatures]
    if sorted(publics) != keyids:
        raise SignatureError(
            "the record is not signed by exactly the keys it must be signed by",
            code="wrong_signers",
            expected=sorted(publics),
            actual=keyids,
            help="Sign with the issuer's active record key; a proposal and a vote with its node's governance key.",
        )
    for signature in parsed.envelope.signatures:
        raw = b64decode(signature.sig, size=SIGNATURE_BYTES, what="signature")
        verify(publics[signature.keyid], parsed.signed, raw)
    record = parsed.record
    if isinstance(record, PartyEnrol | KeyAdd):
        verify_possession(record.body.key, ledger=record.ledger, party=record.body.party, role="record")
    elif isinstance(record, ProposalOpen):
        origin = record.ledger.partition("#")[0]
        for party, role, key in new_keys_of(record.body.change):
            verify_possession(key, ledger=origin, party=party, role=role)
    return SignedRecord(
        record=record, id=parsed.id, entry=parsed.entry, issued_ms=parsed.issued_ms, signers=tuple(signers)
    )


def possession_bytes(*, ledger: str, party: str, role: Role, public: str) -> bytes:
    """What a new key signs to show that its holder has it: a domain and the canonical JSON of ledger, party, role, key.

    In an agency's identity, which may be made before the ledger has an id, `ledger` is the origin.
    """
    return _POSSESSION_DOMAIN + encode((ledger, party, role, public))


def prove_possession(key: SigningKey, *, ledger: str, party: str, role: Role) -> NewKey:
    """The key with its proof of possession, for `party.enrol`, `key.add` and the genesis ceremony."""
    public = key.public.hex()
    message = possession_bytes(ledger=ledger, party=party, role=role, public=public)
    return NewKey(public=public, proof=b64encode(key.sign(message)))


def verify_possession(key: NewKey, *, ledger: str, party: str, role: Role) -> None:
    """Verify a proof of possession. A small-order key has none that verifies.

    Raises:
        SignatureError: code `bad_possession`.
    """
    message = possession_bytes(ledger=ledger, party=party, role=role, public=key.public)
    try:
        verify(public_from_hex(key.public), message, b64decode(key.proof, size=SIGNATURE_BYTES, what="proof"))
    except (SignatureError, EncodingError) as error:
        raise SignatureError(
            "the new key's proof of possession does not verify",
            code="bad_possession",
            expected=f"its signature for ledger {ledger}, party {party}, role {role}",
            help="Make the proof with the new key itself, for this ledger and party.",
        ) from error
