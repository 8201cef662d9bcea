"""The replica: one step at a time, inputs in, effects out (PROTOCOL as a whole).

`Replica.step` takes an input in, which changes what is known, and then lets the roles act upon it until none of them finds
anything more to do. The roles look at what is known, not at what came last: an input that comes twice, late or in another
order leads to the same place. What each may do stands in its own module; this one only dispatches.
"""

from collections.abc import Callable
from typing import Any, Final

from ledger.consensus.certifying import count_loaded, keep, note_evidence
from ledger.consensus.durable import Durable, Image
from ledger.consensus.effects import Effect, Timer
from ledger.consensus.epoch import Epoch
from ledger.consensus.executing import retry_failed, take_verdict
from ledger.consensus.fetching import on_fetch_timer
from ledger.consensus.finality import discard_stale_blocks, pursue_finality, take_blocks, take_committed
from ledger.consensus.inputs import (
    AnyInput,
    BlocksFetched,
    Built,
    Checked,
    Committed,
    Cosigned,
    EarlierLife,
    Input,
    PeerConnected,
    PendingChanged,
    Received,
    Started,
    StoreFailed,
    TimerFired,
)
from ledger.consensus.messages import Status
from ledger.consensus.pacemaker import on_timer, update_pace
from ledger.consensus.parameters import Parameters
from ledger.consensus.proposing import propose, resend_proposal, take_built
from ledger.consensus.receiving import take_message
from ledger.consensus.recovery import (
    RecoveryStatus,
    ask_peer,
    on_recovery_timer,
    recovery_status,
    suspect,
    take_earlier_life,
)
from ledger.consensus.sharing import announce, status_of
from ledger.consensus.state import State
from ledger.consensus.voting import complete_notarizations, follow_leader
from ledger.limits import ENTRY_NONCE_BYTES
from ledger.signing import SigningKey


class Replica:
    """One validator, or an observer (its key is no member's, or it has none). It acts only through its effects."""

    def __init__(self, state: State) -> None:
        self._state = state

    @classmethod
    def restore(
        cls,
        *,
        chain: bytes,
        key: SigningKey | None,
        epoch: Epoch,
        parameters: Parameters,
        durable: Durable,
        nonce: bytes,
        votes_suspect: bool = False,
        votes_unasked: bool = False,
    ) -> "Replica":
        """A replica as it was at its last durable write (P3.4); a new one from an empty image at the genesis floor.

        Args:
            chain: the ledger's chain id, 32 bytes.
            key: the consensus key; held by the guard alone from here on.
            epoch: the epoch of `durable.floor`.
            parameters: times.
            durable: the floor and what was persisted and not pruned.
            nonce: `ENTRY_NONCE_BYTES` that were never used before, by chance (P7.5).
            votes_suspect: votes of ours may be missing in `durable`: `VotesSuspected` was told and `VotesTrusted` not
                since, or a tool restored the votes' store (P7.5).
            votes_unasked: they are only because we began empty and nobody could be asked: `EarlierLife` is to come.

        The first input must be `Started`.
        """
        floor = durable.floor
        assert floor.epoch == epoch.number, (floor.epoch, epoch.number)
        assert len(nonce) == ENTRY_NONCE_BYTES, "each start needs a nonce of its own"
        state = State(chain=chain, key=key, epoch=epoch, floor=floor, parameters=parameters)
        state.nonce = nonce
        state.guard.suspect = votes_suspect or votes_unasked
        state.unasked = votes_unasked
        image = Image(durable.records)
        for certificate in image.certificates.values():
            if certificate.epoch < epoch.number and certificate.kind == "finalization":
                known = state.closings.get(certificate.epoch)
                if known is None or certificate.view > known.view:
                    state.closings[certificate.epoch] = certificate
            elif certificate.epoch == epoch.number and certificate.view > floor.view:
                keep(state, certificate)
            elif certificate.epoch == epoch.number and certificate.kind == "finalization":
                state.certificates.keep_final(certificate)
        for block in image.blocks.values():
            if block.header.epoch == epoch.number and block.header.view > floor.view:
                state.hold(block).persisted = True
        for evidence in image.evidence.values():
            if evidence.first.epoch == epoch.number:
                note_evidence(state, evidence)
        entries = [c for c in state.certificates.above(floor.view) if c.kind != "notarization"]
        if entries:
            state.entry = entries[-1]
            state.view = entries[-1].view + 1
        else:
            state.entry = state.certificates.highest_final
        state.guard.signing_floor = durable.signing_floor
        for vote in image.votes.values():
            state.guard.load(vote)
        return cls(state)

    def step(self, event: AnyInput) -> list[Effect]:
        """Take one input in; return what is to be done, in order. Never raises for anything that a peer can send."""
        state = self._state
        state.now_ms, state.clock_ms = event.now_ms, event.clock_ms
        assert not state.effects
        view = state.view
        _INPUTS[type(event)](state, event)
        _run_roles(state)
        if state.view != view:
            discard_stale_blocks(state)
        effects, state.effects = state.effects, []
        return effects

    def status(self) -> Status:
        """Where the replica stands: for an operator's eyes, or to be sent."""
        return status_of(self._state)

    @property
    def own(self) -> int | None:
        """Our index among the validators of the current epoch; None for an observer."""
        return self._state.own

    @property
    def epoch(self) -> Epoch:
        """The current epoch."""
        return self._state.epoch

    @property
    def stopped(self) -> str:
        """Why nothing is signed any more (the alarm's code), or "" if all is well."""
        return self._state.guard.stopped

    @property
    def recovery(self) -> RecoveryStatus | None:
        """How far a validator has come whose votes may be missing (P7.5); None if none are."""
        return recovery_status(self._state)

    @property
    def unasked(self) -> bool:
        """Whether `EarlierLife` is waited for, by a validator or by one that may become it (P7.5)."""
        return self._state.unasked

    @property
    def busy(self) -> bool:
        """Whether there is something to decide (P6.2)."""
        return self._state.busy

    @property
    def leader(self) -> int:
        """The index of the current view's leader."""
        return self._state.epoch.leader(self._state.view)


def _run_roles(state: State) -> None:
    """Let every role act until a round changes nothing. Each change is a vote, certificate, block or view: it ends."""
    while True:
        before = state.changes
        complete_notarizations(state)
        pursue_finality(state)
        follow_leader(state)
        update_pace(state)
        propose(state)
        if state.changes == before:
            return


def _started(state: State, event: Started) -> None:
    """P3.4: own stored votes count as any other; then the ordinary rules take over.

    Unless votes of ours may be missing (P7.5).
    """
    state.last_block_ms = event.now_ms
    count_loaded(state)
    _look_for_lost_votes(state)
    state.set_timer(Timer.HEARTBEAT, event.now_ms + state.parameters.heartbeat_s * 1000)
    announce(state)
    resend_proposal(state, None)


def _look_for_lost_votes(state: State) -> None:
    """P7.5: every commit's finalization is durable before it, and the highest of each epoch is never pruned. Where it is
    missing, so may be votes of ours.

    Which one that is: of the floor's view or above it; of the epoch before, while this one has settled nothing. A validator
    that came by a snapshot, or is trusted again, within an epoch never had that of the epoch before.
    """
    epoch, signed_view = state.guard.signing_floor
    number = state.epoch.number
    settled_view = max(state.floor.view, signed_view if epoch == number else 0)
    unproven = state.certificates.final_view < settled_view or (
        settled_view == 0 and number > 0 and number - 1 not in state.closings
    )
    if state.own is not None and unproven:
        reason = (
            f"view {settled_view} of epoch {number} was settled, and no finalization is held that led there: the votes' "
            "store was lost or restored, and may lack votes that others have"
        )
        marked, state.unasked = state.guard.suspect and not state.unasked, False
        suspect(state, "votes_lost", reason, marked=marked)
    elif state.guard.suspect:
        suspect(state, "votes_suspect", "the votes' store may lack votes that others have", marked=True)


def _peer_connected(state: State, event: PeerConnected) -> None:
    ask_peer(state, event.sender)
    state.send(event.sender, status_of(state))
    resend_proposal(state, event.sender)


def _timer_fired(state: State, event: TimerFired) -> None:
    name = Timer(event.name)
    due_ms = state.timers.get(name)
    if due_ms is None:
        return
    del state.timers[name]
    if due_ms > state.now_ms:  # a coarse clock, or one that was moved: it is still to come
        state.set_timer(name, due_ms)
        return
    if name is Timer.STATUS:
        announce(state)
    elif name is Timer.FETCH:
        on_fetch_timer(state)
    elif name is Timer.RECOVERY:
        on_recovery_timer(state)
    elif name is Timer.RECHECK:
        retry_failed(state)
    else:
        on_timer(state, name)


def _pending_changed(state: State, event: PendingChanged) -> None:
    state.pending = event.count
    state.nothing_to_include = False


def _cosigned(state: State, event: Cosigned) -> None:
    state.cosignature = event.cosignature


def _store_failed(state: State, event: StoreFailed) -> None:
    state.stop("store_failed", f"the store did not keep what it was told to: {event.reason}")


_INPUTS: Final[dict[type[Input], Callable[[State, Any], None]]] = {
    Started: _started,
    Received: take_message,
    PeerConnected: _peer_connected,
    TimerFired: _timer_fired,
    PendingChanged: _pending_changed,
    Built: take_built,
    Checked: take_verdict,
    Committed: take_committed,
    BlocksFetched: take_blocks,
    Cosigned: _cosigned,
    EarlierLife: take_earlier_life,
    StoreFailed: _store_failed,
}
