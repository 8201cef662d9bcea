"""Finality (P5.6, P7.2, P8.2): joining a finalization to the floor, fetching what lies between, committing in height order.

The known final chain `state.final` grows at its top in two ways: by walking down from the highest finalization through
held blocks, and by pages of blocks fetched by height, each page proved by a finalization among its blocks and hashes
downward. The floor follows it from below, one commit a block.
"""

import msgspec

from ledger.block import Block
from ledger.consensus.blocks import Standing
from ledger.consensus.certificates import verify_certificate, votes_in
from ledger.consensus.certifying import accept, charge, count_loaded, look_for_own_votes
from ledger.consensus.effects import Commit, Drop, FetchBlocks, Floor, Prune, Timer
from ledger.consensus.epoch import Epoch
from ledger.consensus.executing import pursue_execution
from ledger.consensus.fetching import prune_wants, want_block
from ledger.consensus.inputs import BlocksFetched, Committed
from ledger.consensus.messages import Certificate, proposal_of
from ledger.consensus.recovery import begin, trust_if_above_the_bar
from ledger.consensus.sharing import announce
from ledger.consensus.state import FinalBlock, State
from ledger.errors import PeerError, SignatureError
from ledger.limits import (
    CATCH_UP_AHEAD_BLOCKS,
    MAX_BLOCKS_PER_REQUEST,
    MAX_UNPROVEN_BLOCKS,
    NEAR_BLOCKS,
    PROPOSAL_BODY_WINDOW,
    VIEW_RETENTION,
)


def pursue_finality(state: State) -> None:
    """Extend the final chain as far as held blocks allow, ask for what is missing, and commit what is executed."""
    if state.certificates.highest_final is not None:
        _join(state, state.certificates.highest_final)
    _commit(state)


def take_committed(state: State, committed: Committed) -> None:
    """The floor rises (P3.1), or the epoch ends (P8.2). Requires that this is the oldest commit not yet answered."""
    assert state.committing
    floor = state.committing.pop(0)
    final = state.final.pop(0)
    assert (floor.height, floor.digest) == (committed.height, committed.digest)
    state.changes += 1
    if committed.pending is not None:
        state.pending = committed.pending
    if committed.parameters is not None:
        state.parameters = committed.parameters
    state.last_block_ms = state.now_ms
    state.set_timer(Timer.HEARTBEAT, state.now_ms + state.parameters.heartbeat_s * 1000)
    del state.blocks[final.digest]
    if committed.validators is not None:
        _open_next_epoch(state, floor, final.certificate, committed.validators)
        return
    state.floor = floor
    state.guard.raise_floor(floor.view)
    state.tally.prune(floor.view - VIEW_RETENTION)
    state.certificates.prune(floor.view)
    state.equivocated = {view for view in state.equivocated if view > floor.view}
    prune_wants(state)
    dead = [digest for digest, held in state.blocks.items() if _is_dead(state, held.block)]
    _drop(state, dead)
    state.emit(Prune(floor.epoch, floor.view))
    trust_if_above_the_bar(state)


def take_blocks(state: State, fetched: BlocksFetched) -> None:
    """A page of blocks by height (P7.2). It is believed as far up as a finalization among its blocks proves it."""
    state.fetching_blocks = False
    state.changes += 1
    height, digest = _top(state)
    run = list(state.unproven)
    for block, certificate in fetched.blocks:
        header = block.header
        if header.height <= height + len(run):
            continue
        if header.epoch != state.epoch.number:
            break
        below = run[-1][0].digest if run else digest
        if header.height != height + len(run) + 1 or header.parent_digest != below:
            _refuse_blocks(state, fetched.sender, "fetched blocks do not join the chain")
            return
        run.append((block, certificate))
        look_for_own_votes(state, votes_in(certificate))
    if len(run) == len(state.unproven):
        state.unproven = []  # whoever served them may have withheld their proof
        state.set_timer(Timer.CATCH_UP, state.now_ms + state.parameters.fetch_ms)
        return
    try:
        state.unproven = run[_take_proven(state, run) :]
    except (PeerError, SignatureError) as error:
        _refuse_blocks(state, fetched.sender, f"a fetched finalization does not hold: {error}")
        return
    if len(state.unproven) > MAX_UNPROVEN_BLOCKS:
        _refuse_blocks(state, fetched.sender, "many blocks without a finalization among them")


def discard_stale_blocks(state: State) -> None:
    """Let go of old proposals that nothing certifies and we did not vote for: neither a long stall nor a long catch-up
    must fill the memory.

    One that we voted for stays while its view is open: others may yet show its notarization, and we may be the only ones to
    hold it. Ancestors stay too: all that are executed (a child's overlay lies on its parent's), a bounded number of others.
    """
    if len(state.blocks) <= 2 * PROPOSAL_BODY_WINDOW:
        return
    kept = {final.digest for final in state.final}
    final, above = state.certificates.highest_final, state.settled_view
    proposals = [certificate.proposal for certificate in state.certificates.above(above)]
    proposals += [proposal_of(vote) for vote in state.guard.votes_above(above)]
    starts = [digest for digest, held in state.blocks.items() if held.standing is Standing.CHECKING]
    starts += [proposal.digest for proposal in (None if final is None else final.proposal, *proposals) if proposal]
    for start in starts:
        digest, room = start, CATCH_UP_AHEAD_BLOCKS
        while digest not in kept and digest in state.blocks and room > 0:
            held = state.blocks[digest]
            kept.add(digest)
            room -= not held.executed
            digest = held.block.header.parent_digest
    limit = state.view - PROPOSAL_BODY_WINDOW
    _drop(state, [d for d, held in state.blocks.items() if d not in kept and held.block.header.view < limit])


def _take_proven(state: State, run: list[tuple[Block, Certificate]]) -> int:
    """Append to the final chain as much of a run as its highest finalization proves, held here or fetched with it.

    Returns how many blocks that was.

    Raises:
        PeerError, SignatureError: the fetched finalization does not hold.
    """
    held = {c.proposal.digest: c for c in state.certificates.finalizations() if c.proposal is not None}
    for count in range(len(run), 0, -1):
        block, fetched = run[count - 1]
        proof = held.get(block.digest, fetched)
        if not _finalizes(proof, block.digest):
            continue
        if proof is fetched:
            verify_certificate(state.chain, state.epoch, proof, state.tally)
        for proven, _ in run[:count]:
            state.hold(proven)
            state.final.append(FinalBlock(digest=proven.digest, certificate=proof))
        if proof.view > state.certificates.final_view:
            accept(state, proof)
        return count
    return 0


def _finalizes(certificate: Certificate, digest: bytes) -> bool:
    proposal = certificate.proposal
    return certificate.kind == "finalization" and proposal is not None and proposal.digest == digest


def _refuse_blocks(state: State, sender: int, text: str) -> None:
    """Fetched blocks that cannot be: forget what was not proved, ask somebody else a little later."""
    if not state.unproven:
        charge(state, sender, "bad_blocks", text)
    state.unproven = []
    state.set_timer(Timer.CATCH_UP, state.now_ms + state.parameters.fetch_ms)


def _top(state: State) -> tuple[int, bytes]:
    """Height and digest of the highest block known to be final and joined to the floor."""
    if state.final:
        return state.floor.height + len(state.final), state.final[-1].digest
    return state.floor.height, state.floor.digest


def _join(state: State, target: Certificate) -> None:
    """Walk down from a finalization to the known final chain (P5.6); fetch the first block that is missing."""
    assert target.proposal is not None
    if state.is_joined or len(state.final) >= CATCH_UP_AHEAD_BLOCKS:
        return
    height, top = _top(state)
    path: list[Block] = []
    digest = target.proposal.digest
    while digest != top:
        held = state.blocks.get(digest)
        if held is None:
            _fetch_missing(state, target, digest, path[-1].header.height - height - 1 if path else None)
            return
        if held.block.header.height <= height:
            if any(final.digest == digest for final in state.final):
                break
            state.stop("fork", f"the finalization of view {target.view} does not lie on the chain that is final here")
            return
        path.append(held.block)
        digest = held.block.header.parent_digest
    for block in reversed(path):
        state.final.append(FinalBlock(digest=block.digest, certificate=target))
    state.joined_view = target.view
    state.unproven = []
    state.changes += 1


def _fetch_missing(state: State, target: Certificate, digest: bytes, gap: int | None) -> None:
    """Fetch towards a finalization: a short gap block by block over the links, a long one by height (P7.2).

    `gap` is how many blocks are missing below those held, None if unknown: then the height that f + 1 of the finalization's
    signers claim is the hint, so at least one honest does. Too low a hint costs a block over the link, whose header tells.
    """
    height, _ = _top(state)
    signers = tuple(signer for signer, _ in target.signatures)
    if gap is None:
        claimed = sorted((state.heights.get(signer, 0) for signer in signers), reverse=True)
        gap = claimed[state.epoch.one_honest - 1] - height
    if gap <= NEAR_BLOCKS:
        want_block(state, digest, signers, target.view)
    elif not state.fetching_blocks and Timer.CATCH_UP not in state.timers and len(state.final) < CATCH_UP_AHEAD_BLOCKS:
        state.fetching_blocks = True
        state.emit(FetchBlocks(height + len(state.unproven) + 1, MAX_BLOCKS_PER_REQUEST))


def _commit(state: State) -> None:
    """Commit the final chain from the floor up, as far as it is executed; each block once, a bounded number at a time."""
    while len(state.committing) < min(len(state.final), CATCH_UP_AHEAD_BLOCKS):
        final = state.final[len(state.committing)]
        certificate, held = final.certificate, state.blocks[final.digest]
        if held.standing is Standing.INVALID:
            state.stop(
                "invalid_final", f"the final block at height {held.block.header.height} is invalid here: {held.reason}"
            )
            return
        if not held.executed:
            pursue_execution(state, final.digest, (), certificate.view)
            return
        header = held.block.header
        floor = Floor(
            epoch=header.epoch,
            view=certificate.view if _finalizes(certificate, final.digest) else header.view,
            height=header.height,
            digest=final.digest,
            seal_hash=held.block.seal_hash,
            time_ms=header.time,
        )
        state.committing.append(floor)
        state.changes += 1
        state.emit(Commit(block=held.block, certificate=certificate, floor=floor))
        state.guard.is_over = held.closing


def _is_dead(state: State, block: Block) -> bool:
    header = block.header
    return header.view <= state.floor.view or header.height <= state.floor.height


def _drop(state: State, digests: list[bytes]) -> None:
    """Forget blocks; one that is just being checked goes at a later time, when its overlay exists to be dropped."""
    dropped = [digest for digest in digests if state.blocks[digest].standing is not Standing.CHECKING]
    for digest in dropped:
        del state.blocks[digest]
    if dropped:
        state.emit(Drop(tuple(dropped)))


def _open_next_epoch(state: State, floor: Floor, closing: Certificate, validators: tuple[bytes, ...]) -> None:
    """P8.2: the floor is (epoch + 1, view 0); nothing more is signed in the old epoch, which is kept as one certificate."""
    assert not state.committing
    if state.blocks:
        state.emit(Drop(tuple(state.blocks)))
    for timer in tuple(state.timers):
        if timer not in (Timer.STATUS, Timer.HEARTBEAT):
            state.cancel_timer(timer)
    state.closings[floor.epoch] = closing
    epoch = Epoch(number=floor.epoch + 1, validators=validators, opening_digest=floor.digest)
    state.open_epoch(epoch, msgspec.structs.replace(floor, epoch=epoch.number, view=0))
    state.guard.open_epoch(epoch, 0)
    count_loaded(state)
    state.emit(Prune(epoch.number, 0))
    announce(state)  # who is further ahead shows at once how far (P8.3): a straggler need not wait in every epoch
    begin(state)
