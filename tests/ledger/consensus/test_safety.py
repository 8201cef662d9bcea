"""The signing guard, clause by clause (P4)."""

from ledger.consensus.effects import Effect, Persist
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate, Finalize, Notarize, Nullify, signed_bytes
from ledger.consensus.safety import Guard
from ledger.signing import SigningKey, verify
from tests.ledger.consensus.kit import (
    CHAIN,
    EPOCH,
    GENESIS,
    KEYS,
    block_on,
    notarization,
    nullification,
    proposal_for,
)

X = block_on(GENESIS, 5, name="X")
Y = block_on(GENESIS, 5, name="Y")


class Asked:
    """A guard and the effects of what was asked of it."""

    def __init__(self, *, floor_view: int = 0, key: SigningKey | None = KEYS[0]) -> None:
        self.guard = Guard(CHAIN, key, EPOCH, floor_view)
        self.effects: list[Effect] = []

    def notarize(self, block: object = X, current: int = 5) -> Notarize | None:
        assert block in (X, Y)
        chosen = X if block is X else Y
        return self.guard.notarize(proposal_for(chosen), current_view=current, effects=self.effects)

    def nullify(self, view: int = 5, current: int = 5) -> Nullify | None:
        return self.guard.nullify(view, current_view=current, effects=self.effects)

    def finalize(self, shown: Certificate | None = None, executed: bytes = X.digest) -> Finalize | None:
        return self.guard.finalize(shown or notarization(X), executed=executed, effects=self.effects)


def test_p4_1_nothing_at_or_below_the_floor() -> None:
    asked = Asked(floor_view=5)
    assert asked.notarize() is None
    assert asked.nullify() is None
    assert asked.finalize() is None
    assert asked.effects == []
    assert Asked(floor_view=4).notarize() is not None


def test_p4_1_nothing_at_or_below_a_floor_that_the_ledger_has_lost_since() -> None:
    asked = Asked(floor_view=3)
    asked.guard.signing_floor = (0, 5)
    assert (asked.notarize(), asked.nullify(), asked.finalize()) == (None, None, None)
    asked.guard.signing_floor = (1, 0)  # the ledger lost the end of an epoch: nothing more is signed in it
    assert (asked.notarize(), asked.nullify(), asked.finalize()) == (None, None, None)
    asked.guard.signing_floor = (0, 4)
    assert asked.notarize() is not None


def test_p3_4_votes_of_an_epoch_that_the_ledger_has_yet_to_reach_again_are_known_when_it_opens() -> None:
    asked = Asked()
    next_epoch = Epoch(number=1, validators=EPOCH.validators, opening_digest=CHAIN)
    other = Asked()
    other.guard.open_epoch(next_epoch, 0)
    cast = other.nullify()
    assert cast is not None
    asked.guard.load(cast)
    assert list(asked.guard.votes_above(0)) == []
    asked.guard.open_epoch(next_epoch, 0)
    assert asked.guard.vote(5, "nullify") == cast
    assert asked.nullify() is cast
    assert asked.effects == [], "the stored vote, not signed anew"


def test_p4_1_a_lost_floor_of_the_next_epoch_holds_when_that_epoch_opens_again() -> None:
    asked = Asked()
    asked.guard.signing_floor = (1, 5)
    asked.guard.open_epoch(Epoch(number=1, validators=EPOCH.validators, opening_digest=CHAIN), 0)
    assert asked.nullify(view=5, current=5) is None
    assert asked.nullify(view=6, current=6) is not None


def test_p4_1_a_floor_that_rises_closes_the_views_below() -> None:
    asked = Asked()
    asked.guard.raise_floor(5)
    asked.guard.raise_floor(3)
    assert asked.finalize() is None


def test_p4_1_no_other_epoch() -> None:
    asked = Asked()
    next_epoch = Epoch(number=1, validators=EPOCH.validators, opening_digest=CHAIN)
    asked.guard.open_epoch(next_epoch, 0)
    assert asked.notarize() is None
    assert asked.finalize() is None
    vote = asked.nullify()
    assert vote is not None
    assert vote.epoch == 1


def test_p4_1_notarize_and_nullify_only_in_the_current_view_finalize_in_any() -> None:
    asked = Asked()
    assert asked.notarize(current=6) is None
    assert asked.notarize(current=4) is None
    assert asked.nullify(view=5, current=6) is None
    assert asked.finalize() is not None


def test_p4_2_one_proposal_a_view_ever() -> None:
    asked = Asked()
    first = asked.notarize(X)
    assert asked.notarize(Y) is None
    assert asked.notarize(X) == first
    assert len(asked.effects) == 1, "asked again, the stored vote is returned and nothing is signed"


def test_p4_2_not_after_our_nullify_but_nullify_after_notarize() -> None:
    nullified = Asked()
    assert nullified.nullify() is not None
    assert nullified.notarize() is None
    notarized = Asked()
    assert notarized.notarize() is not None
    assert notarized.nullify() is not None


def test_p4_2_not_beside_a_finalize_of_another_proposal() -> None:
    asked = Asked()
    assert asked.finalize() is not None
    assert asked.notarize(Y) is None
    assert asked.notarize(X) is not None


def test_p4_3_no_nullify_after_finalize_and_only_once() -> None:
    finalized = Asked()
    assert finalized.finalize() is not None
    assert finalized.nullify() is None
    asked = Asked()
    assert asked.nullify() == asked.nullify()
    assert len(asked.effects) == 1


def test_p4_4_no_finalize_after_nullify_or_another_notarize() -> None:
    nullified = Asked()
    nullified.nullify()
    assert nullified.finalize() is None
    notarized = Asked()
    notarized.notarize(Y)
    assert notarized.finalize() is None


def test_p4_4_finalize_needs_the_notarization_and_the_executed_block() -> None:
    asked = Asked()
    assert asked.finalize(nullification(5)) is None
    assert asked.finalize(notarization(X), executed=Y.digest) is None
    assert asked.finalize(notarization(X), executed=b"") is None
    assert asked.finalize() is not None


def test_p4_5_a_granted_vote_is_persisted_and_signed_for_all_it_says() -> None:
    asked = Asked()
    votes = [asked.notarize(), asked.finalize()]
    assert asked.effects == [Persist(vote) for vote in votes if vote is not None]
    assert len(asked.effects) == 2
    for vote in votes:
        assert vote is not None
        verify(KEYS[0].public, signed_bytes(CHAIN, vote), vote.signature)


def test_a_stopped_guard_and_an_observer_sign_nothing() -> None:
    stopped = Asked()
    stopped.guard.stop("why")
    observer = Asked(key=None)
    stranger = Asked(key=SigningKey(bytes(32)))
    for asked in (stopped, observer, stranger):
        assert asked.notarize() is None
        assert asked.nullify() is None
        assert asked.finalize() is None
        assert asked.effects == []


def test_p3_4_loaded_votes_bind_as_signed_ones() -> None:
    before = Asked()
    vote = before.notarize()
    assert vote is not None
    after = Asked()
    after.guard.load(vote)
    assert after.notarize(Y) is None
    assert after.notarize(X) == vote
    assert after.effects == []
    below = Asked(floor_view=5)
    below.guard.load(vote)
    assert list(below.guard.votes_above(0)) == []
