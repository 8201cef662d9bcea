"""Roots of compact sparse Merkle trees in the form of penumbra-zone/jmt's vectors: SHA-256, keys and values unhashed."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ledger.errors import VerificationError
from ledger.statetree import StateTree
from tests.conformance.cases import Case, Fields, UnreadableError, json_files, judge, read_json


def smt_cases(paths: Sequence[Path]) -> Iterator[Case]:
    """Cases {expected_root, data: [{key, value}]} in hexadecimal; a key's last value counts."""
    for path in json_files(paths):
        document = Fields(read_json(path))
        vectors = document.value("vectors")
        if document.value("hash_function") != "sha2" or not isinstance(vectors, list):
            raise UnreadableError(f"{path}: no vectors for SHA-256 (`hash_function` sha2)")
        for number, vector in enumerate(vectors):
            yield judge(f"{path.name}#{number}", accept=True, check=partial(_check, Fields(vector)))


def _check(fields: Fields) -> None:
    expected = fields.hex("expected_root")
    leaves = {}
    grown = StateTree.empty()
    for item in fields.list("data"):
        pair = Fields(item)
        key, value = hashlib.sha256(pair.hex("key")).digest(), hashlib.sha256(pair.hex("value")).digest()
        leaves[key] = value
        grown = grown.update({key: value})
    for root in (StateTree.build(sorted(leaves.items())).root, grown.root):
        if root != expected:
            raise VerificationError(
                "another root", code="state_root_mismatch", expected=expected.hex(), actual=root.hex()
            )
