"""The compact sparse Merkle tree word for word from the design: slow, recursive over sets of leaves, sharing no code."""

import hashlib
from collections.abc import Mapping

EMPTY = b"SPARSE_MERKLE_PLACEHOLDER_HASH__"


def bits(key: bytes) -> str:
    """A key's 256 bits as text, most significant first."""
    return "".join(f"{byte:08b}" for byte in key)


def root(leaves: Mapping[bytes, bytes]) -> bytes:
    """The root over key hash -> value hash."""
    return subtree({bits(key): (key, value) for key, value in leaves.items()}, "")


def subtree(leaves: Mapping[str, tuple[bytes, bytes]], prefix: str) -> bytes:
    """The root over the leaves whose bits begin with `prefix`."""
    below = {path: leaf for path, leaf in leaves.items() if path.startswith(prefix)}
    if not below:
        return EMPTY
    if len(below) == 1:
        ((key, value),) = below.values()
        return hashlib.sha256(b"JMT::LeafNode" + key + value).digest()
    return hashlib.sha256(b"JMT::IntrnalNode" + subtree(below, prefix + "0") + subtree(below, prefix + "1")).digest()


def siblings(leaves: Mapping[bytes, bytes], key: bytes) -> list[bytes]:
    """The roots beside the way down to where `key` is or would be, deepest first."""
    tree = {bits(k): (k, v) for k, v in leaves.items()}
    path, depth, found = bits(key), 0, []
    while sum(other.startswith(path[:depth]) for other in tree) > 1:
        turn = "1" if path[depth] == "0" else "0"
        found.append(subtree(tree, path[:depth] + turn))
        depth += 1
    return found[::-1]
