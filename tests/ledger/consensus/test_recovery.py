"""P7.5 clause by clause: a validator that may have lost votes, on the bench (n = 4, it is validator 0)."""

import msgspec
import pytest

from ledger.block import Block
from ledger.consensus.durable import Durable
from ledger.consensus.effects import Broadcast, Charge, Effect, Persist, Send, Timer, VotesSuspected, VotesTrusted
from ledger.consensus.epoch import Epoch
from ledger.consensus.inputs import BlocksFetched, Committed, EarlierLife, PeerConnected, Started
from ledger.consensus.messages import (
    Certificate,
    CertificateMessage,
    EntryAnswer,
    EntryRequest,
    Nullify,
    Page,
    Proposal,
    VoteMessage,
    vote_bytes,
)
from ledger.consensus.parameters import Parameters
from ledger.consensus.recovery import RecoveryStatus
from ledger.consensus.replica import Replica
from ledger.limits import ENTRY_ANSWERS_PER_INTERVAL, ENTRY_NONCE_BYTES
from tests.ledger.consensus.kit import (
    CHAIN,
    CLOCK_MS,
    GENESIS,
    KEYS,
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

ONE = block_on(GENESIS, 1)
TWO = block_on(ONE, 2)
THREE = block_on(TWO, 3)
FOUR = block_on(THREE, 4)
FIVE = block_on(FOUR, 5)
OTHER_NONCE = bytes([7]) * ENTRY_NONCE_BYTES


def suspect_bench(own: int | None = 0) -> Bench:
    bench = Bench(own, votes_suspect=True)
    bench.pending(1)
    return bench


def answer(bench: Bench, sender: int, entry: Certificate | None, *, nonce: bytes = NONCE, epoch: int = 0) -> None:
    bench.receive(sender, EntryAnswer(epoch=epoch, nonce=nonce, entry=entry))


def recovery(bench: Bench) -> RecoveryStatus:
    status = bench.replica.recovery
    assert status is not None
    return status


def make_final(bench: Bench, block: Block) -> None:
    """The others propose a block, and finalize it."""
    bench.receive(block.header.view % 4, proposal_message(block))
    bench.show(finalization(block))
    assert block.digest in bench.committed()


def trusted(bench: Bench) -> bool:
    return any(isinstance(effect, VotesTrusted) for effect in bench.effects)


def recovered_bench() -> Bench:
    """The others were in view 2; views 1 to 3 are final."""
    bench = suspect_bench()
    for sender in (1, 2, 3):
        answer(bench, sender, notarization(ONE))
    for block in (ONE, TWO, THREE):
        make_final(bench, block)
    return bench


def test_it_signs_nothing_follows_and_says_so() -> None:
    bench = suspect_bench()
    assert bench.alarms == ["votes_suspect"]
    assert recovery(bench) == RecoveryStatus(possible=True, answers=0, needed=3, bar=0, floor_view=0)
    bench.receive(1, proposal_message(ONE))
    bench.fire(Timer.ADVANCE)
    bench.show(notarization(ONE))
    bench.show(finalization(ONE))
    bench.show(nullification(2))
    bench.show(nullification(3))  # view 4 is ours to lead
    assert bench.committed() == [ONE.digest], "it follows"
    assert bench.votes() == []
    assert bench.replica.stopped == ""


def test_every_other_validator_is_asked_until_it_answers_and_when_its_link_comes_up() -> None:
    bench = suspect_bench()
    assert [e.to for e in bench.effects if isinstance(e, Send) and isinstance(e.message, EntryRequest)] == [1, 2, 3]
    assert bench.sent(EntryRequest)[0] == EntryRequest(epoch=0, nonce=NONCE)
    answer(bench, 2, None)
    bench.forget()
    bench.fire(Timer.RECOVERY)
    assert [e.to for e in bench.effects if isinstance(e, Send) and isinstance(e.message, EntryRequest)] == [1, 3]
    bench.forget()
    for peer in (1, 2, -1):
        bench.tell(PeerConnected(now_ms=bench.now_ms, clock_ms=CLOCK_MS, sender=peer))
    assert [e.to for e in bench.effects if isinstance(e, Send) and isinstance(e.message, EntryRequest)] == [1]
    answer(bench, 1, None)
    answer(bench, 3, None)
    assert not bench.timer_is_set(Timer.RECOVERY)


def test_the_bar_is_the_highest_view_that_n_minus_f_others_prove() -> None:
    bench = suspect_bench()
    answer(bench, 1, None)
    answer(bench, 2, nullification(7))
    assert recovery(bench).bar == 0
    answer(bench, 3, notarization(ONE))
    assert recovery(bench) == RecoveryStatus(possible=True, answers=3, needed=3, bar=8, floor_view=0)
    assert bench.view == 8, "and the certificate carries it there"


def test_answers_that_do_not_count() -> None:
    """Replayed, of another epoch, a second one of one validator, of an observer, our own, unproved."""
    bench = suspect_bench()
    answer(bench, 1, notarization(ONE), nonce=OTHER_NONCE)
    answer(bench, 1, None, epoch=1)
    answer(bench, -1, None)
    answer(bench, 0, None)
    answer(bench, 2, nullification(5))
    answer(bench, 2, nullification(6))
    answer(bench, 2, None)
    assert recovery(bench).answers == 1
    assert not [effect for effect in bench.effects if isinstance(effect, Charge)], "a late answer is nobody's fault"
    forged = msgspec.structs.replace(nullification(9), signatures=tuple((signer, bytes(64)) for signer in (1, 2, 3)))
    few = msgspec.structs.replace(nullification(9), signatures=nullification(9).signatures[:2])
    other = msgspec.structs.replace(nullification(9), epoch=1)
    for entry in (forged, few, other):
        answer(bench, 3, entry)
    assert recovery(bench).answers == 1
    charges = [effect for effect in bench.effects if isinstance(effect, Charge)]
    assert [(charge.sender, charge.code) for charge in charges] == [(3, "bad_entry")] * 3


def test_a_certificate_at_or_below_the_floor_is_verified_too() -> None:
    bench = Bench(0)
    bench.pending(1)
    make_final(bench, ONE)
    again = Bench(0, durable=Durable(floor=bench.floor, records=bench.image.records()), votes_suspect=True)
    forged = msgspec.structs.replace(finalization(ONE), signatures=tuple((signer, bytes(64)) for signer in (1, 2, 3)))
    answer(again, 1, forged)
    assert recovery(again).answers == 0


def test_once_enough_have_answered_the_bar_stays() -> None:
    """Else it could run away from a ledger under load."""
    bench = suspect_bench()
    for sender in (1, 2, 3):
        answer(bench, sender, None)
    answer(bench, 1, nullification(50))
    assert recovery(bench).bar == 1


def test_it_is_trusted_after_a_finalization_above_the_bar_was_committed_not_before() -> None:
    bench = suspect_bench()
    for block in (ONE, TWO):
        make_final(bench, block)
    for sender in (1, 2, 3):
        answer(bench, sender, finalization(TWO))
    assert recovery(bench).bar == 3
    make_final(bench, THREE)
    assert not trusted(bench), "a finalization at the bar is not above it"
    bench.commit = False
    bench.receive(0, proposal_message(FOUR))
    bench.show(finalization(FOUR))
    assert not trusted(bench), "known to be final is not yet committed"
    assert bench.votes_suspect
    bench.tell(Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=4, digest=FOUR.digest))
    assert trusted(bench)
    assert not bench.votes_suspect
    assert bench.replica.recovery is None
    bench.receive(1, proposal_message(FIVE, parent=finalization(FOUR)))
    assert bench.votes() == [("notarize", 5)]


def test_finalizations_without_answers_are_not_enough() -> None:
    bench = suspect_bench()
    for block in (ONE, TWO, THREE, FOUR):
        make_final(bench, block)
    answer(bench, 1, None)
    answer(bench, 2, None)
    assert not trusted(bench)
    answer(bench, 3, finalization(TWO))
    assert not trusted(bench), "nor answers, until something is committed after them"
    make_final(bench, FIVE)
    assert trusted(bench)


def test_that_it_is_trusted_is_durable_before_any_vote() -> None:
    bench = recovered_bench()
    bench.show(nullification(4))
    bench.receive(
        1, proposal_message(block_on(THREE, 5), parent=finalization(THREE), nullifications=(nullification(4),))
    )
    assert bench.votes()[0] == ("notarize", 5)
    order = [
        type(effect).__name__
        for effect in bench.effects
        if isinstance(effect, VotesTrusted)
        or (isinstance(effect, Persist) and isinstance(effect.record, type(notarize(0, proposal_for(ONE)))))
        or (isinstance(effect, Broadcast) and isinstance(effect.message, VoteMessage))
    ]
    assert order[:3] == ["VotesTrusted", "Persist", "Broadcast"]


def test_once_trusted_it_waits_for_the_leader_anew_though_its_timers_ran_out_while_it_signed_nothing() -> None:
    """The others may need its nullify: they lost one of them while it caught up, and have left the view to no avail."""
    bench = suspect_bench()
    for sender in (1, 2, 3):
        answer(bench, sender, notarization(ONE))
    bench.commit = False
    for block in (ONE, TWO, THREE):
        bench.receive(block.header.view % 4, proposal_message(block))
        bench.show(finalization(block))
    assert bench.view == 4
    bench.show(nullification(4))  # our own turn
    bench.fire(Timer.LEAD)
    bench.fire(Timer.ADVANCE)
    assert bench.votes() == []
    for block in (ONE, TWO, THREE):
        bench.tell(Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=block.header.height, digest=block.digest))
    assert trusted(bench)
    assert bench.replica.busy
    bench.fire(Timer.LEAD)
    assert bench.votes() == [("nullify", 5)]


def test_after_it_a_restart_is_an_ordinary_one() -> None:
    again = recovered_bench().restart()
    assert again.alarms == []
    assert again.replica.recovery is None
    again.pending(1)
    again.fire(Timer.LEAD)
    assert again.votes() == [("nullify", 4)]


def test_a_crash_before_it_begins_anew_with_another_nonce() -> None:
    bench = suspect_bench()
    for sender in (1, 2, 3):
        answer(bench, sender, None)
    make_final(bench, ONE)
    again = bench.restart()
    assert again.alarms == ["votes_suspect"]
    [asked] = {request.nonce for request in again.sent(EntryRequest)}
    assert asked != NONCE
    for sender in (1, 2, 3):
        answer(again, sender, None)
    assert recovery(again).answers == 0, "answers to the start before"


def test_lost_votes_are_remembered_before_anything_that_hides_the_loss() -> None:
    """The finalizations that come while it follows would make the table look whole to the next start."""
    floor = msgspec.structs.replace(GENESIS, view=1, height=1, digest=ONE.digest, seal_hash=ONE.seal_hash)
    bench = Bench(0, durable=Durable(floor=msgspec.structs.replace(floor, time_ms=ONE.header.time)))
    assert bench.alarms == ["votes_lost"]
    bench.pending(1)
    make_final(bench, TWO)
    kept = [effect for effect in bench.effects if isinstance(effect, VotesSuspected | Persist)]
    assert isinstance(kept[0], VotesSuspected)
    again = bench.restart()
    assert again.alarms == ["votes_suspect"]
    again.pending(1)
    again.fire(Timer.LEAD)
    assert again.votes() == []


def test_own_old_votes_shown_meanwhile_are_no_alarm_and_raise_what_the_floor_must_reach() -> None:
    bench = suspect_bench()
    bench.receive(1, VoteMessage(vote=nullify(0, 4)))
    bench.receive(2, Page(certificates=(notarization(THREE, (0, 1, 2)),)))
    assert bench.alarms == ["votes_suspect"]
    for sender in (1, 2, 3):
        answer(bench, sender, None)
    for block in (ONE, TWO, THREE):
        make_final(bench, block)
    assert not trusted(bench), "above the bar, but not at our vote"
    make_final(bench, FOUR)
    assert trusted(bench)
    bench.receive(1, VoteMessage(vote=nullify(0, 4)))
    assert bench.alarms == ["votes_suspect"]
    bench.receive(1, VoteMessage(vote=nullify(0, 9)))
    assert bench.alarms == ["votes_suspect", "unknown_own_vote"], "but now somebody else has the key"


def test_an_own_vote_in_a_page_of_fetched_blocks_is_looked_at() -> None:
    """A node that began empty, and could ask nobody, is shown on its way that it did not begin then."""

    def fetched(bench: Bench, signers: tuple[int, ...], *, final: Certificate | None = None) -> None:
        blocks = tuple((block, final or finalization(block, signers)) for block in (ONE, TWO))
        bench.tell(BlocksFetched(now_ms=bench.now_ms, clock_ms=CLOCK_MS, sender=1, first_height=1, blocks=blocks))

    bench = Bench(0)
    fetched(bench, (1, 2, 3))
    assert bench.alarms == []
    bench = Bench(0)
    fetched(bench, (0, 1, 2))
    assert bench.alarms == ["unknown_own_vote"]
    assert bench.votes_suspect, "durably"
    lost = suspect_bench()
    fetched(lost, (0, 1, 2))
    assert lost.alarms == ["votes_suspect"]
    forged = Bench(0)
    good = finalization(TWO, (0, 1, 2))
    _, *others = good.signatures
    fetched(forged, (), final=msgspec.structs.replace(good, signatures=((0, bytes(64)), *others)))
    assert forged.alarms == []
    proposal = msgspec.structs.replace(proposal_for(TWO), epoch=1)
    ours = KEYS[0].sign(vote_bytes(CHAIN, "finalize", 1, 2, proposal))
    for epoch in (0, 1):
        other = Bench(0)
        fetched(
            other,
            (),
            final=msgspec.structs.replace(good, epoch=epoch, proposal=proposal, signatures=((0, ours), *others)),
        )
        assert other.alarms == [], "a vote of another epoch says nothing of this one's"


def test_an_unknown_own_vote_stops_until_a_restart_which_recovers() -> None:
    bench = Bench(0)
    bench.pending(1)
    bench.receive(1, VoteMessage(vote=nullify(0, 2)))
    assert bench.alarms == ["unknown_own_vote"]
    assert bench.replica.stopped == "unknown_own_vote"
    assert bench.votes_suspect, "durably"
    assert bench.sent(EntryRequest) == [], "an operator is to look first whether the key is used twice"
    for sender in (1, 2, 3):
        answer(bench, sender, None)
    for block in (ONE, TWO, THREE):
        make_final(bench, block)
    assert not trusted(bench)
    again = bench.restart()
    assert again.sent(EntryRequest)
    assert again.alarms == ["votes_suspect"]


def test_an_older_copy_of_the_votes_is_used_as_far_as_it_goes() -> None:
    bench = Bench(0)
    bench.pending(1)
    bench.fire(Timer.LEAD)
    stored = bench.voted(Nullify)
    older = Bench(0, durable=Durable(floor=GENESIS, records=bench.image.records()), votes_suspect=True)
    older.pending(1)
    older.vote(nullify(1, 1))
    older.vote(nullify(2, 1))
    assert older.view == 2, "its own stored vote counts"
    assert older.sent(CertificateMessage)[0].certificate.signatures[0] == (0, stored[0].signature)
    assert older.votes() == []


def requests_answered(bench: Bench) -> list[EntryAnswer]:
    return bench.sent(EntryAnswer)


def test_an_asked_validator_shows_its_highest_certificate_of_any_kind() -> None:
    """A notarization counts even before its block is held: after a restart the view may lag behind the votes."""
    bench = Bench(0)
    bench.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    bench.show(nullification(1))
    bench.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    bench.show(notarization(block_on(GENESIS, 2)))
    bench.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    assert bench.view == 2
    entries = [message.entry for message in requests_answered(bench)]
    assert entries == [None, nullification(1), notarization(block_on(GENESIS, 2))]
    assert all(message.nonce == OTHER_NONCE for message in requests_answered(bench))
    final = Bench(0)
    final.pending(1)
    make_final(final, ONE)
    final.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    assert [message.entry for message in requests_answered(final)] == [finalization(ONE)], "also at the floor"


def test_the_certificate_shown_is_durable() -> None:
    bench = Bench(0)
    bench.show(nullification(1))
    effects = bench.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    assert nullification(1) in bench.persisted()
    assert [effect for effect in effects if isinstance(effect, Send)]


def test_who_is_asked_in_vain() -> None:
    """Who may have lost certificates itself, an observer; in another epoch; and nobody answers a non-member."""
    for bench in (suspect_bench(), Bench(None)):
        bench.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
        assert requests_answered(bench) == []
    whole = Bench(0)
    whole.receive(2, EntryRequest(epoch=1, nonce=OTHER_NONCE))
    whole.receive(-3, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    assert requests_answered(whole) == []


def test_asking_again_and_again_is_charged_and_not_answered() -> None:
    bench = Bench(0)
    for _ in range(ENTRY_ANSWERS_PER_INTERVAL + 3):
        bench.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    assert len(requests_answered(bench)) == ENTRY_ANSWERS_PER_INTERVAL
    charges = [effect for effect in bench.effects if isinstance(effect, Charge)]
    assert [(charge.sender, charge.code) for charge in charges] == [(2, "entry_requests")] * 3
    bench.receive(1, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    bench.now_ms += Parameters().retry_ms
    bench.receive(2, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    assert len(requests_answered(bench)) == ENTRY_ANSWERS_PER_INTERVAL + 2


def test_an_observer_has_nothing_to_recover() -> None:
    bench = suspect_bench(None)
    assert bench.alarms == []
    assert bench.replica.recovery is None
    assert bench.sent(EntryRequest) == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_where_no_fault_is_tolerated_only_a_new_key_helps(size: int) -> None:
    replica = Replica.restore(
        chain=CHAIN,
        key=KEYS[0],
        epoch=Epoch(number=0, validators=tuple(key.public for key in KEYS[:size]), opening_digest=CHAIN),
        parameters=Parameters(),
        durable=Durable(floor=GENESIS),
        nonce=NONCE,
        votes_suspect=True,
    )
    effects: list[Effect] = replica.step(Started(now_ms=0, clock_ms=CLOCK_MS))
    assert not [e for e in effects if isinstance(e, Send) and isinstance(e.message, EntryRequest)]
    assert replica.recovery is not None
    assert not replica.recovery.possible


def test_an_epoch_that_opens_meanwhile_is_recovered_in_anew() -> None:
    """It may have voted in that one, too, before the loss."""
    bench = suspect_bench()
    for sender in (1, 2, 3):
        answer(bench, sender, None)
    make_final(bench, ONE)
    bench.commit = False
    bench.receive(2, proposal_message(TWO))
    bench.show(finalization(TWO))
    bench.forget()
    keys = tuple(key.public for key in KEYS)
    bench.tell(Committed(now_ms=bench.now_ms, clock_ms=CLOCK_MS, height=2, digest=TWO.digest, validators=keys))
    assert not trusted(bench), "view 2 is above the bar, but it ends the epoch"
    assert bench.alarms == ["votes_suspect"], "said again"
    assert set(bench.sent(EntryRequest)) == {EntryRequest(epoch=1, nonce=NONCE)}
    assert recovery(bench) == RecoveryStatus(possible=True, answers=0, needed=3, bar=0, floor_view=0)
    answer(bench, 1, None, epoch=0)
    assert recovery(bench).answers == 0
    answer(bench, 1, None, epoch=1)
    assert recovery(bench).answers == 1


def test_an_epoch_without_its_closing_finalization_shows_that_votes_are_lost() -> None:
    floor = msgspec.structs.replace(GENESIS, epoch=1)
    epoch = Epoch(number=1, validators=tuple(key.public for key in KEYS), opening_digest=bytes(32))

    def started(durable: Durable) -> Replica:
        replica = Replica.restore(
            chain=CHAIN, key=KEYS[0], epoch=epoch, parameters=Parameters(), durable=durable, nonce=NONCE
        )
        replica.step(Started(now_ms=0, clock_ms=CLOCK_MS))
        return replica

    assert started(Durable(floor=floor)).recovery is not None
    assert started(Durable(floor=floor, records=(finalization(ONE),))).recovery is None
    proposal = Proposal(epoch=1, view=5, parent_view=4, digest=ONE.digest)
    message = vote_bytes(CHAIN, "finalize", 1, 5, proposal)
    final = Certificate(
        kind="finalization",
        epoch=1,
        view=5,
        proposal=proposal,
        signatures=tuple((signer, KEYS[signer].sign(message)) for signer in (1, 2, 3)),
    )
    later = msgspec.structs.replace(floor, view=5)
    assert started(Durable(floor=later)).recovery is not None
    assert started(Durable(floor=later, records=(final,))).recovery is None, (
        "who came, or came to be trusted again, amid an epoch: else every restart would silence it anew, and two at once "
        "would wait for each other for ever"
    )


def test_a_vote_of_ours_that_completes_a_certificate_meanwhile_still_counts() -> None:
    bench = suspect_bench()
    bench.vote(finalize(0, proposal_for(ONE)))
    bench.receive(1, proposal_message(ONE))
    bench.vote(finalize(1, proposal_for(ONE)))
    bench.vote(finalize(2, proposal_for(ONE)))
    assert bench.committed() == [ONE.digest]


# --- a validator that began empty, and could ask nobody ----------------------------------------------------------------


def unasked_bench(own: int | None = 0) -> Bench:
    bench = Bench(own, votes_unasked=True)
    bench.pending(1)
    return bench


def told(bench: Bench, *, may_have_voted: bool) -> None:
    bench.tell(EarlierLife(now_ms=bench.now_ms, clock_ms=CLOCK_MS, may_have_voted=may_have_voted))


def test_unasked_it_signs_nothing_answers_nobody_and_raises_no_alarm() -> None:
    bench = unasked_bench()
    bench.receive(1, proposal_message(ONE))
    bench.fire(Timer.ADVANCE)
    bench.receive(1, EntryRequest(epoch=0, nonce=OTHER_NONCE))
    assert (bench.votes(), bench.alarms, bench.sent(EntryAnswer)) == ([], [], [])
    assert recovery(bench).unasked


def test_told_that_it_is_new_it_votes_in_the_view_under_way() -> None:
    bench = unasked_bench()
    bench.fire(Timer.LEAD)
    bench.receive(1, proposal_message(ONE))
    told(bench, may_have_voted=False)
    assert bench.replica.recovery is None
    assert not bench.votes_suspect, "durably"
    assert bench.votes() == [("notarize", 1)]
    assert not bench.timer_is_set(Timer.RECOVERY)
    told(bench, may_have_voted=True)
    assert bench.replica.recovery is None, "it is told once"


def test_told_that_it_may_have_voted_it_is_one_that_lost_its_votes() -> None:
    bench = unasked_bench()
    bench.receive(1, proposal_message(ONE))
    told(bench, may_have_voted=True)
    assert bench.votes_suspect
    assert bench.alarms == ["votes_lost"]
    assert recovery(bench) == RecoveryStatus(possible=True, answers=0, needed=3, bar=0, floor_view=0)
    told(bench, may_have_voted=False)
    assert (bench.votes(), recovery(bench).unasked) == ([], False)
    for sender in (1, 2, 3):
        answer(bench, sender, notarization(ONE))
    for block in (ONE, TWO, THREE):
        make_final(bench, block)
    assert trusted(bench)


def test_a_vote_of_its_own_that_turns_up_says_more_than_who_calls_it_new() -> None:
    bench = unasked_bench()
    bench.show(finalization(ONE, (0, 1, 2)))
    assert not recovery(bench).unasked
    assert any(isinstance(effect, VotesSuspected) for effect in bench.effects), "a restart must not ask again"
    told(bench, may_have_voted=False)
    assert bench.replica.recovery is not None
    assert bench.votes() == []


def test_answers_and_a_finalization_above_the_bar_end_it_too() -> None:
    bench = unasked_bench()
    for sender in (1, 2, 3):
        answer(bench, sender, None)
    for block in (ONE, TWO):
        make_final(bench, block)
    assert trusted(bench)
    assert bench.replica.recovery is None
    told(bench, may_have_voted=True)
    assert bench.replica.recovery is None


def test_an_unasked_observer_is_silent_anyway_and_votes_when_told_in_an_epoch_that_it_joins() -> None:
    bench = unasked_bench(None)
    assert (bench.replica.recovery, bench.replica.unasked) == (None, True)
    told(bench, may_have_voted=False)
    assert not bench.votes_suspect
    assert not bench.replica.unasked
