"""Evidence proves itself, or says why it proves nothing (PROTOCOL P2)."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, Cosigner, SignedCheckpoint
from ledger.codec import b64encode
from ledger.consensus.messages import Finalize, Notarize, Nullify, Proposal, conflict, vote_bytes
from ledger.errors import VerificationError
from ledger.evidence import (
    KnownKey,
    attribute,
    decode_evidence,
    encode_evidence,
    forks_between,
    subject_of,
    verify_evidence,
)
from ledger.limits import MAX_CHECKPOINT_TEXT_CHARS
from ledger.records.evidence import Evidence, SignedFork
from ledger.signing import ROLES
from ledger.vote import signed_vote
from tests.ledger.liars import (
    TWO_PROPOSALS,
    Said,
    X,
    Y,
    checkpoint,
    double_root,
    double_vote,
    signed_note,
)
from tests.world import GENESIS, build_genesis, node_key

OTHER_PARENT = (1, X[1])
SAID: list[Said] = [
    ("notarize", X),
    ("notarize", Y),
    ("notarize", OTHER_PARENT),
    ("finalize", X),
    ("finalize", Y),
    ("nullify", None),
]
KEYS = [
    KnownKey(party=agency.party, role=role, public=node_key(agency.party, role).public.hex(), source="the test")
    for agency in GENESIS.agencies
    for role in ROLES
    if role != "record"
]


def log_fork() -> SignedFork:
    [found] = forks_between(
        GENESIS.ledger_id,
        signed_note("r", log="customs", cosigners=()),
        signed_note("s", log="customs", cosigners=()),
        KEYS,
    )
    assert isinstance(found, SignedFork)
    return found


ALL: list[Evidence] = [double_vote(), double_root(), log_fork()]


def refused(evidence: Evidence) -> str:
    with pytest.raises(VerificationError) as raised:
        verify_evidence(evidence)
    return raised.value.code


@pytest.mark.parametrize("first", SAID)
@pytest.mark.parametrize("second", SAID)
def test_p2_exactly_the_conflicting_pairs_are_evidence(first: Said, second: Said) -> None:
    """Held against the replica's own idea of a conflict."""

    def vote(said: Said) -> Notarize | Nullify | Finalize:
        kind, named = said
        if named is None:
            return Nullify(epoch=0, view=7, signer=0, signature=bytes(64))
        proposal = Proposal(epoch=0, view=7, parent_view=named[0], digest=named[1])
        shape = Notarize if kind == "notarize" else Finalize
        return shape(proposal=proposal, signer=0, signature=bytes(64))

    evidence = double_vote(said=(first, second))
    if conflict(vote(first), vote(second)):
        verify_evidence(evidence)
    else:
        assert refused(evidence) == "evidence_lawful"


def test_votes_are_signed_as_the_replica_signs_them() -> None:
    proposal = Proposal(epoch=3, view=7, parent_view=5, digest=X[1])
    assert vote_bytes(bytes(32), "finalize", 3, 7, proposal) == signed_vote(bytes(32), "finalize", 3, 7, (5, X[1]))
    assert vote_bytes(bytes(32), "nullify", 3, 7, None) == signed_vote(bytes(32), "nullify", 3, 7, None)


@pytest.mark.parametrize("evidence", ALL, ids=lambda evidence: type(evidence).__name__)
def test_a_file_verifies_and_comes_back_the_same(evidence: Evidence) -> None:
    verify_evidence(decode_evidence(encode_evidence(evidence)))
    assert decode_evidence(encode_evidence(evidence)) == evidence


def test_the_order_in_which_the_two_were_heard_makes_no_difference() -> None:
    assert double_vote(said=(TWO_PROPOSALS[1], TWO_PROPOSALS[0])) == double_vote()


@pytest.mark.parametrize(
    ("evidence", "changes", "code"),
    [
        (double_vote(), {"epoch": 1}, "evidence_signature"),
        (double_vote(), {"view": 8}, "evidence_signature"),
        (double_vote(), {"public": node_key("police", "consensus").public.hex()}, "evidence_signature"),
        (double_vote(), {"public": "f" * 64}, "evidence_signature"),
        (double_vote(), {"chain": "0" * 64}, "evidence_ledger"),
        (double_vote(), {"ledger": build_genesis("police").ledger_id}, "evidence_ledger"),
        (double_vote(), {"chain": GENESIS.chain_id.hex()[:16] + "0" * 48}, "evidence_signature"),
        (double_vote(), {"first": double_vote().second}, "evidence_lawful"),
        (double_root(), {"size": 6}, "evidence_lawful"),
        (double_root(), {"first": double_root().second}, "evidence_lawful"),
        (double_root(), {"ledger": "another.example/log#" + "0" * 16}, "evidence_ledger"),
        (double_root(), {"public": node_key("police", "cosigner").public.hex()}, "evidence_signature"),
        (double_root(), {"first": log_fork().first}, "evidence_form"),
        (log_fork(), {"first": double_root().first}, "evidence_form"),
        (log_fork(), {"size": 1}, "evidence_lawful"),
    ],
)
def test_what_proves_nothing_says_why(evidence: Evidence, changes: dict[str, Any], code: str) -> None:
    assert refused(msgspec.structs.replace(evidence, **changes)) == code


def test_a_vote_of_a_wrong_form() -> None:
    evidence = double_vote()
    bare = msgspec.structs.replace(evidence.first, proposal=msgspec.UNSET)
    assert refused(msgspec.structs.replace(evidence, first=bare)) == "evidence_form"


def test_two_cosignatures_of_one_root_at_different_times_are_lawful() -> None:
    assert refused(double_root(names=("r", "r"))) == "evidence_lawful"


def test_a_text_that_is_no_checkpoint() -> None:
    evidence = double_root()
    spoilt = msgspec.structs.replace(evidence.first, text="not a checkpoint\n")
    assert refused(msgspec.structs.replace(evidence, first=spoilt)) == "bad_checkpoint"


@pytest.mark.parametrize("evidence", ALL, ids=lambda evidence: type(evidence).__name__)
def test_no_byte_of_it_can_be_changed(evidence: Evidence) -> None:
    """Every change is refused, or leaves what was proved as it was: nothing else can be made of it."""
    data = encode_evidence(evidence)
    for at in range(len(data)):
        for byte in (data[at] ^ 1, ord("0"), ord("a")):
            changed = data[:at] + bytes([byte]) + data[at + 1 :]
            try:
                found = decode_evidence(changed)
                verify_evidence(found)
            except VerificationError:
                continue
            same = msgspec.structs.replace(
                found, party=evidence.party, ledger=evidence.ledger
            )  # not under the signatures
            assert same == evidence


def test_a_signature_of_other_bytes() -> None:
    evidence = double_vote()
    for signature in (b64encode(bytes(64)), evidence.second.signature):
        spoilt = msgspec.structs.replace(evidence.first, signature=signature)
        assert refused(msgspec.structs.replace(evidence, first=spoilt)) == "evidence_signature"


def test_whose_key_it_is_must_be_shown() -> None:
    assert attribute(double_vote(), KEYS).party == "customs"
    assert attribute(double_root(), KEYS).role == "cosigner"
    for evidence in (
        double_vote(key=node_key("police", "consensus")),
        double_vote(key=node_key("customs", "cosigner")),
        double_vote("maker", key=node_key("customs", "consensus")),
    ):
        verify_evidence(evidence)
        with pytest.raises(VerificationError) as raised:
            attribute(evidence, KEYS)
        assert raised.value.code == "evidence_signer"


def test_subjects() -> None:
    assert [subject_of(evidence) for evidence in ALL] == ["customs:0", "customs:fork:5", "customs:log:5"]


def test_two_notes_prove_those_guilty_whose_lines_stand_under_both() -> None:
    old = signed_note("r", log="customs", cosigners=("customs", "interior", "police"))
    seen = signed_note("s", log="customs", cosigners=("interior", "neighbour", "police"), time_s=10)
    found = list(forks_between(GENESIS.ledger_id, old, seen, KEYS))
    assert sorted(subject_of(evidence) for evidence in found) == ["customs:log:5", "interior:fork:5", "police:fork:5"]
    for evidence in found:
        verify_evidence(evidence)
        attribute(evidence, KEYS)


def test_notes_that_prove_nothing_by_themselves() -> None:
    old = signed_note("r", log="customs", cosigners=("police",))
    for other in (
        signed_note("r", log="customs", cosigners=("police",), time_s=10),
        signed_note("s", log="customs", cosigners=("police",), size=6),
        signed_note("s", log="interior", cosigners=("neighbour",)),
    ):
        assert list(forks_between(GENESIS.ledger_id, old, other, KEYS)) == []
    lines = [msgspec.structs.replace(line, signature=bytes(72)) for line in old.note.signatures[1:]]
    forged = type(old).of(checkpoint("s"), lines)
    assert list(forks_between(GENESIS.ledger_id, old, forged, KEYS)) == []
    seen = signed_note("s", log="customs", cosigners=("police",))
    assert list(forks_between("elsewhere.example/log#0123456789abcdef", old, seen, KEYS)) == []


def test_whatever_extension_a_liar_adds_to_its_checkpoints_they_make_evidence() -> None:
    """A checkpoint that is too long for a file of evidence is none."""
    plain = checkpoint("r")
    room = MAX_CHECKPOINT_TEXT_CHARS - len(plain.text) - 1
    police = node_key("police", "cosigner")
    notes = []
    for root in (b"r" * 32, b"s" * 32):
        longest = Checkpoint(origin=plain.origin, size=plain.size, root=root, extensions=("\N{SNOWMAN}" * room,))
        assert Checkpoint.parse(longest.text) == longest
        line = Cosigner(f"{plain.origin}/police", police).sign(longest.text, time_s=9)
        notes.append(SignedCheckpoint.of(longest, [line]))
    [found] = forks_between(GENESIS.ledger_id, notes[0], notes[1], KEYS)
    again = decode_evidence(encode_evidence(found))
    verify_evidence(again)
    with pytest.raises(VerificationError) as raised:
        Checkpoint.parse(notes[0].note.text.removesuffix(b"\n") + b"x\n")
    assert raised.value.code == "bad_checkpoint"


@given(st.binary(max_size=300))
def test_garbage_is_our_own_error(data: bytes) -> None:
    with pytest.raises(VerificationError):
        decode_evidence(data)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b" ",
        lambda data: data.replace(b'"kind":"equivocation"', b'"kind":"rumour"'),
        lambda data: data.replace(b"tracemark-evidence/1", b"tracemark-evidence/2"),
        lambda data: data.replace(b'"view":7', b'"view":0'),
        lambda data: data.replace(b'"view":7', b'"view":7,"why":1'),
    ],
)
def test_forms_that_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(VerificationError) as raised:
        decode_evidence(spoil(encode_evidence(double_vote())))
    assert raised.value.code == "evidence_form"
