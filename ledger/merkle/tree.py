"""The growing log tree as a value: its size and the roots of its complete subtrees (RFC 6962 section 2.1).

A `Frontier` (elsewhere called compact range) is all that appending needs: at most 64 hashes for any log. Leaves and
complete nodes are stored by others; `Frontier.extend` says which nodes an append completed. A node is named by
(level, index): level 0 are the leaves, and node (level, index) covers the leaves [index * 2**level, (index + 1) *
2**level).
"""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from ledger.errors import InternalError
from ledger.merkle.hashing import EMPTY_ROOT, HASH_BYTES, node_hash

NodeId = tuple[int, int]
"""(level, index): the place of one complete subtree."""

CompletedNode = tuple[int, int, bytes]
"""(level, index, hash): a complete subtree's place and root, as `Frontier.extend` reports it."""


class Frontier(msgspec.Struct, frozen=True, kw_only=True):
    """A tree of `size` leaves, by the roots of its complete subtrees: one for each set bit of `size`, largest first.

    Raises:
        InternalError: code `bad_frontier`, where the number of nodes does not fit the size.
    """

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.nodes) != self.size.bit_count() or any(len(n) != HASH_BYTES for n in self.nodes):
            raise InternalError(
                "a frontier that is no tree",
                code="bad_frontier",
                expected=f"{max(self.size, 0).bit_count()} hashes of {HASH_BYTES} bytes for size {self.size}",
                actual=[len(node) for node in self.nodes],
            )

    def append(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The tree with these leaves (32-byte leaf hashes) added at its end."""
        return self.extend(leaf_hashes)[0]

    def extend(self, leaf_hashes: Iterable[bytes]) -> tuple["Frontier", list[CompletedNode]]:
        """Append leaf hashes; also return every node that became complete, leaves included, children before parents."""
        sha256 = hashlib.sha256
        stack = list(self.nodes)
        size = self.size
        completed: list[CompletedNode] = []
        for leaf in leaf_hashes:
            index, level, node = size, 0, leaf
            completed.append((0, index, node))
            while index & 1:
                node = sha256(b"\x01" + stack.pop() + node).digest()
                index >>= 1
                level += 1
                completed.append((level, index, node))
            stack.append(node)
            size += 1
        return Frontier(size=size, nodes=tuple(stack)), completed

    @property
    def root(self) -> bytes:
        """The Merkle tree hash of all leaves (`EMPTY_ROOT` of none)."""
        return fold_right(self.nodes) if self.nodes else EMPTY_ROOT


def fold_right(nodes: Sequence[bytes]) -> bytes:
    """The root over adjacent complete subtrees of falling size. Requires at least one."""
    root = nodes[-1]
    for node in reversed(nodes[:-1]):
        root = node_hash(node, root)
    return root


def covering_nodes(begin: int, end: int) -> list[NodeId]:
    """The complete subtrees, largest first, that cover the leaves [begin, end).

    Requires 0 <= begin <= end and, where begin > 0, that begin is a multiple of a power of two that is >= end - begin:
    so stand all ranges that the recursion of RFC 6962 section 2.1 visits.
    """
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of a list of leaf hashes, level by level (RFC 6962 section 2.1).

    Joining neighbours and lifting an odd last node unchanged gives the same tree as the RFC's split at a power of two.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    sha256 = hashlib.sha256
    level = list(leaf_hashes)
    while len(level) > 1:
        parents = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) & 1:
            parents.append(level[-1])
        level = parents
    return level[0]
