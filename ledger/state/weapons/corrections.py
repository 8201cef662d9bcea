"""The correction of one weapon's last record (DOMAIN 2)."""

from typing import Any, Final

from ledger.records.corrections import CorrectionDeclareBody
from ledger.state.codes import refuse
from ledger.state.model import WeaponDoc
from ledger.state.weapons.registration import DESCRIPTION
from ledger.state.weapons.writing import Writer, name_of, unknown_weapon, write

_CORRECTABLE: Final = frozenset({"weapon.register", "incident.report"})


def guard_correction(
    document: WeaponDoc | None, weapon: str, correction: CorrectionDeclareBody, issuer: str
) -> WeaponDoc:
    """A correction by the issuer of the weapon's last record, which was a registration or an incident.

    Raises:
        RuleError: code `unknown_weapon`, `not_last_record`, `not_issuer`, `not_correctable` or `correction_incomplete`.
    """
    if document is None:
        raise unknown_weapon(weapon)
    last = document.last
    if last.record != correction.record:
        raise refuse(
            "not_last_record",
            f"the last record of {name_of(document)} is another one",
            expected=last.record,
            actual=correction.record,
            help="What later records built on is undone by the steps that lead back, such as a transfer.",
        )
    if last.kind not in _CORRECTABLE:
        raise refuse(
            "not_correctable",
            f"a record of kind {last.kind} is not corrected in this way",
            expected=", ".join(sorted(_CORRECTABLE)),
            actual=last.kind,
            help="An accepted transfer is undone by a transfer back.",
        )
    if last.issuer != issuer:
        raise refuse(
            "not_issuer",
            f"{issuer} did not issue the record",
            expected=last.issuer,
            actual=issuer,
            help="Ask its issuer to correct it.",
        )
    if last.count != len(correction.weapons):
        raise refuse(
            "correction_incomplete",
            "the correction does not name all weapons of the record",
            expected=f"{last.count} weapons",
            actual=f"{len(correction.weapons)} weapons",
            help="Name every weapon that the record touched.",
        )
    return document


def corrected(document: WeaponDoc, writer: Writer) -> WeaponDoc:
    """As if the last record had not been: what it overwrote is restored; what it brought to life becomes void.

    Offers that an incident cancelled stay cancelled: their parties were told so, and may have acted on it.
    """
    before = document.before
    restored: dict[str, Any] = {}
    if document.last.kind == "weapon.register":
        restored = {"registered": False, "registrar": None}
    if before is None:
        return write(document, writer, status="void", owner=None, possessor=None, **restored)
    if before.description is not None:
        restored |= {name: getattr(before.description, name) for name in DESCRIPTION}
    return write(document, writer, status=before.status, possessor=before.possessor, **restored)
