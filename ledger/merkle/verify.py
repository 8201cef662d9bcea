"""Verifying inclusion and consistency proofs (RFC 9162 sections 2.1.3.2 and 2.1.4.2).

Everything raises; nothing returns True. Codes: `bad_hash_size`, `index_out_of_range`, `size_out_of_range`,
`wrong_proof_length`, `root_mismatch`.
"""

from collections.abc import Sequence
from typing import Final

from ledger.errors import VerificationError
from ledger.merkle.hashing import HASH_BYTES, node_hash

MAX_TREE_SIZE: Final = 2**64 - 1
"""Sizes and indices of others' proofs are unsigned 64-bit numbers."""


def verify_inclusion(*, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that `leaf_hash` is leaf `index` of the tree of `size` leaves with this root.

    Requires 0 <= index < size <= MAX_TREE_SIZE; all hashes 32 bytes; `proof` from the leaf's sibling upwards.

    Raises:
        VerificationError: see the module's codes.
    """
    _require_hashes(leaf_hash, root, *proof)
    if not 0 < size <= MAX_TREE_SIZE:
        raise VerificationError("no such tree", code="size_out_of_range", expected="0 < size < 2**64", actual=size)
    if not 0 <= index < size:
        raise VerificationError(
            "no such leaf", code="index_out_of_range", expected=f"0 <= index < {size}", actual=index
        )
    node, last, used = leaf_hash, size - 1, 0
    while last > 0:
        if index & 1 or index < last:
            if used == len(proof):
                raise _wrong_length(proof, "more hashes")
            sibling = proof[used]
            used += 1
            node = node_hash(sibling, node) if index & 1 else node_hash(node, sibling)
        # else: the last node of an odd level rises unchanged
        index >>= 1
        last >>= 1
    if used != len(proof):
        raise _wrong_length(proof, f"{used} hashes")
    _require_root(node, root, "the inclusion proof does not lead to the root")


def verify_consistency(*, size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> None:
    """Verify that the tree of `size2` leaves under `root2` begins with the tree of `size1` leaves under `root1`.

    Requires 0 < size1 <= size2 <= MAX_TREE_SIZE; all hashes 32 bytes; an empty proof for equal sizes.

    Raises:
        VerificationError: see the module's codes.
    """
    _require_hashes(root1, root2, *proof)
    if not 0 < size1 <= size2 <= MAX_TREE_SIZE:
        raise VerificationError(
            "no such pair of trees",
            code="size_out_of_range",
            expected="0 < size1 <= size2 < 2**64",
            actual=f"{size1}, {size2}",
        )
    if size1 == size2:
        if proof:
            raise _wrong_length(proof, "no hashes for equal sizes")
        _require_root(root1, root2, "two roots for one size")
        return
    # The subtree that ends where the old tree ended: its root opens the proof, unless it is the whole old tree.
    level = (size1 & -size1).bit_length() - 1
    index, last = (size1 - 1) >> level, (size2 - 1) >> level
    hashes = [root1, *proof] if index == 0 else list(proof)
    if not hashes:
        raise _wrong_length(proof, "more hashes")
    old = new = hashes[0]
    used = 1
    while last > 0:
        if index & 1 or index < last:
            if used == len(hashes):
                raise _wrong_length(proof, "more hashes")
            sibling = hashes[used]
            used += 1
            if index & 1:
                old, new = node_hash(sibling, old), node_hash(sibling, new)
            else:
                new = node_hash(new, sibling)
        index >>= 1
        last >>= 1
    if used != len(hashes):
        raise _wrong_length(proof, f"{len(proof) - (len(hashes) - used)} hashes")
    _require_root(old, root1, "the consistency proof does not lead to the older root")
    _require_root(new, root2, "the consistency proof does not lead to the newer root")


def _require_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise VerificationError(
                "not a SHA-256 hash", code="bad_hash_size", expected=f"{HASH_BYTES} bytes", actual=len(value)
            )


def _require_root(actual: bytes, expected: bytes, message: str) -> None:
    if actual != expected:
        raise VerificationError(message, code="root_mismatch", expected=expected.hex(), actual=actual.hex())


def _wrong_length(proof: Sequence[bytes], expected: str) -> VerificationError:
    return VerificationError(
        "the proof has the wrong number of hashes", code="wrong_proof_length", expected=expected, actual=len(proof)
    )
