"""Getting blocks executed, parents first, each once (P5.2-P5.4, P7.2)."""

from ledger.consensus.blocks import Standing, defect
from ledger.consensus.effects import Check, Timer
from ledger.consensus.fetching import want_block
from ledger.consensus.inputs import Checked
from ledger.consensus.state import State
from ledger.limits import CATCH_UP_AHEAD_BLOCKS


def pursue_execution(state: State, digest: bytes, sources: tuple[int, ...], view: int) -> None:
    """Do the next thing towards having this block executed: fetch the ancestor that is missing, or check the lowest one.

    `sources` and `view` are for what must be fetched. Returns at once if the block is executed, invalid or being checked.

    While we are behind, an ancestor is not asked for here: the final chain, fetched from below and bounded, leads to it
    (P7.2). While our commits are behind, nothing but final blocks is executed: others' pace must not fill our memory.
    """
    top = digest
    while True:
        held = state.blocks.get(digest)
        if held is None:
            if digest == top or state.is_joined:
                want_block(state, digest, sources, view)
            return
        if held.standing not in (Standing.HELD, Standing.FAILED):
            return
        block = held.block
        parent = state.parent(block.header.parent_digest)
        if parent is None:
            if block.header.height <= state.floor.height + 1:
                return  # a fork from below the floor: it can never be certified (P9)
            digest = block.header.parent_digest
            continue
        if held.standing is Standing.FAILED:
            return  # until the retry
        if len(state.final) >= CATCH_UP_AHEAD_BLOCKS and all(final.digest != digest for final in state.final):
            return
        reason = defect(block, parent, chain=state.chain, epoch=state.epoch)
        state.changes += 1
        if reason:
            held.standing, held.reason = Standing.INVALID, reason
        else:
            held.standing = Standing.CHECKING
            state.emit(Check(block))
        return


def take_verdict(state: State, checked: Checked) -> None:
    """The application's answer. A fault of ours is tried again a little later."""
    held = state.blocks.get(checked.digest)
    if held is None or held.standing is not Standing.CHECKING:
        return
    state.changes += 1
    if checked.verdict == "valid":
        held.standing, held.closing = Standing.EXECUTED, checked.closing
    elif checked.verdict == "invalid":
        held.standing, held.reason = Standing.INVALID, checked.reason or "the application refuses it"
    else:
        held.standing = Standing.FAILED
        state.set_timer(Timer.RECHECK, state.now_ms + state.parameters.retry_ms)


def retry_failed(state: State) -> None:
    """Blocks whose check met a fault of ours may be checked again."""
    for held in state.blocks.values():
        if held.standing is Standing.FAILED:
            held.standing = Standing.HELD
            state.changes += 1
