"""Building inclusion and consistency proofs from stored nodes (RFC 6962 sections 2.1.1 and 2.1.2).

Each hash of a proof is the root of one range of leaves: a complete subtree, or the ragged right edge, which is folded
from the complete subtrees that cover it. A plan says for each hash which complete nodes those are, so that a store can
fetch them all in one query (from tiles, or rows) and `build` can combine them. Verifying is `ledger.merkle.verify`.
"""

from collections.abc import Callable

from ledger.errors import InputError
from ledger.merkle.tree import NodeId, covering_nodes, fold_right

ProofPlan = tuple[tuple[NodeId, ...], ...]
"""For each hash of the proof, in its order, the complete nodes it is folded from, largest first."""

NodeSource = Callable[[int, int], bytes]
"""(level, index) -> the 32-byte root of that complete subtree."""


def plan_inclusion(index: int, size: int) -> ProofPlan:
    """The nodes of the inclusion proof for leaf `index` in the tree of `size` leaves, leaf's sibling first.

    Requires 0 <= index < size.

    Raises:
        InputError: code `out_of_range`.
    """
    if not 0 <= index < size:
        raise InputError("no such leaf", code="out_of_range", expected=f"0 <= index < {size}", actual=index)
    ranges = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    return _plan(ranges)


def plan_consistency(size1: int, size2: int) -> ProofPlan:
    """The nodes of the proof that the tree of `size2` leaves begins with that of `size1`. Empty for equal sizes.

    Requires 0 < size1 <= size2.

    Raises:
        InputError: code `out_of_range`.
    """
    if not 0 < size1 <= size2:
        raise InputError(
            "no such pair of trees", code="out_of_range", expected=f"0 < size1 <= size2 = {size2}", actual=size1
        )
    ranges = []
    begin, end = 0, size2
    while end != size1:  # descend to the subtree that ends where the old tree ended
        middle = begin + _split(end - begin)
        if size1 <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    if begin > 0:  # else that subtree is the whole old tree, whose root the verifier has
        ranges.append((begin, end))
    return _plan(ranges)


def build(plan: ProofPlan, node: NodeSource) -> list[bytes]:
    """The proof's hashes, given the plan's nodes."""
    return [fold_right([node(level, index) for level, index in places]) for places in plan]


def inclusion_proof(index: int, size: int, node: NodeSource) -> list[bytes]:
    """The audit path of one leaf (RFC 6962 section 2.1.1). Requires 0 <= index < size."""
    return build(plan_inclusion(index, size), node)


def consistency_proof(size1: int, size2: int, node: NodeSource) -> list[bytes]:
    """The proof between two sizes of one tree (RFC 6962 section 2.1.2). Requires 0 < size1 <= size2."""
    return build(plan_consistency(size1, size2), node)


def _split(size: int) -> int:
    """The largest power of two smaller than `size`. Requires size > 1."""
    return 1 << ((size - 1).bit_length() - 1)


def _plan(ranges: list[tuple[int, int]]) -> ProofPlan:
    return tuple(tuple(covering_nodes(begin, end)) for begin, end in reversed(ranges))
