"""The writing of a weapon's document: the record that writes, the history it extends, and refusals that several share."""

import hashlib
from typing import Final

import msgspec

from ledger.errors import RuleError
from ledger.records import (
    CorrectionDeclare,
    IncidentReport,
    Record,
    TransferAccept,
    TransferCancel,
    TransferDecline,
    TransferOffer,
    WeaponRegister,
)
from ledger.state.codes import refuse
from ledger.state.model import Before, LastRecord, WeaponDoc, WeaponStatus

MOVABLE: Final[frozenset[WeaponStatus]] = frozenset({"held", "seized", "found", "recovered"})
"""Statuses in which somebody holds the weapon."""


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """The record that writes: its id as bytes, and what the documents say of it."""

    id: bytes
    last: LastRecord


def writer_of(record: Record, record_id: str) -> Writer:
    """The writer for a record, of its id in hex."""
    return Writer(
        id=bytes.fromhex(record_id),
        last=LastRecord(record=record_id, kind=kind_of(record), issuer=record.issuer, count=len(weapons_of(record))),
    )


def kind_of(record: Record) -> str:
    """The record's kind, as its `kind` field has it."""
    return str(type(record).__struct_config__.tag)


def weapons_of(record: Record) -> tuple[str, ...]:
    """The ids of the weapons whose documents the record writes, in the record's order."""
    match record:
        case WeaponRegister():
            return tuple(identity.id for identity in record.identities)
        case IncidentReport():
            return (*record.body.weapons, *(identity.id for identity in record.identities))
        case TransferOffer() | TransferAccept() | TransferDecline() | TransferCancel() | CorrectionDeclare():
            return record.body.weapons
        case _:
            return ()


def next_head(head: str | None, record_id: bytes) -> str:
    """The history head after one more record: hex SHA-256(previous head || record id), raw bytes; empty at first."""
    previous = b"" if head is None else bytes.fromhex(head)
    return hashlib.sha256(previous + record_id).hexdigest()


def write(document: WeaponDoc, writer: Writer, before: Before | None = None, **changes: object) -> WeaponDoc:
    """The document with `changes`, one record longer. `before` is what a correction of that record would restore."""
    return msgspec.structs.replace(
        document,
        history_count=document.history_count + 1,
        history_head=next_head(document.history_head, writer.id),
        last=writer.last,
        before=before,
        **changes,
    )


def require_weapon(document: WeaponDoc | None, weapon: str) -> WeaponDoc:
    """The document of a weapon that is on the ledger and not void.

    Raises:
        RuleError: code `unknown_weapon` or `weapon_void`.
    """
    if document is None:
        raise unknown_weapon(weapon)
    if document.status == "void":
        raise refuse(
            "weapon_void",
            f"the record that brought {name_of(document)} onto the ledger was declared not to have occurred",
            expected="a weapon on the ledger",
            actual=weapon,
            help="Register the weapon, or report it as unregistered.",
        )
    return document


def unknown_weapon(weapon: str) -> RuleError:
    """The refusal of an id that is not on the ledger."""
    return refuse(
        "unknown_weapon",
        "no weapon under this id is on the ledger",
        expected="a registered or reported weapon",
        actual=weapon,
        help="Check make and serial: the id is made of them.",
    )


def name_of(document: WeaponDoc) -> str:
    """How a message names the weapon."""
    return f"{document.make} {document.serial}"
