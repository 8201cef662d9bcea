"""Inputs of a replica in a few words, for the transcript of a run."""

from ledger.consensus.inputs import (
    AnyInput,
    BlocksFetched,
    Built,
    Checked,
    Committed,
    PendingChanged,
    Received,
    TimerFired,
)
from ledger.consensus.messages import (
    BlockRequest,
    BlockResponse,
    Certificate,
    CertificateMessage,
    CertificateRequest,
    EntryAnswer,
    EntryRequest,
    EvidenceMessage,
    Message,
    Page,
    Proposal,
    ProposalMessage,
    Status,
    Vote,
    VoteMessage,
    kind_of,
    proposal_of,
)


def input_in_words(event: AnyInput) -> str:
    """One line."""
    match event:
        case Received(sender=sender, message=message):
            return f"from {sender}: {message_in_words(message)}"
        case TimerFired(name=name):
            return f"timer {name}"
        case Checked(digest=digest, verdict=verdict, reason=reason):
            return f"checked {_name(digest)}: {verdict} {reason}".rstrip()
        case Built(view=view, outcome=outcome, block=block):
            return f"built for view {view}: {outcome} {'' if block is None else _name(block.digest)}".rstrip()
        case Committed(height=height, digest=digest):
            return f"committed height {height} {_name(digest)}"
        case PendingChanged(count=count):
            return f"{count} pending"
        case BlocksFetched(sender=sender, first_height=first, blocks=blocks):
            return f"fetched {len(blocks)} blocks from height {first} of {sender}"
    return type(event).__name__


def message_in_words(message: Message) -> str:
    """A message."""
    match message:
        case ProposalMessage(notarize=vote, block=block, nullifications=gap):
            body = "re-proposal" if block is None else f"{len(block.entries)} records"
            return f"proposal {_vote(vote)}, {body}, {len(gap)} nullifications"
        case VoteMessage(vote=vote):
            return _vote(vote)
        case CertificateMessage(certificate=certificate):
            return _certificate(certificate)
        case Page(certificates=certificates, votes=votes):
            return f"page of {len(certificates)} certificates, {len(votes)} votes"
        case EvidenceMessage(evidence=evidence):
            return f"evidence: {_vote(evidence.first)} and {_vote(evidence.second)}"
        case Status(epoch=epoch, view=view, finalized_view=final, height=height):
            return f"status: epoch {epoch} view {view}, final view {final}, height {height}"
        case CertificateRequest(views=views):
            return f"asks for certificates of views {', '.join(map(str, views))}"
        case EntryRequest():
            return "asks for the entry certificate"
        case EntryAnswer(entry=entry):
            return f"shows {'no entry certificate' if entry is None else _certificate(entry)}"
        case BlockRequest(digest=digest):
            return f"asks for block {_name(digest)}"
        case BlockResponse(digest=digest, block=held):
            return f"{'has no' if held is None else 'sends'} block {_name(digest)}"
    return type(message).__name__


def _vote(vote: Vote) -> str:
    return f"{kind_of(vote)} view {vote.view}{_about(proposal_of(vote))} by {vote.signer}"


def _certificate(certificate: Certificate) -> str:
    return f"{certificate.kind} of view {certificate.view}{_about(certificate.proposal)}"


def _about(proposal: Proposal | None) -> str:
    return "" if proposal is None else f" {_name(proposal.digest)} on {proposal.parent_view}"


def _name(digest: bytes) -> str:
    return digest.hex()[:6]
