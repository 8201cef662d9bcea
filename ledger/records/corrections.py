"""Corrections: nothing is erased; a record is declared not to have been so (DOMAIN 2)."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from ledger.limits import MAX_LOT_WEAPONS
from ledger.records.base import Body, RecordBase
from ledger.records.fields import RecordId, Text, WeaponId


class CorrectionDeclareBody(Body, frozen=True):
    """`record` is a registration or an incident whose every touched weapon has it as its last record; `weapons` names
    all of them, sorted and distinct."""

    record: RecordId
    reason: Literal["did_not_occur"]
    weapons: Annotated[tuple[WeaponId, ...], Meta(min_length=1, max_length=MAX_LOT_WEAPONS)]
    remark: Text | UnsetType = UNSET


class CorrectionDeclare(RecordBase, frozen=True, tag="correction.declare"):
    """Issued by the issuer of the record that it corrects."""

    body: CorrectionDeclareBody
