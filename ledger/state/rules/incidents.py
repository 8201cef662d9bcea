"""Incidents: who may report what, and the offers that a report cancels (DESIGN 7, DOMAIN 2)."""

import msgspec
from msgspec import UNSET

from ledger.records import IncidentReport
from ledger.records.envelope import SignedRecord
from ledger.records.fields import IncidentKind
from ledger.state.codes import refuse
from ledger.state.lookup import find_party, find_transfer, find_weapon, present
from ledger.state.model import At, Doc, PartyDoc, State, StateKey, WeaponDoc
from ledger.state.rules.items import check_marking, repeated
from ledger.state.rules.lists import require_past, require_sorted
from ledger.state.weapons.incidents import (
    GONE,
    KEPT,
    guard_incident,
    guard_unregistered,
    reported,
    reported_unregistered,
)
from ledger.state.weapons.writing import name_of, writer_of

_AUTHORITIES = frozenset({"police", "customs"})


def check_report(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """Lost or stolen: by possessor, owner or the sponsor of one. Seized, found, recovered: by police and customs."""
    record = signed.record
    assert isinstance(record, IncidentReport)
    body = record.body
    if not body.weapons and not body.unregistered:
        raise refuse("no_weapons", "the report names no weapon", expected="at least one weapon", actual="none")
    require_past(body.occurred_at, "incident", at.time_ms)
    require_sorted(body.weapons, "weapons")
    gone = body.incident in GONE
    if not gone and _AUTHORITIES.isdisjoint(issuer.roles):
        raise refuse(
            "not_an_authority",
            f"{record.issuer} may not report weapons {body.incident}",
            expected="a party with the role police or customs",
            actual=", ".join(issuer.roles),
            help="Hand the weapon to the police or customs, who report it.",
        )
    for weapon in body.weapons:
        document = guard_incident(find_weapon(state, weapon), weapon, body.incident)
        if gone:
            _check_reporter(state, record.issuer, document)
    if body.unregistered:
        _check_unregistered(state, record)


def _check_reporter(state: State, issuer: str, weapon: WeaponDoc) -> None:
    """An exhibit's owner may not end an authority's custody of it by a report: only who keeps it can lose it (ADR 8)."""
    parties_near = (weapon.possessor,) if weapon.status in KEPT else (weapon.possessor, weapon.owner)
    concerned = [party for party in parties_near if party is not None]
    if issuer in concerned:
        return
    parties = (find_party(state, party) for party in concerned)
    if any(party is not None and party.sponsor == issuer for party in parties):
        return
    raise refuse(
        "not_entitled_to_report",
        f"{issuer} may not report {name_of(weapon)} lost or stolen",
        expected=" or ".join(dict.fromkeys(concerned)) or "nobody: its holder and owner are unknown",
        actual=issuer,
        help="Its holder, its owner, or the agency that enrolled one of them reports the loss; of a weapon in an "
        "authority's keeping only that authority or its sponsor.",
    )


def _check_unregistered(state: State, record: IncidentReport) -> None:
    require_seized_or_found(record.body.incident)
    seen: set[str] = set()
    for identity, item in zip(record.identities, record.body.unregistered, strict=True):
        check_marking(item.serial, unmarked=item.unmarked is not UNSET)
        if identity.id in seen:
            raise repeated(identity)
        seen.add(identity.id)
        guard_unregistered(find_weapon(state, identity.id), identity)


def require_seized_or_found(incident: IncidentKind) -> None:
    """What can happen to a weapon that nobody registered.

    Raises:
        RuleError: code `unregistered_not_possible`.
    """
    if incident not in ("seized", "found"):
        raise refuse(
            "unregistered_not_possible",
            f"a weapon that nobody registered cannot be reported {incident}",
            expected="seized or found",
            actual=incident,
        )


def apply_report(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes the weapons, and cancels every pending offer of them, also for the other weapons of these offers."""
    record = signed.record
    assert isinstance(record, IncidentReport)
    body = record.body
    writer = writer_of(record, signed.id)
    changes: dict[StateKey, Doc] = {}
    for weapon in body.weapons:
        document = present(find_weapon(state, weapon))
        for transfer in (document.offer_title, document.offer_custody):
            offer = find_transfer(state, transfer)
            if transfer is not None and offer is not None and offer.status == "pending":
                changes[StateKey("transfer", transfer)] = msgspec.structs.replace(offer, status="cancelled")
        changes[StateKey("weapon", weapon)] = reported(document, body.incident, writer)
    for identity, item in zip(record.identities, body.unregistered, strict=True):
        existing = find_weapon(state, identity.id)
        document = reported_unregistered(existing, identity, item, body.incident, writer)
        changes[StateKey("weapon", identity.id)] = document
    return changes
