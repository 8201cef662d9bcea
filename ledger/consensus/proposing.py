"""The leader (P5.2, P6.3, P8.1): on which parent, when, and with what to propose."""

from ledger.consensus.blocks import Standing
from ledger.consensus.certifying import count_own
from ledger.consensus.effects import Build, Drop, Timer
from ledger.consensus.executing import pursue_execution
from ledger.consensus.fetching import want_certificates
from ledger.consensus.inputs import Built
from ledger.consensus.messages import Certificate, Proposal, ProposalMessage
from ledger.consensus.state import Building, State
from ledger.limits import MAX_GAP_VIEWS, MAX_REQUESTED_VIEWS


def propose(state: State) -> None:
    """If we lead the current view, are busy and have not voted in it: build on the highest buildable parent (P5.2)."""
    view = state.view
    if state.own is None or state.guard.silent or state.epoch.leader(view) != state.own or not state.busy:
        return
    if state.building is not None or state.build_failed_view == view or _voted(state):
        return
    found = _parent(state)
    if found is None:
        return
    parent_view, digest, certificate = found
    parent = state.parent(digest)
    if parent is None:
        sources = () if certificate is None else tuple(signer for signer, _ in certificate.signatures)
        pursue_execution(state, digest, sources, parent_view)
        return
    if parent.closing:
        if certificate is not None and certificate.kind == "finalization":
            return  # the epoch is over; its last commit is under way
        state.persist_block(state.blocks[digest])
        _propose(state, Proposal(epoch=state.epoch.number, view=view, parent_view=parent_view, digest=digest))
        return
    allow_empty = state.empty_due or heartbeat_due(state)
    if not allow_empty and (state.pending == 0 or state.nothing_to_include):
        return
    state.building = Building(view=view, parent_view=parent_view, allow_empty=allow_empty)
    state.changes += 1
    state.emit(
        Build(
            epoch=state.epoch.number,
            view=view,
            height=parent.height + 1,
            parent_view=parent_view,
            parent_digest=digest,
            parent_seal=parent.seal_hash,
            proposer=state.own,
            time_ms=max(state.clock_ms, parent.time_ms + 1),
            allow_empty=allow_empty,
        )
    )


def take_built(state: State, built: Built) -> None:
    """The application's answer to a Build. One that comes too late is dropped; one that failed leaves it to the timers."""
    building, block = state.building, built.block
    if building is None or (built.epoch, built.view) != (state.epoch.number, building.view):
        if block is not None and block.digest not in state.blocks:
            state.emit(Drop((block.digest,)))
        return
    state.building = None
    state.changes += 1
    if built.outcome == "empty":
        state.nothing_to_include = True
    elif built.outcome == "failed":
        state.build_failed_view = built.view
    elif block is not None and _voted(state):
        state.emit(Drop((block.digest,)))
    elif block is not None:
        held = state.hold(block, Standing.EXECUTED)
        held.closing = built.closing
        state.persist_block(held)
        header = block.header
        _propose(
            state,
            Proposal(epoch=header.epoch, view=header.view, parent_view=header.parent_view, digest=block.digest),
        )


def resend_proposal(state: State, to: int | None) -> None:
    """Send the stored proposal of the current view again, if it is ours (P5.2): to one peer, or to all."""
    vote = state.proposals.get(state.view)
    if vote is None or vote.signer != state.own:
        return
    message = _message(state, vote.proposal)
    if message is not None and to is None:
        state.broadcast(message)
    elif message is not None and to is not None:
        state.send(to, message)


def heartbeat_due(state: State) -> bool:
    """No block for the heartbeat's time (P6.2)."""
    return state.now_ms >= state.last_block_ms + state.parameters.heartbeat_s * 1000


def _voted(state: State) -> bool:
    vote = state.guard.vote
    return vote(state.view, "notarize") is not None or vote(state.view, "nullify") is not None


def _propose(state: State, proposal: Proposal) -> None:
    """Sign the proposal, send it with what justifies it, and count our own vote."""
    vote = state.guard.notarize(proposal, current_view=state.view, effects=state.effects)
    if vote is None:
        return
    state.proposals[state.view] = vote
    state.changes += 1
    state.cancel_timer(Timer.LEAD)
    message = _message(state, proposal)
    assert message is not None
    state.broadcast(message)
    count_own(state, vote)


def _message(state: State, proposal: Proposal) -> ProposalMessage | None:
    """The message of our stored proposal: the block unless it is a re-proposal, the parent's certificate, the gap's."""
    vote = state.proposals[proposal.view]
    held = state.blocks.get(proposal.digest)
    if held is None:
        return None
    gap = (
        state.certificates.get("nullification", view)
        for view in range(max(proposal.parent_view + 1, proposal.view - MAX_GAP_VIEWS), proposal.view)
    )
    return ProposalMessage(
        notarize=vote,
        block=held.block if held.block.header.view == proposal.view else None,
        parent=state.certificates.chosen(proposal.parent_view),
        nullifications=tuple(certificate for certificate in gap if certificate is not None),
    )


def _parent(state: State) -> tuple[int, bytes, Certificate | None] | None:
    """The highest notarized or final view below the current one with a nullification of every view between (P5.2).

    As (view, digest, its certificate; None for the floor). None if certificates are missing; they are then asked for.
    """
    certificates, floor = state.certificates, state.floor
    if state.unfounded == (state.view, certificates.version):
        return None
    missing: list[int] = []
    for view in range(state.view - 1, floor.view - 1, -1):
        if view == floor.view:
            if not missing:
                return view, floor.digest, None
            break
        certificate = certificates.chosen(view)
        if certificate is not None and certificate.proposal is not None:
            if not missing:
                return view, certificate.proposal.digest, certificate
            break
        if certificates.get("nullification", view) is None:
            missing.append(view)
            if len(missing) == MAX_REQUESTED_VIEWS:
                break
    state.unfounded = (state.view, certificates.version)
    want_certificates(state, missing, None)
    return None
