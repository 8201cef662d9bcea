"""The mutants by name: which functions of the production code are replaced, and by what. The name begins with the clause."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ledger.consensus import (
    certifying,
    epoch,
    executing,
    finality,
    pacemaker,
    proposing,
    receiving,
    recovery,
    replica,
    safety,
    tally,
    voting,
)
from ledger.consensus import state as state_module
from ledger.consensus.blocks import Held, parent_of_held
from ledger.consensus.effects import Build, Persist, Prune
from ledger.consensus.messages import Certificate, Finalize, Notarize, Page, Proposal, Vote, VoteMessage
from ledger.consensus.sharing import send_standstill_page
from ledger.consensus.state import FinalBlock, State
from node import admission, mempool
from node.peers import wire
from node.storage import ledger as ledger_store
from tests.simulator import toy

Patch = tuple[Any, str, Any]


def _nothing(*_: object, **__: object) -> None:
    return None


# --- P1 ---------------------------------------------------------------------------------------------------------------


class _ForgetfulDecoder:
    """Reads pages without their votes."""

    def decode(self, data: bytes) -> Any:
        message = _DECODER.decode(data)
        return msgspec.structs.replace(message, votes=()) if isinstance(message, Page) else message


_DECODER = wire._DECODER


# --- P3 ---------------------------------------------------------------------------------------------------------------


def _without_persist(kept: type) -> Callable[[Any, Any], None]:
    emit = State.emit

    def emitting(state: State, effect: Any) -> None:
        if not (isinstance(effect, Persist) and isinstance(effect.record, kept)):
            emit(state, effect)

    return emitting


def _cast_without_persist(guard: safety.Guard, vote: Any, effects: Any) -> Any:
    guard._record(vote)
    return vote


def _persist_new_blocks_only(state: State, held: Held) -> None:
    if held.closing and held.block.header.view < state.view:
        held.persisted = True
    _PERSIST_BLOCK(state, held)


_PERSIST_BLOCK = State.persist_block


def _committed_apart(table: str) -> Any:
    """A commit whose rows of one table go into a transaction of their own, after the others'."""

    def commit(store: ledger_store.LedgerStore, *blocks: Any) -> None:
        writer = getattr(ledger_store, table)
        held_back = _Held()
        setattr(ledger_store, table, held_back)
        try:
            _COMMIT(store, *blocks)
        finally:
            setattr(ledger_store, table, writer)
        with store._database.write() as connection:
            writer.write(connection, held_back.rows)

    return commit


class _Held:
    """A writer of rows that only remembers them."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def write(self, connection: object, rows: Any) -> None:
        self.rows += rows


def _committed_one_by_one(store: ledger_store.LedgerStore, *blocks: Any) -> None:
    """Each block of a group in a transaction of its own, after the floor of the last."""
    if len(blocks) > 1:
        last = blocks[-1]
        with store._database.write() as connection:
            nodes = b"".join(last.frontier.nodes)
            ledger_store._FLOOR.write(connection, [(1, last.epoch, last.view, last.height, nodes)])
    for block in blocks:
        _COMMIT(store, block)


_COMMIT = ledger_store.LedgerStore.commit


def _prune_too_much(epoch_number: int, view: int) -> Prune:
    return Prune(epoch_number, view + 3)


def _restore_at_the_floor(*args: Any, **kwargs: Any) -> Any:
    restored = _RESTORE(*args, **kwargs)
    restored._state.view = restored._state.floor.view + 1
    return restored


_RESTORE = replica.Replica.restore


# --- P4 ---------------------------------------------------------------------------------------------------------------


def _epoch_never_opens(guard: safety.Guard, opened: Any, floor_view: int) -> None:
    _OPEN(guard, opened, floor_view)
    guard._epoch = 0


def _open_as_the_same(guard: safety.Guard, opened: Any, floor_view: int) -> None:
    own = getattr(guard, "own", None)
    _OPEN(guard, opened, floor_view)
    guard.own = guard.own if own is None or own >= opened.size else own


_OPEN = safety.Guard.open_epoch


def _may_sign_below_the_floor(guard: safety.Guard, epoch_number: int, view: int) -> bool:
    return guard.own is not None and not guard.silent and not guard.is_over and epoch_number == guard._epoch


def _accept_below_the_floor(state: State, certificate: Certificate) -> None:
    """Also a notarization that came together too late."""
    known = state.certificates.get("notarization", certificate.view)
    if certificate.kind == "notarization" and certificate.view <= state.floor.view and known is None:
        certifying.keep(state, certificate)
        state.emit(Persist(certificate))
    else:
        _ACCEPT(state, certificate)


_ACCEPT = certifying.accept


def _complete_settled_views_too(state: State) -> None:
    """Votes to finalize wherever a block is notarized and executed, though the view is settled."""
    for view in list(state.open_notarizations):
        certificate = state.certificates.get("notarization", view)
        if certificate is None or certificate.proposal is None or view > state.certificates.final_view:
            continue
        held = state.blocks.get(certificate.proposal.digest)
        if held is not None and held.executed:
            state.persist_block(held)
            vote = state.guard.finalize(certificate, executed=held.block.digest, effects=state.effects)
            if vote is not None:
                certifying.cast(state, vote)
    _COMPLETE(state)


_COMPLETE = voting.complete_notarizations


def _take_latest_proposal(state: State, vote: Any, sender: int) -> None:
    _TAKE_VOTE(state, vote, sender)
    known = state.proposals.get(vote.view)
    if isinstance(vote, Notarize) and known is not None and known.signer == vote.signer and known != vote:
        state.proposals[vote.view] = vote
        state.guard._votes.get(vote.view, {}).pop("notarize", None)
        state.changes += 1


_TAKE_VOTE = certifying.take_vote


def _follow_though_nullified(state: State) -> None:
    proposed = state.proposals.get(state.view)
    if state.guard.vote(state.view, "nullify") is None or proposed is None:
        _FOLLOW(state)
        return
    proposal = proposed.proposal
    held = state.blocks.get(proposal.digest)
    if held is None or state.guard.vote(state.view, "notarize") is not None:
        return
    header = held.block.header
    if voting._describes(proposal, header) and voting._justified(state, proposal, header.parent_digest):
        executing.pursue_execution(state, proposal.digest, (proposed.signer,), state.view)
        if held.executed:
            voting._notarize(state, proposal, held)


_FOLLOW = voting.follow_leader


def _forgetting(kind: str, function: Any) -> Any:
    """A guard's method that does not see the own votes of a kind."""

    def forgetful(guard: safety.Guard, *args: Any, **kwargs: Any) -> Any:
        votes: dict[int, dict[str, Any]] = guard._votes  # type: ignore[assignment]
        hidden = {view: table.pop(kind, None) for view, table in votes.items()}
        try:
            return function(guard, *args, **kwargs)
        finally:
            for view, vote in hidden.items():
                if vote is not None and view in votes:
                    votes[view][kind] = vote

    return forgetful


def _cast_before_persist(state: State, vote: Any) -> None:
    state.changes += 1
    state.broadcast(VoteMessage(vote=vote))
    state.emit(Persist(vote))
    certifying._count(state, vote, None, verify_now=False)


# --- P5 ---------------------------------------------------------------------------------------------------------------


def _parent_is_the_floor(state: State) -> Any:
    return state.floor.view, state.floor.digest, None


def _early_build(**fields: Any) -> Any:
    return _BUILD(**{**fields, "time_ms": fields["time_ms"] - 3_600_000})


_BUILD = Build


def _any_certificate(certificate: Certificate | None, digest: bytes) -> bool:
    return certificate is not None


def _justified_with(accepts: Callable[[State, int], bool]) -> Any:
    def justified(state: State, proposal: Proposal, parent_digest: bytes) -> bool:
        at_floor = (proposal.parent_view, parent_digest) == (state.floor.view, state.floor.digest)
        certified = voting._certifies(state.certificates.chosen(proposal.parent_view), parent_digest)
        gaps = range(proposal.parent_view + 1, proposal.view)
        return (at_floor or certified) and all(accepts(state, view) for view in gaps)

    return justified


def _ignore_notarizations(state: State) -> None:
    state.open_notarizations.clear()


def _enter_on_finalizations_only(state: State, certificate: Certificate) -> None:
    if certificate.kind != "nullification":
        _ENTER(state, certificate)


_ENTER = certifying.enter


def _take_no_late_finalize(state: State, vote: Vote, sender: int) -> None:
    if not (isinstance(vote, Finalize) and vote.view < state.view):
        _TAKE_VOTE(state, vote, sender)


def _join_blindly(state: State, target: Certificate) -> None:
    assert target.proposal is not None
    digest = target.proposal.digest
    if digest in state.blocks and all(final.digest != digest for final in state.final):
        state.final.append(FinalBlock(digest=digest, certificate=target))


def _first_page_only(state: State) -> None:
    state.standstill_cursor = 0
    _SEND_PAGE(state)


_SEND_PAGE = send_standstill_page


def _flood(state: State) -> None:
    above = state.settled_view
    certificates = tuple(state.certificates.above(above))
    state.broadcast(Page(certificates=certificates, votes=tuple(state.guard.votes_above(above))))


def _smaller_quorum(self: Any) -> int:
    return max(1, len(self.validators) - (len(self.validators) - 1) // 3 - 1)


# --- P6 to P8 -----------------------------------------------------------------------------------------------------------


def _always_busy(state: State) -> bool:
    return state.own is not None


def _parent_never_closing(held: Any) -> Any:
    return msgspec.structs.replace(_PARENT(held), closing=False)


_PARENT = parent_of_held


def _follow_any_reproposal(state: State) -> None:
    vote = state.proposals.get(state.view)
    held = None if vote is None else state.blocks.get(vote.proposal.digest)
    if held is None or held.block.header.view == state.view:
        _FOLLOW(state)
        return
    was, held.closing = held.closing, True
    _FOLLOW(state)
    held.closing = was


def _take_for_new(state: State, _event: Any) -> None:
    if state.unasked:
        recovery._trust(state)


def _trust_at_any_finalization(state: State) -> bool:
    """P13, trace 3: the bar is what the others have finalized."""
    return state.floor.view > 0


_NO_RETRY: Final[Patch] = (pacemaker, "send_nullify_again", _nothing)

_GUARD_WITHOUT_FLOOR: Final[Patch] = (safety.Guard, "_may_sign", _may_sign_below_the_floor)
_ASKS_BELOW_THE_FLOOR: Final[tuple[Patch, ...]] = (
    (certifying, "accept", _accept_below_the_floor),
    (replica, "complete_notarizations", _complete_settled_views_too),
    (finality, "_is_dead", lambda *_: False),
)
"""What else keeps P4.1: late notarizations are not taken, settled views not completed, and blocks below the floor let go."""

MUTANTS: Final[dict[str, tuple[Patch, ...]]] = {
    "P1.3 the votes of a page are lost on the way": ((wire, "_DECODER", _ForgetfulDecoder()),),
    "P3.2 votes are not persisted": ((safety.Guard, "_cast", _cast_without_persist),),
    "P3.2 certificates are not persisted": ((State, "emit", _without_persist(Certificate)),),
    "P3.2 blocks are not persisted": ((State, "persist_block", _nothing),),
    "P3.2 a closing block proposed again is not persisted": ((State, "persist_block", _persist_new_blocks_only),),
    "P3.3 the floor is written after the block": ((ledger_store.LedgerStore, "commit", _committed_apart("_FLOOR")),),
    "P3.3 the state is written after the block": (
        (ledger_store.LedgerStore, "commit", _committed_apart("_DOCUMENTS")),
    ),
    "P3.3 a group's blocks are written one by one, its floor first": (
        (ledger_store.LedgerStore, "commit", _committed_one_by_one),
    ),
    "P3.4 own votes are not loaded": ((safety.Guard, "load", _nothing),),
    "P3.4 own stored votes are not counted (trace 6)": ((certifying, "count_own", _nothing),),
    "P3.4 a restart begins at the floor": ((replica.Replica, "restore", _restore_at_the_floor),),
    "P3.5 pruning reaches above the floor": ((finality, "Prune", _prune_too_much),),
    "P4.1 the guard stays in the old epoch": ((safety.Guard, "open_epoch", _epoch_never_opens),),
    "P4.1 signs at or below the floor": (_GUARD_WITHOUT_FLOOR, *_ASKS_BELOW_THE_FLOOR),
    "P4.2 a second proposal is notarized": ((receiving, "take_vote", _take_latest_proposal),),
    "P4.2 notarize after nullify": (
        (safety.Guard, "notarize", _forgetting("nullify", safety.Guard.notarize)),
        (replica, "follow_leader", _follow_though_nullified),
    ),
    "P4.3 nullify after finalize": ((safety.Guard, "nullify", _forgetting("finalize", safety.Guard.nullify)),),
    "P4.4 finalize after nullify": ((safety.Guard, "finalize", _forgetting("nullify", safety.Guard.finalize)),),
    "P4.4 finalize another proposal than notarized": (
        (safety.Guard, "finalize", _forgetting("notarize", safety.Guard.finalize)),
    ),
    "P4.5 a vote is sent before it is recorded": (
        (safety.Guard, "_cast", _cast_without_persist),
        (certifying, "cast", _cast_before_persist),
        (voting, "cast", _cast_before_persist),
    ),
    "P5.2 the leader builds on its floor": ((proposing, "_parent", _parent_is_the_floor),),
    "P5.2 a block's time is before its parent's": ((proposing, "Build", _early_build),),
    "P5.3 any certificate of the parent's view will do (trace 1)": ((voting, "_certifies", _any_certificate),),
    "P5.3 a notarization passes for a nullification (trace 2)": (
        (voting, "_justified", _justified_with(lambda state, view: bool(state.certificates.of_view(view)))),
    ),
    "P5.3 gaps are not looked at": ((voting, "_justified", _justified_with(lambda state, view: True)),),
    "P5.3 a block's fields are not looked at": ((executing, "defect", lambda *_, **__: ""),),
    "P5.3 a block may be from the future": ((voting, "_timely", lambda *_: True),),
    "P5.4 missing blocks are not fetched": ((voting, "want_block", _nothing), (finality, "want_block", _nothing)),
    "P5.4 notarizations lead nowhere": ((replica, "complete_notarizations", _ignore_notarizations),),
    "P5.5 nullifications lead nowhere": ((certifying, "enter", _enter_on_finalizations_only),),
    "P5.6 a finalization is committed without its ancestors": ((finality, "_join", _join_blindly),),
    "P5.6 views that were left finalize no more": ((receiving, "take_vote", _take_no_late_finalize),),
    "P5.7 timers do nothing": ((pacemaker, "nullify", _nothing),),
    "P5.7 and P5.8 nothing is repeated": (_NO_RETRY, (pacemaker, "send_standstill_page", _nothing)),
    "P5.7 a leader that was missed once is never heard again": (
        (tally.Tally, "highest_of", lambda counted, signer: 0),
    ),
    "P5.7 nobody waits for a leader": (
        (pacemaker, "_is_away", lambda state, leader: True),
        (pacemaker, "_is_needed", lambda state: True),
    ),
    "P5.8 pages do not rotate (without P5.7's repetition)": (
        _NO_RETRY,
        (pacemaker, "send_standstill_page", _first_page_only),
    ),
    "P5.8 pages have no bound": ((pacemaker, "send_standstill_page", _flood),),
    "P5.9 signatures are not verified": ((tally.Tally, "_is_valid", lambda *_: True),),
    "P5.9 a smaller quorum": ((epoch.Epoch, "quorum", property(_smaller_quorum)),),
    "P6.1 pending records are not heard of": ((replica, "_pending_changed", _nothing),),
    "P6.1 pending records are not repeated (trace 5)": (
        (mempool.Mempool, "oldest", lambda *_, **__: []),
        (toy.ToyApplication, "repeated", lambda *_, **__: ()),
    ),
    "P6.1 what can no longer be lawful stays pending": (
        (admission.Admission, "refresh", _nothing),
        (admission.Admission, "review", lambda *_: False),
    ),
    "P6.2 always busy": ((pacemaker, "is_busy", _always_busy),),
    "P6.3 empty blocks without waiting (trace 4)": ((proposing, "heartbeat_due", lambda state: True),),
    "P7.1 who is ahead does not say so": ((receiving, "answer_status", _nothing),),
    "P7.2 blocks by height are not taken": ((replica, "take_blocks", _nothing),),
    "P7.5 signs though votes may be missing": ((safety.Guard, "silent", property(lambda guard: bool(guard.stopped))),),
    "P7.5 trusts at the others' finalized view (trace 3)": (
        (recovery, "_is_above_the_bar", _trust_at_any_finalization),
    ),
    "P7.5 one that began empty is taken for new": ((replica, "take_earlier_life", _take_for_new),),
    "P8.1 blocks are built on a closing one": ((state_module, "parent_of_held", _parent_never_closing),),
    "P8.1 an ordinary block is proposed again": ((replica, "follow_leader", _follow_any_reproposal),),
    "P8.2 votes go on after the closing commit": (
        (safety.Guard, "is_over", property(lambda guard: False, lambda guard, value: None)),
    ),
    "P8.3 a validator whose key was replaced votes on with the old one": (
        (safety.Guard, "open_epoch", _open_as_the_same),
    ),
}
"""A fault each; some need two patches, because two places keep the same rule."""

WITHOUT_HARM: Final[dict[str, tuple[Patch, ...]]] = {
    "P4.1 the guard alone knows no floor": (_GUARD_WITHOUT_FLOOR,),
    "P4.1 all but the guard know no floor": _ASKS_BELOW_THE_FLOOR,
    "P5.7 nothing is repeated by retries": (_NO_RETRY,),
    "P5.8 nothing is repeated at standstill": ((pacemaker, "send_standstill_page", _nothing),),
}
"""With one of them runs still end well; with both, which is the mutant of the same clause, they do not."""

HARMFUL_TOGETHER: Final[dict[str, str]] = {
    "P4.1": "P4.1 signs at or below the floor",
    "P5.7": "P5.7 and P5.8 nothing is repeated",
    "P5.8": "P5.7 and P5.8 nothing is repeated",
}
"""By clause, the mutant that has both."""
