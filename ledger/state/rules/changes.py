"""The changes that proposals are about: whether each could be enacted now, and what enacting it writes (PROTOCOL P8).

A change is checked twice: when it is proposed, and by the vote that enacts it. One that alters the validators' document ends
the epoch; the block that holds its record is closing, and that record its last.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET

from ledger.codec import encode
from ledger.errors import RuleError
from ledger.limits import MAX_DOCUMENT_BYTES, MAX_VALIDATORS
from ledger.records.agencies import Agency, keys_of
from ledger.records.governance import (
    Change,
    ParametersSet,
    PartyResume,
    PartySuspend,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    VersionActivate,
    rotated,
)
from ledger.records.membership import NewKey
from ledger.state.authority import active_key, ended_key
from ledger.state.codes import refuse
from ledger.state.lookup import find_party, parameters, present, require_party, validators, version_at
from ledger.state.model import (
    PARAMETERS_KEY,
    VALIDATORS_KEY,
    At,
    Doc,
    KeyDoc,
    NextVersion,
    ParametersDoc,
    PartyDoc,
    State,
    StateKey,
    Validator,
    ValidatorsDoc,
)
from ledger.state.rules.lists import require_sorted
from ledger.state.rules.membership import require_new_key, require_not_ended
from ledger.state.validators import agency_party, member, node_keys, validator_of


def check_change(state: State, change: Change, at: At) -> None:
    """Check that a change could be enacted by the record at this place.

    Raises:
        RuleError: the first rule that it breaks.
    """
    match change:
        case ValidatorAdd():
            _check_arrival(state, change.agency, at, leaving=None)
        case ValidatorReplace():
            _require_member(state, change.party)
            _check_arrival(state, change.agency, at, leaving=change.party)
        case ValidatorRemove():
            _check_remove(state, change)
        case ValidatorRotate():
            _check_rotate(state, change)
        case ParametersSet():
            _check_parameters(state, change)
        case VersionActivate():
            _check_version(state, change, at)
        case PartySuspend() | PartyResume():
            _check_suspension(state, change)


def enact(state: State, change: Change, at: At) -> dict[StateKey, Doc]:
    """The documents that a change writes. Requires that `check_change` let it pass on the same state."""
    match change:
        case ValidatorAdd():
            return _enact_arrival(state, change.agency, at, leaving=None)
        case ValidatorReplace():
            return _enact_arrival(state, change.agency, at, leaving=change.party)
        case ValidatorRemove():
            gone = present(member(validators(state), change.party))
            return {VALIDATORS_KEY: _succeeding(state, change.party), **_ended_keys(state, node_keys(gone), at)}
        case ValidatorRotate():
            return _enact_rotate(state, change, at)
        case ParametersSet():
            settings = {name: value for name, value in _settings_of(change).items() if value is not UNSET}
            return {PARAMETERS_KEY: msgspec.structs.replace(_settled_parameters(state, at), **settings)}
        case VersionActivate():
            following = NextVersion(version=change.version, height=change.height)
            return {PARAMETERS_KEY: msgspec.structs.replace(_settled_parameters(state, at), next_version=following)}
        case PartySuspend():
            return _enact_status(state, change.party, at, status="suspended", suspended_by="validators")
        case PartyResume():
            return _enact_status(state, change.party, at, status="active", suspended_by=None)


# --- validators -----------------------------------------------------------------------------------------------------


def _require_member(state: State, party: str) -> Validator:
    document = validators(state)
    found = member(document, party)
    if found is None:
        raise refuse(
            "unknown_validator",
            f"{party} is not a validator",
            expected=", ".join(each.party for each in document.members),
            actual=party,
        )
    return found


def _succeeding(state: State, leaving: str | None, arriving: Validator | None = None) -> ValidatorsDoc:
    """The next epoch's validators: without one, with another."""
    document = validators(state)
    members = [each for each in document.members if each.party != leaving]
    if arriving is not None:
        members.append(arriving)
    return ValidatorsDoc(epoch=document.epoch + 1, members=tuple(sorted(members, key=lambda each: each.party)))


def _ended_keys(state: State, publics: Iterable[str], at: At) -> dict[StateKey, Doc]:
    changes: dict[StateKey, Doc] = {}
    for public in publics:
        changes.update(ended_key(state, public, at.index + 1))
    return changes


def _require_room(document: ValidatorsDoc) -> None:
    size = len(encode(document))
    if len(document.members) > MAX_VALIDATORS or size > MAX_DOCUMENT_BYTES:
        raise refuse(
            "too_many_validators",
            "there is no room for so many validators with their certificates",
            expected=f"<= {MAX_VALIDATORS} validators, {MAX_DOCUMENT_BYTES} bytes",
            actual=f"{len(document.members)} validators, {size} bytes",
        )


def _require_new_keys(state: State, keys: Iterable[NewKey]) -> None:
    seen: set[str] = set()
    for key in keys:
        require_new_key(state, key.public)
        if key.public in seen:
            raise refuse(
                "duplicate_key",
                "the key stands twice in the proposal",
                expected="a key of its own for each role",
                actual=key.public,
            )
        seen.add(key.public)


def _check_arrival(state: State, agency: Agency, at: At, *, leaving: str | None) -> None:
    """An agency comes with node keys that nobody ever had; the ledger knows it as it comes, or not at all."""
    require_sorted(agency.roles, "roles")
    require_sorted(agency.grants, "roles that it may grant")
    if agency.party != leaving and member(validators(state), agency.party) is not None:
        raise refuse(
            "already_validator",
            f"{agency.party} is a validator already",
            expected="an agency that is none",
            actual=agency.party,
            help="To change its keys propose validator.rotate.",
        )
    known = find_party(state, agency.party)
    if known is not None:
        _require_same_agency(known, agency, at)
    keys = (key for role, key in keys_of(agency) if known is None or role != "record")
    _require_new_keys(state, keys)
    _require_room(_succeeding(state, leaving, validator_of(agency)))


def _require_same_agency(known: PartyDoc, agency: Agency, at: At) -> None:
    if known.grants is None:
        raise refuse(
            "duplicate_party",
            f"the party id {agency.party} is taken by a party that is no agency",
            expected="an id that no party ever had, or an agency's",
            actual=agency.party,
            help="The agency has to choose another id and make another identity.",
        )
    stated = {
        "name": (known.name, agency.name),
        "roles": (known.roles, agency.roles),
        "grants": (known.grants, agency.grants),
        "jurisdiction": (known.jurisdiction, agency.jurisdiction),
        "record key": (active_key(known, at.time_ms), agency.record.public),
    }
    for what, (standing, given) in stated.items():
        if standing != given:
            raise refuse(
                "agency_differs",
                f"the ledger knows {agency.party} with another {what}",
                expected=standing,
                actual=given,
                help="An agency that comes back brings its party as the ledger has it, and new keys for its node.",
            )


def _enact_arrival(state: State, agency: Agency, at: At, *, leaving: str | None) -> dict[StateKey, Doc]:
    changes: dict[StateKey, Doc] = {VALIDATORS_KEY: _succeeding(state, leaving, validator_of(agency))}
    if leaving is not None:
        changes.update(_ended_keys(state, node_keys(present(member(validators(state), leaving))), at))
    is_new = find_party(state, agency.party) is None
    if is_new:
        changes[StateKey("party", agency.party)] = agency_party(agency, at.index)
    for role, key in keys_of(agency):
        if is_new or role != "record":
            changes[StateKey("key", key.public)] = KeyDoc(party=agency.party, role=role, added=at.index)
    return changes


def _check_remove(state: State, change: ValidatorRemove) -> None:
    _require_member(state, change.party)
    if len(validators(state).members) == 1:
        raise refuse(
            "last_validator",
            f"{change.party} is the last validator",
            expected="another validator beside it",
            actual=change.party,
            help="Propose validator.replace.",
        )


def _check_rotate(state: State, change: ValidatorRotate) -> None:
    known = _require_member(state, change.party)
    keys = rotated(change.keys)
    if not keys and change.ca in (UNSET, known.ca):
        raise _changes_nothing("at least one new key, or another certificate")
    _require_new_keys(state, (key for _, key in keys))
    _require_room(_succeeding(state, change.party, _rotated_validator(known, change)))


def _rotated_validator(known: Validator, change: ValidatorRotate) -> Validator:
    new: dict[str, Any] = {role: key.public for role, key in rotated(change.keys)}
    if change.ca is not UNSET:
        new["ca"] = change.ca
    return msgspec.structs.replace(known, **new)


def _enact_rotate(state: State, change: ValidatorRotate, at: At) -> dict[StateKey, Doc]:
    known = present(member(validators(state), change.party))
    keys = rotated(change.keys)
    changes: dict[StateKey, Doc] = {
        VALIDATORS_KEY: _succeeding(state, change.party, _rotated_validator(known, change)),
        **_ended_keys(state, (getattr(known, role) for role, _ in keys), at),
    }
    for role, key in keys:
        changes[StateKey("key", key.public)] = KeyDoc(party=change.party, role=role, added=at.index)
    return changes


# --- parameters and version -----------------------------------------------------------------------------------------


def _settings_of(change: ParametersSet) -> dict[str, Any]:
    return {name: getattr(change, name) for name in ("heartbeat_s", "lead_timeout_ms", "advance_timeout_ms")}


def _check_parameters(state: State, change: ParametersSet) -> None:
    standing = parameters(state)
    settings = {
        name: value
        for name, value in _settings_of(change).items()
        if value is not UNSET and value != getattr(standing, name)
    }
    if not settings:
        raise _changes_nothing("at least one parameter that differs")
    changed = msgspec.structs.replace(standing, **settings)
    if changed.advance_timeout_ms <= changed.lead_timeout_ms:
        raise refuse(
            "timers_inverted",
            "a view would end before its leader is late",
            expected=f"advance_timeout_ms > {changed.lead_timeout_ms}",
            actual=changed.advance_timeout_ms,
        )


def _check_version(state: State, change: VersionActivate, at: At) -> None:
    """The next version, from a later block on. Whether a program knows that version is no rule: programs differ, and a rule
    must not. One that does not know it stops at that height and says so; its agency should not have voted for it."""
    current = version_at(parameters(state), at.height)
    if change.version != current + 1:
        raise refuse(
            "version_not_next",
            "versions are activated one after the other",
            expected=current + 1,
            actual=change.version,
        )
    if change.height <= at.height:
        raise refuse(
            "height_passed",
            "a version is activated at a height to come",
            expected=f"> {at.height}",
            actual=change.height,
            help="Propose a height that leaves the agencies time to vote, and to install the program.",
        )


def _settled_parameters(state: State, at: At) -> ParametersDoc:
    """The parameters with a version that is in force written down as such."""
    document = parameters(state)
    if document.next_version is None or at.height < document.next_version.height:
        return document
    return msgspec.structs.replace(document, version=document.next_version.version, next_version=None)


# --- parties --------------------------------------------------------------------------------------------------------


def _check_suspension(state: State, change: PartySuspend | PartyResume) -> None:
    party = require_party(state, change.party, "party")
    require_not_ended(change.party, party)
    is_suspended = party.suspended_by is not None
    if isinstance(change, PartySuspend) and is_suspended:
        raise refuse(
            "already_suspended",
            f"the validators have suspended {change.party} already",
            expected="a party that they have not suspended",
            actual=change.party,
        )
    if isinstance(change, PartyResume) and not is_suspended:
        raise refuse(
            "not_suspended",
            f"{change.party} is not suspended by the validators",
            expected="a party that they suspended",
            actual=party.status,
            help="Its sponsor lifts a suspension of its own.",
        )


def _enact_status(state: State, party: str, at: At, **status: Any) -> dict[StateKey, Doc]:
    document = require_party(state, party, "party")
    return {StateKey("party", party): msgspec.structs.replace(document, updated=at.index, **status)}


def _changes_nothing(expected: str) -> RuleError:
    return refuse("empty_change", "the proposal would change nothing", expected=expected, actual="none")
