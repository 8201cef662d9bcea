"""Governance: proposals are opened and voted on, and a quorum of the validators enacts them (PROTOCOL P8).

Who may issue these records is `ledger.state.authority`'s; what each change asks for and writes is in
`ledger.state.rules.changes`.
"""

import msgspec

from ledger.limits import MAX_PROPOSAL_LIFE_MS
from ledger.quorum import faults_tolerated, quorum
from ledger.records import ProposalOpen, ProposalVote
from ledger.records.envelope import SignedRecord
from ledger.records.fields import format_time, parse_time
from ledger.state.codes import refuse
from ledger.state.lookup import find_proposal, present, standing_of, validators
from ledger.state.model import At, Doc, PartyDoc, ProposalDoc, State, StateKey
from ledger.state.rules.changes import check_change, enact

# --- proposal.open --------------------------------------------------------------------------------------------------


def check_open(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """A validator proposes a change that could be enacted now, for a limited time."""
    record = signed.record
    assert isinstance(record, ProposalOpen)
    expires_at = parse_time(record.body.expires_at)
    if not at.time_ms < expires_at <= at.time_ms + MAX_PROPOSAL_LIFE_MS:
        raise refuse(
            "proposal_expiry",
            "the proposal expires too early or too late",
            expected=f"after {format_time(at.time_ms)}, no later than {format_time(at.time_ms + MAX_PROPOSAL_LIFE_MS)}",
            actual=record.body.expires_at,
        )
    check_change(state, record.body.change, at)


def apply_open(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes the proposal with the opener's vote; where that is a quorum, also what it changes."""
    record = signed.record
    assert isinstance(record, ProposalOpen)
    proposal = ProposalDoc(
        opened_by=record.issuer,
        opened=at.index,
        epoch=validators(state).epoch,
        change=record.body.change,
        expires_at=parse_time(record.body.expires_at),
        status="open",
        votes_for=(record.issuer,),
    )
    return _counted(state, signed.id, proposal, at)


# --- proposal.vote --------------------------------------------------------------------------------------------------


def check_vote(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """A validator votes once, in the epoch of the proposal and before it expires. The vote that would enact it is refused
    where the change is not lawful any more."""
    record = signed.record
    assert isinstance(record, ProposalVote)
    proposal = _open_proposal(state, record.body.proposal, at)
    if record.issuer in (*proposal.votes_for, *proposal.votes_against):
        raise refuse(
            "already_voted",
            f"{record.issuer} has voted on this proposal",
            expected="one vote of each validator; opening counts as one",
            actual="for" if record.issuer in proposal.votes_for else "against",
            help="A vote cannot be taken back. Open another proposal to undo what a proposal did.",
        )
    if _outcome(state, _with_vote(proposal, record)) == "enacted":
        check_change(state, proposal.change, at)


def apply_vote(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes the proposal with the vote; where that makes the quorum, also what it changes."""
    record = signed.record
    assert isinstance(record, ProposalVote)
    proposal = present(find_proposal(state, record.body.proposal))
    return _counted(state, record.body.proposal, _with_vote(proposal, record), at)


def _open_proposal(state: State, name: str, at: At) -> ProposalDoc:
    proposal = find_proposal(state, name)
    if proposal is None:
        raise refuse(
            "unknown_proposal",
            "no such proposal was opened",
            expected="the record id of a proposal.open",
            actual=name,
            help="A proposal's id is the record id of its opening.",
        )
    if proposal.status != "open":
        raise refuse(
            "proposal_decided",
            f"the proposal was {proposal.status}, by the record at log index {proposal.decided}",
            expected="an open proposal",
            actual=proposal.status,
        )
    epoch = validators(state).epoch
    standing = standing_of(proposal, epoch=epoch, time_ms=at.time_ms)
    if standing == "lapsed":
        raise refuse(
            "proposal_lapsed",
            "the proposal ended with the epoch in which it was opened",
            expected=f"a proposal of epoch {epoch}",
            actual=f"epoch {proposal.epoch}",
            help="Open it again: the validators, and so who decides, have changed.",
        )
    if standing == "expired":
        raise refuse(
            "proposal_expired",
            "the proposal has expired",
            expected=f"before {format_time(proposal.expires_at)}",
            actual=format_time(at.time_ms),
            help="Open it again.",
        )
    return proposal


def _with_vote(proposal: ProposalDoc, record: ProposalVote) -> ProposalDoc:
    if record.body.vote == "for":
        return msgspec.structs.replace(proposal, votes_for=tuple(sorted((*proposal.votes_for, record.issuer))))
    return msgspec.structs.replace(proposal, votes_against=tuple(sorted((*proposal.votes_against, record.issuer))))


def _outcome(state: State, proposal: ProposalDoc) -> str:
    """What its votes make of a proposal. All of them are of the epoch's members: it is of no other epoch."""
    size = len(validators(state).members)
    if len(proposal.votes_for) >= quorum(size):
        return "enacted"
    return "rejected" if len(proposal.votes_against) > faults_tolerated(size) else "open"


def _counted(state: State, name: str, proposal: ProposalDoc, at: At) -> dict[StateKey, Doc]:
    """The documents after a vote was added."""
    key = StateKey("proposal", name)
    match _outcome(state, proposal):
        case "enacted":
            decided = msgspec.structs.replace(proposal, status="enacted", decided=at.index)
            return {key: decided, **enact(state, proposal.change, at)}
        case "rejected":
            return {key: msgspec.structs.replace(proposal, status="rejected", decided=at.index)}
        case _:
            return {key: proposal}
