"""The state tree against a naive reference: roots, proofs, absence, and versions that leave each other alone."""

import hashlib
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import b64decode, b64encode, decode, encode
from ledger.errors import EncodingError, InputError, VerificationError
from ledger.statetree import (
    BUCKET_LEAVES,
    EMPTY_ROOT,
    StateLeaf,
    StateProof,
    StateTree,
    inner_node,
    key_hash,
    leaf_node,
    state_key,
    value_hash,
    verify_state,
)
from tests.reference import statetree as reference

Leaves = dict[bytes, bytes]


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def near(prefix_bits: int, number: int) -> bytes:
    """A key hash that shares its first `prefix_bits` bits with all others made so: an attacker can find such keys."""
    free = 256 - prefix_bits
    return (int.from_bytes(digest(0)) >> free << free | int.from_bytes(digest(number)) % (1 << free)).to_bytes(32)


keys = st.one_of(
    st.integers(0, 60).map(digest),
    st.builds(near, st.sampled_from([1, 7, 8, 60, 250, 255]), st.integers(0, 12)),
    st.binary(min_size=32, max_size=32),
)
values = st.integers(0, 5).map(digest)
leaf_maps = st.dictionaries(keys, values, max_size=60)


def check(tree: StateTree, leaves: Leaves) -> None:
    assert tree.root == reference.root(leaves)
    assert len(tree) == len(leaves)
    assert list(tree) == sorted(leaves.items())


@settings(deadline=None)
@given(leaf_maps)
def test_build_agrees_with_the_reference(leaves: Leaves) -> None:
    check(StateTree.build(sorted(leaves.items())), leaves)


@settings(deadline=None)
@given(st.lists(leaf_maps, max_size=5))
def test_updates_agree_and_leave_older_versions_alone(batches: list[Leaves]) -> None:
    versions: list[tuple[StateTree, Leaves]] = [(StateTree.empty(), {})]
    for batch in batches:
        tree, leaves = versions[-1]
        versions.append((tree.update(batch), leaves | batch))
    forks = [(tree.update({digest(999): digest(1)}), leaves | {digest(999): digest(1)}) for tree, leaves in versions]
    for tree, leaves in (*versions, *forks):
        check(tree, leaves)


@settings(deadline=None)
@given(leaf_maps, st.lists(keys, max_size=5))
def test_get_and_prove_agree_with_the_reference(leaves: Leaves, others: list[bytes]) -> None:
    tree = StateTree.build(sorted(leaves.items()))
    for key in (*leaves, *others):
        assert tree.get(key) == leaves.get(key)
        proof = tree.prove(key)
        assert [b64decode(sibling) for sibling in proof.siblings] == reference.siblings(leaves, key)
        if proof.other is not None:
            other = b64decode(proof.other.key_hash)
            assert key not in leaves
            assert leaves[other] == b64decode(proof.other.value_hash)


def test_what_lies_across_two_hashes_or_is_a_value_is_no_key() -> None:
    leaves = {digest(number): digest(100 + number) for number in range(8)}
    tree = StateTree.build(sorted(leaves.items()))
    for key, value in leaves.items():
        for cut in (1, 16, 31):
            assert tree.get(key[cut:] + value[:cut]) is None
        assert tree.get(value) is None
        assert tree.get(key) == value


def test_more_leaves_than_a_bucket_holds() -> None:
    leaves = {digest(i): digest(i + 1) for i in range(BUCKET_LEAVES * 40)}
    check(StateTree.build(sorted(leaves.items())), leaves)
    grown, known = StateTree.empty(), dict[bytes, bytes]()
    for key, value in leaves.items():
        grown = grown.update({key: value})
        known[key] = value
    check(grown, leaves)


def test_empty_tree_and_empty_update() -> None:
    tree = StateTree.empty()
    assert tree.root == EMPTY_ROOT
    assert tree.update({}) is tree
    assert tree.get(digest(1)) is None
    verify_state(EMPTY_ROOT, "weapon", "w1", None, tree.prove(key_hash("weapon", "w1")))


@pytest.mark.parametrize(
    "leaves",
    [
        [(digest(1), digest(1)), (digest(1), digest(2))],
        sorted([(digest(1), digest(1)), (digest(2), digest(2))], reverse=True),
        [(digest(1)[:31], digest(1))],
        [(digest(1), b"")],
    ],
)
def test_build_refuses_unsorted_doubled_and_short_leaves(leaves: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InputError, match="bad_state_leaves"):
        StateTree.build(leaves)


def test_update_refuses_short_hashes() -> None:
    for changes in ({digest(1)[:31]: digest(1)}, {digest(1): b""}):
        with pytest.raises(InputError, match="bad_state_leaves"):
            StateTree.empty().update(changes)


def test_state_key_is_kind_nul_id() -> None:
    assert state_key("weapon", "wé") == b"weapon\x00w\xc3\xa9"
    assert key_hash("weapon", "w1") == hashlib.sha256(b"weapon\x00w1").digest()
    with pytest.raises(InputError, match="bad_state_key"):
        state_key("wea\x00pon", "w1")


def documents(count: int) -> tuple[StateTree, Mapping[str, bytes]]:
    held = {f"w{i}": b'{"n":%d}' % i for i in range(count)}
    return StateTree.build(sorted((key_hash("weapon", i), value_hash(doc)) for i, doc in held.items())), held


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 200])
def test_verify_presence_and_absence(count: int) -> None:
    tree, held = documents(count)
    kinds_of_absence = set()
    for name in (*held, *(f"x{i}" for i in range(60))):
        proof = tree.prove(key_hash("weapon", name))
        verify_state(tree.root, "weapon", name, held.get(name), proof)
        if name in held:
            with pytest.raises(VerificationError):
                verify_state(tree.root, "weapon", name, None, proof)
            for kind, other in (("weapon", name + "'"), ("party", name)):
                with pytest.raises(VerificationError):
                    verify_state(tree.root, kind, other, held[name], proof)
        else:
            kinds_of_absence.add(proof.other is None)
        with pytest.raises(VerificationError):
            verify_state(tree.root, "weapon", name, b"another document", proof)
        with pytest.raises(VerificationError):
            verify_state(digest(0), "weapon", name, held.get(name), proof)
    if count > 2:
        assert kinds_of_absence == {True, False}, "both an empty place and another key's leaf must have come up"


def test_no_changed_byte_of_a_state_proof_verifies() -> None:
    tree, held = documents(12)
    for name in ("w3", "x1", "x2", "x3", "x4", "x5"):
        proof = tree.prove(key_hash("weapon", name))
        data = encode(proof)
        assert decode(data, StateProof, limit=100_000) == proof
        for at in range(len(data)):
            for changed in {data[at] ^ 1, data[at] ^ 0x20, ord("A"), ord("=")} - {data[at]}:
                mutated = data[:at] + bytes([changed]) + data[at + 1 :]
                with pytest.raises((EncodingError, VerificationError)):
                    verify_state(tree.root, "weapon", name, held.get(name), decode(mutated, StateProof, limit=100_000))


def test_forged_absence_is_refused() -> None:
    tree, held = documents(50)
    root = tree.root
    for name in held:
        key = key_hash("weapon", name)
        proof = tree.prove(key)
        own = StateLeaf(key_hash=b64encode(key), value_hash=b64encode(value_hash(held[name])))
        with pytest.raises(VerificationError, match="bad_state_proof"):
            verify_state(root, "weapon", name, None, msgspec.structs.replace(proof, other=own))
        with pytest.raises(VerificationError, match="bad_state_proof"):
            verify_state(root, "weapon", name, held[name], msgspec.structs.replace(proof, other=own))
    # Somebody else's leaf, genuinely in the tree but not in this key's way:
    victim = key_hash("weapon", "w0")
    for name in list(held)[1:]:
        key = key_hash("weapon", name)
        proof = tree.prove(key)
        stranger = StateLeaf(key_hash=b64encode(key), value_hash=b64encode(value_hash(held[name])))
        if (int.from_bytes(key) ^ int.from_bytes(victim)).bit_length() > 256 - len(proof.siblings):
            with pytest.raises(VerificationError):
                verify_state(root, "weapon", "w0", None, msgspec.structs.replace(proof, other=stranger))


def test_a_leaf_of_another_place_proves_no_absence_even_under_a_root_made_for_it() -> None:
    """A quorum of liars can sign any root; still nobody may take a leaf at a place where it cannot stand for evidence."""
    key = key_hash("weapon", "w1")
    elsewhere = bytes([key[0] ^ 0x80]) + key[1:]
    sibling = digest(1)
    leaf = leaf_node(elsewhere, digest(2))
    root = inner_node(sibling, leaf) if key[0] & 0x80 else inner_node(leaf, sibling)
    other = StateLeaf(key_hash=b64encode(elsewhere), value_hash=b64encode(digest(2)))
    with pytest.raises(VerificationError, match="bad_state_proof"):
        verify_state(root, "weapon", "w1", None, StateProof(siblings=(b64encode(sibling),), other=other))


def test_too_many_siblings_are_refused_before_hashing() -> None:
    proof = StateProof(siblings=(b64encode(digest(1)),) * 257)
    with pytest.raises(VerificationError, match="bad_state_proof"):
        verify_state(digest(1), "weapon", "w1", None, proof)
