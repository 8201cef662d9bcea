"""Registration: a weapon enters the ledger, or is described at last (DESIGN 4.5, 7)."""

from typing import Any, Final

from msgspec import UNSET

from ledger.records import WeaponRegister
from ledger.records.incidents import UnregisteredWeapon
from ledger.records.items import Attributes, Identity
from ledger.state.codes import refuse
from ledger.state.model import Before, Description, WeaponDoc
from ledger.state.weapons.writing import Writer, next_head, write

DESCRIPTION: Final = Description.__struct_fields__
"""Names of the fields of a weapon's document that describe it."""


def describing(source: Attributes | UnregisteredWeapon) -> dict[str, Any]:
    """The fields of a description that a part of a record states."""
    stated = {}
    for name in DESCRIPTION:
        value = getattr(source, name, UNSET)
        if value is not UNSET:
            stated[name] = value
    return stated


def guard_registration(document: WeaponDoc | None, identity: Identity) -> None:
    """An identity is registered once; again only where that was declared not to have occurred.

    Raises:
        RuleError: code `duplicate_identity`.
    """
    if document is not None and document.registered:
        raise refuse(
            "duplicate_identity",
            f"{identity.make} {identity.serial} is on the ledger already",
            expected="an identity that is not registered",
            actual=identity.id,
            help="Leave it out if it is the same weapon. If it is another one, read its mark again; where both do carry the "
            "same make and serial, put it aside and tell your agency.",
        )


def registered(
    document: WeaponDoc | None, record: WeaponRegister, place: int, shared: dict[str, Any], writer: Writer
) -> WeaponDoc:
    """A registration. Owner and possessor are the issuer, unless an authority holds the weapon already.

    A weapon that was seized or found before anybody registered it keeps its custody, its history and its owner, who stays
    unknown: a registration says what was made, not whose it is now. The registrar's words win over what was read.

    Args:
        document: what there is under the identity; void, unregistered, or nothing.
        record: the lot.
        place: the weapon's row.
        shared: what the lot's defaults describe (`describing`).
        writer: the record as a writer.
    """
    identity, differs = record.identities[place], record.body.rows[place].differs
    description = shared | describing(differs)
    issuer = writer.last.issuer
    if document is not None and document.status != "void":
        previous = {name: getattr(document, name) for name in DESCRIPTION}
        before = Before(
            status=document.status,
            possessor=document.possessor,
            description=Description(**previous),
        )
        return write(document, writer, before, registered=True, registrar=issuer, **description)
    return WeaponDoc(
        make=identity.make,
        serial=identity.serial,
        discriminator=identity.discriminator,
        registered=True,
        status="held",
        history_count=1 if document is None else document.history_count + 1,
        history_head=next_head(None if document is None else document.history_head, writer.id),
        last=writer.last,
        unmarked=None if differs.unmarked is UNSET else differs.unmarked,
        registrar=issuer,
        owner=issuer,
        possessor=issuer,
        **description,
    )
