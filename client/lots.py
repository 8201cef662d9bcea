"""A manifest's good rows, cut into lots: the bodies of `weapon.register` records (DESIGN 4.6).

Rows are sorted first, so that a lot's weapons have much in common and its defaults save most; the cut depends on nothing
but the rows.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from client.manifest import ManifestRow
from ledger.codec import encode
from ledger.errors import InternalError
from ledger.limits import MAX_ENTRY_BYTES, MAX_LOT_WEAPONS
from ledger.marks import weapon_id
from ledger.records.items import Attributes, LotRow, RowAttributes, WeaponRegisterBody

_ENVELOPE_BYTES: Final = 4_096
"""Room in an entry for eight signatures, the record's outer fields and the envelope around them."""
_MAX_BODY_BYTES: Final = (MAX_ENTRY_BYTES - _ENVELOPE_BYTES) // 4 * 3
"""The payload stands in base64 in the entry."""
_SHARED: Final = ("make", "make_name", "model", "type", "calibre", "country", "year")


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """One record's weapons: its body, and for each of its rows the line in the manifest and the weapon's id."""

    body: WeaponRegisterBody
    lines: tuple[int, ...]
    weapons: tuple[str, ...]


def split_into_lots(rows: Sequence[ManifestRow]) -> list[Lot]:
    """All rows in lots of at most `MAX_LOT_WEAPONS` that each fit into one entry."""
    ordered = sorted(
        rows,
        key=lambda row: (
            row.make,
            row.make_name,
            row.country,
            row.type,
            row.calibre,
            row.model,
            row.year or 0,
            row.line,
        ),
    )
    lots: list[Lot] = []
    begin = 0
    while begin < len(ordered):
        lot = _largest_lot(ordered[begin : begin + MAX_LOT_WEAPONS])
        lots.append(lot)
        begin += len(lot.lines)
    return lots


def _largest_lot(rows: Sequence[ManifestRow]) -> Lot:
    """A lot of the first rows, as many as fit."""
    while True:
        body = _body(rows)
        size = len(encode(body))
        if size <= _MAX_BODY_BYTES:
            return Lot(
                body=body,
                lines=tuple(row.line for row in rows),
                weapons=tuple(weapon_id(row.make, row.serial, "") for row in rows),
            )
        if len(rows) == 1:
            raise InternalError("one weapon does not fit into a record", expected=_MAX_BODY_BYTES, actual=size)
        rows = rows[: max(1, min(len(rows) - 1, len(rows) * _MAX_BODY_BYTES // size))]


def _body(rows: Sequence[ManifestRow]) -> WeaponRegisterBody:
    values = [_attributes(row) for row in rows]
    defaults = {name: _default([value[name] for value in values]) for name in _SHARED}
    return WeaponRegisterBody(
        defaults=Attributes(**defaults),
        rows=tuple(_lot_row(row, value, defaults) for row, value in zip(rows, values, strict=True)),
    )


def _attributes(row: ManifestRow) -> dict[str, Any]:
    return {name: getattr(row, name) or UNSET for name in _SHARED}


def _default(values: list[Any]) -> Any | UnsetType:
    """The most common value, the first of equals; none where a row has no value, for a row cannot unset a default."""
    if UNSET in values:
        return UNSET
    return Counter(values).most_common(1)[0][0]


def _lot_row(row: ManifestRow, values: dict[str, Any], defaults: dict[str, Any]) -> LotRow:
    differs = {name: value for name, value in values.items() if value != defaults[name]}
    return LotRow(
        serial=row.serial,
        differs=RowAttributes(
            **differs,
            marked=row.marked if row.marked != row.serial else UNSET,
            components=row.components or UNSET,
        ),
    )
