"""The voter (P5.3, P5.4, P5.7): when to notarize, when to finalize, when to nullify."""

from ledger.block import BlockHeader
from ledger.consensus.blocks import Held, Standing
from ledger.consensus.certifying import cast, enter
from ledger.consensus.effects import Timer
from ledger.consensus.executing import pursue_execution
from ledger.consensus.fetching import want_block, want_certificates
from ledger.consensus.messages import Certificate, Proposal
from ledger.consensus.state import State
from ledger.limits import BLOCK_MAX_AHEAD_MS


def nullify(state: State) -> bool:
    """Vote to leave the current view, if the guard grants it; repeat it from time to time (P5.7). Whether it was cast."""
    if state.own is None or state.guard.vote(state.view, "nullify") is not None:
        return False
    vote = state.guard.nullify(state.view, current_view=state.view, effects=state.effects)
    if vote is None:
        return False
    state.cancel_timer(Timer.LEAD)
    state.cancel_timer(Timer.ADVANCE)
    if state.busy:
        state.set_timer(Timer.RETRY, state.now_ms + state.parameters.retry_ms)
    cast(state, vote)
    return True


def follow_leader(state: State) -> None:
    """On the leader's first proposal of the current view, or its nullify: notarize, nullify or wait (P5.3, P5.7)."""
    own, view = state.own, state.view
    if own is None or state.guard.silent or state.guard.vote(view, "nullify") is not None:
        return
    if state.tally.vote_of(view, "nullify", state.epoch.leader(view)) is not None:
        nullify(state)
        return
    vote = state.proposals.get(view)
    if vote is None or state.guard.vote(view, "notarize") is not None:
        return
    proposal = vote.proposal
    held = state.blocks.get(proposal.digest)
    if held is None:
        if proposal.digest == state.floor.digest:
            return
        want_block(state, proposal.digest, (vote.signer,), view)
        return
    header = held.block.header
    if not _describes(proposal, header):
        nullify(state)
        return
    repeated = header.view < view
    if not _justified(state, proposal, proposal.digest if repeated else header.parent_digest):
        return
    if not _timely(state, header):
        return
    pursue_execution(state, proposal.digest, (vote.signer,), view)
    if held.standing is Standing.INVALID or (held.executed and repeated and not held.closing):
        nullify(state)
    elif held.executed:
        _notarize(state, proposal, held)


def _notarize(state: State, proposal: Proposal, held: Held) -> None:
    if state.guard.vote(proposal.view, "finalize") is None:
        state.persist_block(held)
    vote = state.guard.notarize(proposal, current_view=state.view, effects=state.effects)
    if vote is not None:
        cast(state, vote)


def _describes(proposal: Proposal, header: BlockHeader) -> bool:
    """Whether a proposal's fields are the header's; those of a re-proposal (P8.1) only follow the header's view."""
    return header.view < proposal.view or (header.view, header.parent_view) == (proposal.view, proposal.parent_view)


def _justified(state: State, proposal: Proposal, parent_digest: bytes) -> bool:
    """Whether the parent is certified by its digest and every view between is nullified (P5.3).

    What is missing is asked for; it is never a reason to call the proposal invalid. A certificate of the parent's view over
    another digest does not help, and a notarization of a gap view is no nullification (P13, traces 1 and 2).
    """
    floor, certificates = state.floor, state.certificates
    at_floor = proposal.parent_view == floor.view and parent_digest == floor.digest
    if not at_floor and proposal.parent_view <= floor.view:
        return False
    if state.unjustified == (proposal.view, certificates.version):
        return False
    missing = (
        []
        if at_floor or _certifies(certificates.chosen(proposal.parent_view), parent_digest)
        else [proposal.parent_view]
    )
    missing += [
        view
        for view in range(proposal.parent_view + 1, proposal.view)
        if certificates.get("nullification", view) is None
    ]
    want_certificates(state, missing, state.epoch.leader(proposal.view))
    if missing:
        state.unjustified = (proposal.view, certificates.version)
    return not missing


def _certifies(certificate: Certificate | None, digest: bytes) -> bool:
    return certificate is not None and certificate.proposal is not None and certificate.proposal.digest == digest


def _timely(state: State, header: BlockHeader) -> bool:
    """A block from the near future waits until our clock is close enough; it is not invalid (P5.3)."""
    ahead_ms = header.time - state.clock_ms - BLOCK_MAX_AHEAD_MS
    if ahead_ms > 0:
        state.set_timer(Timer.CLOCK, state.now_ms + ahead_ms)
    return ahead_ms <= 0


def complete_notarizations(state: State) -> None:
    """Bring each notarized view above the highest finalization to its end (P5.4): block held, executed; finalize; enter the
    next view. What is below needs no vote any more, and its blocks come with the final chain (P7.2)."""
    for view in list(state.open_notarizations):
        certificate = state.certificates.get("notarization", view)
        if certificate is None or certificate.proposal is None or view <= state.certificates.final_view:
            state.open_notarizations.remove(view)
            continue
        proposal = certificate.proposal
        held = state.blocks.get(proposal.digest)
        if held is None and proposal.digest != state.floor.digest:
            want_block(state, proposal.digest, tuple(signer for signer, _ in certificate.signatures), view)
            continue
        if held is None:
            continue
        if held.standing is not Standing.EXECUTED:
            pursue_execution(state, proposal.digest, tuple(signer for signer, _ in certificate.signatures), view)
        repeated = held.block.header.view < view
        if not _describes(proposal, held.block.header) or (held.executed and repeated and not held.closing):
            state.stop("invalid_notarized", f"the notarization of view {view} names a block that is not of that view")
            continue
        if held.standing is Standing.INVALID:
            state.stop("invalid_notarized", f"the notarized block of view {view} is invalid here: {held.reason}")
        if not held.executed:
            continue
        state.open_notarizations.remove(view)
        state.changes += 1
        _finalize(state, certificate, held)
        if view >= state.view:
            enter(state, certificate)


def _finalize(state: State, notarization: Certificate, held: Held) -> None:
    """Vote to finalize, unless the leader equivocated, we nullified the view (the guard), or it is settled already."""
    view = notarization.view
    if state.own is None or view in state.equivocated or view <= state.certificates.final_view:
        return
    if state.guard.vote(view, "nullify") is None:
        state.persist_block(held)
    vote = state.guard.finalize(notarization, executed=held.block.digest, effects=state.effects)
    if vote is not None:
        cast(state, vote)
