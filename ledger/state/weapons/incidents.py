"""Incidents of one weapon: lost, stolen, found, seized, recovered; also of one that nobody registered."""

from typing import Final

from msgspec import UNSET

from ledger.records.fields import IncidentKind
from ledger.records.incidents import UnregisteredWeapon
from ledger.records.items import Identity
from ledger.state.codes import refuse
from ledger.state.model import Before, WeaponDoc, WeaponStatus
from ledger.state.weapons.registration import describing
from ledger.state.weapons.writing import MOVABLE, Writer, name_of, next_head, require_weapon, write

KEPT: Final[frozenset[str]] = frozenset({"seized", "found", "recovered"})
"""A weapon of this status is in an authority's keeping."""
GONE: Final[frozenset[IncidentKind]] = frozenset({"lost", "stolen"})
"""Incidents after which nobody is known to hold the weapon."""
_ADMITTED: Final[dict[IncidentKind, frozenset[WeaponStatus]]] = {
    "lost": MOVABLE,
    "stolen": MOVABLE | {"lost"},
    "found": frozenset({"lost"}),
    "recovered": frozenset({"lost", "stolen"}),
    "seized": frozenset({"held", "lost", "stolen", "found", "recovered"}),
}


def guard_incident(document: WeaponDoc | None, weapon: str, incident: IncidentKind) -> WeaponDoc:
    """What can happen to a weapon depends on its status.

    Raises:
        RuleError: code `unknown_weapon`, `weapon_void`, `already_seized` or `status_conflict`.
    """
    document = require_weapon(document, weapon)
    if document.status in _ADMITTED[incident]:
        return document
    if incident == "seized":
        raise refuse(
            "already_seized",
            f"{name_of(document)} is seized already",
            expected="a weapon that no authority has seized",
            actual=f"seized by {document.possessor}",
            help="Between authorities custody moves by offer and accept.",
        )
    raise refuse(
        "status_conflict",
        f"{name_of(document)} is {document.status}; it cannot be reported {incident}",
        expected=f"status {', '.join(sorted(_ADMITTED[incident]))}",
        actual=document.status,
        help="Trace the weapon: an earlier report may be missing, or this is another weapon.",
    )


def reported(document: WeaponDoc, incident: IncidentKind, writer: Writer) -> WeaponDoc:
    """An incident: nobody holds what is lost or stolen, the issuer what is seized, found or recovered; no offer stands."""
    return write(
        document,
        writer,
        Before(status=document.status, possessor=document.possessor),
        status=incident,
        possessor=None if incident in GONE else writer.last.issuer,
        offer_title=None,
        offer_custody=None,
    )


def guard_unregistered(document: WeaponDoc | None, identity: Identity) -> None:
    """A weapon that nobody registered is not on the ledger, or only by a record that did not occur.

    Raises:
        RuleError: code `duplicate_identity`.
    """
    if document is not None and document.status != "void":
        raise refuse(
            "duplicate_identity",
            f"{identity.make} {identity.serial} is on the ledger",
            expected="a weapon that is not on the ledger",
            actual=identity.id,
            help="Report it by its weapon id.",
        )


def reported_unregistered(
    document: WeaponDoc | None, identity: Identity, item: UnregisteredWeapon, incident: IncidentKind, writer: Writer
) -> WeaponDoc:
    """A weapon that nobody registered enters the ledger in an authority's hands; its owner is unknown."""
    return WeaponDoc(
        make=identity.make,
        serial=identity.serial,
        discriminator=identity.discriminator,
        registered=False,
        status=incident,
        history_count=1 if document is None else document.history_count + 1,
        history_head=next_head(None if document is None else document.history_head, writer.id),
        last=writer.last,
        unmarked=None if item.unmarked is UNSET else item.unmarked,
        possessor=writer.last.issuer,
        **describing(item),
    )
