"""Cosignatures: which count, which never do, and notes that the policy accepts."""

import msgspec
import pytest

from ledger.checkpoint import Checkpoint, Cosigner
from ledger.errors import VerificationError
from ledger.limits import COSIGNATURE_SIZES
from ledger.state.model import ValidatorsDoc
from ledger.state.validators import validator_of
from ledger.succession import policy_of
from node.cosigning import Cosigning, Verdict, decode_cosignature, encode_cosignature
from node.membership import Members
from node.peers.wire import Cosignature
from tests.node.cluster import keys_of
from tests.node.execution.engine import HandClock
from tests.toyledger import toy_policy
from tests.world import GENESIS, ORIGIN, build_agency, key_named

PARTIES = [agency.party for agency in GENESIS.agencies]
ROOT, OTHER = bytes([1]) * 32, bytes([2]) * 32


def cosigning(party: str = PARTIES[0]) -> Cosigning:
    return Cosigning(ORIGIN, keys_of(party), HandClock(), Members.of_genesis(GENESIS))


def cosignature(signer: int, size: int, root: bytes = ROOT, *, key: str | None = None) -> Cosignature:
    """Validator `signer`'s, made apart from the code under test."""
    party = PARTIES[signer]
    maker = Cosigner(f"{ORIGIN}/{party}", key_named(f"{key or party} cosigner"))
    line = maker.sign(Checkpoint(origin=ORIGIN, size=size, root=root).text, time_s=1_700_000_000 + size)
    return Cosignature(signer=signer, size=size, root=root, time_s=1_700_000_000 + size, signature=line.signature[8:])


def commit(node: Cosigning, size: int, root: bytes = ROOT) -> list[int]:
    """The log reaches a size; whose early cosignatures count from then on."""
    counted = node.committed(height=size // 2, size=size, root=root, own=node.cosign(size, root))
    return [item.signer for item in counted]


def test_a_checkpoint_counts_when_a_quorum_cosigned_the_root_of_this_log() -> None:
    node = cosigning()
    assert commit(node, 4) == []
    assert node.newest is None
    assert node.receive(cosignature(1, 4)) == "counted"
    assert node.receive(cosignature(1, 4)) == "known"
    assert node.newest is None
    assert node.receive(cosignature(2, 4)) == "counted"
    assert node.newest is not None
    assert (node.newest.size, node.newest.height, node.newest.root) == (4, 2, ROOT)
    assert node.receive(cosignature(3, 4)) == "counted"
    assert len(node.newest.cosignatures) == 4


def test_notes_are_what_the_policy_accepts() -> None:
    node, policy = cosigning(PARTIES[2]), toy_policy()
    commit(node, 6)
    for signer in (3, 1, 0):
        node.receive(cosignature(signer, 6))
    assert node.newest is not None
    note = node.note(node.newest)
    verified = policy.verify_checkpoint(note)
    assert verified.checkpoint == Checkpoint(origin=ORIGIN, size=6, root=ROOT)
    assert len(verified.cosignatures) == 4
    assert node.evidence_note(node.newest) == policy.minimal(note)


def test_cosignatures_sent_ahead_of_us_count_once_we_are_there() -> None:
    node = cosigning()
    commit(node, 2)
    assert node.receive(cosignature(1, 8)) == "early"
    assert node.receive(cosignature(1, 8)) == "known"
    assert node.receive(cosignature(2, 8)) == "early"
    assert node.receive(cosignature(3, 8, OTHER)) == "early"
    assert commit(node, 8) == [1, 2]
    assert node.newest is not None
    assert [item.signer for item in node.newest.cosignatures] == [0, 1, 2]


def test_another_root_is_a_fork_and_never_counts() -> None:
    node = cosigning()
    commit(node, 4)
    verdicts: list[Verdict] = [node.receive(cosignature(signer, 4, OTHER)) for signer in (1, 2, 3)]
    assert verdicts == ["fork"] * 3
    assert node.newest is None


def test_what_does_not_verify_is_refused() -> None:
    node = cosigning()
    commit(node, 4)
    good = cosignature(1, 4)
    for bad in (
        cosignature(1, 4, key="police"),
        Cosignature(signer=2, size=4, root=ROOT, time_s=good.time_s, signature=good.signature),
        Cosignature(signer=1, size=4, root=ROOT, time_s=good.time_s + 1, signature=good.signature),
        Cosignature(signer=1, size=6, root=ROOT, time_s=good.time_s, signature=good.signature),
        Cosignature(signer=17, size=4, root=ROOT, time_s=good.time_s, signature=good.signature),
    ):
        with pytest.raises(VerificationError) as caught:
            node.receive(bad)
        assert caught.value.code == "bad_cosignature"
    assert node.newest is None


def test_sizes_of_no_block_and_old_ones_are_not_kept() -> None:
    node = cosigning()
    for size in range(2, 2 * COSIGNATURE_SIZES + 12, 2):
        commit(node, size)
    assert node.oldest_size == 12
    assert node.receive(cosignature(1, 4)) == "stale"
    assert node.receive(cosignature(1, 2 * COSIGNATURE_SIZES + 5)) == "stale"


def test_a_peer_can_fill_only_its_own_room_with_sizes_to_come() -> None:
    node = cosigning()
    commit(node, 2)
    for size in range(1_000, 1_000 + COSIGNATURE_SIZES + 10):
        node.receive(cosignature(1, size))
    assert node.receive(cosignature(1, 500)) == "stale"
    assert node.receive(cosignature(2, 4)) == "early"
    assert node.receive(cosignature(3, 6)) == "early"
    assert node.receive(cosignature(3, 4)) == "early"  # out of order
    assert sorted(commit(node, 4)) == [2, 3]
    assert node.newest is not None


def test_an_older_quorum_does_not_replace_a_newer_one() -> None:
    node = cosigning()
    commit(node, 2)
    commit(node, 4)
    for signer in (1, 2):
        node.receive(cosignature(signer, 4))
    for signer in (1, 2, 3):
        node.receive(cosignature(signer, 2))
    assert node.newest is not None
    assert node.newest.size == 4


def test_stored_cosignatures_are_taken_up_again() -> None:
    node = cosigning()
    own = node.cosign(4, ROOT)
    assert own is not None
    again = cosigning()
    again.committed(height=2, size=4, root=ROOT, own=own)
    stored = [encode_cosignature(cosignature(signer, 4)) for signer in (1, 3)]
    again.load([*map(decode_cosignature, stored), cosignature(2, 4, OTHER), cosignature(2, 9)])
    assert again.newest is not None
    assert [item.signer for item in again.newest.cosignatures] == [0, 1, 3]
    assert again.own_newest() == decode_cosignature(own)


# --- across epochs ------------------------------------------------------------------------------------------------------

FIVE = ("coast", *PARTIES)


def members(epoch: int, *parties: str) -> Members:
    agencies = tuple(validator_of(build_agency(party)) for party in parties)
    return Members.of_document(ValidatorsDoc(epoch=epoch, members=agencies), bytes(32))


def later(epoch: int, party: str, parties: tuple[str, ...], size: int, root: bytes = ROOT) -> Cosignature:
    """A validator's of a later epoch, with its log key's signature."""
    plain = Checkpoint(origin=ORIGIN, size=size, root=root)
    line = Cosigner(f"{ORIGIN}/{party}", key_named(f"{party} cosigner")).sign(plain.text, time_s=1_700_000_000)
    return Cosignature(
        signer=parties.index(party),
        size=size,
        root=root,
        time_s=1_700_000_000,
        signature=line.signature[8:],
        epoch=epoch,
        log_signature=key_named(f"{party} log").sign(plain.text),
    )


def close_epoch(node: Cosigning, size: int) -> None:
    """The log reaches a size at which the first epoch closes; five validators follow."""
    node.committed(height=size // 2, size=size, root=ROOT, own=node.cosign(size, ROOT), closing=True)
    node.open_epoch(members(1, *FIVE))


def test_a_closing_size_is_cosigned_by_those_it_sends_away_and_the_next_by_those_who_come() -> None:
    node = cosigning()
    close_epoch(node, 4)
    assert (node.is_closing(4), node.missing(), node.closings()) == (True, (4,), ())
    with pytest.raises(VerificationError):
        node.receive(later(0, "police", FIVE, 4))
    with pytest.raises(VerificationError):
        node.receive(later(1, "coast", FIVE, 4))  # true, and of no use: nobody of the next epoch closes this one
    assert [node.receive(cosignature(signer, 4)) for signer in (1, 2)] == ["counted", "counted"]
    assert node.missing() == ()
    [closing] = node.closings()
    assert (closing.epoch, closing.size) == (0, 4)
    commit(node, 6)
    assert node.newest == closing
    assert [node.receive(later(1, party, FIVE, 6)) for party in ("coast", "interior")] == ["counted", "counted"]
    assert node.newest == closing, "three of five are no quorum"
    assert node.receive(later(1, "police", FIVE, 6)) == "counted"
    assert node.newest is not None
    assert (node.newest.epoch, node.newest.size) == (1, 6)
    old, new = toy_policy(), policy_of(ORIGIN, ValidatorsDoc(epoch=1, members=members(1, *FIVE).validators))
    assert old.verify_checkpoint(node.evidence_note(closing), strict=True).checkpoint.size == 4
    assert new.verify_checkpoint(node.evidence_note(node.newest), strict=True).checkpoint.size == 6


def test_no_checkpoint_counts_that_cannot_be_led_to_from_the_genesis() -> None:
    """Whoever pinned an earlier policy could not follow: a receipt under it would be worth nothing to him yet."""
    node = cosigning("coast")
    close_epoch(node, 4)
    node.receive(cosignature(1, 4))
    node.receive(cosignature(2, 4))
    commit(node, 6)
    for party in ("interior", "police", "customs"):
        assert node.receive(later(1, party, FIVE, 6)) == "counted"
    assert (node.newest, node.proven_epoch, node.missing()) == (None, 0, (4,))
    commit(node, 8)
    assert node.receive(cosignature(3, 4)) == "counted"
    assert (node.proven_epoch, node.missing()) == (1, ())
    assert node.newest is not None
    assert (node.newest.epoch, node.newest.size) == (1, 6), "the newest of those that waited"


def test_a_restored_checkpoint_counts_once_its_epoch_is_led_to() -> None:
    node = cosigning(PARTIES[1])
    node.restore_closing(height=2, size=4, root=ROOT, own=node.cosign(4, ROOT))
    node.open_epoch(members(1, *FIVE))
    commit(node, 6)
    node.load([later(1, party, FIVE, 6) for party in FIVE if party != PARTIES[1]])
    assert node.newest is None
    node.load([cosignature(0, 4), cosignature(2, 4)])
    assert node.newest is not None
    assert node.newest.size == 6


def test_closing_cosignatures_never_go_and_are_told_to_who_asks() -> None:
    node = cosigning()
    close_epoch(node, 4)
    for size in range(6, 6 + 2 * COSIGNATURE_SIZES, 2):
        commit(node, size)
    assert node.oldest_size > 4
    assert node.receive(cosignature(3, 4)) == "counted"
    assert sorted(item.signer for item in node.closings_at((4, 6, 4, 8))) == [0, 3]


def test_what_was_restored_of_a_closing_counts_as_before() -> None:
    node = cosigning(PARTIES[1])
    node.restore_closing(height=2, size=4, root=ROOT, own=None)
    node.open_epoch(members(1, *FIVE))
    node.load([cosignature(0, 4), cosignature(2, 4), cosignature(3, 4, OTHER)])
    assert node.missing() == (4,)
    assert node.newest is None
    node.load([cosignature(3, 4)])
    [closing] = node.closings()
    assert len(closing.cosignatures) == 3
    assert node.newest is None, "an old closing is not the newest block"


def test_cosignatures_of_an_epoch_that_is_yet_to_open_count_once_it_has() -> None:
    node = cosigning()
    assert node.receive(later(1, "coast", FIVE, 6)) == "early"
    assert node.receive(later(1, "police", FIVE, 6, OTHER)) == "early"
    forged = msgspec.structs.replace(later(1, "interior", FIVE, 6), time_s=5)
    assert node.receive(forged) == "early", "nobody can judge it yet"
    assert node.receive(later(7, "coast", FIVE, 6)) == "early"
    close_epoch(node, 4)
    assert commit(node, 6) == [FIVE.index("coast")]


def test_who_is_no_validator_cosigns_nothing_and_shows_notes_under_a_validators_log_key() -> None:
    node = cosigning("coast")
    assert node.cosign(4, ROOT) is None
    node.committed(height=2, size=4, root=ROOT, own=None)
    for party in PARTIES[:3]:
        assert node.receive(later(0, party, tuple(PARTIES), 4)) == "counted"
    assert node.own_newest() is None
    assert node.newest is not None
    assert toy_policy().verify_checkpoint(node.note(node.newest)).checkpoint.size == 4
    node.committed(height=3, size=6, root=ROOT, own=None, closing=True)
    node.open_epoch(members(1, *FIVE))
    own = node.cosign(8, ROOT)
    assert own is not None
    assert (decode_cosignature(own).epoch, decode_cosignature(own).signer) == (1, 0)


def test_a_log_signature_that_does_not_hold_spoils_the_cosignature() -> None:
    """It would be shown to others as the log's word."""
    node = cosigning()
    commit(node, 4)
    spoilt = msgspec.structs.replace(later(0, "police", tuple(PARTIES), 4), log_signature=bytes(64))
    with pytest.raises(VerificationError):
        node.receive(spoilt)
