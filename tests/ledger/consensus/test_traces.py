"""The traces of PROTOCOL P13: what looser wordings of the protocol cost, each as a scripted run of the production replica.

Trace 3 has a second part, 3b: the bar of P7.5 read literally is one view too low (`ledger.consensus.recovery`). Both run
with the looser bars, too, to show that the second vote is then signed.
"""

from collections.abc import Callable

import pytest

from ledger.consensus import recovery
from ledger.consensus.durable import Durable
from ledger.consensus.effects import Build, Timer
from ledger.consensus.inputs import Built
from ledger.consensus.messages import (
    Certificate,
    EntryAnswer,
    Finalize,
    Notarize,
    Nullify,
    Page,
    ProposalMessage,
    VoteMessage,
)
from ledger.consensus.state import State
from tests.ledger.consensus.kit import (
    CLOCK_MS,
    GENESIS,
    NONCE,
    Bench,
    block_on,
    finalization,
    finalize,
    notarization,
    notarize,
    nullification,
    nullify,
    proposal_for,
    proposal_message,
)


def test_p13_trace_1_wrong_parent_digest() -> None:
    """X of view 1 is notarized; the leader of view 2 names parent view 1 and the digest of genesis."""
    x = block_on(GENESIS, 1, name="X")
    bench = Bench(0)
    bench.pending(1)
    bench.receive(1, proposal_message(x))
    bench.show(notarization(x))
    assert bench.view == 2
    y = block_on(GENESIS, 2, name="Y", parent_view=1)
    bench.receive(2, proposal_message(y, parent=notarization(x)))
    assert ("notarize", 2) not in bench.votes()
    assert ("nullify", 2) not in bench.votes(), "what is missing is never invalid"
    bench.fire(Timer.ADVANCE)
    assert bench.votes()[-1] == ("nullify", 2)

    honest = Bench(0)  # the same steps with the right digest are notarized
    honest.pending(1)
    honest.receive(1, proposal_message(x))
    honest.show(notarization(x))
    honest.receive(2, proposal_message(block_on(x, 2, name="Y"), parent=notarization(x)))
    assert honest.votes()[-1] == ("notarize", 2)


def test_p13_trace_2_notarization_passed_off_for_a_nullification() -> None:
    """X of view 1 is notarized; the leader of view 2 builds on genesis and shows X's notarization for the gap."""
    x = block_on(GENESIS, 1, name="X")
    bench = Bench(0)
    bench.pending(1)
    bench.receive(1, proposal_message(x))
    bench.show(notarization(x))
    y = block_on(GENESIS, 2, name="Y")
    bench.receive(2, proposal_message(y, nullifications=(notarization(x),)))
    assert ("notarize", 2) not in bench.votes()
    bench.show(nullification(1))
    assert bench.votes()[-1] == ("notarize", 2), "with the nullification of the gap it is acceptable"


def _answers(bench: Bench, *entries: Certificate | None) -> None:
    """Validators 1, 2, 3 show their entry certificates."""
    for sender, entry in enumerate(entries, start=1):
        bench.receive(sender, EntryAnswer(epoch=0, nonce=NONCE, entry=entry))


def _trace_3() -> tuple[Bench, Bench]:
    """C notarizes in view 2, view 2 is nullified, C notarizes view 3, then loses its disk; view 1 is finalized late."""
    one = block_on(GENESIS, 1, name="one")
    two, three = block_on(one, 2, name="two"), block_on(one, 3, name="three")
    c = Bench(0)
    c.pending(1)
    c.receive(1, proposal_message(one))
    c.show(notarization(one))
    c.receive(2, proposal_message(two, parent=notarization(one)))
    c.show(nullification(2))
    c.receive(3, proposal_message(three, parent=notarization(one), nullifications=(nullification(2),)))
    assert [vote for vote in c.votes() if vote[0] == "notarize"] == [("notarize", 1), ("notarize", 2), ("notarize", 3)]

    after = Bench(0, durable=Durable(floor=GENESIS), votes_suspect=True)
    after.pending(1)
    _answers(after, nullification(2), notarization(one), nullification(2))  # none of them knows a finalization yet
    after.show(notarization(one))
    after.receive(1, proposal_message(one))
    after.show(finalization(one))
    assert after.committed() == [one.digest]
    other = block_on(one, 3, name="other")  # the leader of view 3 lies, and shows another block than before
    after.receive(3, proposal_message(other, parent=notarization(one), nullifications=(nullification(2),)))
    return c, after


def _trace_3b() -> tuple[Bench, Bench]:
    """C alone has the notarization of view 1, votes in view 2, and loses its disk; the others are still in view 1."""
    one = block_on(GENESIS, 1, name="one")
    c = Bench(0)
    c.pending(1)
    c.receive(1, proposal_message(one))
    c.vote(notarize(3, proposal_for(one)))
    c.fire(Timer.LEAD)
    assert c.votes() == [("notarize", 1), ("finalize", 1), ("nullify", 2)]

    after = Bench(0, durable=Durable(floor=GENESIS), votes_suspect=True)
    after.pending(1)
    _answers(after, None, None, None)
    after.receive(1, proposal_message(one))
    after.show(notarization(one))
    after.show(finalization(one))
    assert after.committed() == [one.digest]
    two = block_on(one, 2, name="two")
    after.receive(2, proposal_message(two, parent=finalization(one)))
    after.show(notarization(two))
    return c, after


def _finalized_view_is_the_bar(state: State) -> bool:
    return len(state.entry_answers) >= state.epoch.quorum and state.floor.view > 0


def _bar_itself_will_do(state: State) -> bool:
    return state.bar > 0 and state.floor.view >= state.bar


@pytest.mark.parametrize("trace", [_trace_3, _trace_3b])
def test_p13_trace_3_a_lost_vote_table_signs_nothing_that_could_contradict_it(
    trace: Callable[[], tuple[Bench, Bench]],
) -> None:
    _, after = trace()
    assert after.votes() == []
    assert after.replica.recovery is not None
    assert after.votes_suspect


@pytest.mark.parametrize(
    ("trace", "looser"), [(_trace_3, _finalized_view_is_the_bar), (_trace_3b, _bar_itself_will_do)]
)
def test_p13_trace_3_fails_with_looser_bars(
    trace: Callable[[], tuple[Bench, Bench]], looser: Callable[[State], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_is_above_the_bar", looser)
    before, after = trace()
    views = {view for _, view in before.votes()} & {view for _, view in after.votes()}
    assert views, "it signs again in a view in which it has voted"
    pairs = [(a, b) for view in views for a in before.votes() for b in after.votes() if a[1] == b[1] == view]
    assert {frozenset((a[0], b[0])) for a, b in pairs} & {frozenset({"notarize"}), frozenset({"nullify", "finalize"})}


def test_p13_trace_4_no_empty_blocks_only_because_the_tip_is_not_final_yet() -> None:
    """Validator 2 enters view 2, which it leads, by the notarization of view 1, before its finalization."""
    x = block_on(GENESIS, 1, name="X")
    bench = Bench(2)
    bench.pending(1)
    bench.receive(1, proposal_message(x))
    bench.vote(notarize(3, proposal_for(x)))
    assert bench.view == 2
    assert bench.replica.busy
    wanted = [effect for effect in bench.effects if isinstance(effect, Build)]
    assert [build.allow_empty for build in wanted] == [False], (
        "a record may be pending, but no empty block is asked for"
    )
    bench.tell(Built(now_ms=bench.now_ms, clock_ms=CLOCK_MS, epoch=0, view=2, outcome="empty"))
    bench.vote(finalize(1, proposal_for(x)))
    bench.vote(finalize(3, proposal_for(x)))
    bench.pending(0)
    assert bench.committed() == [x.digest]
    assert not bench.replica.busy
    assert not bench.timer_is_set(Timer.EMPTY)
    assert len([effect for effect in bench.effects if isinstance(effect, Build)]) == 1
    assert not bench.sent(ProposalMessage)


def test_p13_trace_5_idle_replicas_are_woken_by_the_votes_of_one_honest_or_by_the_record() -> None:
    """A alone holds a record and nullifies; B, idle, is not woken by one vote, but by the record or by f + 1 votes."""
    bench = Bench(0)
    bench.vote(nullify(3, 1))
    assert not bench.replica.busy, "one liar must not wake the ledger"
    bench.pending(1)  # the record is gossiped again (P6.1)
    assert bench.replica.busy
    assert bench.timer_is_set(Timer.ADVANCE)
    bench.fire(Timer.LEAD)
    assert bench.votes() == [("nullify", 1)]

    other = Bench(0)
    other.vote(nullify(3, 1))
    other.vote(nullify(2, 1))
    assert other.replica.busy
    other.fire(Timer.ADVANCE)
    assert other.view == 2, "its own nullify completed the quorum"


def test_p13_trace_6_a_restart_counts_its_own_stored_votes() -> None:
    """All vote in view 1 and restart before a quorum is heard: votes of two others and the own stored one suffice."""
    x = block_on(GENESIS, 1, name="X")
    before = Bench(0)
    before.pending(1)
    before.receive(1, proposal_message(x))
    assert before.votes() == [("notarize", 1)]
    stored = before.voted(Notarize)

    after = before.restart()
    assert after.replica.busy, "an own vote above the floor"
    after.vote(notarize(1, proposal_for(x)))
    after.vote(notarize(2, proposal_for(x)))
    assert after.votes() == [("finalize", 1)], "the quorum includes the own stored vote, which was not signed again"
    after.fire(Timer.STANDSTILL)
    resent = [vote for page in after.sent(Page) for vote in page.votes if isinstance(vote, Notarize)]
    assert resent == stored, "re-sent as the stored bytes"
    after.vote(finalize(2, proposal_for(x)))
    after.show(finalization(x))
    assert after.committed() == [x.digest]


def test_p13_trace_6_also_for_nullify_and_finalize() -> None:
    x = block_on(GENESIS, 1, name="X")
    nullified = Bench(0)
    nullified.pending(1)
    nullified.fire(Timer.LEAD)
    again = nullified.restart()
    again.vote(nullify(1, 1))
    again.vote(nullify(2, 1))
    assert again.view == 2
    assert not again.voted(Nullify), "view 1 was not nullified a second time"

    finalized = Bench(0)
    finalized.pending(1)
    finalized.receive(1, proposal_message(x))
    finalized.show(notarization(x))
    assert finalized.votes()[-1] == ("finalize", 1)
    again = finalized.restart()
    again.vote(finalize(1, proposal_for(x)))
    again.vote(finalize(2, proposal_for(x)))
    assert again.committed() == [x.digest]
    assert not again.voted(Finalize)
    assert all(message.vote.signer == 0 for message in again.sent(VoteMessage))
