"""Membership: who is a party, and with which key it signs (DESIGN 12)."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from ledger.limits import MAX_MAKE_CODES, MAX_ROLES
from ledger.records.base import Body, RecordBase
from ledger.records.fields import Country, MakeCode, Name, PartyId, PartyRole, PublicKey, Signature, Text, Time

Roles = Annotated[tuple[PartyRole, ...], Meta(min_length=1, max_length=MAX_ROLES)]
"""Sorted and distinct."""
MakeCodes = Annotated[tuple[MakeCode, ...], Meta(max_length=MAX_MAKE_CODES)]
"""Sorted and distinct."""


class NewKey(Body, frozen=True):
    """A key with its proof of possession: the key's own signature over `records.envelope.possession_bytes`."""

    public: PublicKey
    proof: Signature


class PartyEnrolBody(Body, frozen=True):
    """A sponsoring agency enrols a party within its jurisdiction.

    `makes`: make codes it may register weapons of; `any_make`: it may register any (an importer, a registry).
    """

    party: PartyId
    name: Name
    roles: Roles
    jurisdiction: Country
    key: NewKey
    makes: MakeCodes = ()
    any_make: bool = False
    valid_until: Time | UnsetType = UNSET


class PartyEnrol(RecordBase, frozen=True, tag="party.enrol"):
    """Issued by an agency."""

    body: PartyEnrolBody


class PartyUpdateBody(Body, frozen=True):
    """Changes of a party by its sponsor; an absent field stays as it is."""

    party: PartyId
    name: Name | UnsetType = UNSET
    roles: Roles | UnsetType = UNSET
    makes: MakeCodes | UnsetType = UNSET
    any_make: bool | UnsetType = UNSET
    valid_until: Time | UnsetType = UNSET
    status: Literal["active", "suspended", "ended"] | UnsetType = UNSET


class PartyUpdate(RecordBase, frozen=True, tag="party.update"):
    """Issued by the party's sponsor."""

    body: PartyUpdateBody


class KeyAddBody(Body, frozen=True):
    """A new record key for `party`. Issued by the party: it replaces its key at once. By its sponsor: a recovery, which
    takes effect 72 h later unless the party objects."""

    party: PartyId
    key: NewKey


class KeyAdd(RecordBase, frozen=True, tag="key.add"):
    """Issued by the party itself or by its sponsor."""

    body: KeyAddBody


class KeyRevokeBody(Body, frozen=True):
    """Ends a record key from the next entry on. `suspected_from` only flags records since; it undoes nothing."""

    party: PartyId
    public: PublicKey
    reason: Literal["compromised", "lost", "retired"]
    suspected_from: Time | UnsetType = UNSET
    remark: Text | UnsetType = UNSET


class KeyRevoke(RecordBase, frozen=True, tag="key.revoke"):
    """Issued by the party itself or by its sponsor."""

    body: KeyRevokeBody
