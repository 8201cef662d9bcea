"""Custody and title of one weapon: offered, accepted, released (DOMAIN 2)."""

import hashlib
from typing import Any, Final

from ledger.codec import encode
from ledger.records import TransferAccept, TransferCancel, TransferDecline, TransferOffer
from ledger.records.fields import parse_time
from ledger.state.codes import refuse
from ledger.state.model import Moves, TransferDoc, WeaponDoc
from ledger.state.weapons.writing import MOVABLE, Writer, name_of, require_weapon, write

_SLOTS: Final[dict[Moves, tuple[str, ...]]] = {
    "title": ("offer_title",),
    "custody": ("offer_custody",),
    "both": ("offer_title", "offer_custody"),
}


def guard_offer(document: WeaponDoc | None, weapon: str, issuer: str, moves: Moves) -> WeaponDoc:
    """Title is offered by the owner, custody by the possessor, of a weapon that somebody holds.

    Raises:
        RuleError: code `unknown_weapon`, `weapon_void`, `weapon_superseded`, `weapon_not_movable`, `not_owner` or
        `not_possessor`.
    """
    document = require_weapon(document, weapon)
    if document.superseded_by is not None:
        raise refuse(
            "weapon_superseded",
            f"{name_of(document)} was superseded by another identity",
            expected="the current identity",
            actual=weapon,
            help=f"Offer {document.superseded_by} instead.",
        )
    if document.status not in MOVABLE:
        raise refuse(
            "weapon_not_movable",
            f"{name_of(document)} is {document.status}",
            expected="a weapon that somebody holds",
            actual=document.status,
            help="It moves again after it was found, seized or recovered, or the report was corrected.",
        )
    _guard_holding(document, issuer, moves)
    return document


def _guard_holding(document: WeaponDoc, party: str, moves: Moves) -> None:
    if moves != "custody" and document.owner != party:
        raise refuse(
            "not_owner",
            f"{party} does not own {name_of(document)}",
            expected=f"owner {document.owner or 'unknown'}",
            actual=party,
            help="Only the owner offers title.",
        )
    if moves != "title" and document.possessor != party:
        raise refuse(
            "not_possessor",
            f"{party} does not hold {name_of(document)}",
            expected=f"possessor {document.possessor or 'unknown'}",
            actual=party,
            help="Only the possessor offers custody.",
        )


def offered(document: WeaponDoc, transfer: str, moves: Moves, writer: Writer) -> WeaponDoc:
    """An offer takes the slot of what it moves."""
    taken: dict[str, Any] = dict.fromkeys(slots(moves), transfer)
    return write(document, writer, **taken)


def slots(moves: Moves) -> tuple[str, ...]:
    """The fields of a weapon's document in which an offer stands."""
    return _SLOTS[moves]


def transfer_of(record: TransferOffer) -> TransferDoc:
    """The document of a fresh offer."""
    body = record.body
    return TransferDoc(
        offered_by=record.issuer,
        to=body.to,
        moves=body.moves,
        weapons=weapons_digest(body.weapons),
        count=len(body.weapons),
        expires_at=parse_time(body.expires_at),
        status="pending",
    )


def weapons_digest(weapons: tuple[str, ...]) -> str:
    """Hex SHA-256 of the canonical JSON of a list of weapon ids."""
    return hashlib.sha256(encode(weapons)).hexdigest()


def guard_terms(record: TransferAccept | TransferDecline | TransferCancel, offer: TransferDoc) -> None:
    """An offer is answered by its recipient or withdrawn by who made it, all or nothing.

    Raises:
        RuleError: code `not_recipient`, `not_offeror` or `weapons_differ`.
    """
    if isinstance(record, TransferCancel):
        if record.issuer != offer.offered_by:
            raise refuse(
                "not_offeror",
                f"{record.issuer} did not make the offer",
                expected=offer.offered_by,
                actual=record.issuer,
                help="The recipient can decline it.",
            )
    elif record.issuer != offer.to:
        raise refuse(
            "not_recipient",
            f"the offer was not made to {record.issuer}",
            expected=offer.to,
            actual=record.issuer,
        )
    if weapons_digest(record.body.weapons) != offer.weapons:
        raise refuse(
            "weapons_differ",
            "the weapons are not exactly those of the offer",
            expected=f"the {offer.count} weapons of the offer",
            actual=f"{len(record.body.weapons)} weapons",
            help="All or nothing: repeat the offer's list. Decline it if some are not there.",
        )


def guard_answer(document: WeaponDoc | None, weapon: str, transfer: str, moves: Moves) -> WeaponDoc:
    """An answer to an offer, or its withdrawal, needs the weapon still to refer to it.

    Raises:
        RuleError: code `unknown_weapon`, `weapon_void` or `offer_gone`.
    """
    document = require_weapon(document, weapon)
    for slot in slots(moves):
        if getattr(document, slot) != transfer:
            raise refuse(
                "offer_gone",
                f"{name_of(document)} no longer stands under this offer",
                expected=transfer,
                actual=getattr(document, slot),
                help="Ask for a new offer.",
            )
    return document


def guard_accept(document: WeaponDoc | None, weapon: str, transfer: str, offer: TransferDoc) -> WeaponDoc:
    """Accepting also needs the offeror still to own or hold the weapon.

    Raises:
        RuleError: as `guard_answer`; also `not_owner` or `not_possessor`.
    """
    document = guard_answer(document, weapon, transfer, offer.moves)
    _guard_holding(document, offer.offered_by, offer.moves)
    return document


def accepted(document: WeaponDoc, offer: TransferDoc, writer: Writer) -> WeaponDoc:
    """Title, custody or both pass to the recipient. Custody taken by consent ends a seizure or finding: held."""
    to = offer.to
    if offer.moves == "title":
        return write(document, writer, owner=to, offer_title=None)
    if offer.moves == "custody":
        return write(document, writer, possessor=to, status="held", offer_custody=None)
    return write(document, writer, owner=to, possessor=to, status="held", offer_title=None, offer_custody=None)


def released(document: WeaponDoc, moves: Moves, writer: Writer) -> WeaponDoc:
    """A declined or cancelled offer leaves its slots."""
    return write(document, writer, **dict.fromkeys(slots(moves)))
