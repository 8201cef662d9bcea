"""Manifests, chunks and their roots: for any set of documents the parts make the whole, and nothing else does."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import EncodingError, VerificationError
from ledger.limits import MAX_SNAPSHOT_DEPTH, SNAPSHOT_BLOCKS, SNAPSHOT_CHUNK_DOCUMENTS
from ledger.snapshot import (
    SnapshotManifest,
    decode_manifest,
    manifest_of,
    names_snapshot,
    verify_chunk,
    verify_chunk_roots,
)
from ledger.statetree import EMPTY_ROOT, KEY_BITS, StateTree, fold_subtrees, key_hash, subtree_root, value_hash

Documents = list[tuple[bytes, str, str, bytes]]


def documents(count: int) -> Documents:
    """So many documents in the order of their keys."""
    made = [("weapon", f"w{number}", b'{"n":%d}' % number) for number in range(count)]
    return sorted((key_hash(kind, name), kind, name, value) for kind, name, value in made)


def tree_of(rows: Documents) -> StateTree:
    return StateTree.build([(key, value_hash(value)) for key, _, _, value in rows])


def manifest(tree: StateTree) -> SnapshotManifest:
    return manifest_of(
        height=63, size=1, log_root=bytes(32), state_root=tree.root, documents=len(tree), seal_hash=bytes(32)
    )


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 40), depth=st.integers(0, 7))
def test_the_subtrees_of_every_depth_make_the_root(count: int, depth: int) -> None:
    """Sparse trees, too: where most prefixes have one leaf, or none, and leaves rise past their neighbours."""
    rows = documents(count)
    tree = tree_of(rows)
    subtrees = tree.subtrees(depth)
    assert len(subtrees) == 1 << depth
    assert fold_subtrees(subtrees) == tree.root
    for number, subtree in enumerate(subtrees):
        leaves = [(k, value_hash(v)) for k, _, _, v in rows if int.from_bytes(k) >> (KEY_BITS - depth) == number]
        assert subtree[1:] == subtree_root(leaves, depth)


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 30), depth=st.integers(1, 6), data=st.data())
def test_no_other_subtrees_make_the_root(count: int, depth: int, data: st.DataObject) -> None:
    """Not even ones that differ in the byte before the root."""
    tree = tree_of(documents(count))
    subtrees = tree.subtrees(depth)
    at = data.draw(st.integers(0, len(subtrees) - 1))
    byte = data.draw(st.integers(0, 32))
    bit = 1 << data.draw(st.integers(0, 7))
    changed = bytearray(subtrees[at])
    changed[byte] ^= bit
    others = [*subtrees[:at], bytes(changed), *subtrees[at + 1 :]]
    try:
        assert fold_subtrees(others) != tree.root
    except VerificationError as error:
        assert error.code == "bad_state_proof"


def test_chunks_make_the_state_and_a_changed_one_does_not() -> None:
    rows = documents(3 * SNAPSHOT_CHUNK_DOCUMENTS)
    tree = tree_of(rows)
    made = manifest(tree)
    assert made.depth == 2
    roots = verify_chunk_roots(made, b"".join(tree.subtrees(made.depth)))
    shift = KEY_BITS - made.depth
    for number, root in enumerate(roots):
        chunk = [(kind, name, value) for key, kind, name, value in rows if int.from_bytes(key) >> shift == number]
        keyed = verify_chunk(number, made.depth, root, chunk)
        assert [row[1:] for row in keyed] == chunk
        kind, name, value = chunk[0]
        spoilt = [
            chunk[1:],
            [*chunk, chunk[-1]],
            [*reversed(chunk)],
            [(kind, name, value + b" "), *chunk[1:]],
            [(kind, name + "x", value), *chunk[1:]],
            [("key", name, value), *chunk[1:]],
            [],
        ]
        for wrong in spoilt:
            with pytest.raises(VerificationError) as caught:
                verify_chunk(number, made.depth, root, wrong)
            assert caught.value.code == "bad_snapshot"
        with pytest.raises(VerificationError):
            verify_chunk((number + 1) % 4, made.depth, root, chunk)


@pytest.mark.parametrize(("kind", "name"), [("a\x00b", "x"), ("\ud800", "x"), ("weapon", "\udfff")])
def test_a_key_that_cannot_be_is_refused(kind: str, name: str) -> None:
    with pytest.raises(VerificationError):
        verify_chunk(0, 0, EMPTY_ROOT, [(kind, name, b"{}")])


@pytest.mark.parametrize(
    ("count", "depth"),
    [
        (0, 0),
        (1, 0),
        (256, 0),
        (257, 1),
        (512, 1),
        (513, 2),
        (200_000, 10),
        (16_777_216, 16),
        (10**12, MAX_SNAPSHOT_DEPTH),
    ],
)
def test_the_number_of_chunks_follows_from_the_number_of_documents(count: int, depth: int) -> None:
    made = SnapshotManifest(
        format="tracemark-snapshot/1",
        height=63,
        size=1,
        log_root="0" * 64,
        state_root="0" * 64,
        documents=count,
        seal="0" * 64,
    )
    assert made.depth == depth


def test_a_manifest_has_one_form_and_that_is_what_is_hashed() -> None:
    made = manifest(tree_of(documents(5)))
    assert decode_manifest(made.to_bytes()) == made
    assert made.hash == hashlib.sha256(made.to_bytes()).hexdigest()
    for wrong in (b" " + made.to_bytes(), made.to_bytes().replace(b"/1", b"/2"), b"{}", b""):
        with pytest.raises(EncodingError):
            decode_manifest(wrong)


def test_seals_name_snapshots_from_version_2_on() -> None:
    heights = range(3 * SNAPSHOT_BLOCKS)
    assert not any(names_snapshot(1, height) for height in heights)
    assert [height for height in heights if names_snapshot(2, height)] == [SNAPSHOT_BLOCKS, 2 * SNAPSHOT_BLOCKS]
