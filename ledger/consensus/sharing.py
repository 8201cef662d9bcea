"""What a replica tells others unasked or asked: status (P7.1), repetition (P5.7, P5.8), blocks and certificates (P7.4)."""

from ledger.consensus.effects import ServeBlock, Timer
from ledger.consensus.messages import (
    BlockRequest,
    BlockResponse,
    Certificate,
    CertificateMessage,
    CertificateRequest,
    Page,
    Status,
    Vote,
    VoteMessage,
)
from ledger.consensus.state import State
from ledger.limits import STANDSTILL_PAGE_ITEMS


def status_of(state: State) -> Status:
    """Where we stand."""
    floor = state.floor
    return Status(
        epoch=state.epoch.number,
        view=state.view,
        entry=state.entry,
        finalized_view=floor.view,
        height=floor.height,
        digest=floor.digest,
        cosignature=state.cosignature,
    )


def announce(state: State) -> None:
    """Tell everybody where we stand, and again after a while (P7.1)."""
    state.broadcast(status_of(state))
    state.set_timer(Timer.STATUS, state.now_ms + state.parameters.status_ms)


def answer_status(state: State, status: Status, sender: int) -> None:
    """Who is ahead sends its highest finalization, who is in a higher view its entry certificate (P7.1, P8.3)."""
    if sender >= 0:
        state.heights[sender] = status.height
    if status.epoch < state.epoch.number:
        closing = state.closings.get(status.epoch)
        if closing is not None:
            state.send(sender, CertificateMessage(certificate=closing))
        return
    if status.epoch > state.epoch.number:
        return
    final = state.certificates.highest_final
    if final is not None and final.view > status.finalized_view:
        state.send(sender, CertificateMessage(certificate=final))
    if state.entry is not None and state.view > status.view and state.entry is not final:
        state.send(sender, CertificateMessage(certificate=state.entry))


def serve_block(state: State, request: BlockRequest, sender: int) -> None:
    """A block that we hold; else the driver looks among the committed ones."""
    held = state.blocks.get(request.digest)
    if held is None:
        state.emit(ServeBlock(sender, request.digest))
    else:
        state.send(sender, BlockResponse(digest=request.digest, block=held.block))


def serve_certificates(state: State, request: CertificateRequest, sender: int) -> None:
    """All certificates of the views asked for (P7.4); for a view at or below the floor the highest finalization."""
    if request.epoch < state.epoch.number:
        closing = state.closings.get(request.epoch)
        found = [closing] if closing is not None else []
    elif request.epoch > state.epoch.number:
        found = []
    else:
        found = [certificate for view in request.views for certificate in state.certificates.of_view(view)]
        final = state.certificates.highest_final
        if final is not None and min(request.views) <= state.floor.view and final not in found:
            found.insert(0, final)
    for start in range(0, len(found), STANDSTILL_PAGE_ITEMS):
        state.send(sender, Page(certificates=tuple(found[start : start + STANDSTILL_PAGE_ITEMS])))


def send_nullify_again(state: State) -> None:
    """Our nullify of the current view, as stored, and the best certificate for entering it (P5.7)."""
    vote = state.guard.vote(state.view, "nullify")
    if vote is None:
        return
    state.broadcast(VoteMessage(vote=vote))
    entry = next(iter(state.certificates.of_view(state.view - 1)), state.entry)
    if entry is not None:
        state.broadcast(CertificateMessage(certificate=entry))


def send_standstill_page(state: State) -> None:
    """The highest finalization, and the next page of certificates and own votes above it, in rotation (P5.8)."""
    final = state.certificates.highest_final
    above = state.settled_view
    items: list[Certificate | Vote] = [*state.certificates.above(above), *state.guard.votes_above(above)]
    room = STANDSTILL_PAGE_ITEMS - 1
    cursor = state.standstill_cursor if state.standstill_cursor < len(items) else 0
    page = items[cursor : cursor + room]
    state.standstill_cursor = cursor + room
    certificates = [item for item in page if isinstance(item, Certificate)]
    if final is not None:
        certificates.insert(0, final)
    if page or final is not None:
        votes = tuple(item for item in page if not isinstance(item, Certificate))
        state.broadcast(Page(certificates=tuple(certificates), votes=votes))
