"""Counting votes (P5.9): lazily verified, first valid one of each kind, conflicts become evidence."""

from typing import TypeVar

import msgspec
import pytest

from ledger.consensus import tally as tally_module
from ledger.consensus.certificates import verify_certificate, verify_evidence
from ledger.consensus.messages import Evidence, Finalize, Notarize, Nullify, Vote
from ledger.consensus.tally import Tally
from ledger.errors import PeerError, SignatureError
from ledger.signing import is_valid
from tests.ledger.consensus.kit import (
    CHAIN,
    EPOCH,
    GENESIS,
    block_on,
    finalize,
    notarization,
    notarize,
    nullification,
    nullify,
    proposal_for,
)

X = proposal_for(block_on(GENESIS, 1, name="X"))
Y = proposal_for(block_on(GENESIS, 1, name="Y"))


VoteT = TypeVar("VoteT", Notarize, Nullify, Finalize)


def forged(vote: VoteT) -> VoteT:
    return msgspec.structs.replace(vote, signature=bytes(64))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The signatures that were verified."""
    seen: list[bytes] = []

    def counting(public: bytes, message: bytes, signature: bytes) -> bool:
        seen.append(signature)
        return is_valid(public, message, signature)

    monkeypatch.setattr(tally_module, "is_valid", counting)
    return seen


def test_votes_are_verified_only_at_the_quorum(checks: list[bytes]) -> None:
    tally = Tally(CHAIN, EPOCH)
    assert tally.add(notarize(0, X), sender=None).certificate is None
    assert tally.add(notarize(1, X), sender=1).certificate is None
    assert checks == []
    counted = tally.add(notarize(2, X), sender=2)
    assert counted.certificate is not None
    verify_certificate(CHAIN, EPOCH, counted.certificate)
    assert [signer for signer, _ in counted.certificate.signatures] == [0, 1, 2]
    assert len(checks) == 2, "the own vote is known to be good"


def test_a_vote_that_fails_at_the_quorum_is_forgotten_and_charged() -> None:
    tally = Tally(CHAIN, EPOCH)
    tally.add(notarize(0, X), sender=None)
    tally.add(forged(notarize(1, X)), sender=1)
    counted = tally.add(notarize(2, X), sender=2)
    assert counted.certificate is None
    assert counted.failed == (1,)
    assert tally.add(notarize(1, X), sender=1).certificate is not None, "its true vote still counts"


def test_p5_9_a_vote_that_fails_where_another_of_its_signer_comes_is_charged() -> None:
    """Forged votes, each in the place of the one before, would be verified without end."""
    tally = Tally(CHAIN, EPOCH)
    votes = [msgspec.structs.replace(nullify(1, 1), signature=number.to_bytes(64)) for number in range(1, 6)]
    failed = [tally.add(vote, sender=1).failed for vote in votes]
    assert failed == [(), (1,), (1,), (1,), (1,)]
    assert tally.add(nullify(1, 1), sender=2).failed == (1,), (
        "the true one is relayed: the last forged one was the signer's"
    )
    assert tally.vote_of(1, "nullify", 1) == nullify(1, 1)


def test_a_relayed_vote_is_verified_at_once(checks: list[bytes]) -> None:
    tally = Tally(CHAIN, EPOCH)
    assert tally.add(forged(notarize(1, X)), sender=3).failed == (3,), "the relayer is charged, not the signer"
    assert tally.vote_of(1, "notarize", 1) is None
    tally.add(notarize(1, X), sender=3)
    assert tally.vote_of(1, "notarize", 1) is not None
    assert len(checks) == 2


def test_the_same_vote_twice_counts_once() -> None:
    tally = Tally(CHAIN, EPOCH)
    for _ in range(3):
        assert tally.add(nullify(1, 1), sender=1).certificate is None
    assert tally.add(nullify(2, 1), sender=2).certificate is None
    assert tally.add(nullify(3, 1), sender=3).certificate is not None


def test_votes_for_different_proposals_do_not_add_up() -> None:
    tally = Tally(CHAIN, EPOCH)
    tally.add(notarize(0, X), sender=None)
    tally.add(notarize(1, Y), sender=1)
    assert tally.add(notarize(2, X), sender=2).certificate is None
    counted = tally.add(notarize(3, X), sender=3)
    assert counted.certificate is not None
    assert counted.certificate.proposal == X


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (notarize(1, X), notarize(1, Y)),
        (finalize(1, X), finalize(1, Y)),
        (notarize(1, X), finalize(1, Y)),
        (nullify(1, 1), finalize(1, X)),
        (finalize(1, X), nullify(1, 1)),
    ],
)
def test_conflicting_votes_are_evidence(first: Vote, second: Vote) -> None:
    tally = Tally(CHAIN, EPOCH)
    assert tally.add(first, sender=1).evidence is None
    counted = tally.add(second, sender=1)
    assert counted.evidence == Evidence(first=first, second=second)
    verify_evidence(CHAIN, EPOCH, counted.evidence)


def test_notarize_with_nullify_and_with_its_own_finalize_is_lawful() -> None:
    tally = Tally(CHAIN, EPOCH)
    for vote in (notarize(1, X), nullify(1, 1)):
        assert tally.add(vote, sender=1).evidence is None
    other = Tally(CHAIN, EPOCH)
    for lawful in (notarize(1, X), finalize(1, X)):
        assert other.add(lawful, sender=1).evidence is None


def test_the_first_valid_vote_counts_even_after_a_forged_conflicting_one() -> None:
    tally = Tally(CHAIN, EPOCH)
    tally.add(forged(notarize(1, Y)), sender=1)
    counted = tally.add(notarize(1, X), sender=1)
    assert counted.evidence is None
    assert tally.vote_of(1, "notarize", 1) == notarize(1, X)
    assert tally.add(forged(notarize(1, Y)), sender=1).evidence is None
    assert tally.vote_of(1, "notarize", 1) == notarize(1, X)


def test_votes_near_the_current_view_are_counted_by_signer() -> None:
    tally = Tally(CHAIN, EPOCH)
    tally.add(nullify(1, 3), sender=1)
    tally.add(nullify(2, 5), sender=2)
    assert [tally.voters_at_or_above(view) for view in (3, 4, 5, 6)] == [2, 1, 1, 0]


def test_certificates_must_have_exactly_a_quorum_of_distinct_members_in_order() -> None:
    block = block_on(GENESIS, 1, name="X")
    good = notarization(block)
    verify_certificate(CHAIN, EPOCH, good)
    three = good.signatures
    bad = [
        three[:2],
        (*three, notarization(block, (0,)).signatures[0]),
        (three[0], three[0], three[1]),
        (three[1], three[0], three[2]),
        (three[0], three[1], (7, three[2][1])),
    ]
    for signatures in bad:
        with pytest.raises(PeerError):
            verify_certificate(CHAIN, EPOCH, msgspec.structs.replace(good, signatures=signatures))
    for changes in ({"kind": "nullification"}, {"epoch": 1}, {"view": 2}, {"proposal": None}):
        with pytest.raises(PeerError):
            verify_certificate(CHAIN, EPOCH, msgspec.structs.replace(good, **changes))
    with pytest.raises(SignatureError):
        verify_certificate(CHAIN, EPOCH, msgspec.structs.replace(good, kind="finalization"))
    with pytest.raises(SignatureError):
        verify_certificate(b"another".ljust(32), EPOCH, good)
    with pytest.raises(SignatureError):
        verify_certificate(CHAIN, EPOCH, msgspec.structs.replace(nullification(1), view=2))


def test_evidence_must_be_a_conflict_signed_by_one_member() -> None:
    first = notarize(1, X)
    lawful: list[Vote] = [nullify(1, 1), notarize(2, Y), notarize(1, X)]
    for second in lawful:
        with pytest.raises(PeerError):
            verify_evidence(CHAIN, EPOCH, Evidence(first=first, second=second))
    with pytest.raises(SignatureError):
        verify_evidence(CHAIN, EPOCH, Evidence(first=notarize(1, X), second=forged(notarize(1, Y))))


def test_a_tally_keeps_only_what_it_is_told_to() -> None:
    tally = Tally(CHAIN, EPOCH)
    for view in range(1, 10):
        tally.add(nullify(1, view), sender=1)
    tally.prune(8)
    assert tally.vote_of(7, "nullify", 1) is None
    assert tally.vote_of(8, "nullify", 1) is not None
    assert not isinstance(tally.vote_of(8, "nullify", 1), Notarize)
