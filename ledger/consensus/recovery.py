"""A validator whose vote table may lack votes that it cast (P7.5): silent, until nothing it may have said can be
contradicted.

It signs nothing, and follows the others as an observer would. It asks every other validator, after this start and
with a nonce that was never used before, for its **entry certificate**: the highest certificate that it holds in the
epoch. When n - f others have answered, the *bar* is the highest view that one of them is in, as its certificate
proves (the view after the certificate's; there is no number to be believed beside it). When a finalization of a view
**above** the bar is committed here, the table is trusted again, which is made durable before any vote that follows.
From then on the ordinary rule suffices: nothing at or below the floor is ever signed (P4.1).

**Why that is enough.** Let V be the highest view in which we voted before the loss. We were in a view of at least V,
and entered it with a certificate, held and durable before we voted there (P3.2): call the view of our highest
certificate h; so V <= h + 1. Its q signers are, beside us and at most f liars, at least n - 2f - 1 >= f honest
others. At most f - 1 of the others do not answer; so one honest signer of h does. It had a certificate of view h - 1
when it signed (or h was the first view), it has kept it (P3.1), and it signed before our loss, so before it answered:
it shows at least view h, and the bar is at least h. Whatever we signed thus lies at or below bar + 1, and the floor,
being above the bar, covers it. So no vote of ours can ever contradict a lost one. Who has lost its own votes does not
answer: it could show too little.

**Why not the looser bars.** The others' *finalized* views say nothing of where we were: a late finalization of an
early view would let us sign where we have voted (P13, trace 3). A finalization *at* the bar is one view too low, by
the same count as above: we may have assembled a certificate of view h alone, entered h + 1 with it and voted there,
while all others were still in h; a finalization of h would then take us back into h + 1. Waiting for the next costs
nothing: bar + 2 is the first view that may be signed either way.

**Epochs.** If the epoch ends meanwhile, all begins anew in the next: we may have voted in that one, too. It is not
possible to be trusted in an epoch and to have lost votes of a later one: to vote there, we had committed a closing
block, whose finalization a signer that answers has voted for; so the bar is above it, and above it that epoch
finalizes nothing but the closing block itself, which ends it. Answers of another epoch do not count: who is ahead
sends us its closing certificate (P8.3).

**Beginning.** A validator that begins with nothing at all, while nobody can be asked, cannot tell whether it is new.
It is silent like one that lost its votes, but raises no alarm, until the others have shown whether it may have voted
before (`EarlierLife`): if not, there is nothing to contradict; if so, or if a vote of its own turns up, it has lost them.

With n <= 3 the others are fewer than n - f, and nothing is final without us, a vote for a new key neither: there is no way
back. An observer has no votes to lose, and does nothing here.
"""

import msgspec

from ledger.consensus.certificates import verify_certificate
from ledger.consensus.certifying import charge, take_certificate
from ledger.consensus.effects import Alarm, Timer, VotesSuspected, VotesTrusted
from ledger.consensus.inputs import EarlierLife
from ledger.consensus.messages import EntryAnswer, EntryRequest
from ledger.consensus.state import State
from ledger.errors import PeerError, SignatureError
from ledger.limits import ENTRY_ANSWERS_PER_INTERVAL


class RecoveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a validator that signs nothing (P7.5) has come.

    `possible`: whether there are enough others to ask; if not, nothing brings it back. `bar`: the view above which a
    finalization must be committed here, 0 until `answers` are `needed`. `floor_view`: of the newest one that was.
    `unasked`: it began empty, and nobody has shown yet whether it voted before.
    """

    possible: bool
    answers: int
    needed: int
    bar: int
    floor_view: int
    unasked: bool = False


def suspect(state: State, code: str, reason: str, *, marked: bool) -> None:
    """From now on our table may lack votes: sign nothing, say so loudly, and ask.

    Args:
        state: of a validator, or of an observer, which asks once it is a validator.
        code: of the alarm.
        reason: why, in words.
        marked: the driver remembers it already.
    """
    state.guard.suspect = True
    state.suspicion = (code, reason)
    if not marked:
        state.emit(VotesSuspected())
    begin(state)


def begin(state: State) -> None:
    """Ask anew: at the start, and in each epoch that opens while our table is not trusted yet."""
    state.entry_answers = {}
    state.bar = 0
    if not is_recovering(state):
        return
    code, reason = state.suspicion
    if not state.unasked:
        text = f"{reason}; nothing is signed in epoch {state.epoch.number} until that is mended"
        state.emit(Alarm(code=code, text=text, stopped=False))
    if _is_possible(state):
        _ask(state)


def is_recovering(state: State) -> bool:
    """Whether we are a validator that does not trust its own table, and may yet come to."""
    return state.guard.suspect and state.own is not None and not state.guard.stopped


def recovery_status(state: State) -> RecoveryStatus | None:
    """Where it stands; None if nothing is amiss."""
    if not is_recovering(state):
        return None
    return RecoveryStatus(
        unasked=state.unasked,
        possible=_is_possible(state),
        answers=len(state.entry_answers),
        needed=state.epoch.quorum,
        bar=state.bar,
        floor_view=state.floor.view,
    )


def take_earlier_life(state: State, event: EarlierLife) -> None:
    """The others have shown whether we may have voted before we began empty."""
    if not state.unasked:
        return
    state.unasked = False
    if event.may_have_voted:
        suspect(state, "votes_lost", "this node began empty, and the others show that it may have voted", marked=False)
    elif state.guard.suspect:
        _trust(state)


def on_recovery_timer(state: State) -> None:
    """Messages may be lost: ask those again who have not answered."""
    if is_recovering(state) and not state.bar:
        _ask(state)


def ask_peer(state: State, peer: int) -> None:
    """A link came up: ask, if its answer is missing."""
    if is_recovering(state) and not state.bar and 0 <= peer < state.epoch.size and peer not in state.entry_answers:
        state.send(peer, _request(state))


def answer_request(state: State, request: EntryRequest, sender: int) -> None:
    """Show our highest certificate to a validator of our epoch, so often and no oftener.

    Not if we may have lost certificates ourselves, and not as an observer, whose answer counts for nothing.
    """
    if sender < 0 or sender == state.own or request.epoch != state.epoch.number:
        return
    began_ms, count = state.entry_requests.get(sender, (state.now_ms, 0))
    if state.now_ms >= began_ms + state.parameters.retry_ms:
        began_ms, count = state.now_ms, 0
    state.entry_requests[sender] = (began_ms, count + 1)
    if count >= ENTRY_ANSWERS_PER_INTERVAL:
        charge(state, sender, "entry_requests", "asks for our entry certificate again and again")
        return
    if state.own is None or state.guard.suspect:
        return
    answer = EntryAnswer(epoch=request.epoch, nonce=request.nonce, entry=state.certificates.highest())
    state.send(sender, answer)


def take_answer(state: State, answer: EntryAnswer, sender: int) -> None:
    """Count an answer: of another validator, in this epoch, to what we asked after this start; the first of each.

    One whose certificate does not hold proves no view, and does not count. No certificate at all is what a validator
    in the first view of an epoch has.
    """
    if not is_recovering(state) or state.bar or not 0 <= sender < state.epoch.size or sender == state.own:
        return
    if answer.nonce != state.nonce or answer.epoch != state.epoch.number or sender in state.entry_answers:
        return
    entry = answer.entry
    if entry is not None:
        try:
            verify_certificate(state.chain, state.epoch, entry, state.tally)
        except (PeerError, SignatureError) as error:
            charge(state, sender, "bad_entry", str(error))
            return
        take_certificate(state, entry, sender)
    state.entry_answers[sender] = 1 if entry is None else entry.view + 1
    if len(state.entry_answers) >= state.epoch.quorum:
        state.bar = max(state.entry_answers.values())
        state.cancel_timer(Timer.RECOVERY)


def trust_if_above_the_bar(state: State) -> None:
    """After a commit: if its finalization is above the bar, our table is whole where it matters. Said before any vote."""
    if is_recovering(state) and _is_above_the_bar(state):
        _trust(state)


def _trust(state: State) -> None:
    state.guard.suspect = False
    state.unasked = False
    state.entry_answers = {}
    state.bar = 0
    state.armed_view = 0  # the view's timers may have run out to no effect: they start anew
    state.cancel_timer(Timer.RECOVERY)
    state.changes += 1
    state.emit(VotesTrusted())


def _is_above_the_bar(state: State) -> bool:
    """The floor covers all that we may have signed, by the others' word and by votes of ours that we were shown."""
    return state.bar > 0 and state.floor.view > state.bar and state.floor.view >= state.own_view_shown


def _is_possible(state: State) -> bool:
    """n - f others exist."""
    return state.epoch.size - 1 >= state.epoch.quorum


def _request(state: State) -> EntryRequest:
    return EntryRequest(epoch=state.epoch.number, nonce=state.nonce)


def _ask(state: State) -> None:
    for peer in range(state.epoch.size):
        if peer not in state.entry_answers:
            state.send(peer, _request(state))
    state.set_timer(Timer.RECOVERY, state.now_ms + state.parameters.retry_ms)
