"""Ledgers of any size for simulated nodes: agencies, their keys, and the replica's times."""

from functools import cache
from typing import Final

from ledger.codec import b64encode
from ledger.consensus.parameters import Parameters
from ledger.genesis import Agency, Genesis, ValidatorKeys, check_genesis
from ledger.genesis import Parameters as AgreedParameters
from ledger.records.envelope import prove_possession
from ledger.records.fields import PartyRole, format_time
from ledger.signing import Role
from tests.world import ORIGIN, START_MS, key_named

CLOCK_MS: Final = START_MS + 60_000
"""The wall clock of a machine without skew when a run begins."""
PARAMETERS: Final = Parameters(
    lead_timeout_ms=800,
    advance_timeout_ms=2_000,
    timeout_cap_ms=6_000,
    retry_ms=700,
    standstill_ms=1_500,
    status_ms=1_500,
    fetch_ms=300,
    heartbeat_s=3_600,
)
REGISTRY: Final = "interior"
"""The agency that enrols the parties of a run; it is in every ledger."""
_NODE_ROLES: Final[tuple[Role, ...]] = ("consensus", "cosigner", "governance", "log", "transport")
_GRANTS: Final[tuple[PartyRole, ...]] = ("dealer", "importer", "maker", "museum")


def party_names(size: int) -> list[str]:
    """The agencies of a ledger of this size, in their order. No more than ten, so that names sort by number."""
    return sorted([REGISTRY, *(f"agency-{number}" for number in range(1, size))])


def outsider_names(size: int, count: int) -> list[str]:
    """Agencies that are not in the genesis document, and may join."""
    return [f"agency-{number}" for number in range(size, size + count)]


@cache
def genesis_of(size: int) -> Genesis:
    """The genesis document of a ledger with so many agencies, all of them registries."""
    agencies = tuple(agency_named(party) for party in party_names(size))
    agreed = AgreedParameters(
        lead_timeout_ms=PARAMETERS.lead_timeout_ms,
        advance_timeout_ms=PARAMETERS.advance_timeout_ms,
        heartbeat_s=PARAMETERS.heartbeat_s,
    )
    genesis = Genesis(schema=1, origin=ORIGIN, time=format_time(START_MS), parameters=agreed, agencies=agencies)
    check_genesis(genesis)
    return genesis


@cache
def agency_named(party: str) -> Agency:
    """An agency's identity."""
    proofs = {
        role: prove_possession(key_named(f"{party} {role}"), ledger=ORIGIN, party=party, role=role)
        for role in (*_NODE_ROLES, "record")
    }
    return Agency(
        party=party,
        name=f"The {party}",
        roles=("registry",),
        grants=_GRANTS,
        jurisdiction="AA",
        record=proofs["record"],
        node=ValidatorKeys(**{role: proofs[role] for role in _NODE_ROLES}),
        ca=b64encode(party.encode() * 40),
    )
