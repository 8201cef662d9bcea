"""The transition function: which documents a record touches, whether it is lawful, and what it writes (DESIGN 7).

For each record, in log order: gather what `touches` names, then what `follows` names for each document found, until
nothing is new (three rounds at most); `check`; `apply`; write what `apply` returns. All functions are pure and read only
that working set.

Left to others: form and signatures (`ledger.records.envelope`), whether the record's id is new (the index of record ids),
and the limits of a block.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from msgspec import UNSET

from ledger.evidence import subject_of
from ledger.genesis import Genesis, keys_of
from ledger.limits import RECORD_MAX_AGE_MS, RECORD_MAX_AHEAD_MS
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
from ledger.records.envelope import SignedRecord
from ledger.records.fields import format_time
from ledger.records.governance import (
    Change,
    PartyResume,
    PartySuspend,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    new_keys_of,
)
from ledger.state.authority import active_key, check_authority, settled, signers_of
from ledger.state.codes import refuse
from ledger.state.lookup import parameters, require_party
from ledger.state.model import (
    PARAMETERS_KEY,
    VALIDATORS_KEY,
    At,
    Doc,
    KeyDoc,
    ParametersDoc,
    PartyDoc,
    ProposalDoc,
    State,
    StateKey,
    TransferDoc,
    ValidatorsDoc,
    WeaponDoc,
)
from ledger.state.replay import replay_weapon
from ledger.state.rules.corrections import apply_correction, check_correction
from ledger.state.rules.custody import (
    apply_accept,
    apply_offer,
    apply_release,
    check_accept,
    check_offer,
    check_release,
)
from ledger.state.rules.evidence import apply_evidence, check_evidence
from ledger.state.rules.governance import apply_open, apply_vote, check_open, check_vote
from ledger.state.rules.incidents import apply_report, check_report
from ledger.state.rules.items import apply_register, check_register
from ledger.state.rules.membership import (
    apply_enrol,
    apply_key_add,
    apply_key_revoke,
    apply_update,
    check_enrol,
    check_key_add,
    check_key_revoke,
    check_update,
)
from ledger.state.validators import agency_party, node_keys, validator_of
from ledger.state.weapons.writing import kind_of, weapons_of

__all__ = [
    "active_key",
    "apply",
    "check",
    "follows",
    "genesis_state",
    "kind_of",
    "replay_weapon",
    "signers_of",
    "touches",
    "weapons_of",
]

Check: TypeAlias = Callable[[State, SignedRecord, At, PartyDoc], None]
Apply: TypeAlias = Callable[[State, SignedRecord, At], dict[StateKey, Doc]]


class Rule(NamedTuple):
    """What a kind of record may do, and does."""

    check: Check
    apply: Apply


RULES_BY_KIND: Final[dict[type[Record], Rule]] = {
    PartyEnrol: Rule(check_enrol, apply_enrol),
    PartyUpdate: Rule(check_update, apply_update),
    KeyAdd: Rule(check_key_add, apply_key_add),
    KeyRevoke: Rule(check_key_revoke, apply_key_revoke),
    WeaponRegister: Rule(check_register, apply_register),
    TransferOffer: Rule(check_offer, apply_offer),
    TransferAccept: Rule(check_accept, apply_accept),
    TransferDecline: Rule(check_release, apply_release),
    TransferCancel: Rule(check_release, apply_release),
    IncidentReport: Rule(check_report, apply_report),
    CorrectionDeclare: Rule(check_correction, apply_correction),
    ProposalOpen: Rule(check_open, apply_open),
    ProposalVote: Rule(check_vote, apply_vote),
    EquivocationReport: Rule(check_evidence, apply_evidence),
}


def touches(record: Record, record_id: str) -> tuple[StateKey, ...]:
    """The keys that the record alone shows it reads or writes: parameters, issuer, and what its body names."""
    named: list[StateKey] = [PARAMETERS_KEY, StateKey("party", record.issuer)]
    named.extend(StateKey("weapon", weapon) for weapon in weapons_of(record))
    match record:
        case PartyEnrol() | KeyAdd():
            named += [StateKey("party", record.body.party), StateKey("key", record.body.key.public)]
        case PartyUpdate():
            named.append(StateKey("party", record.body.party))
        case KeyRevoke():
            named += [StateKey("party", record.body.party), StateKey("key", record.body.public)]
        case WeaponRegister():
            lists = (row.differs.distinct_from for row in record.body.rows)
            named.extend(StateKey("weapon", weapon) for listed in lists if listed is not UNSET for weapon in listed)
        case TransferOffer():
            named += [StateKey("party", record.body.to), StateKey("transfer", record_id)]
        case TransferAccept() | TransferDecline() | TransferCancel():
            named.append(StateKey("transfer", record.body.transfer))
        case ProposalOpen():
            named += [VALIDATORS_KEY, StateKey("proposal", record_id), *_touched_by_change(record.body.change)]
        case ProposalVote():
            named += [VALIDATORS_KEY, StateKey("proposal", record.body.proposal)]
        case EquivocationReport():
            evidence = record.body.evidence
            named += [VALIDATORS_KEY, StateKey("key", evidence.public), StateKey("evidence", subject_of(evidence))]
    return tuple(named)


def _touched_by_change(change: Change) -> tuple[StateKey, ...]:
    keys = tuple(StateKey("key", key.public) for _, _, key in new_keys_of(change))
    match change:
        case ValidatorAdd() | ValidatorReplace():
            return (StateKey("party", change.agency.party), *keys)
        case ValidatorRemove() | ValidatorRotate() | PartySuspend() | PartyResume():
            return (StateKey("party", change.party), *keys)
        case _:
            return keys


def follows(document: Doc) -> tuple[StateKey, ...]:
    """The keys that a document read so leads to: a party's keys; a weapon's offers, owner and possessor; who made an offer;
    the validators' keys; what a proposal would change."""
    match document:
        case WeaponDoc():
            transfers = (document.offer_title, document.offer_custody)
            parties = (document.owner, document.possessor)
            return (
                *(StateKey("transfer", transfer) for transfer in transfers if transfer is not None),
                *(StateKey("party", party) for party in parties if party is not None),
            )
        case PartyDoc():
            publics = (document.record_key, document.recovery.public if document.recovery else None)
            return tuple(StateKey("key", public) for public in publics if public is not None)
        case TransferDoc():
            return (StateKey("party", document.offered_by),)
        case ValidatorsDoc():
            return tuple(StateKey("key", public) for each in document.members for public in node_keys(each))
        case ProposalDoc():
            return _touched_by_change(document.change)
        case _:
            return ()


def check(state: State, signed: SignedRecord, at: At) -> None:
    """Check that a record is lawful at its place: ledger, time, issuer, key, then the rules of its kind.

    Args:
        state: the documents just before the record; at least its working set.
        signed: the record, its signatures verified.
        at: its log index, and the time and height of its block.

    Raises:
        RuleError: the first rule broken, one of `ledger.state.codes.RULES`.
    """
    record = signed.record
    ledger = parameters(state).ledger
    if record.ledger != ledger:
        raise refuse(
            "wrong_ledger",
            "the record is for another ledger",
            expected=ledger,
            actual=record.ledger,
            help="Check to which network the node belongs.",
        )
    _check_time(signed, at)
    issuer = check_authority(state, signed, at)
    RULES_BY_KIND[type(record)].check(state, signed, at, issuer)


def _check_time(signed: SignedRecord, at: At) -> None:
    if signed.issued_ms < at.time_ms - RECORD_MAX_AGE_MS:
        raise refuse(
            "issued_too_old",
            "the record was issued too long ago",
            expected=f"no earlier than {format_time(at.time_ms - RECORD_MAX_AGE_MS)}",
            actual=signed.record.issued_at,
            help="Issue and sign it again; check that it did not get in by another way meanwhile.",
        )
    if signed.issued_ms > at.time_ms + RECORD_MAX_AHEAD_MS:
        raise refuse(
            "issued_in_future",
            "the record was issued in the future",
            expected=f"no later than {format_time(at.time_ms + RECORD_MAX_AHEAD_MS)}",
            actual=signed.record.issued_at,
            help="Check the clock of the machine that signed it.",
        )


def apply(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """The documents that a lawful record writes. Requires that `check` let it pass on the same state."""
    record = signed.record
    issuer = require_party(state, record.issuer, "issuer")
    _, changes = settled(state, record.issuer, issuer, at)
    return changes | RULES_BY_KIND[type(record)].apply(state, signed, at)


def genesis_state(genesis: Genesis) -> dict[StateKey, Doc]:
    """The state at height 0: parameters, validators, and each agency with all its keys (DESIGN 12)."""
    state: dict[StateKey, Doc] = {
        PARAMETERS_KEY: ParametersDoc(
            ledger=genesis.ledger_id,
            version=genesis.parameters.version,
            heartbeat_s=genesis.parameters.heartbeat_s,
            lead_timeout_ms=genesis.parameters.lead_timeout_ms,
            advance_timeout_ms=genesis.parameters.advance_timeout_ms,
        ),
        VALIDATORS_KEY: ValidatorsDoc(
            epoch=0,
            members=tuple(validator_of(agency) for agency in genesis.agencies),
        ),
    }
    for agency in genesis.agencies:
        state[StateKey("party", agency.party)] = agency_party(agency, 0)
        for role, key in keys_of(agency):
            state[StateKey("key", key.public)] = KeyDoc(party=agency.party, role=role)
    return state
