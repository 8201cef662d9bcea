"""The state tree: a compact (Jellyfish-style) sparse Merkle tree over hashed keys (DESIGN 7), as an immutable value.

An update makes a new tree that shares all untouched nodes with the old one, so that the versions of unfinalized blocks
live side by side at the price of the paths they changed. The tree holds hashes only: documents, and which of them a
block reads, are the store's; what a key means is `ledger.state`'s.

Hashing (DESIGN 7): leaf SHA-256("JMT::LeafNode" || key hash || value hash), inner node SHA-256("JMT::IntrnalNode" ||
left || right), key bits most significant first; a subtree with one leaf is that leaf, one without leaves is
`EMPTY_ROOT`.

Layout: a subtree of up to `BUCKET_LEAVES` leaves is one bytes object, its root followed by 64 bytes a leaf in key
order; a larger one is a tuple (root, left, right); one without leaves is None. Keys are never removed, so this shape
follows from the set of keys alone.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from ledger.codec import b64decode, b64encode
from ledger.errors import EncodingError, InputError, VerificationError
from ledger.limits import MAX_STATE_PROOF_HASHES

EMPTY_ROOT: Final = b"SPARSE_MERKLE_PLACEHOLDER_HASH__"
"""Root of a subtree without leaves."""

LEAF_PREFIX: Final = b"JMT::LeafNode"
INNER_PREFIX: Final = b"JMT::IntrnalNode"
HASH_BYTES: Final = 32
KEY_BITS: Final = 256
BUCKET_LEAVES: Final = 8
"""Leaves of one bucket: fewer cost more memory (objects), more cost more time (a changed bucket is hashed whole)."""

_LEAF_BYTES: Final = 2 * HASH_BYTES

SUBTREE_BYTES: Final = 1 + HASH_BYTES
"""A subtree as others are shown it: whether it is a leaf that stands further up, and its root."""
_PLAIN: Final = b"\x00"
_LONE_LEAF: Final = b"\x01"

_Inner = tuple[bytes, "_Node", "_Node"]
_Node = bytes | _Inner | None


def state_key(kind: str, id: str) -> bytes:  # noqa: A002 - the field's own name
    """kind || 0x00 || id, in UTF-8: the unhashed key of one document. Requires a kind without NUL.

    Raises:
        InputError: code `bad_state_key`.
    """
    if "\x00" in kind:
        raise InputError("a kind of document may not contain NUL", code="bad_state_key", actual=repr(kind[:80]))
    return kind.encode() + b"\x00" + id.encode()


def key_hash(kind: str, id: str) -> bytes:  # noqa: A002 - the field's own name
    """SHA-256 of `state_key`: where the document stands in the tree."""
    return hashlib.sha256(state_key(kind, id)).digest()


def value_hash(value: bytes) -> bytes:
    """SHA-256 of a document's canonical bytes."""
    return hashlib.sha256(value).digest()


def leaf_node(key: bytes, value: bytes) -> bytes:
    """The leaf of a key hash and a value hash."""
    return hashlib.sha256(b"JMT::LeafNode" + key + value).digest()


def inner_node(left: bytes, right: bytes) -> bytes:
    """The parent of two subtrees' roots."""
    return hashlib.sha256(b"JMT::IntrnalNode" + left + right).digest()


class StateLeaf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The leaf that stands where a proven-absent key would stand. Both hashes in base64."""

    key_hash: str
    value_hash: str


class StateProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What links one key to a state root. Serialised as canonical JSON by `ledger.codec.encode`.

    `siblings`: roots in base64, from the deepest to the root's child; their number is the depth at which the search
    ended.
    `other`: only in a proof of absence, and only where the search ended at the leaf of another key.
    """

    siblings: tuple[str, ...]
    other: StateLeaf | None = None


class StateTree:
    """One version of the state tree. Never changes; safe to share between threads."""

    __slots__ = ("_count", "_node")

    def __init__(self, node: _Node, count: int) -> None:
        """For this module's own use: see `empty`, `build` and `update`."""
        self._node = node
        self._count = count

    @staticmethod
    def empty() -> "StateTree":
        """The tree without documents."""
        return StateTree(None, 0)

    @staticmethod
    def build(leaves: Iterable[tuple[bytes, bytes]]) -> "StateTree":
        """The tree of these (key hash, value hash) pairs. Requires 32-byte hashes in strictly rising key order.

        Raises:
            InputError: code `bad_state_leaves`.
        """
        items = list(leaves)
        if any(len(key) != HASH_BYTES or len(value) != HASH_BYTES for key, value in items) or any(
            a[0] >= b[0] for a, b in pairwise(items)
        ):
            raise InputError("state leaves are not 32-byte hashes in strictly rising order", code="bad_state_leaves")
        return StateTree(_build([key + value for key, value in items], 0), len(items))

    def update(self, changes: Mapping[bytes, bytes]) -> "StateTree":
        """The tree with these key hashes set to these value hashes, inserted or overwritten, in one pass.

        Raises:
            InputError: code `bad_state_leaves`, where a hash is not 32 bytes.
        """
        if not changes:
            return self
        if any(len(key) != HASH_BYTES or len(value) != HASH_BYTES for key, value in changes.items()):
            raise InputError("state leaves are not 32-byte hashes", code="bad_state_leaves")
        changed = [key + changes[key] for key in sorted(changes)]
        node, inserted = _update(self._node, changed, 0)
        return StateTree(node, self._count + inserted)

    @property
    def root(self) -> bytes:
        """The state root."""
        return _root(self._node)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key hash, value hash) pairs in key order."""
        stack: list[_Node] = [self._node]
        while stack:
            node = stack.pop()
            if isinstance(node, tuple):
                stack += (node[2], node[1])
            elif node is not None:
                for leaf in _leaves(node):
                    yield leaf[:HASH_BYTES], leaf[HASH_BYTES:]

    def subtrees(self, depth: int) -> list[bytes]:
        """Every subtree that begins `depth` bits down, by rising prefix, for `fold_subtrees`: a byte and its root each. The
        byte is 1 for a single leaf beside an empty subtree, whose place is further up; else 0."""
        nodes: list[_Node] = [self._node]
        for level in range(depth):
            nodes = [half for node in nodes for half in _halves(node, level)]
        if depth == 0:
            return [_PLAIN + _root(nodes[0])]
        return [
            (_LONE_LEAF if nodes[at ^ 1] is None and _is_leaf(node) else _PLAIN) + _root(node)
            for at, node in enumerate(nodes)
        ]

    def get(self, key: bytes) -> bytes | None:
        """The value hash under a key hash, or None."""
        node, bits = self._node, int.from_bytes(key)
        shift = KEY_BITS - 1
        while isinstance(node, tuple):
            node = node[1 + (bits >> shift & 1)]
            shift -= 1
        if node is None:
            return None
        at = node.find(key, HASH_BYTES)
        while (
            at >= 0 and at % _LEAF_BYTES != HASH_BYTES
        ):  # across two hashes: a matter of chance, or of a forger's patience
            at = node.find(key, at + 1)
        return None if at < 0 else node[at + HASH_BYTES : at + _LEAF_BYTES]

    def prove(self, key: bytes) -> StateProof:
        """The proof of what stands under a key hash: its leaf, another key's leaf, or nothing."""
        siblings: list[bytes] = []
        node, depth = self._node, 0
        while isinstance(node, tuple):
            bit = _bit(key, depth)
            siblings.append(_root(node[2 - bit]))
            node = node[1 + bit]
            depth += 1
        leaves = _leaves(node)
        while len(leaves) > 1:
            middle = _middle(leaves, depth)
            near, far = (leaves[middle:], leaves[:middle]) if _bit(key, depth) else (leaves[:middle], leaves[middle:])
            siblings.append(_hash_leaves(far, depth + 1))
            leaves = near
            depth += 1
        other = None
        if leaves and not leaves[0].startswith(key):
            other = StateLeaf(key_hash=b64encode(leaves[0][:HASH_BYTES]), value_hash=b64encode(leaves[0][HASH_BYTES:]))
        return StateProof(siblings=tuple(b64encode(sibling) for sibling in reversed(siblings)), other=other)


def subtree_root(leaves: Iterable[tuple[bytes, bytes]], depth: int) -> bytes:
    """The root over what stands under one prefix of `depth` bits. Requires (key hash, value hash) pairs with that prefix in
    strictly rising key order."""
    return _root(_build([key + value for key, value in leaves], depth))


def fold_subtrees(subtrees: Sequence[bytes]) -> bytes:
    """The root over all subtrees of one depth, by rising prefix, each as `StateTree.subtrees` shows it. Requires 2**depth of
    them. Every byte of them is bound by the root: whoever shows others gets another root, or an error.

    Raises:
        VerificationError: code `bad_state_proof`: one is said to be a lone leaf that cannot be one.
    """
    level = [(subtree[:1], subtree[1:]) for subtree in subtrees]
    for at, (mark, root) in enumerate(level):
        is_alone = len(level) > 1 and level[at ^ 1][1] == EMPTY_ROOT != root
        if mark != _PLAIN and (mark != _LONE_LEAF or not is_alone):
            raise _bad_proof("a subtree is said to be a lone leaf, and has a neighbour", actual=f"subtree {at}")
    while len(level) > 1:
        level = [_joined(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0][1]


def verify_state(root: bytes, kind: str, id: str, value: bytes | None, proof: StateProof) -> None:  # noqa: A002
    """Verify that under `root` the document (kind, id) is `value`, or, with None, that there is no such document.

    Raises:
        VerificationError: codes `bad_state_proof` (no such proof is ever made) and `state_root_mismatch`.
    """
    key = key_hash(kind, id)
    siblings = [_decode_hash(sibling) for sibling in proof.siblings[: MAX_STATE_PROOF_HASHES + 1]]
    if len(siblings) > MAX_STATE_PROOF_HASHES:
        raise _bad_proof("too many siblings", expected=f"<= {MAX_STATE_PROOF_HASHES}", actual=len(proof.siblings))
    if value is not None:
        if proof.other is not None:
            raise _bad_proof("a proof of presence with another key's leaf")
        node = leaf_node(key, value_hash(value))
    elif proof.other is None:
        node = EMPTY_ROOT
    else:
        other_key = _decode_hash(proof.other.key_hash)
        shared_bits = KEY_BITS - (int.from_bytes(key) ^ int.from_bytes(other_key)).bit_length()
        if other_key == key or shared_bits < len(siblings):
            raise _bad_proof(
                "the other leaf does not stand in the way of this key",
                expected=f"{len(siblings)} to {KEY_BITS - 1} shared leading bits",
                actual=shared_bits,
            )
        node = leaf_node(other_key, _decode_hash(proof.other.value_hash))
    for height, sibling in enumerate(siblings):
        bit = _bit(key, len(siblings) - 1 - height)
        node = inner_node(sibling, node) if bit else inner_node(node, sibling)
    if node != root:
        raise VerificationError(
            "the state proof does not lead to the state root",
            code="state_root_mismatch",
            expected=root.hex(),
            actual=node.hex(),
        )


def _bad_proof(message: str, *, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(message, code="bad_state_proof", expected=expected, actual=actual)


def _decode_hash(text: str) -> bytes:
    try:
        return b64decode(text, size=HASH_BYTES, what="hash")
    except EncodingError as error:
        raise _bad_proof(error.message, expected=error.expected, actual=error.actual) from error


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _root(node: _Node) -> bytes:
    if node is None:
        return EMPTY_ROOT
    return node[0] if isinstance(node, tuple) else node[:HASH_BYTES]


def _leaves(bucket: bytes | None) -> list[bytes]:
    if bucket is None:
        return []
    return [bucket[at : at + _LEAF_BYTES] for at in range(HASH_BYTES, len(bucket), _LEAF_BYTES)]


def _middle(leaves: list[bytes], depth: int) -> int:
    """Where in sorted leaves that share `depth` leading bits the first with the next bit set stands."""
    at, mask = depth >> 3, 0x80 >> (depth & 7)
    if not leaves[-1][at] & mask:
        return len(leaves)
    if len(leaves) <= BUCKET_LEAVES:
        return next(i for i, leaf in enumerate(leaves) if leaf[at] & mask)
    return bisect_left(leaves, mask, key=lambda leaf: leaf[at] & mask)


def _hash_leaves(leaves: list[bytes], depth: int) -> bytes:
    """The root of a few sorted leaves that share `depth` leading bits."""
    sha256 = hashlib.sha256
    if len(leaves) < 2:
        return sha256(b"JMT::LeafNode" + leaves[0]).digest() if leaves else EMPTY_ROOT
    keys = [int.from_bytes(leaf[:HASH_BYTES]) for leaf in leaves]
    # What stands left of the next leaf, as roots, and the bits that each of them shares with its right neighbour: rising.
    roots: list[bytes] = []
    shared: list[int] = []
    for at, leaf in enumerate(leaves):
        root = sha256(b"JMT::LeafNode" + leaf).digest()
        after = KEY_BITS - (keys[at] ^ keys[at + 1]).bit_length() if at + 1 < len(keys) else depth - 1
        while shared and shared[-1] > after:
            level = shared.pop()
            root = sha256(b"JMT::IntrnalNode" + roots.pop() + root).digest()
            above = max(shared[-1], after) if shared else after
            while level > above + 1:  # alone down to there: beside it stands nothing
                level -= 1
                if keys[at] >> (KEY_BITS - 1 - level) & 1:
                    root = sha256(b"JMT::IntrnalNode" + EMPTY_ROOT + root).digest()
                else:
                    root = sha256(b"JMT::IntrnalNode" + root + EMPTY_ROOT).digest()
        roots.append(root)
        shared.append(after)
    return roots[0]


def _halves(node: _Node, depth: int) -> tuple[_Node, _Node]:
    """Both subtrees of a node that stands `depth` bits down."""
    if isinstance(node, tuple):
        return node[1], node[2]
    leaves = _leaves(node)
    middle = _middle(leaves, depth) if leaves else 0
    return _build(leaves[:middle], depth + 1), _build(leaves[middle:], depth + 1)


def _is_leaf(node: _Node) -> bool:
    return isinstance(node, bytes) and len(node) == HASH_BYTES + _LEAF_BYTES


def _joined(left: tuple[bytes, bytes], right: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """A lone leaf beside nothing rises unchanged, and so does nothing beside nothing."""
    if left[1] == EMPTY_ROOT and (right[0] == _LONE_LEAF or right[1] == EMPTY_ROOT):
        return right
    if right[1] == EMPTY_ROOT and left[0] == _LONE_LEAF:
        return left
    return _PLAIN, inner_node(left[1], right[1])


def _inner(left: _Node, right: _Node) -> _Inner:
    return hashlib.sha256(b"JMT::IntrnalNode" + _root(left) + _root(right)).digest(), left, right


def _build(leaves: list[bytes], depth: int) -> _Node:
    if len(leaves) <= BUCKET_LEAVES:
        return _hash_leaves(leaves, depth) + b"".join(leaves) if leaves else None
    middle = _middle(leaves, depth)
    return _inner(_build(leaves[:middle], depth + 1), _build(leaves[middle:], depth + 1))


def _update(node: _Node, changed: list[bytes], depth: int) -> tuple[_Node, int]:
    """The subtree with the changed leaves (sorted, at least one) and the number of them that are new."""
    if len(changed) == 1:
        return _put(node, changed[0], depth)
    if not isinstance(node, tuple):
        old = _leaves(node)
        merged = {leaf[:HASH_BYTES]: leaf for leaf in old}
        merged.update((leaf[:HASH_BYTES], leaf) for leaf in changed)
        return _build([merged[key] for key in sorted(merged)], depth), len(merged) - len(old)
    middle = _middle(changed, depth)
    _, left, right = node
    inserted_left = inserted_right = 0
    if middle > 0:
        left, inserted_left = _update(left, changed[:middle], depth + 1)
    if middle < len(changed):
        right, inserted_right = _update(right, changed[middle:], depth + 1)
    return _inner(left, right), inserted_left + inserted_right


def _put(node: _Node, leaf: bytes, depth: int) -> tuple[_Node, int]:
    """As `_update`, with one leaf: most of the way down a tree, it is alone."""
    sha256, key = hashlib.sha256, leaf[:HASH_BYTES]
    bits, shift = int.from_bytes(key), KEY_BITS - 1 - depth
    path: list[_Inner] = []
    while isinstance(node, tuple):
        path.append(node)
        node = node[1 + (bits >> shift & 1)]
        shift -= 1
    leaves = _leaves(node)
    at = bisect_left(leaves, key)
    is_new = at == len(leaves) or not leaves[at].startswith(key)
    leaves[at : at + (not is_new)] = [leaf]
    below = _build(leaves, KEY_BITS - 1 - shift)
    root = _root(below)
    for _, left, right in reversed(path):
        shift += 1
        if bits >> shift & 1:
            root = sha256(b"JMT::IntrnalNode" + _root(left) + root).digest()
            below = root, left, below
        else:
            root = sha256(b"JMT::IntrnalNode" + root + _root(right)).digest()
            below = root, below, right
    return below, int(is_new)
