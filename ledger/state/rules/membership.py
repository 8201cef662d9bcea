"""Membership: agencies enrol parties, and keys come and go (DESIGN 12)."""

from typing import Any

import msgspec
from msgspec import UNSET

from ledger.limits import KEY_RECOVERY_DELAY_MS
from ledger.records import KeyAdd, KeyRevoke, PartyEnrol, PartyUpdate
from ledger.records.envelope import SignedRecord
from ledger.records.fields import PartyRole, format_time, parse_time
from ledger.records.membership import PartyUpdateBody
from ledger.state.authority import ended_key, settled
from ledger.state.codes import refuse
from ledger.state.lookup import find_key, find_party, present, require_party
from ledger.state.model import At, Doc, KeyDoc, PartyDoc, Recovery, State, StateKey
from ledger.state.rules.lists import require_past, require_sorted

_MAKES_ROLES = frozenset({"maker", "importer"})
_ANY_MAKE_ROLES = frozenset({"importer", "registry"})


# --- party.enrol ----------------------------------------------------------------------------------------------------


def check_enrol(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """An agency enrols a new party with a new key, within its jurisdiction and the roles that it may grant."""
    record = signed.record
    assert isinstance(record, PartyEnrol)
    body = record.body
    if issuer.grants is None:
        raise refuse(
            "not_an_agency",
            f"{record.issuer} is not an agency",
            expected="an agency",
            actual=record.issuer,
            help="Ask your agency to enrol the party.",
        )
    if body.jurisdiction != issuer.jurisdiction:
        raise refuse(
            "wrong_jurisdiction",
            f"{record.issuer} enrols parties of its own jurisdiction only",
            expected=issuer.jurisdiction,
            actual=body.jurisdiction,
        )
    if find_party(state, body.party) is not None:
        raise refuse(
            "duplicate_party",
            f"the party id {body.party} is taken",
            expected="an id that no party ever had",
            actual=body.party,
            help="Choose another id; to change the party use party.update.",
        )
    require_new_key(state, body.key.public)
    _check_terms(issuer, body.roles, body.makes, body.any_make)
    if body.valid_until is not UNSET:
        _check_validity(body.valid_until, at)


def apply_enrol(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes the party and its key."""
    record = signed.record
    assert isinstance(record, PartyEnrol)
    body = record.body
    party = PartyDoc(
        name=body.name,
        roles=body.roles,
        jurisdiction=body.jurisdiction,
        status="active",
        updated=at.index,
        sponsor=record.issuer,
        makes=body.makes,
        any_make=body.any_make,
        valid_until=None if body.valid_until is UNSET else parse_time(body.valid_until),
        record_key=body.key.public,
    )
    return {
        StateKey("party", body.party): party,
        StateKey("key", body.key.public): KeyDoc(party=body.party, role="record", added=at.index),
    }


def _check_terms(sponsor: PartyDoc, roles: tuple[PartyRole, ...], makes: tuple[str, ...], any_make: bool) -> None:
    """What a sponsor may grant, and which roles make codes go with."""
    require_sorted(roles, "roles")
    require_sorted(makes, "make codes")
    granted = sponsor.grants or ()
    for role in roles:
        if role not in granted:
            raise refuse(
                "role_not_granted",
                f"the agency may not grant the role {role}",
                expected=", ".join(granted),
                actual=role,
                help="An agency that may grant the role has to enrol the party.",
            )
    if makes and _MAKES_ROLES.isdisjoint(roles):
        raise refuse(
            "makes_without_role",
            "make codes need the role maker or importer",
            expected="maker or importer",
            actual=", ".join(roles),
            help="Leave out the make codes, or grant the role.",
        )
    if any_make and _ANY_MAKE_ROLES.isdisjoint(roles):
        raise refuse(
            "any_make_without_role",
            "registering any make needs the role importer or registry",
            expected="importer or registry",
            actual=", ".join(roles),
            help="List the make codes instead.",
        )


def _check_validity(valid_until: str, at: At) -> None:
    if parse_time(valid_until) <= at.time_ms:
        raise refuse(
            "validity_in_past",
            "the enrolment would have ended already",
            expected=f"after {format_time(at.time_ms)}",
            actual=valid_until,
            help="To end a party now, set its status to ended.",
        )


# --- party.update ---------------------------------------------------------------------------------------------------


def check_update(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """The sponsor changes a party that has not ended, within the terms on which it could enrol it."""
    record = signed.record
    assert isinstance(record, PartyUpdate)
    body = record.body
    party = require_party(state, body.party, "party")
    _require_sponsor(record.issuer, body.party, party)
    require_not_ended(body.party, party)
    changes = _changes_of(body)
    if not changes:
        raise refuse("empty_update", "the update changes nothing", expected="at least one field", actual="none")
    if body.status == "active" and party.suspended_by is not None:
        raise refuse(
            "suspended_by_validators",
            f"{body.party} was suspended by the validators",
            expected="their decision to resume it",
            actual=f"party.update by {record.issuer}",
            help="Ask the validators to propose party.resume.",
        )
    if {"roles", "makes", "any_make"} & changes.keys():
        updated = msgspec.structs.replace(party, **changes)
        _check_terms(issuer, updated.roles, updated.makes, updated.any_make)
    if body.valid_until is not UNSET:
        _check_validity(body.valid_until, at)


def apply_update(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes the party."""
    record = signed.record
    assert isinstance(record, PartyUpdate)
    party = require_party(state, record.body.party, "party")
    updated = msgspec.structs.replace(party, updated=at.index, **_changes_of(record.body))
    return {StateKey("party", record.body.party): updated}


def _changes_of(body: PartyUpdateBody) -> dict[str, Any]:
    names = ("name", "roles", "makes", "any_make", "status")
    changes = {name: value for name in names if (value := getattr(body, name)) is not UNSET}
    if body.valid_until is not UNSET:
        changes["valid_until"] = parse_time(body.valid_until)
    return changes


def _require_sponsor(issuer: str, name: str, party: PartyDoc) -> None:
    if party.sponsor != issuer:
        raise refuse(
            "not_sponsor",
            f"{issuer} is not the sponsor of {name}",
            expected=party.sponsor or "nobody: agencies are changed by all agencies together",
            actual=issuer,
        )


def require_not_ended(name: str, party: PartyDoc) -> None:
    """What has ended stays so.

    Raises:
        RuleError: code `party_ended`.
    """
    if party.status == "ended":
        raise refuse(
            "party_ended",
            f"the enrolment of {name} has ended, for good",
            expected="an active or suspended party",
            actual="ended",
            help="Enrol the organisation again under a new id.",
        )


# --- key.add --------------------------------------------------------------------------------------------------------


def check_key_add(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """The party replaces its key, or its sponsor adds a recovery key. A key that was ever known is refused."""
    record = signed.record
    assert isinstance(record, KeyAdd)
    party = _key_subject(state, record.issuer, record.body.party)
    require_not_ended(record.body.party, party)
    require_new_key(state, record.body.key.public)


def apply_key_add(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """By the party: the new key is active at once, the old one and a pending recovery end. By the sponsor: a recovery,
    which replaces one that is pending and becomes active 72 h later."""
    record = signed.record
    assert isinstance(record, KeyAdd)
    name, public = record.body.party, record.body.key.public
    party, changes = settled(state, name, require_party(state, name, "party"), at)
    if party.recovery is not None:
        changes.update(ended_key(state, party.recovery.public, at.index + 1))
    if record.issuer == name:
        changes.update(ended_key(state, present(party.record_key), at.index + 1))
        added = KeyDoc(party=name, role="record", added=at.index)
        party = msgspec.structs.replace(party, record_key=public, recovery=None, updated=at.index)
    else:
        active_from = at.time_ms + KEY_RECOVERY_DELAY_MS
        added = KeyDoc(party=name, role="record", added=at.index, active_from=active_from)
        recovery = Recovery(public=public, active_from=active_from)
        party = msgspec.structs.replace(party, recovery=recovery, updated=at.index)
    return {**changes, StateKey("key", public): added, StateKey("party", name): party}


def _key_subject(state: State, issuer: str, name: str) -> PartyDoc:
    party = require_party(state, name, "party")
    if issuer not in (name, party.sponsor):
        raise refuse(
            "not_key_authority",
            f"{issuer} may not add or revoke keys of {name}",
            expected=f"{name} or {party.sponsor}" if party.sponsor else name,
            actual=issuer,
            help="A party rotates its own key; its sponsor recovers a lost one.",
        )
    return party


def require_new_key(state: State, public: str) -> None:
    """One key, one role, one party, ever.

    Raises:
        RuleError: code `duplicate_key`.
    """
    known = find_key(state, public)
    if known is not None:
        raise refuse(
            "duplicate_key",
            f"the key is known already, as a {known.role} key of {known.party}",
            expected="a key that the ledger never saw",
            actual=public,
            help="Make a new key: one key, one role, one party, ever.",
        )


# --- key.revoke -----------------------------------------------------------------------------------------------------


def check_key_revoke(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """The party or its sponsor ends the active or the pending key; an agency keeps one."""
    record = signed.record
    assert isinstance(record, KeyRevoke)
    body = record.body
    party = _key_subject(state, record.issuer, body.party)
    key = find_key(state, body.public)
    if key is None or key.party != body.party or key.role != "record":
        raise refuse(
            "unknown_key",
            f"{body.party} never had this record key",
            expected=f"a record key of {body.party}",
            actual=body.public,
        )
    current = settled(state, body.party, party, at)[0]
    pending = None if current.recovery is None else current.recovery.public
    if body.public not in (current.record_key, pending):
        raise refuse(
            "key_not_active",
            "the key has ended already",
            expected=current.record_key or pending or "no key: the party has none",
            actual=body.public,
        )
    if party.sponsor is None:
        raise refuse(
            "agency_without_key",
            "an agency cannot be left without a record key: nobody could give it a new one",
            expected="key.add, which ends the old key at once",
            actual="key.revoke",
            help="Add a new key with key.add.",
        )
    if body.suspected_from is not UNSET:
        require_past(body.suspected_from, "suspicion", at.time_ms)


def apply_key_revoke(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Ends the key from the next entry on."""
    record = signed.record
    assert isinstance(record, KeyRevoke)
    body = record.body
    party, changes = settled(state, body.party, require_party(state, body.party, "party"), at)
    key = present(find_key(state, body.public))
    suspected_from = None if body.suspected_from is UNSET else parse_time(body.suspected_from)
    changes[StateKey("key", body.public)] = msgspec.structs.replace(
        key, revoked=at.index + 1, reason=body.reason, suspected_from=suspected_from
    )
    gone: dict[str, Any] = {"record_key": None} if body.public == party.record_key else {"recovery": None}
    changes[StateKey("party", body.party)] = msgspec.structs.replace(party, updated=at.index, **gone)
    return changes
