"""The log tree against a naive reference: every (index, size) and (size1, size2) up to 130, and larger ones at
random."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import InputError, InternalError, VerificationError
from ledger.merkle.hashing import EMPTY_ROOT, leaf_hash, leaf_hashes, node_hash
from ledger.merkle.proof import NodeSource, consistency_proof, inclusion_proof, plan_consistency, plan_inclusion
from ledger.merkle.tree import Frontier, covering_nodes, root_of
from ledger.merkle.verify import verify_consistency, verify_inclusion
from tests.reference import merkle as reference

LARGEST = 130
ENTRIES = [b"entry %d" % i for i in range(LARGEST)]
LEAVES = leaf_hashes(ENTRIES)
ROOTS = [reference.mth(ENTRIES[:size]) for size in range(LARGEST + 1)]
OTHER = hashlib.sha256(b"another hash").digest()


def source(leaves: Sequence[bytes]) -> NodeSource:
    """The complete nodes of a tree, as a store would hold them."""
    _, completed = Frontier().extend(leaves)
    nodes = {(level, index): value for level, index, value in completed}
    return lambda level, index: nodes[level, index]


NODES = source(LEAVES)


def test_frontier_and_root_of_agree_with_the_rfc_at_every_size() -> None:
    frontier = Frontier()
    for size in range(LARGEST + 1):
        assert frontier.size == size
        assert frontier.root == root_of(LEAVES[:size]) == ROOTS[size]
        frontier = frontier.append(LEAVES[size : size + 1])
    assert Frontier().root == EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(st.lists(st.integers(0, 40), max_size=6))
def test_frontier_does_not_depend_on_how_leaves_are_batched(batches: list[int]) -> None:
    frontier, completed = Frontier(), []
    leaves = [leaf_hash(b"%d" % i) for i in range(sum(batches))]
    at = 0
    for batch in batches:
        before = frontier
        frontier, nodes = before.extend(leaves[at : at + batch])
        assert before.size == at, "extending must leave the old value as it was"
        completed += nodes
        at += batch
    whole, all_nodes = Frontier().extend(leaves)
    assert (frontier, completed) == (whole, all_nodes)
    for level, index, value in completed:
        assert value == root_of(leaves[index << level : (index + 1) << level])
    expected = {(level, index) for level in range(9) for index in range(len(leaves) >> level)}
    assert {(level, index) for level, index, _ in completed} == expected


def test_frontier_refuses_nodes_that_do_not_fit_its_size() -> None:
    for size, nodes in ((1, ()), (3, (OTHER,)), (1, (OTHER[:31],)), (-1, ())):
        with pytest.raises(InternalError, match="bad_frontier"):
            Frontier(size=size, nodes=nodes)


def test_inclusion_of_every_index_and_size() -> None:
    for size in range(1, LARGEST + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, NODES)
            assert proof == reference.path(index, ENTRIES[:size])
            verify_inclusion(leaf_hash=LEAVES[index], index=index, size=size, proof=proof, root=ROOTS[size])


def test_consistency_of_every_pair_of_sizes() -> None:
    for size2 in range(1, LARGEST + 1):
        for size1 in range(1, size2 + 1):
            proof = consistency_proof(size1, size2, NODES)
            assert proof == reference.consistency(size1, ENTRIES[:size2])
            verify_consistency(size1=size1, root1=ROOTS[size1], size2=size2, root2=ROOTS[size2], proof=proof)


def mutations(proof: list[bytes]) -> list[list[bytes]]:
    """A proof with each hash changed, removed, doubled or swapped, and with one more at either end."""
    changed = [[*proof, OTHER], [OTHER, *proof], [*proof, b""], [OTHER[:31], *proof]]
    for at in range(len(proof)):
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        changed.append([*proof[:at], flipped, *proof[at + 1 :]])
        changed.append(proof[:at] + proof[at + 1 :])
        changed.append([*proof[: at + 1], proof[at], *proof[at + 1 :]])
        if at:
            changed.append([*proof[: at - 1], proof[at], proof[at - 1], *proof[at + 1 :]])
    return [other for other in changed if other != proof]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 13, 16, 33])
def test_no_changed_inclusion_proof_verifies(size: int) -> None:
    for index in range(size):
        proof = inclusion_proof(index, size, NODES)
        for other in mutations(proof):
            with pytest.raises(VerificationError):
                verify_inclusion(leaf_hash=LEAVES[index], index=index, size=size, proof=other, root=ROOTS[size])
        for wrong_index in range(-1, size + 2):
            if wrong_index != index:
                with pytest.raises(VerificationError):
                    verify_inclusion(
                        leaf_hash=LEAVES[index], index=wrong_index, size=size, proof=proof, root=ROOTS[size]
                    )
        for leaf, root in ((OTHER, ROOTS[size]), (LEAVES[index], OTHER), (LEAVES[index][:31], ROOTS[size])):
            with pytest.raises(VerificationError):
                verify_inclusion(leaf_hash=leaf, index=index, size=size, proof=proof, root=root)


@pytest.mark.parametrize("size2", [2, 3, 5, 7, 8, 13, 16, 33])
def test_no_changed_consistency_proof_verifies(size2: int) -> None:
    for size1 in range(1, size2 + 1):
        proof = consistency_proof(size1, size2, NODES)
        for other in mutations(proof):
            with pytest.raises(VerificationError):
                verify_consistency(size1=size1, root1=ROOTS[size1], size2=size2, root2=ROOTS[size2], proof=other)
        wrong = [(size1, OTHER, size2, ROOTS[size2]), (size1, ROOTS[size1], size2, OTHER)]
        wrong += [(0, EMPTY_ROOT, size2, ROOTS[size2]), (size2 + 1, ROOTS[size2 + 1], size2, ROOTS[size2])]
        wrong += [(other, ROOTS[size1], size2, ROOTS[size2]) for other in range(1, size2) if other != size1]
        for first, root1, second, root2 in wrong:
            with pytest.raises(VerificationError):
                verify_consistency(size1=first, root1=root1, size2=second, root2=root2, proof=proof)


def test_a_byte_may_not_move_between_two_hashes() -> None:
    """Hashing joins its two parts without a length: a shorter leaf beside a longer sibling would give the same node."""
    left, right = LEAVES[:2]
    with pytest.raises(VerificationError, match="bad_hash_size"):
        verify_inclusion(leaf_hash=left + right[:1], index=0, size=2, proof=[right[1:]], root=ROOTS[2])
    root1, sibling = LEAVES[0], LEAVES[1]
    with pytest.raises(VerificationError, match="bad_hash_size"):
        verify_consistency(size1=1, root1=root1 + sibling[:1], size2=2, root2=ROOTS[2], proof=[sibling[1:]])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_larger_trees(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(131, 3_000))
    size1 = data.draw(st.integers(1, size2))
    index = data.draw(st.integers(0, size2 - 1))
    leaves = [leaf_hash(b"%d" % i) for i in range(size2)]
    nodes = source(leaves)
    root1, root2 = root_of(leaves[:size1]), root_of(leaves)
    proof = inclusion_proof(index, size2, nodes)
    verify_inclusion(leaf_hash=leaves[index], index=index, size=size2, proof=proof, root=root2)
    proof = consistency_proof(size1, size2, nodes)
    verify_consistency(size1=size1, root1=root1, size2=size2, root2=root2, proof=proof)


@given(st.integers(1, 2**64 - 1), st.data())
def test_plans_of_huge_trees_are_short_and_of_complete_subtrees(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    plans = (plan_inclusion(index, size), plan_consistency(index + 1, size))
    for plan in plans:
        assert len(plan) <= 65
        for places in plan:
            assert len(places) <= 64
            assert all((at + 1) << level <= size for level, at in places)
    covered = sorted((at << level, (at + 1) << level) for places in plans[0] for level, at in places)
    covered = sorted([*covered, (index, index + 1)])
    assert covered[0][0] == 0
    assert covered[-1][1] == size
    assert all(first[1] == second[0] for first, second in pairwise(covered))


def test_out_of_range_plans_are_refused() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(InputError, match="out_of_range"):
            plan_inclusion(index, size)
    for size1, size2 in ((0, 5), (6, 5), (-1, 5)):
        with pytest.raises(InputError, match="out_of_range"):
            plan_consistency(size1, size2)


def test_covering_nodes_is_the_binary_form_of_the_size() -> None:
    assert covering_nodes(0, 13) == [(3, 0), (2, 2), (0, 12)]
    assert covering_nodes(8, 13) == [(2, 2), (0, 12)]
    assert covering_nodes(4, 4) == []


def test_a_leaf_is_never_a_node() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)
