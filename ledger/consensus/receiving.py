"""What a message from a peer is taken for. A peer that sends what no honest one sends is charged; nothing is raised."""

from collections.abc import Callable
from typing import Any, Final

from ledger.consensus.certifying import charge, in_window, take_certificate, take_evidence, take_vote
from ledger.consensus.fetching import block_refused
from ledger.consensus.inputs import Received
from ledger.consensus.messages import (
    BlockRequest,
    BlockResponse,
    CertificateMessage,
    CertificateRequest,
    EntryAnswer,
    EntryRequest,
    EvidenceMessage,
    Page,
    ProposalMessage,
    Status,
    VoteMessage,
)
from ledger.consensus.recovery import answer_request, take_answer
from ledger.consensus.sharing import answer_status, serve_block, serve_certificates
from ledger.consensus.state import State
from ledger.limits import NEAR_BLOCKS, PROPOSAL_BODY_WINDOW


def take_message(state: State, received: Received) -> None:
    """Dispatch a message by its type. Messages are handled whether busy or idle (P6.2)."""
    if received.sender >= state.epoch.size:
        return
    _HANDLERS[type(received.message)](state, received.message, received.sender)


def _take_proposal(state: State, message: ProposalMessage, sender: int) -> None:
    """P5.3: certificates first, for they may bring us into the view; then the leader's vote; then its block."""
    vote = message.notarize
    if vote.epoch != state.epoch.number:
        return
    if vote.signer >= state.epoch.size or vote.signer != state.epoch.leader(vote.view):
        charge(state, sender, "bad_proposal", f"validator {vote.signer} does not lead view {vote.view}")
        return
    certificates = message.nullifications if message.parent is None else (message.parent, *message.nullifications)
    for certificate in certificates:
        if not take_certificate(state, certificate, sender):
            return
    if not in_window(state, vote.view):
        return
    take_vote(state, vote, sender)
    block = message.block
    if block is None or block.digest != vote.proposal.digest:
        return
    first = state.proposals.get(vote.view)
    near = state.view <= vote.view <= state.view + PROPOSAL_BODY_WINDOW
    if block.digest in state.wants or (near and first is not None and first.proposal == vote.proposal):
        state.hold(block)


def _take_page(state: State, message: Page, sender: int) -> None:
    for certificate in message.certificates:
        if not take_certificate(state, certificate, sender):
            return
    for vote in message.votes:
        take_vote(state, vote, sender)


def _take_vote(state: State, message: VoteMessage, sender: int) -> None:
    take_vote(state, message.vote, sender)


def _take_certificate(state: State, message: CertificateMessage, sender: int) -> None:
    take_certificate(state, message.certificate, sender)


def _take_evidence(state: State, message: EvidenceMessage, sender: int) -> None:
    take_evidence(state, message.evidence, sender)


def _take_status(state: State, message: Status, sender: int) -> None:
    """The entry certificate in it may carry us into the sender's view (P7.2). Who is getting level is not away (ADR 15)."""
    answer_status(state, message, sender)
    if message.height + NEAR_BLOCKS < state.floor.height:
        state.missed.pop(sender, None)
    if message.entry is not None and message.entry.view >= state.view:
        take_certificate(state, message.entry, sender)


def _take_block(state: State, message: BlockResponse, sender: int) -> None:
    """A block we asked for, or the answer that the sender lacks it. Unasked or wrong ones count as not received."""
    if message.digest not in state.wants:
        return
    if message.block is None:
        block_refused(state, message.digest)
    elif message.block.digest == message.digest:
        state.hold(message.block)
    else:
        charge(state, sender, "bad_block", "the block is not the one asked for")


_HANDLERS: Final[dict[type, Callable[[State, Any, int], None]]] = {
    ProposalMessage: _take_proposal,
    VoteMessage: _take_vote,
    CertificateMessage: _take_certificate,
    Page: _take_page,
    EvidenceMessage: _take_evidence,
    Status: _take_status,
    CertificateRequest: serve_certificates,
    BlockRequest: serve_block,
    BlockResponse: _take_block,
    EntryRequest: answer_request,
    EntryAnswer: take_answer,
}
