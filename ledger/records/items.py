"""Items: weapons enter the ledger (DESIGN 4.5, 4.6)."""

from functools import cached_property
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ledger.limits import MAX_COMPONENTS, MAX_DISTINCT_FROM, MAX_LOT_WEAPONS
from ledger.marks import weapon_id
from ledger.records.base import Body, RecordBase
from ledger.records.fields import Code, ComponentKind, Country, MakeCode, Marked, Name, Serial, WeaponId, Year


class Identity(NamedTuple):
    """What a weapon's id is made of (DESIGN 4.5), and the id. `make` is empty where the record names none."""

    id: str
    make: str
    serial: str
    discriminator: str


def identity_of(make: str, serial: str, discriminator: str) -> Identity:
    """The identity with its id."""
    return Identity(weapon_id(make, serial, discriminator), make, serial, discriminator)


class Component(Body, frozen=True):
    """An essential component with the mark it carries."""

    component: ComponentKind
    serial: Marked


class Attributes(Body, frozen=True):
    """What describes a weapon. In a lot's defaults it holds for every row; a row's own value wins."""

    make: MakeCode | UnsetType = UNSET
    make_name: Name | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    type: Code | UnsetType = UNSET
    calibre: Code | UnsetType = UNSET
    country: Country | UnsetType = UNSET
    year: Year | UnsetType = UNSET


class RowAttributes(Attributes, frozen=True):
    """What one weapon of a lot has of its own.

    `marked`: the serial verbatim as read, where it is not the normalised one. `unmarked`: why there is no readable
    serial. `distinct_from`: all existing identities of the same make and serial, in the order of their discriminators.
    """

    marked: Marked | UnsetType = UNSET
    components: Annotated[tuple[Component, ...], Meta(min_length=1, max_length=MAX_COMPONENTS)] | UnsetType = UNSET
    unmarked: Literal["never-marked", "obliterated"] | UnsetType = UNSET
    distinct_from: Annotated[tuple[WeaponId, ...], Meta(min_length=1, max_length=MAX_DISTINCT_FROM)] | UnsetType = UNSET


class LotRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One weapon of a lot: `[serial, what differs from the defaults]`. The serial is normalised by the client."""

    serial: Serial
    differs: RowAttributes


class WeaponRegisterBody(Body, frozen=True):
    """A lot: up to 1,000 weapons in one record."""

    defaults: Attributes
    rows: Annotated[tuple[LotRow, ...], Meta(min_length=1, max_length=MAX_LOT_WEAPONS)]


class WeaponRegister(RecordBase, frozen=True, tag="weapon.register", dict=True):
    """Issued by a party entitled to the make. Registered, both owner and possessor are the issuer."""

    body: WeaponRegisterBody

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        """The identity that each row claims, in the order of the rows.

        The discriminator is empty; the number of weapons in `distinct_from`, if given; the issuer where `unmarked`.
        """
        shared = self.body.defaults.make
        return tuple(
            identity_of(
                (row.differs.make if row.differs.make is not UNSET else shared) or "",
                row.serial,
                self._discriminator(row.differs),
            )
            for row in self.body.rows
        )

    def _discriminator(self, differs: RowAttributes) -> str:
        if differs.unmarked is not UNSET:
            return self.issuer
        return "" if differs.distinct_from is UNSET else str(len(differs.distinct_from))
