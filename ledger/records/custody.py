"""Custody: a weapon changes hands in two signed steps, so that nobody can be made a holder, and nobody can shed a
weapon, alone (DOMAIN 2). Every step names the weapons, so that each signer signs what it gives or gets."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from ledger.limits import MAX_TRANSFER_WEAPONS
from ledger.records.base import Body, RecordBase
from ledger.records.fields import PartyId, RecordId, Text, Time, WeaponId

Weapons = Annotated[tuple[WeaponId, ...], Meta(min_length=1, max_length=MAX_TRANSFER_WEAPONS)]
"""Sorted and distinct."""


class TransferOfferBody(Body, frozen=True):
    """An offer of title (by the owner), of custody (by the possessor), or of both. Past `expires_at` (block time) it
    counts as absent."""

    weapons: Weapons
    to: PartyId
    moves: Literal["title", "custody", "both"]
    expires_at: Time
    remark: Text | UnsetType = UNSET


class TransferOffer(RecordBase, frozen=True, tag="transfer.offer"):
    """Issued by the owner and/or possessor of all the weapons. The record's id is the transfer's id."""

    body: TransferOfferBody


class TransferStepBody(Body, frozen=True):
    """Names the offer by its record id and repeats its weapons exactly: all or nothing."""

    transfer: RecordId
    weapons: Weapons


class TransferDeclineBody(TransferStepBody, frozen=True):
    """A refusal or withdrawal may say why."""

    remark: Text | UnsetType = UNSET


class TransferAccept(RecordBase, frozen=True, tag="transfer.accept"):
    """Issued by the party to which the offer was made."""

    body: TransferStepBody


class TransferDecline(RecordBase, frozen=True, tag="transfer.decline"):
    """Issued by the party to which the offer was made."""

    body: TransferDeclineBody


class TransferCancel(RecordBase, frozen=True, tag="transfer.cancel"):
    """Issued by the party that made the offer."""

    body: TransferDeclineBody
