"""The replica's rules one at a time (P3, P5-P8), on the bench."""

from collections.abc import Callable

import msgspec
import pytest

from ledger.block import Block
from ledger.consensus.certificates import verify_evidence
from ledger.consensus.durable import Durable
from ledger.consensus.effects import (
    Broadcast,
    Build,
    Charge,
    Check,
    Commit,
    Drop,
    FetchBlocks,
    Persist,
    Prune,
    ReportEvidence,
    Send,
    ServeBlock,
    SetTimer,
    Timer,
)
from ledger.consensus.inputs import BlocksFetched, Built, Checked, Committed, PeerConnected, StoreFailed, TimerFired
from ledger.consensus.messages import (
    BlockRequest,
    BlockResponse,
    Certificate,
    CertificateMessage,
    CertificateRequest,
    Evidence,
    EvidenceMessage,
    Finalize,
    Notarize,
    Nullify,
    Page,
    ProposalMessage,
    Status,
    VoteMessage,
)
from ledger.consensus.parameters import Parameters
from ledger.limits import NEAR_BLOCKS
from tests.ledger.consensus.kit import (
    CHAIN,
    CLOCK_MS,
    EPOCH,
    GENESIS,
    Bench,
    block_on,
    certificate,
    finalization,
    finalize,
    notarization,
    notarize,
    nullification,
    nullify,
    proposal_for,
    proposal_message,
)

X = block_on(GENESIS, 1, name="X")
Y = block_on(X, 2, name="Y")

OTHERS = (0, 1, 2)
"""Signers of certificates that are shown to validator 3."""


def busy_bench(own: int = 0) -> Bench:
    bench = Bench(own)
    bench.pending(1)
    return bench


def test_a_view_in_the_good_case_needs_no_timer() -> None:
    bench = busy_bench()
    bench.receive(1, proposal_message(X))
    bench.vote(notarize(2, proposal_for(X)))
    assert bench.votes() == [("notarize", 1), ("finalize", 1)]
    assert bench.view == 2
    bench.vote(finalize(1, proposal_for(X)))
    bench.vote(finalize(2, proposal_for(X)))
    assert bench.committed() == [X.digest]
    assert bench.floor.view == 1
    assert [kind for kind, _ in bench.votes()] == ["notarize", "finalize"]


def test_p3_2_everything_is_persisted_before_what_depends_on_it_is_sent() -> None:
    bench = busy_bench()
    bench.receive(1, proposal_message(X))
    bench.vote(notarize(2, proposal_for(X)))
    order: list[object] = []
    for effect in bench.effects:
        if isinstance(effect, Persist):
            order.append(effect.record)
        elif isinstance(effect, Broadcast) and isinstance(effect.message, VoteMessage):
            assert effect.message.vote in order
            assert X in order
        elif isinstance(effect, Broadcast) and isinstance(effect.message, CertificateMessage):
            assert effect.message.certificate in order
    assert [type(record).__name__ for record in order] == ["Block", "Notarize", "Certificate", "Finalize"]


def test_p3_4_a_restart_takes_its_view_from_nullifications_and_finalizations_then_p5_4() -> None:
    bench = busy_bench()
    bench.receive(1, proposal_message(X))
    bench.show(notarization(X))
    bench.show(nullification(2))
    bench.receive(3, proposal_message(block_on(X, 3, name="Z"), parent=notarization(X)))
    bench.show(notarization(block_on(X, 3, name="Z")))
    assert bench.view == 4
    again = Bench(0, durable=Durable(floor=GENESIS, records=bench.image.records()), check=False)
    assert again.view == 3, "1 + the highest nullification"
    for _ in range(2):
        waiting = [effect.block for effect in again.effects if isinstance(effect, Check)]
        again.checked(waiting[-1])
    assert again.view == 4, "the notarization of view 3 counts once its block is executed again"
    assert again.votes() == [], "nothing is signed a second time"


def test_p3_5_a_commit_prunes_at_or_below_the_floor_only() -> None:
    bench = busy_bench()
    bench.receive(1, proposal_message(X))
    bench.show(notarization(X))
    bench.receive(2, proposal_message(Y, parent=notarization(X)))
    bench.show(notarization(Y))
    bench.show(finalization(X))
    assert [effect for effect in bench.effects if isinstance(effect, Prune)] == [Prune(0, 1)]
    bench.image.prune(0, 1)
    again = bench.restart()
    assert again.view == 3
    again.show(finalization(Y))
    assert again.committed() == [Y.digest]


def test_p5_3_the_first_proposal_of_a_view_binds_and_a_second_is_evidence() -> None:
    bench = busy_bench()
    other = block_on(GENESIS, 1, name="other")
    bench.receive(1, proposal_message(X))
    bench.receive(1, proposal_message(other))
    assert [vote.proposal.digest for vote in bench.persisted() if isinstance(vote, Notarize)] == [X.digest]
    reported = [effect.evidence for effect in bench.effects if isinstance(effect, ReportEvidence)]
    assert len(reported) == 1
    assert reported[0].first == notarize(1, proposal_for(X))
    assert bench.sent(EvidenceMessage)
    bench.show(notarization(X))
    assert bench.view == 2
    assert not bench.voted(Finalize), "P5.4: the leader was seen to equivocate"


def test_p5_3_invalid_blocks_are_nullified_missing_data_is_waited_for() -> None:
    for invalid in (
        msgspec.structs.replace(X, header=msgspec.structs.replace(X.header, height=2)),
        msgspec.structs.replace(X, header=msgspec.structs.replace(X.header, parent_seal=bytes(32))),
        msgspec.structs.replace(X, header=msgspec.structs.replace(X.header, time=GENESIS.time_ms)),
        msgspec.structs.replace(X, header=msgspec.structs.replace(X.header, proposer=2)),
        msgspec.structs.replace(X, header=msgspec.structs.replace(X.header, chain=bytes([1]) * 32)),
    ):
        bench = busy_bench()
        bench.receive(1, proposal_message(invalid))
        assert bench.votes() == [("nullify", 1)]
        assert not [effect for effect in bench.effects if isinstance(effect, Check)], "found without executing it"

    refused = busy_bench()
    refused.invalid.add(X.digest)
    refused.receive(1, proposal_message(X))
    assert refused.votes() == [("nullify", 1)]

    orphan = block_on(X, 3, name="orphan")
    waiting = busy_bench()
    waiting.show(nullification(1))
    waiting.show(nullification(2))
    waiting.receive(3, proposal_message(orphan))
    assert waiting.votes() == []
    assert [request.views for request in waiting.sent(CertificateRequest)] == [(1,)], "P7.4: it is asked for"
    waiting.show(notarization(X))
    assert waiting.sent(BlockRequest) == [BlockRequest(digest=X.digest)]
    waiting.receive(2, BlockResponse(digest=X.digest, block=X))
    assert waiting.votes() == [("finalize", 1), ("notarize", 3)], "view 1 was left by a certificate, not by our nullify"


def test_p5_3_proposal_fields_must_be_the_headers() -> None:
    bench = busy_bench()
    proposal = msgspec.structs.replace(proposal_for(block_on(GENESIS, 2, name="later")), view=1)
    bench.receive(
        1, ProposalMessage(notarize=notarize(1, proposal), block=block_on(GENESIS, 2, name="later"), parent=None)
    )
    assert bench.votes() == [("nullify", 1)]


def test_p5_3_a_block_from_the_near_future_waits_and_is_not_invalid() -> None:
    early = block_on(GENESIS, 1, name="early", time_ms=CLOCK_MS + 60_000)
    bench = busy_bench()
    bench.receive(1, proposal_message(early))
    assert bench.votes() == []
    assert bench.timer_is_set(Timer.CLOCK)
    bench.show(notarization(early))
    assert bench.votes() == [("finalize", 1)], "P5.4: the check of a notarized block knows no clock"


def test_p5_3_later_proposals_are_buffered_earlier_ones_dropped() -> None:
    bench = busy_bench()
    second = block_on(GENESIS, 2, name="second")
    bench.receive(2, proposal_message(second))
    assert bench.votes() == []
    bench.show(nullification(1))
    assert bench.votes() == [("notarize", 2)]
    bench.receive(1, proposal_message(X))
    assert bench.votes() == [("notarize", 2)]


def test_p5_3_bytes_that_do_not_match_the_digest_count_as_not_received() -> None:
    bench = busy_bench()
    wrong = msgspec.structs.replace(proposal_message(X), block=block_on(GENESIS, 1, name="other"))
    bench.receive(1, wrong)
    assert bench.votes() == []
    assert bench.sent(BlockRequest) == [BlockRequest(digest=X.digest)]
    bench.receive(1, BlockResponse(digest=X.digest, block=block_on(GENESIS, 1, name="other")))
    assert bench.votes() == []
    bench.receive(3, BlockResponse(digest=X.digest, block=X))
    assert bench.votes() == [("notarize", 1)]


def test_p5_4_a_notarization_of_a_missing_block_is_forwarded_once_and_its_block_fetched_in_turn() -> None:
    bench = busy_bench()
    bench.show(notarization(X))
    bench.show(notarization(X), sender=2)
    assert len(bench.sent(CertificateMessage)) == 1
    assert bench.view == 1, "the view is entered when the block is executed"
    asked = [effect.to for effect in bench.effects if isinstance(effect, Send)]
    bench.receive(asked[0], BlockResponse(digest=X.digest, block=None))
    bench.fire(Timer.FETCH)
    asked = [effect.to for effect in bench.effects if isinstance(effect, Send)]
    assert asked == [1, 2, 3]
    bench.receive(3, BlockResponse(digest=X.digest, block=X))
    assert bench.view == 2
    assert bench.votes() == [("finalize", 1)]


def test_p5_4_an_invalid_notarized_block_stops_the_signing() -> None:
    bench = busy_bench()
    bench.invalid.add(X.digest)
    bench.receive(1, proposal_message(X))
    assert bench.votes() == [("nullify", 1)]
    bench.show(notarization(X))
    assert bench.alarms == ["invalid_notarized"]
    bench.show(nullification(1))
    bench.fire(Timer.STANDSTILL)
    bench.receive(2, proposal_message(block_on(GENESIS, 2), nullifications=(nullification(1),)))
    assert bench.votes() == [("nullify", 1)]


def test_p5_5_a_view_left_by_nullification_may_still_be_finalized_if_we_did_not_nullify() -> None:
    bench = busy_bench()
    bench.show(nullification(1))
    bench.show(notarization(X))
    bench.receive(1, BlockResponse(digest=X.digest, block=X))
    assert bench.votes() == [("finalize", 1)]

    nullified = busy_bench()
    nullified.fire(Timer.LEAD)
    nullified.show(nullification(1))
    nullified.show(notarization(X))
    nullified.receive(1, BlockResponse(digest=X.digest, block=X))
    assert nullified.votes() == [("nullify", 1)]


def test_p5_6_commits_wait_for_the_chain_and_go_in_height_order() -> None:
    z = block_on(Y, 3, name="Z")
    bench = busy_bench()
    bench.show(finalization(z))
    assert bench.view == 4
    assert bench.committed() == []
    for block in (z, Y):
        bench.receive(1, BlockResponse(digest=block.digest, block=block))
        assert bench.committed() == []
    bench.receive(1, BlockResponse(digest=X.digest, block=X))
    assert bench.committed() == [X.digest, Y.digest, z.digest]
    floors = [effect.floor.view for effect in bench.effects if isinstance(effect, Commit)]
    assert floors == [1, 2, 3], "P3.1: an ancestor's own view, then the certificate's"


def test_p5_1_a_leaders_own_proposal_stops_its_lead_timer_and_not_its_advance_timer() -> None:
    """Else it would give up, and everybody with it, a view whose block takes longer to be notarized than a lead timer."""
    bench = Bench(1, build=X)
    bench.pending(1)
    assert bench.votes() == [("notarize", 1)]
    assert not bench.timer_is_set(Timer.LEAD)
    bench.fire(Timer.ADVANCE)
    assert bench.votes() == [("notarize", 1), ("nullify", 1)]

    again = Bench(2, check=False)
    again.pending(1)
    again.receive(1, proposal_message(X))
    again.checked(X, closing=True)
    again.show(notarization(X, (0, 1, 3)))
    assert again.votes()[-1] == ("notarize", 2), "the closing block, proposed again (P8.1)"
    assert not again.timer_is_set(Timer.LEAD)


def test_p5_2_a_leader_whose_build_fails_lets_its_lead_timer_run() -> None:
    bench = Bench(1)
    bench.pending(1)
    bench.tell(Built(now_ms=bench.now_ms, clock_ms=CLOCK_MS, epoch=0, view=1, outcome="failed"))
    bench.fire(Timer.LEAD)
    assert bench.votes() == [("nullify", 1)]


def missed_leader_one() -> Bench:
    """Its lead timer ran out in view 1, and it is its turn again: view 5, the others having nullified what lies between."""
    bench = busy_bench()
    bench.fire(Timer.LEAD)
    for view in (1, 2, 3):
        bench.show(nullification(view))
    bench.forget()
    return bench


def test_a_leader_of_whom_nothing_is_heard_is_not_waited_for_again() -> None:
    bench = missed_leader_one()
    bench.show(nullification(4))
    assert bench.view == 5
    assert bench.votes() == [("nullify", 5)], "at once, without a timer"
    assert not bench.timer_is_set(Timer.LEAD)
    assert bench.timer_is_set(Timer.RETRY), "P5.7 holds for it"
    bench.show(nullification(5))
    assert bench.timer_is_set(Timer.LEAD), "leader 2 was not missed"


@pytest.mark.parametrize("view", [1, 4])
def test_a_missed_leader_that_votes_again_is_waited_for(view: int) -> None:
    bench = missed_leader_one()
    bench.vote(nullify(1, view))
    bench.show(nullification(4))
    assert (bench.view, bench.votes()) == (5, [])
    assert bench.timer_is_set(Timer.LEAD)
    bench.fire(Timer.LEAD)
    assert bench.votes() == [("nullify", 5)]


def test_a_missed_leader_whose_proposal_came_ahead_is_followed() -> None:
    bench = missed_leader_one()
    ahead = block_on(GENESIS, 5)
    bench.receive(1, proposal_message(ahead))
    bench.show(nullification(4))
    assert bench.votes() == [("notarize", 5)]


def deciding_bench() -> tuple[Bench, Block]:
    """Validator 3, for which leader 1 is away, in leader 1's view 5: the block of view 4 is notarized."""
    bench = busy_bench(3)
    bench.commit = False
    bench.fire(Timer.LEAD)
    for view in (1, 2, 3):
        bench.show(nullification(view, OTHERS))
    last = block_on(GENESIS, 4, parent_view=0, name="last")
    bench.receive(0, proposal_message(last))
    bench.show(notarization(last, (0, 2, 3)))
    assert bench.votes()[-2:] == [("notarize", 4), ("finalize", 4)]
    return bench, last


def test_a_leader_that_is_away_is_waited_for_while_there_may_be_nothing_left_to_decide() -> None:
    """Its view, left at once, would have to be brought to its end by an empty block after every last record."""
    bench, last = deciding_bench()
    assert bench.view == 5
    bench.show(finalization(last, (0, 2, 3)))
    assert ("nullify", 5) not in bench.votes(), "final, and not committed"
    committed = Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=1, digest=last.digest, pending=0)
    bench.tell(committed)
    assert ("nullify", 5) not in bench.votes()
    assert not bench.timer_is_set(Timer.LEAD), "idle"
    bench.pending(1)
    assert bench.votes()[-1] == ("nullify", 5)


def test_a_leader_that_is_away_is_passed_over_with_an_honest_validator_that_has_voted() -> None:
    bench, _ = deciding_bench()
    bench.vote(nullify(0, 5))
    assert bench.votes()[-1] == ("finalize", 4), "a liar alone hurries nobody"
    bench.vote(nullify(2, 5))
    assert bench.votes()[-1] == ("nullify", 5)


def test_with_records_left_a_leader_that_is_away_is_passed_over_at_the_commit() -> None:
    bench, last = deciding_bench()
    bench.show(finalization(last, (0, 2, 3)))
    bench.tell(Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=1, digest=last.digest, pending=2))
    assert bench.votes()[-1] == ("nullify", 5)


@pytest.mark.parametrize(("height", "sender", "is_waited_for"), [(0, 1, True), (1, 1, False), (0, 2, False)])
def test_a_missed_leader_that_is_catching_up_is_waited_for(height: int, sender: int, is_waited_for: bool) -> None:
    """Else the others, who no longer wait in its turns, run away from it. Its own word alone says so."""
    chain = [block_on(GENESIS, 2)]
    while len(chain) < NEAR_BLOCKS + 1:
        chain.append(block_on(chain[-1], len(chain) + 2))
    bench = busy_bench()
    bench.fire(Timer.LEAD)
    bench.show(nullification(1))
    for block in chain:
        bench.receive(block.header.view % 4, BlockResponse(digest=block.digest, block=block))
        bench.show(notarization(block))
        bench.receive(3, BlockResponse(digest=block.digest, block=block))
    bench.show(finalization(chain[-1]))
    assert len(bench.committed()) == len(chain)
    bench.forget()
    digest = GENESIS.digest
    bench.receive(sender, Status(epoch=0, view=1, entry=None, finalized_view=0, height=height, digest=digest))
    while bench.view % 4 != 1:
        bench.show(nullification(bench.view))
    bench.pending(1)
    assert (("nullify", bench.view) in bench.votes()) is not is_waited_for


def test_a_vote_that_another_forged_does_not_bring_a_missed_leader_back() -> None:
    bench = missed_leader_one()
    bench.receive(2, VoteMessage(vote=msgspec.structs.replace(nullify(2, 4), signer=1)))
    bench.show(nullification(4))
    assert bench.votes() == [("nullify", 5)]


def test_a_replica_does_not_give_up_its_own_turn_because_it_missed_one() -> None:
    bench = Bench(1)
    bench.pending(1)
    bench.tell(Built(now_ms=bench.now_ms, clock_ms=CLOCK_MS, epoch=0, view=1, outcome="failed"))
    bench.fire(Timer.LEAD)
    for view in (1, 2, 3):
        bench.show(nullification(view))
    bench.forget()
    bench.show(nullification(4))
    assert bench.votes() == []
    assert bench.timer_is_set(Timer.LEAD)


def test_a_view_whose_leader_is_away_is_not_given_up_twice_nor_by_who_must_be_silent() -> None:
    """The guard has the last word: what it refuses leaves the ordinary timers."""
    bench = missed_leader_one()
    bench.tell(StoreFailed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, reason="disk full"))
    bench.show(nullification(4))
    assert bench.votes() == []
    assert bench.timer_is_set(Timer.LEAD)


def test_p5_7_the_leaders_own_nullify_is_followed() -> None:
    bench = busy_bench()
    bench.vote(nullify(1, 1))
    assert bench.votes() == [("nullify", 1)]


def test_p5_7_the_nullify_is_repeated_with_the_entry_certificate() -> None:
    bench = busy_bench()
    bench.show(nullification(1))
    bench.fire(Timer.LEAD)
    stored = bench.persisted()[-1]
    bench.forget()
    bench.fire(Timer.RETRY)
    assert [message.vote for message in bench.sent(VoteMessage)] == [stored]
    assert [message.certificate for message in bench.sent(CertificateMessage)] == [nullification(1)]
    assert bench.persisted() == []
    bench.fire(Timer.RETRY)
    assert len(bench.sent(VoteMessage)) == 2, "again and again"


def test_p5_8_standstill_pages_are_bounded_and_rotate_through_everything() -> None:
    bench = busy_bench()
    for view in range(1, 151):
        bench.show(nullification(view))
    seen: set[int] = set()
    for _ in range(3):
        bench.forget()
        bench.fire(Timer.STANDSTILL)
        pages = bench.sent(Page)
        assert len(pages) == 1
        assert len(pages[0].certificates) + len(pages[0].votes) <= 64
        seen |= {shown.view for shown in pages[0].certificates}
    assert seen == set(range(1, 151))


def test_p5_9_one_evidence_a_signer_is_verified_kept_and_passed_on() -> None:
    good = Evidence(first=nullify(3, 1), second=finalize(3, proposal_for(X)))
    bad = Evidence(first=nullify(3, 1), second=notarize(3, proposal_for(X)))
    bench = busy_bench()
    bench.receive(1, EvidenceMessage(evidence=bad))
    assert not bench.sent(EvidenceMessage)
    assert [effect.sender for effect in bench.effects if isinstance(effect, Charge)] == [1]
    for sender in (1, 2):
        bench.receive(sender, EvidenceMessage(evidence=good))
    assert bench.persisted() == [good]
    assert len(bench.sent(EvidenceMessage)) == 1


def test_p5_10_votes_far_away_are_not_kept_certificates_are() -> None:
    bench = busy_bench()
    bench.vote(nullify(1, 70))
    assert bench.replica._state.tally.vote_of(70, "nullify", 1) is None
    bench.show(nullification(1_000_000))
    assert bench.view == 1_000_001


def test_p6_an_idle_replica_sets_no_timer_but_status_and_heartbeat_and_still_handles_messages() -> None:
    bench = Bench(0)
    set_timers = {timer for timer in Timer if bench.timer_is_set(timer)}
    assert set_timers == {Timer.STATUS, Timer.HEARTBEAT}
    bench.receive(1, proposal_message(X))
    assert bench.votes() == [("notarize", 1)]
    assert bench.replica.busy, "an own vote above the floor"
    bench.show(notarization(X))
    bench.show(finalization(X))
    assert not bench.replica.busy
    assert not {timer for timer in Timer if bench.timer_is_set(timer)} - {Timer.STATUS, Timer.HEARTBEAT}


def test_p6_2_the_heartbeat_wakes_and_p6_3_allows_an_empty_block() -> None:
    bench = Bench(1)
    assert not bench.replica.busy
    bench.fire(Timer.HEARTBEAT)
    assert bench.replica.busy
    wanted = [effect for effect in bench.effects if isinstance(effect, Build)]
    assert [(build.view, build.allow_empty) for build in wanted] == [(1, True)]
    bench.built(wanted[0], X)
    assert bench.votes() == [("notarize", 1)]
    assert [message.block for message in bench.sent(ProposalMessage)] == [X]


def test_p6_3_still_busy_half_a_lead_timer_after_arming_an_empty_block_is_proposed() -> None:
    bench = Bench(1)
    bench.vote(nullify(2, 1))
    bench.vote(nullify(3, 1))
    assert bench.votes() == []
    assert not [effect for effect in bench.effects if isinstance(effect, Build)]
    bench.fire(Timer.EMPTY)
    assert [effect.allow_empty for effect in bench.effects if isinstance(effect, Build)] == [True]


def test_p5_2_the_leader_builds_on_the_highest_certified_view_with_all_gaps_nullified() -> None:
    bench = Bench(3)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.show(notarization(X, OTHERS))
    bench.show(nullification(2, OTHERS))
    wanted = [effect for effect in bench.effects if isinstance(effect, Build)]
    assert [(build.view, build.parent_view, build.parent_digest) for build in wanted] == [(3, 1, X.digest)]
    z = block_on(X, 3, name="Z")
    bench.built(wanted[0], z)
    message = bench.sent(ProposalMessage)[0]
    assert message.parent == notarization(X, OTHERS)
    assert message.nullifications == (nullification(2, OTHERS),)
    bench.forget()
    bench.tell(PeerConnected(now_ms=bench.now_ms, clock_ms=CLOCK_MS, sender=2))
    assert bench.sent(ProposalMessage) == [message], "the stored proposal, never a new one"
    again = bench.restart()
    assert again.sent(ProposalMessage) == [message]
    assert again.votes() == []


def test_p5_2_a_leader_that_lacks_a_gap_asks_for_it_and_does_not_propose() -> None:
    bench = Bench(3)
    bench.pending(1)
    bench.show(nullification(2, OTHERS))
    assert not [effect for effect in bench.effects if isinstance(effect, Build)]
    assert [request.views for request in bench.sent(CertificateRequest)] == [(1,)]
    bench.receive(1, Page(certificates=(nullification(1, OTHERS),)))
    assert [effect.parent_view for effect in bench.effects if isinstance(effect, Build)] == [0]


def test_p7_1_who_is_ahead_sends_its_highest_finalization_or_entry_certificate() -> None:
    bench = busy_bench()
    bench.receive(1, proposal_message(X))
    bench.show(finalization(X))
    bench.show(nullification(2))
    bench.forget()
    behind = Status(epoch=0, view=1, entry=None, finalized_view=0, height=0, digest=GENESIS.digest)
    bench.receive(2, behind)
    assert [message.certificate for message in bench.sent(CertificateMessage)] == [finalization(X), nullification(2)]


def test_p7_2_far_behind_blocks_are_fetched_by_height_and_proved_by_one_finalization() -> None:
    chain = [X]
    for view in range(2, 42):
        chain.append(block_on(chain[-1], view))
    tip = finalization(chain[-1])
    bench = busy_bench()
    status = Status(epoch=0, view=42, entry=tip, finalized_view=41, height=41, digest=chain[-1].digest)
    bench.receive(2, msgspec.structs.replace(status, entry=None))
    bench.receive(1, status)
    assert bench.view == 42
    assert [effect for effect in bench.effects if isinstance(effect, FetchBlocks)] == [FetchBlocks(1, 64)]

    forged = msgspec.structs.replace(tip, signatures=tuple((signer, bytes(64)) for signer in (1, 2, 3)))

    def page(first: int, last: int, shown: Certificate = tip) -> None:
        blocks = tuple((block, shown) for block in chain[first - 1 : last])
        bench.tell(BlocksFetched(now_ms=bench.now_ms, clock_ms=CLOCK_MS, sender=1, first_height=first, blocks=blocks))

    middle = msgspec.structs.replace(finalization(chain[19]), signatures=forged.signatures)
    page(1, 20, middle)
    assert [effect.code for effect in bench.effects if isinstance(effect, Charge)] == ["bad_blocks"]
    assert bench.committed() == []
    bench.fire(Timer.CATCH_UP)
    page(1, 10)
    assert bench.committed() == [], "no finalization proves them yet"
    page(11, 40)
    page(41, 41, notarization(chain[-1]))
    assert bench.committed() == [block.digest for block in chain], "the finalization that we hold proves them"
    assert bench.floor.height == 41


def test_p7_2_a_peer_that_withholds_the_proof_does_not_block_the_catch_up() -> None:
    chain = [X]
    for view in range(2, 42):
        chain.append(block_on(chain[-1], view))
    tip = finalization(chain[-1])
    bench = busy_bench()
    status = Status(epoch=0, view=42, entry=tip, finalized_view=41, height=41, digest=chain[-1].digest)
    bench.receive(2, msgspec.structs.replace(status, entry=None))
    bench.receive(1, status)
    withheld = tuple((block, notarization(block)) for block in chain[:30])
    bench.tell(BlocksFetched(now_ms=bench.now_ms, clock_ms=CLOCK_MS, sender=1, first_height=1, blocks=withheld))
    bench.tell(BlocksFetched(now_ms=bench.now_ms, clock_ms=CLOCK_MS, sender=2, first_height=31, blocks=()))
    bench.fire(Timer.CATCH_UP)
    fetches = [effect for effect in bench.effects if isinstance(effect, FetchBlocks)]
    assert fetches[-1] == FetchBlocks(1, 64), "from the start again, of somebody else"
    whole = tuple((block, finalization(chain[29])) for block in chain[:30])
    bench.tell(BlocksFetched(now_ms=bench.now_ms, clock_ms=CLOCK_MS, sender=2, first_height=1, blocks=whole))
    assert bench.committed() == [block.digest for block in chain[:30]]


def test_p7_4_certificates_of_both_kinds_are_served_and_below_the_floor_the_finalization() -> None:
    bench = busy_bench()
    bench.show(notarization(X))
    bench.show(nullification(1))
    bench.receive(2, CertificateRequest(epoch=0, views=(1,)))
    assert [page.certificates for page in bench.sent(Page)] == [(notarization(X), nullification(1))]
    done = busy_bench()
    done.receive(1, proposal_message(X))
    done.show(finalization(X))
    done.receive(2, CertificateRequest(epoch=0, views=(1,)))
    assert [page.certificates for page in done.sent(Page)] == [(finalization(X),)]
    done.receive(2, BlockRequest(digest=X.digest))
    assert ServeBlock(2, X.digest) in done.effects


def test_p7_5_an_own_vote_that_is_not_held_stops_the_signing() -> None:
    ways: list[Callable[[Bench], object]] = [
        lambda bench: bench.receive(1, VoteMessage(vote=nullify(0, 2))),
        lambda bench: bench.receive(0, VoteMessage(vote=nullify(0, 2))),
        lambda bench: bench.show(nullification(2, (0, 1, 2))),
        lambda bench: bench.receive(1, Page(votes=(finalize(0, proposal_for(X)),))),
        lambda bench: bench.receive(
            1, EvidenceMessage(evidence=Evidence(first=nullify(0, 1), second=finalize(0, proposal_for(X))))
        ),
        lambda bench: (bench.show(nullification(2, (1, 2, 3))), bench.show(nullification(2, (0, 1, 2)))),
    ]
    for way in ways:
        bench = busy_bench()
        way(bench)
        assert bench.alarms == ["unknown_own_vote"]
        bench.fire(Timer.LEAD)
        assert bench.votes() == []
    forged = busy_bench()
    forged.receive(1, VoteMessage(vote=msgspec.structs.replace(nullify(0, 2), signature=bytes(64))))
    assert forged.alarms == []
    held = busy_bench()
    held.show(nullification(2, (1, 2, 3)))
    certificate = nullification(2, (0, 1, 2))
    (_, signature), *others = certificate.signatures
    held.show(msgspec.structs.replace(certificate, signatures=((0, bytes(64)), *others)))
    held.receive(
        1,
        EvidenceMessage(
            evidence=Evidence(
                first=msgspec.structs.replace(nullify(0, 1), signature=signature), second=finalize(0, proposal_for(X))
            )
        ),
    )
    assert held.alarms == []


def accused(bench: Bench) -> dict[int, Evidence]:
    found = {e.evidence.first.signer: e.evidence for e in bench.effects if isinstance(e, ReportEvidence)}
    for evidence in found.values():
        verify_evidence(CHAIN, EPOCH, evidence)
        assert evidence in bench.persisted()
    return found


def test_p5_9_a_signature_in_a_certificate_may_be_the_other_half_of_the_evidence() -> None:
    """A twin votes one way towards us, another way towards those who make the certificate."""
    other = block_on(GENESIS, 1, name="other")
    bench = busy_bench()
    bench.vote(notarize(3, proposal_for(other)))
    bench.show(notarization(X))
    assert accused(bench).keys() == {3}
    lawful = busy_bench()
    lawful.vote(notarize(3, proposal_for(X)))
    lawful.show(nullification(1))
    assert accused(lawful) == {}
    forged = busy_bench()
    forged.vote(msgspec.structs.replace(notarize(3, proposal_for(other)), signature=bytes(64)))
    forged.show(notarization(X))
    assert accused(forged) == {}
    finalizer = busy_bench()
    finalizer.vote(finalize(2, proposal_for(X)))
    finalizer.show(nullification(1))
    assert accused(finalizer).keys() == {2}


def test_p5_9_certificates_that_exclude_each_other_accuse_all_who_signed_both() -> None:
    bench = busy_bench()
    bench.show(finalization(block_on(GENESIS, 2), (0, 1, 2)))  # not held: a view that is open yet
    bench.show(nullification(2, (1, 2, 3)))
    assert accused(bench).keys() == {1, 2}


def test_certificates_that_exclude_each_other_stop_the_signing() -> None:
    bench = busy_bench()
    bench.show(finalization(X))
    bench.show(nullification(1))
    assert bench.alarms == ["contradiction"]
    other = busy_bench()
    other.show(notarization(X))
    other.show(notarization(block_on(GENESIS, 1, name="other")))
    assert other.alarms == ["contradiction"]


def test_a_store_that_fails_stops_the_signing() -> None:
    bench = busy_bench()
    bench.tell(StoreFailed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, reason="disk full"))
    assert bench.alarms == ["store_failed"]
    bench.receive(1, proposal_message(X))
    assert bench.votes() == []


def test_a_timer_that_fires_too_early_is_set_again() -> None:
    bench = busy_bench()
    due_ms = bench.timers[Timer.LEAD]
    early = TimerFired(now_ms=due_ms - 1, clock_ms=CLOCK_MS, name=Timer.LEAD)
    assert bench.tell(early) == [SetTimer(Timer.LEAD, due_ms)]
    assert bench.votes() == []
    bench.fire(Timer.LEAD)
    assert bench.votes() == [("nullify", 1)]
    bench.tell(early)
    assert bench.votes() == [("nullify", 1)], "cancelled since"


def test_a_check_that_met_a_fault_of_ours_is_tried_again() -> None:
    bench = Bench(0, check=False)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.tell(Checked(now_ms=bench.now_ms, clock_ms=CLOCK_MS, digest=X.digest, verdict="failed"))
    assert bench.votes() == []
    bench.fire(Timer.RECHECK)
    assert len([effect for effect in bench.effects if isinstance(effect, Check)]) == 2
    bench.checked(X)
    assert bench.votes() == [("notarize", 1)]


def test_an_observer_follows_and_never_signs() -> None:
    bench = Bench(None)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.vote(nullify(1, 1))
    bench.show(notarization(X))
    bench.show(finalization(X))
    assert bench.committed() == [X.digest]
    assert bench.votes() == []
    assert not bench.replica.busy


def test_blocks_that_lost_are_dropped_on_commit() -> None:
    lost = block_on(GENESIS, 1, name="lost")
    bench = busy_bench()
    bench.receive(1, proposal_message(lost))
    second = block_on(GENESIS, 2, name="second")
    bench.receive(2, proposal_message(second, nullifications=(nullification(1),)))
    bench.show(finalization(second))
    assert bench.committed() == [second.digest]
    assert [effect.digests for effect in bench.effects if isinstance(effect, Drop)] == [(lost.digest,)]


def test_p8_a_closing_block_is_proposed_again_until_final_and_ends_the_epoch() -> None:
    bench = Bench(2, check=False, commit=False)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.checked(X, closing=True)
    bench.show(notarization(X, (0, 1, 3)))
    assert bench.view == 2
    again = proposal_for(X, view=2, parent_view=1)
    sent = bench.sent(ProposalMessage)
    assert [(message.notarize.proposal, message.block) for message in sent] == [(again, None)]
    bench.show(certificate("notarization", 2, again, (0, 1, 3)))
    final = certificate("finalization", 2, again, (0, 1, 3))
    bench.show(final)
    commits = [effect for effect in bench.effects if isinstance(effect, Commit)]
    assert [(commit.block, commit.floor.view) for commit in commits] == [(X, 2)], "the certificate's view"
    keys = bench.replica.epoch.validators[1:]
    bench.tell(Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=1, digest=X.digest, validators=keys))
    status = bench.replica.status()
    assert (status.epoch, status.view, status.finalized_view, status.height) == (1, 1, 0, 1)
    assert bench.replica.own == 1, "its place in the new epoch"
    bench.forget()
    bench.receive(0, Status(epoch=0, view=2, entry=None, finalized_view=0, height=0, digest=GENESIS.digest))
    assert [message.certificate for message in bench.sent(CertificateMessage)] == [final], (
        "P8.3: view 0, sent to stragglers"
    )
    bench.pending(1)
    bench.fire(Timer.LEAD)
    assert [record.epoch for record in bench.persisted() if isinstance(record, Nullify)] == [1]


def test_p8_3_who_enters_an_epoch_tells_everybody_so_that_a_straggler_is_shown_the_next_closing_at_once() -> None:
    bench = closing_bench()
    keys = bench.replica.epoch.validators[1:]
    bench.tell(Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=1, digest=X.digest, validators=keys))
    assert [(status.epoch, status.view, status.height) for status in bench.sent(Status)] == [(1, 1, 1)]


def test_agreed_times_are_in_force_from_the_block_that_changes_them() -> None:
    bench = Bench(2, commit=False)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.show(notarization(X))
    bench.show(finalization(X))
    times = Parameters(heartbeat_s=3 * Parameters().heartbeat_s, lead_timeout_ms=77)
    bench.forget()
    bench.tell(Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=1, digest=X.digest, parameters=times))
    set_to = {effect.name: effect.at_ms for effect in bench.effects if isinstance(effect, SetTimer)}
    assert set_to[Timer.HEARTBEAT] == bench.now_ms + times.heartbeat_s * 1000
    bench.show(nullification(2))
    armed = {effect.name: effect.at_ms for effect in bench.effects if isinstance(effect, SetTimer)}
    assert armed[Timer.LEAD] - bench.now_ms in {times.lead_ms(views) for views in range(3)}, "of the next view"


def closing_bench() -> Bench:
    """Validator 2, asked to commit the closing block X; nothing of before is remembered."""
    bench = Bench(2, check=False, commit=False)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.checked(X, closing=True)
    bench.show(notarization(X, (0, 1, 3)))
    bench.show(finalization(X, (0, 1, 3)))
    bench.forget()
    return bench


def test_p8_2_nothing_is_signed_in_an_epoch_whose_closing_block_is_being_committed() -> None:
    bench = Bench(2, check=False, commit=False)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.checked(X, closing=True)
    bench.show(notarization(X, (0, 1, 3)))
    bench.show(finalization(X, (0, 1, 3)))
    assert bench.committed() == [X.digest], "its transaction, which ends the epoch, may be durable from here on"
    bench.forget()
    again = proposal_for(X, view=3, parent_view=1)
    bench.show(nullification(2, (0, 1, 3)))
    bench.receive(3, ProposalMessage(notarize=notarize(3, again), block=None, parent=notarization(X)))
    bench.fire(Timer.ADVANCE)
    assert bench.votes() == []


def test_p8_1_an_ordinary_block_is_not_proposed_again() -> None:
    bench = busy_bench()
    bench.receive(1, proposal_message(X))
    bench.show(notarization(X))
    again = proposal_for(X, view=2, parent_view=1)
    bench.receive(2, ProposalMessage(notarize=notarize(2, again), block=None, parent=notarization(X)))
    assert bench.votes()[-1] == ("nullify", 2)


def test_p8_1_nothing_is_built_on_a_closing_block() -> None:
    bench = Bench(0, check=False)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.checked(X, closing=True)
    bench.show(notarization(X))
    bench.receive(2, proposal_message(Y, parent=notarization(X)))
    assert bench.votes()[-1] == ("nullify", 2)
