"""Custody: offers of title, custody or both, and what becomes of them (DOMAIN 2, DESIGN 7)."""

import msgspec

from ledger.limits import MAX_OFFER_LIFE_MS
from ledger.records import TransferAccept, TransferCancel, TransferDecline, TransferOffer
from ledger.records.envelope import SignedRecord
from ledger.records.fields import format_time, parse_time
from ledger.state.codes import refuse
from ledger.state.lookup import find_transfer, find_weapon, inactive_reason, present, require_party
from ledger.state.model import At, Doc, PartyDoc, State, StateKey, TransferDoc, TransferStatus, WeaponDoc
from ledger.state.rules.lists import require_sorted
from ledger.state.weapons.custody import (
    accepted,
    guard_accept,
    guard_answer,
    guard_offer,
    guard_terms,
    offered,
    released,
    slots,
    transfer_of,
)
from ledger.state.weapons.writing import name_of, writer_of


def check_offer(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """The owner, possessor or both offers all the weapons to another active party; no other offer of them stands."""
    record = signed.record
    assert isinstance(record, TransferOffer)
    body = record.body
    _check_recipient(state, record.issuer, body.to, at)
    expires_at = parse_time(body.expires_at)
    if not at.time_ms < expires_at <= at.time_ms + MAX_OFFER_LIFE_MS:
        raise refuse(
            "offer_expiry",
            "the offer expires too early or too late",
            expected=f"after {format_time(at.time_ms)}, no later than {format_time(at.time_ms + MAX_OFFER_LIFE_MS)}",
            actual=body.expires_at,
        )
    require_sorted(body.weapons, "weapons")
    for weapon in body.weapons:
        document = guard_offer(find_weapon(state, weapon), weapon, record.issuer, body.moves)
        for slot in slots(body.moves):
            _check_slot(state, document, getattr(document, slot), at)


def apply_offer(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes the transfer and all its weapons."""
    record = signed.record
    assert isinstance(record, TransferOffer)
    writer = writer_of(record, signed.id)
    changes: dict[StateKey, Doc] = {StateKey("transfer", signed.id): transfer_of(record)}
    for weapon in record.body.weapons:
        document = present(find_weapon(state, weapon))
        changes[StateKey("weapon", weapon)] = offered(document, signed.id, record.body.moves, writer)
    return changes


def _check_recipient(state: State, issuer: str, to: str, at: At) -> None:
    require_somebody_else(issuer, to)
    reason = inactive_reason(require_party(state, to, "recipient"), at.time_ms)
    if reason is not None:
        raise refuse(
            "recipient_not_active",
            f"{to} cannot receive weapons: it is {reason[1]}",
            expected="an active party",
            actual=reason[1],
        )


def _check_offeror(state: State, offer: TransferDoc, at: At) -> None:
    """Who may issue nothing must not finish anything either: a thief's offer dies with the key's owner suspended."""
    reason = inactive_reason(require_party(state, offer.offered_by, "offeror"), at.time_ms)
    if reason is not None:
        raise refuse(
            "offeror_not_active",
            f"{offer.offered_by} cannot hand over weapons: it is {reason[1]}",
            expected="an active party",
            actual=reason[1],
            help="The offer stands until it expires, in case the party becomes active again; it can be declined now.",
        )


def require_somebody_else(issuer: str, to: str) -> None:
    """An offer has two sides.

    Raises:
        RuleError: code `offer_to_self`.
    """
    if to == issuer:
        raise refuse("offer_to_self", "an offer is made to somebody else", expected=f"not {issuer}", actual=to)


def _check_slot(state: State, document: WeaponDoc, transfer: str | None, at: At) -> None:
    offer = find_transfer(state, transfer)
    if offer is not None and offer.status == "pending" and at.time_ms < offer.expires_at:
        raise refuse(
            "offer_pending",
            f"{name_of(document)} is offered to {offer.to} already",
            expected="no pending offer",
            actual=f"{transfer}, until {format_time(offer.expires_at)}",
            help="Cancel that offer first, or wait until it is answered or expires.",
        )


def check_accept(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """The recipient accepts all of a standing offer, while the offeror still has what it offered."""
    record = signed.record
    assert isinstance(record, TransferAccept)
    offer = _standing_offer(state, record, at)
    guard_terms(record, offer)
    _check_offeror(state, offer, at)
    for weapon in record.body.weapons:
        guard_accept(find_weapon(state, weapon), weapon, record.body.transfer, offer)


def apply_accept(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Title, custody or both pass."""
    record = signed.record
    assert isinstance(record, TransferAccept)
    offer = present(find_transfer(state, record.body.transfer))
    writer = writer_of(record, signed.id)
    changes = _answered(record.body.transfer, offer, "accepted")
    for weapon in record.body.weapons:
        changes[StateKey("weapon", weapon)] = accepted(present(find_weapon(state, weapon)), offer, writer)
    return changes


def check_release(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """The recipient declines, or the offeror cancels, a standing offer."""
    record = signed.record
    assert isinstance(record, TransferDecline | TransferCancel)
    offer = _standing_offer(state, record, at)
    guard_terms(record, offer)
    for weapon in record.body.weapons:
        guard_answer(find_weapon(state, weapon), weapon, record.body.transfer, offer.moves)


def apply_release(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """The weapons stand free again."""
    record = signed.record
    assert isinstance(record, TransferDecline | TransferCancel)
    offer = present(find_transfer(state, record.body.transfer))
    writer = writer_of(record, signed.id)
    status: TransferStatus = "declined" if isinstance(record, TransferDecline) else "cancelled"
    changes = _answered(record.body.transfer, offer, status)
    for weapon in record.body.weapons:
        changes[StateKey("weapon", weapon)] = released(present(find_weapon(state, weapon)), offer.moves, writer)
    return changes


def _standing_offer(state: State, record: TransferAccept | TransferDecline | TransferCancel, at: At) -> TransferDoc:
    transfer = record.body.transfer
    offer = find_transfer(state, transfer)
    if offer is None:
        raise refuse(
            "unknown_transfer",
            "no such offer was made",
            expected="the record id of an offer",
            actual=transfer,
            help="A transfer's id is the record id of its offer.",
        )
    if offer.status != "pending":
        raise refuse(
            "offer_not_pending",
            f"the offer was {offer.status}",
            expected="pending",
            actual=offer.status,
            help="Ask for a new offer. A report of a weapon as stolen, lost or seized cancels every offer of it.",
        )
    if offer.expires_at <= at.time_ms:
        raise refuse(
            "offer_expired",
            "the offer has expired",
            expected=f"before {format_time(offer.expires_at)}",
            actual=format_time(at.time_ms),
            help="Ask for a new offer.",
        )
    return offer


def _answered(transfer: str, offer: TransferDoc, status: TransferStatus) -> dict[StateKey, Doc]:
    return {StateKey("transfer", transfer): msgspec.structs.replace(offer, status=status)}
