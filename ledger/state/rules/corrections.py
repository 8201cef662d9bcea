"""Corrections: a record is declared not to have occurred; nothing is erased (DOMAIN 2)."""

from ledger.records import CorrectionDeclare
from ledger.records.envelope import SignedRecord
from ledger.state.lookup import find_weapon, present
from ledger.state.model import At, Doc, PartyDoc, State, StateKey
from ledger.state.rules.lists import require_sorted
from ledger.state.weapons.corrections import corrected, guard_correction
from ledger.state.weapons.writing import writer_of


def check_correction(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """By the issuer of a registration or incident that is still the last record of every weapon it touched."""
    record = signed.record
    assert isinstance(record, CorrectionDeclare)
    require_sorted(record.body.weapons, "weapons")
    for weapon in record.body.weapons:
        guard_correction(find_weapon(state, weapon), weapon, record.body, record.issuer)


def apply_correction(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes all the weapons as if the record had not been."""
    record = signed.record
    assert isinstance(record, CorrectionDeclare)
    writer = writer_of(record, signed.id)
    return {
        StateKey("weapon", weapon): corrected(present(find_weapon(state, weapon)), writer)
        for weapon in record.body.weapons
    }
