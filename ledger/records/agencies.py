"""An agency as it enters the ledger: with the genesis document, or later by the validators' votes (DESIGN 12)."""

from ledger.records.base import Body
from ledger.records.fields import Certificate, Country, Name, PartyId
from ledger.records.membership import NewKey, Roles
from ledger.signing import Role


class ValidatorKeys(Body, frozen=True):
    """An agency's node keys, one role each."""

    consensus: NewKey
    cosigner: NewKey
    governance: NewKey
    log: NewKey
    transport: NewKey


class Agency(Body, frozen=True):
    """One agency: its party, the roles it has and may grant, its record key, its node's keys, its TLS authority.

    `ca` is the agency's CA certificate (base64 of DER); peers and clients trust the certificates under it.
    """

    party: PartyId
    name: Name
    roles: Roles
    grants: Roles
    jurisdiction: Country
    record: NewKey
    node: ValidatorKeys
    ca: Certificate


def keys_of(agency: Agency) -> tuple[tuple[Role, NewKey], ...]:
    """All keys of an agency with their roles."""
    node = agency.node
    return (
        ("record", agency.record),
        ("consensus", node.consensus),
        ("cosigner", node.cosigner),
        ("governance", node.governance),
        ("log", node.log),
        ("transport", node.transport),
    )
