"""Incidents: lost, stolen, found, seized, recovered."""

from functools import cached_property
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from ledger.limits import MAX_INCIDENT_WEAPONS
from ledger.records.base import Body, RecordBase
from ledger.records.fields import (
    Code,
    Country,
    IncidentKind,
    MakeCode,
    Marked,
    Name,
    Serial,
    Text,
    Time,
    WeaponId,
    Year,
)
from ledger.records.items import Identity, identity_of


class UnregisteredWeapon(Body, frozen=True):
    """A seized or found weapon that nobody registered: what was read off it.

    Its identity has the empty discriminator; where `unmarked` says why there is no readable serial, the issuer's id.
    """

    make: MakeCode
    serial: Serial
    marked: Marked | UnsetType = UNSET
    unmarked: Literal["never-marked", "obliterated"] | UnsetType = UNSET
    make_name: Name | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    type: Code | UnsetType = UNSET
    calibre: Code | UnsetType = UNSET
    country: Country | UnsetType = UNSET
    year: Year | UnsetType = UNSET


class IncidentReportBody(Body, frozen=True):
    """`weapons` are identities on the ledger, sorted and distinct; `unregistered` (only seized or found) the others.

    `occurred_at` and `case` are shown, never trusted. `country`: where it happened.
    """

    incident: IncidentKind
    occurred_at: Time
    weapons: Annotated[tuple[WeaponId, ...], Meta(max_length=MAX_INCIDENT_WEAPONS)] = ()
    unregistered: Annotated[tuple[UnregisteredWeapon, ...], Meta(max_length=MAX_INCIDENT_WEAPONS)] = ()
    country: Country | UnsetType = UNSET
    case: Marked | UnsetType = UNSET
    remark: Text | UnsetType = UNSET


class IncidentReport(RecordBase, frozen=True, tag="incident.report", dict=True):
    """Lost or stolen: by holder, owner or their sponsor. Seized, found, recovered: by police and customs roles."""

    body: IncidentReportBody

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        """The identities of the unregistered weapons, in their order."""
        return tuple(
            identity_of(item.make, item.serial, "" if item.unmarked is UNSET else self.issuer)
            for item in self.body.unregistered
        )
