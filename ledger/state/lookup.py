"""Typed reading of documents, for the rules."""

from typing import Literal, TypeAlias, TypeVar

from ledger.errors import InternalError
from ledger.records.fields import format_time
from ledger.state.codes import refuse
from ledger.state.model import (
    PARAMETERS_KEY,
    VALIDATORS_KEY,
    KeyDoc,
    ParametersDoc,
    PartyDoc,
    ProposalDoc,
    ProposalStatus,
    State,
    StateKey,
    TransferDoc,
    ValidatorsDoc,
    WeaponDoc,
)

T = TypeVar("T")
Standing: TypeAlias = ProposalStatus | Literal["lapsed", "expired"]


def present(document: T | None) -> T:
    """A document that a check found to be there."""
    if document is None:
        raise InternalError("a document that was checked is gone", help="Call apply only after check, on one state.")
    return document


def find_party(state: State, party: str) -> PartyDoc | None:
    """The party's document, if it was ever enrolled."""
    document = state.get(StateKey("party", party))
    assert document is None or isinstance(document, PartyDoc)
    return document


def require_party(state: State, party: str, what: str) -> PartyDoc:
    """The party's document. `what` names its part in the record.

    Raises:
        RuleError: code `unknown_party`.
    """
    document = find_party(state, party)
    if document is None:
        raise refuse(
            "unknown_party",
            f"the {what} is not enrolled",
            expected="an enrolled party",
            actual=party,
            help="Check the party's id, or have its agency enrol it first.",
        )
    return document


def find_key(state: State, public: str) -> KeyDoc | None:
    """The key's document, if it was ever named in the log."""
    document = state.get(StateKey("key", public))
    assert document is None or isinstance(document, KeyDoc)
    return document


def find_weapon(state: State, weapon: str) -> WeaponDoc | None:
    """The weapon's document, if the identity was ever on the ledger."""
    document = state.get(StateKey("weapon", weapon))
    assert document is None or isinstance(document, WeaponDoc)
    return document


def find_transfer(state: State, transfer: str | None) -> TransferDoc | None:
    """The transfer's document; None also for no transfer."""
    if transfer is None:
        return None
    document = state.get(StateKey("transfer", transfer))
    assert document is None or isinstance(document, TransferDoc)
    return document


def parameters(state: State) -> ParametersDoc:
    """The parameters in force; every state has them from the genesis document."""
    document = state.get(PARAMETERS_KEY)
    if not isinstance(document, ParametersDoc):
        raise InternalError("the state has no parameters", help="The working set lacks what `touches` names.")
    return document


def version_at(document: ParametersDoc, height: int) -> int:
    """The version of the protocol's rules in force for the block of a height, given the parameters before that block."""
    pending = document.next_version
    return document.version if pending is None or height < pending.height else pending.version


def validators(state: State) -> ValidatorsDoc:
    """The epoch's validators; every state has them from the genesis document."""
    document = state.get(VALIDATORS_KEY)
    if not isinstance(document, ValidatorsDoc):
        raise InternalError("the state has no validators", help="The working set lacks what `touches` names.")
    return document


def standing_of(proposal: ProposalDoc, *, epoch: int, time_ms: int) -> Standing:
    """What became of a proposal by a block time in an epoch: its status, or why it can no longer be decided."""
    if proposal.status != "open":
        return proposal.status
    if proposal.epoch != epoch:
        return "lapsed"
    return "expired" if proposal.expires_at <= time_ms else "open"


def find_proposal(state: State, proposal: str) -> ProposalDoc | None:
    """The proposal's document, if it was ever opened."""
    document = state.get(StateKey("proposal", proposal))
    assert document is None or isinstance(document, ProposalDoc)
    return document


def inactive_reason(party: PartyDoc, time_ms: int) -> tuple[str, str] | None:
    """Why a party is not active at a block time: the rule's code and a phrase, or None where it is."""
    if party.status == "suspended":
        return "party_suspended", "suspended" if party.suspended_by is None else "suspended by the validators"
    if party.status == "ended":
        return "party_ended", "ended"
    if party.valid_until is not None and party.valid_until <= time_ms:
        return "party_expired", f"valid until {format_time(party.valid_until)}"
    return None
