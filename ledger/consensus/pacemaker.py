"""When a replica acts without being told: busy or idle (P6.2), the timers of a view (P5.1, P5.7), standstill (P5.8)."""

from ledger.consensus.effects import Timer
from ledger.consensus.proposing import heartbeat_due
from ledger.consensus.sharing import send_nullify_again, send_standstill_page
from ledger.consensus.state import State
from ledger.consensus.voting import nullify

_VIEW_TIMERS = (Timer.LEAD, Timer.ADVANCE, Timer.EMPTY, Timer.RETRY, Timer.STANDSTILL)


def update_pace(state: State) -> None:
    """Become busy or idle, and arm the current view's timers once in each view and each time of becoming busy (P5.1)."""
    busy = is_busy(state)
    if not busy:
        if state.busy:
            for timer in _VIEW_TIMERS:
                state.cancel_timer(timer)
        state.busy = False
        state.empty_due = False
        state.armed_view = 0
        return
    if not state.busy:
        state.changes += 1
        state.busy = True
        state.set_timer(Timer.STANDSTILL, state.now_ms + state.parameters.standstill_ms)
    if state.armed_view != state.view:
        state.armed_view = state.view
        _arm(state)
    if _is_away(state, state.epoch.leader(state.view)) and _is_needed(state):
        nullify(state)


def is_busy(state: State) -> bool:
    """P6.2. A view is settled from its finalization on, committed here or not: committing is nobody else's work."""
    if state.own is None:
        return False
    settled = state.settled_view
    return (
        state.pending > 0
        or state.certificates.highest_notarized_view > settled
        or state.guard.highest_view > settled
        or heartbeat_due(state)
        or state.tally.voters_at_or_above(state.view) >= state.epoch.one_honest
    )


def on_timer(state: State, name: Timer) -> None:
    """The rules of P5.1, P5.7, P5.8, P6.3 for a timer that is due."""
    if name in (Timer.LEAD, Timer.ADVANCE):
        view = state.view
        if nullify(state):
            state.missed[state.epoch.leader(view)] = view
    elif name is Timer.EMPTY:
        state.empty_due = True
        state.changes += 1
    elif name is Timer.RETRY:
        send_nullify_again(state)
        state.set_timer(Timer.RETRY, state.now_ms + state.parameters.retry_ms)
    elif name is Timer.STANDSTILL:
        send_standstill_page(state)
        state.set_timer(Timer.STANDSTILL, state.now_ms + state.parameters.standstill_ms)


def _arm(state: State) -> None:
    """Start the timers of the current view, which is entered or taken up again while busy (P5.1, P5.7)."""
    parameters = state.parameters
    if state.guard.vote(state.view, "nullify") is not None:
        state.set_timer(Timer.RETRY, state.now_ms + parameters.retry_ms)
        return
    waited = max(0, state.view - state.settled_view - 1)
    lead_ms = parameters.lead_ms(waited)
    if state.view not in state.proposals:
        state.set_timer(Timer.LEAD, state.now_ms + lead_ms)
    state.set_timer(Timer.ADVANCE, state.now_ms + parameters.advance_ms(waited))
    if state.epoch.leader(state.view) == state.own:
        state.set_timer(Timer.EMPTY, state.now_ms + lead_ms // 2)


def _is_away(state: State, leader: int) -> bool:
    """Whether a leader let its last view run out here and has not voted in that view or a later one since (ADR 15). One that
    proposed has; so have we, by the nullify itself."""
    return state.tally.highest_of(leader) < state.missed.get(leader, 0)


def _is_needed(state: State) -> bool:
    """Whether a block above all that is notarized is needed: nothing is on its way to be final or committed, or an honest
    validator has voted in this view. Else there may be nothing more to decide, and a view that is left without need keeps
    its voters busy (P6.2), until it is brought to its end by an empty block."""
    is_deciding = state.final or state.certificates.highest_notarized_view > state.settled_view
    return not is_deciding or state.tally.voters_at_or_above(state.view) >= state.epoch.one_honest
