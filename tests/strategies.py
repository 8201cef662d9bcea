"""Hypothesis strategies for records of every kind: well-formed, though seldom lawful."""

import base64
import re
from typing import Any, Final, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET

from ledger.codec import b64encode
from ledger.limits import (
    MAX_CODE_CHARS,
    MAX_COMPONENTS,
    MAX_DISTINCT_FROM,
    MAX_MARKED_CHARS,
    MAX_NAME_CHARS,
    MAX_REFS,
    MAX_SERIAL_CHARS,
    MAX_TEXT_CHARS,
)
from ledger.records import (
    CorrectionDeclare,
    EquivocationReport,
    IncidentReport,
    KeyAdd,
    KeyRevoke,
    PartyEnrol,
    PartyUpdate,
    ProposalOpen,
    ProposalVote,
    Record,
    TransferAccept,
    TransferCancel,
    TransferDecline,
    TransferOffer,
    WeaponRegister,
)
from ledger.records.agencies import Agency, ValidatorKeys
from ledger.records.corrections import CorrectionDeclareBody
from ledger.records.custody import TransferDeclineBody, TransferOfferBody, TransferStepBody
from ledger.records.evidence import (
    EVIDENCE_FORMAT,
    CosignedFork,
    Equivocation,
    EquivocationReportBody,
    Evidence,
    SignedFork,
    SignedProposal,
    SignedText,
    SignedVote,
)
from ledger.records.fields import ComponentKind, IncidentKind, PartyRole, format_time
from ledger.records.governance import (
    ParametersSet,
    PartyResume,
    PartySuspend,
    ProposalOpenBody,
    ProposalVoteBody,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    VersionActivate,
)
from ledger.records.incidents import IncidentReportBody, UnregisteredWeapon
from ledger.records.items import Attributes, Component, LotRow, RowAttributes, WeaponRegisterBody
from ledger.records.membership import KeyAddBody, KeyRevokeBody, NewKey, PartyEnrolBody, PartyUpdateBody

T = TypeVar("T")

LOWER: Final = "abcdefghijklmnopqrstuvwxyz"
UPPER: Final = LOWER.upper()
DIGITS: Final = "0123456789"
_HIDDEN: Final = re.compile(
    "[\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\U000e0000-\U000e0fff\xad]"
)
_LATEST_S: Final = 32_503_679_999
"""31 December 2999."""


def absent_or(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | msgspec.UnsetType]:
    """A field that may be absent."""
    return st.one_of(st.just(UNSET), strategy)


def chosen(literal: Any) -> st.SearchStrategy[Any]:
    """One value of a Literal type."""
    return st.sampled_from(literal.__args__)


def _written(most: int) -> st.SearchStrategy[str]:
    letters = st.characters(exclude_categories=("Cc", "Cs")).filter(lambda letter: not _HIDDEN.match(letter))
    return st.text(letters, min_size=1, max_size=most)


party_ids = st.from_regex(r"\A[a-z][a-z0-9-]{1,39}\Z")
record_ids = st.binary(min_size=32, max_size=32).map(bytes.hex)
public_keys = record_ids
weapon_ids = st.binary(min_size=20, max_size=20).map(lambda raw: "w" + base64.b32encode(raw).decode("ascii").lower())
signatures = st.binary(min_size=64, max_size=64).map(b64encode)
times = st.integers(min_value=0, max_value=_LATEST_S).map(lambda seconds: format_time(seconds * 1000))
nonces = st.binary(min_size=16, max_size=16).map(lambda raw: base64.urlsafe_b64encode(raw).decode("ascii").rstrip("="))
ledger_ids = st.builds(lambda digits: f"tracemark.test/log#{digits.hex()}", st.binary(min_size=8, max_size=8))
countries = st.text(UPPER, min_size=2, max_size=2)
codes = st.text(UPPER + DIGITS, min_size=1, max_size=MAX_CODE_CHARS)
names = _written(MAX_NAME_CHARS)
texts = _written(MAX_TEXT_CHARS)
marks = _written(MAX_MARKED_CHARS)
serials = st.text(UPPER + DIGITS + "/.", min_size=1, max_size=MAX_SERIAL_CHARS)
years = st.integers(min_value=1500, max_value=2200)
unmarked = st.sampled_from(("never-marked", "obliterated"))
roles = st.lists(chosen(PartyRole), min_size=1, unique=True).map(sorted).map(tuple)
make_codes = st.lists(codes, max_size=5, unique=True).map(sorted).map(tuple)
weapon_lists = st.lists(weapon_ids, min_size=1, max_size=5, unique=True).map(sorted).map(tuple)
new_keys = st.builds(NewKey, public=public_keys, proof=signatures)

_DESCRIPTION: Final[dict[str, st.SearchStrategy[Any]]] = {
    "make_name": absent_or(names),
    "model": absent_or(names),
    "type": absent_or(codes),
    "calibre": absent_or(codes),
    "country": absent_or(countries),
    "year": absent_or(years),
}

attributes = st.builds(Attributes, make=absent_or(codes), **_DESCRIPTION)
components = st.builds(Component, component=chosen(ComponentKind), serial=marks)
row_attributes = st.builds(
    RowAttributes,
    make=absent_or(codes),
    marked=absent_or(marks),
    unmarked=absent_or(unmarked),
    components=absent_or(st.lists(components, min_size=1, max_size=MAX_COMPONENTS).map(tuple)),
    distinct_from=absent_or(st.lists(weapon_ids, min_size=1, max_size=MAX_DISTINCT_FROM).map(tuple)),
    **_DESCRIPTION,
)
lot_rows = st.builds(LotRow, serial=serials, differs=row_attributes)
unregistered = st.builds(
    UnregisteredWeapon,
    make=codes,
    serial=serials,
    marked=absent_or(marks),
    unmarked=absent_or(unmarked),
    **_DESCRIPTION,
)

_steps = st.builds(TransferStepBody, transfer=record_ids, weapons=weapon_lists)
_releases = st.builds(TransferDeclineBody, transfer=record_ids, weapons=weapon_lists, remark=absent_or(texts))

certificates = st.binary(min_size=75, max_size=600).map(b64encode)
agencies = st.builds(
    Agency,
    party=party_ids,
    name=names,
    roles=roles,
    grants=roles,
    jurisdiction=countries,
    record=new_keys,
    node=st.builds(
        ValidatorKeys, consensus=new_keys, cosigner=new_keys, governance=new_keys, log=new_keys, transport=new_keys
    ),
    ca=certificates,
)
_rotated = st.builds(
    RotatedKeys,
    consensus=absent_or(new_keys),
    cosigner=absent_or(new_keys),
    governance=absent_or(new_keys),
    log=absent_or(new_keys),
    transport=absent_or(new_keys),
)
changes = st.one_of(
    st.builds(ValidatorAdd, agency=agencies),
    st.builds(ValidatorRemove, party=party_ids),
    st.builds(ValidatorReplace, party=party_ids, agency=agencies),
    st.builds(ValidatorRotate, party=party_ids, keys=_rotated, ca=absent_or(certificates)),
    st.builds(
        ParametersSet,
        heartbeat_s=absent_or(st.integers(min_value=1, max_value=86_400)),
        lead_timeout_ms=absent_or(st.integers(min_value=50, max_value=600_000)),
        advance_timeout_ms=absent_or(st.integers(min_value=100, max_value=600_000)),
    ),
    st.builds(
        VersionActivate,
        version=st.integers(min_value=1, max_value=1_000_000),
        height=st.integers(min_value=1, max_value=2**53 - 1),
    ),
    st.builds(PartySuspend, party=party_ids),
    st.builds(PartyResume, party=party_ids),
)

signatures = st.binary(min_size=64, max_size=64).map(b64encode)
counts = st.integers(0, 2**53 - 1)
signed_votes = st.builds(
    SignedVote,
    vote=st.sampled_from(("notarize", "nullify", "finalize")),
    proposal=absent_or(st.builds(SignedProposal, parent_view=counts, digest=public_keys)),
    signature=signatures,
)
signed_texts = st.builds(
    SignedText, text=st.text(min_size=1, max_size=100), time_s=absent_or(counts), signature=signatures
)
_proving: dict[str, Any] = {
    "format": st.just(EVIDENCE_FORMAT),
    "ledger": ledger_ids,
    "party": party_ids,
    "public": public_keys,
}
evidence: Final[st.SearchStrategy[Evidence]] = st.one_of(
    st.builds(
        Equivocation,
        **_proving,
        chain=public_keys,
        epoch=counts,
        view=st.integers(1, 2**53 - 1),
        first=signed_votes,
        second=signed_votes,
    ),
    st.builds(CosignedFork, **_proving, size=counts, first=signed_texts, second=signed_texts),
    st.builds(SignedFork, **_proving, size=counts, first=signed_texts, second=signed_texts),
)
"""Of the right form; they prove nothing."""

BODIES: Final[dict[type[Record], st.SearchStrategy[Any]]] = {
    PartyEnrol: st.builds(
        PartyEnrolBody,
        party=party_ids,
        name=names,
        roles=roles,
        jurisdiction=countries,
        key=new_keys,
        makes=make_codes,
        any_make=st.booleans(),
        valid_until=absent_or(times),
    ),
    PartyUpdate: st.builds(
        PartyUpdateBody,
        party=party_ids,
        name=absent_or(names),
        roles=absent_or(roles),
        makes=absent_or(make_codes),
        any_make=absent_or(st.booleans()),
        valid_until=absent_or(times),
        status=absent_or(st.sampled_from(("active", "suspended", "ended"))),
    ),
    KeyAdd: st.builds(KeyAddBody, party=party_ids, key=new_keys),
    KeyRevoke: st.builds(
        KeyRevokeBody,
        party=party_ids,
        public=public_keys,
        reason=st.sampled_from(("compromised", "lost", "retired")),
        suspected_from=absent_or(times),
        remark=absent_or(texts),
    ),
    WeaponRegister: st.builds(
        WeaponRegisterBody, defaults=attributes, rows=st.lists(lot_rows, min_size=1, max_size=4).map(tuple)
    ),
    TransferOffer: st.builds(
        TransferOfferBody,
        weapons=weapon_lists,
        to=party_ids,
        moves=st.sampled_from(("title", "custody", "both")),
        expires_at=times,
        remark=absent_or(texts),
    ),
    TransferAccept: _steps,
    TransferDecline: _releases,
    TransferCancel: _releases,
    IncidentReport: st.builds(
        IncidentReportBody,
        incident=chosen(IncidentKind),
        occurred_at=times,
        weapons=st.one_of(st.just(()), weapon_lists),
        unregistered=st.lists(unregistered, max_size=3).map(tuple),
        country=absent_or(countries),
        case=absent_or(marks),
        remark=absent_or(texts),
    ),
    EquivocationReport: st.builds(EquivocationReportBody, evidence=evidence),
    ProposalOpen: st.builds(ProposalOpenBody, change=changes, expires_at=times),
    ProposalVote: st.builds(ProposalVoteBody, proposal=record_ids, vote=st.sampled_from(("for", "against"))),
    CorrectionDeclare: st.builds(
        CorrectionDeclareBody,
        record=record_ids,
        reason=st.just("did_not_occur"),
        weapons=weapon_lists,
        remark=absent_or(texts),
    ),
}
"""For each kind, its body."""


def records_of(kind: type[Record]) -> st.SearchStrategy[Record]:
    """Records of one kind."""
    built: st.SearchStrategy[Record] = st.builds(
        kind,
        issued_at=times,
        issuer=party_ids,
        ledger=ledger_ids,
        nonce=nonces,
        refs=st.lists(record_ids, max_size=MAX_REFS).map(tuple),
        schema=st.just(1),
        body=BODIES[kind],
    )
    return built


records: Final[st.SearchStrategy[Record]] = st.one_of([records_of(kind) for kind in BODIES])
"""Records of any kind."""
