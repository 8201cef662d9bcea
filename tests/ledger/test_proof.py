"""Log proofs as text: the worked proof of another log, and every byte of it changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.codec import b64encode
from ledger.errors import VerificationError
from ledger.limits import MAX_PROOF_HASHES
from ledger.merkle.hashing import leaf_hash, leaf_hashes
from ledger.merkle.proof import inclusion_proof
from ledger.merkle.tree import Frontier
from ledger.notes import NoteVerifier
from ledger.policy import single_log_policy
from ledger.proof import HEADER, LogProof, ProofHead
from tests.ledger.notebook import ORIGIN, policy, signed
from tests.shared import vectors

WORKED_POLICY = single_log_policy(
    NoteVerifier.parse("example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx")
)
LEAVES = leaf_hashes(b"entry %d" % i for i in range(11))
FRONTIER, COMPLETED = Frontier().extend(LEAVES)
NODES = {(level, index): value for level, index, value in COMPLETED}
CHECKPOINT = Checkpoint(origin=ORIGIN, size=11, root=FRONTIER.root)


def head(index: int, extra: bytes | None = None) -> ProofHead:
    hashes = inclusion_proof(index, 11, lambda level, at: NODES[level, at])
    return ProofHead(index=index, hashes=tuple(hashes), extra=extra)


def test_worked_proof() -> None:
    data = vectors("tlog", "worked.tlog-proof").read_bytes()
    proof = LogProof.parse(data)
    assert proof.to_bytes() == data
    verified = proof.verify(leaf_hash(b"five"), WORKED_POLICY)
    assert (proof.head.index, verified.checkpoint.size) == (4, 15)
    with pytest.raises(VerificationError, match="root_mismatch"):
        proof.verify(leaf_hash(b"four"), WORKED_POLICY)


def test_no_changed_byte_of_the_worked_proof_verifies() -> None:
    data = vectors("tlog", "worked.tlog-proof").read_bytes()
    leaf = leaf_hash(b"five")
    for at in range(len(data)):
        cut = data[:at] + data[at + 1 :]
        mutated = [data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :] for flip in (1, 2, 0x20, 0x80)]
        for other in (*mutated, data[:at], *([cut] if cut != data else [])):
            with pytest.raises(VerificationError):
                LogProof.parse(other).verify(leaf, WORKED_POLICY)
    for other in (data + b"\n", data + b"x", b"\n" + data):
        with pytest.raises(VerificationError):
            LogProof.parse(other).verify(leaf, WORKED_POLICY)


def test_many_heads_share_one_checkpoint() -> None:
    checkpoint = policy().minimal(signed(checkpoint=CHECKPOINT))
    for index, leaf in enumerate(LEAVES):
        proof = LogProof(head=head(index), checkpoint=checkpoint)
        assert LogProof.parse(proof.to_bytes()) == proof
        assert ProofHead.parse(proof.head.to_bytes()) == proof.head
        assert proof.verify(leaf, policy(), strict=True).checkpoint == CHECKPOINT
        proof.head.verify(leaf, CHECKPOINT)
        with pytest.raises(VerificationError):
            proof.head.verify(LEAVES[index - 1], CHECKPOINT)


def test_strict_refuses_extra_data_and_needless_cosignatures() -> None:
    full = signed(checkpoint=CHECKPOINT)
    minimal = policy().minimal(full)
    with_extra = LogProof(head=head(3, b"context"), checkpoint=minimal)
    assert LogProof.parse(with_extra.to_bytes()).head.extra == b"context"
    with_extra.verify(LEAVES[3], policy())
    with pytest.raises(VerificationError, match="bad_proof"):
        with_extra.verify(LEAVES[3], policy(), strict=True)
    with pytest.raises(VerificationError, match="not_minimal"):
        LogProof(head=head(3), checkpoint=full).verify(LEAVES[3], policy(), strict=True)


HASH = b64encode(LEAVES[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{HEADER}\n",
        f"{HEADER}\nindex 1",
        f"c2sp.org/tlog-proof@v2\nindex 1\n{HASH}\n",
        f"{HEADER}\nindex 01\n",
        f"{HEADER}\nindex -1\n",
        f"{HEADER}\nindex  1\n",
        f"{HEADER}\nindex {2**63}\n",
        f"{HEADER}\nINDEX 1\n",
        f"{HEADER}\nindex 1\n{HASH[:-1]}\n",
        f"{HEADER}\nindex 1\n{b64encode(b'short')}\n",
        f"{HEADER}\nindex 1\n{HASH} \n",
        f"{HEADER}\nindex 1\n{HASH}\r\n",
        f"{HEADER}\nextra !\nindex 1\n",
        f"{HEADER}\nextra AAAA\n",
        f"{HEADER}\nextra AAAA\nextra AAAA\nindex 1\n",
        f"{HEADER}\nindex 1\nextra AAAA\n",
        f"{HEADER}\nindex 1\n" + f"{HASH}\n" * (MAX_PROOF_HASHES + 1),
        f"{HEADER}\nindex 1\nü\n",
    ],
)
def test_heads_that_are_none(text: str) -> None:
    with pytest.raises(VerificationError, match="bad_proof"):
        ProofHead.parse(text.encode())
    with pytest.raises(VerificationError):
        LogProof.parse(text.encode() + b"\n")


def test_empty_extra_data_is_extra_data() -> None:
    text = f"{HEADER}\nextra \nindex 0\n".encode()
    parsed = ProofHead.parse(text)
    assert parsed.extra == b""
    assert parsed.to_bytes() == text


@given(st.binary(max_size=200), st.booleans())
def test_parsing_raises_only_our_error_and_keeps_every_byte(data: bytes, prefixed: bool) -> None:
    data = HEADER.encode() + b"\nindex 7\n" + data if prefixed else data
    try:
        proof = LogProof.parse(data)
    except VerificationError:
        return
    assert proof.to_bytes() == data
