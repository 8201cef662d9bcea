"""Governance: the validators decide together who of them stays, with which keys, and by which parameters (PROTOCOL P8).

A proposal names one change. Its issuer is a validator's agency, which signs with its *governance* key, kept apart from the
record key of its everyday business; so does everyone who votes. What a quorum of votes does is `ledger.state`'s.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from ledger.codec import MAX_SAFE_INTEGER
from ledger.records.agencies import Agency, keys_of
from ledger.records.base import Body, RecordBase
from ledger.records.fields import AdvanceTimeoutMs, Certificate, HeartbeatS, LeadTimeoutMs, PartyId, RecordId, Time
from ledger.records.membership import NewKey
from ledger.signing import Role


class _Change(Body, frozen=True, tag_field="change"):
    """Base of changes: which one it is stands in the field `change`."""


class ValidatorAdd(_Change, frozen=True, tag="validator.add"):
    """An agency joins. `agency` is its identity as `network identity` makes it: every proof of possession is over the
    origin. An agency that the ledger knows comes back with its party as it stands there and with new node keys."""

    agency: Agency


class ValidatorRemove(_Change, frozen=True, tag="validator.remove"):
    """An agency's node leaves. Its party stays an agency; suspending it is another decision."""

    party: PartyId


class ValidatorReplace(_Change, frozen=True, tag="validator.replace"):
    """One agency leaves and another joins, in one step."""

    party: PartyId
    agency: Agency


class RotatedKeys(Body, frozen=True):
    """New node keys of a validator, any of them; proofs of possession are over the origin, as in an identity."""

    consensus: NewKey | UnsetType = UNSET
    cosigner: NewKey | UnsetType = UNSET
    governance: NewKey | UnsetType = UNSET
    log: NewKey | UnsetType = UNSET
    transport: NewKey | UnsetType = UNSET


class ValidatorRotate(_Change, frozen=True, tag="validator.rotate"):
    """A validator goes on with new keys (after a loss, a leak, or for good measure), or under a new CA certificate."""

    party: PartyId
    keys: RotatedKeys
    ca: Certificate | UnsetType = UNSET


class ParametersSet(_Change, frozen=True, tag="parameters.set"):
    """New timers for all nodes; an absent one stays as it is."""

    heartbeat_s: HeartbeatS | UnsetType = UNSET
    lead_timeout_ms: LeadTimeoutMs | UnsetType = UNSET
    advance_timeout_ms: AdvanceTimeoutMs | UnsetType = UNSET


class VersionActivate(_Change, frozen=True, tag="version.activate"):
    """The next version of the protocol's rules is in force from `height` on, for that block itself as for all after it."""

    version: Annotated[int, Meta(ge=1, le=1_000_000)]
    height: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]


class PartySuspend(_Change, frozen=True, tag="party.suspend"):
    """A party, an agency too, may issue no record until the validators resume it."""

    party: PartyId


class PartyResume(_Change, frozen=True, tag="party.resume"):
    """Ends a suspension that the validators decided."""

    party: PartyId


Change: TypeAlias = (
    ValidatorAdd
    | ValidatorRemove
    | ValidatorReplace
    | ValidatorRotate
    | ParametersSet
    | VersionActivate
    | PartySuspend
    | PartyResume
)
"""What a proposal can be about."""


class ProposalOpenBody(Body, frozen=True):
    """Opening counts as the opener's vote for it. From `expires_at` (block time) on nobody can vote any more."""

    change: Change
    expires_at: Time


class ProposalOpen(RecordBase, frozen=True, tag="proposal.open"):
    """Issued by a validator's agency, signed with its governance key. The record's id is the proposal's id."""

    body: ProposalOpenBody


class ProposalVoteBody(Body, frozen=True):
    """One validator's vote on an open proposal; it cannot be taken back."""

    proposal: RecordId
    vote: Literal["for", "against"]


class ProposalVote(RecordBase, frozen=True, tag="proposal.vote"):
    """Issued by a validator's agency, signed with its governance key."""

    body: ProposalVoteBody


def new_keys_of(change: Change) -> tuple[tuple[str, Role, NewKey], ...]:
    """The keys that a change would bring in, each with the party and the role that its proof of possession names.

    An agency's record key is among them, though it is no new one where the ledger knows the agency.
    """
    match change:
        case ValidatorAdd() | ValidatorReplace():
            return tuple((change.agency.party, role, key) for role, key in keys_of(change.agency))
        case ValidatorRotate():
            return tuple((change.party, role, key) for role, key in rotated(change.keys))
        case _:
            return ()


def rotated(keys: RotatedKeys) -> tuple[tuple[Role, NewKey], ...]:
    """The keys of a rotation that are there, with their roles."""
    every: tuple[tuple[Role, NewKey | UnsetType], ...] = (
        ("consensus", keys.consensus),
        ("cosigner", keys.cosigner),
        ("governance", keys.governance),
        ("log", keys.log),
        ("transport", keys.transport),
    )
    return tuple((role, key) for role, key in every if key is not UNSET)
