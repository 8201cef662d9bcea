"""The ledger's database gives back what was written, and nothing of what failed."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Seal
from ledger.errors import CorruptionError, InputError, StoreError
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.proof import consistency_proof, inclusion_proof
from ledger.merkle.tree import Frontier, root_of
from ledger.merkle.verify import verify_consistency, verify_inclusion
from ledger.statetree import StateProof
from node.storage import BlockCommit, Database, EpochRow, LedgerStore
from node.storage.tiles import PartialTiles


def commit_block(store: LedgerStore, height: int, frontier: Frontier, count: int, **changes: object) -> Frontier:
    """A block of `count` entries, made up but for the seal; returns the frontier after it."""
    seal = Seal(
        height=height,
        view=height,
        epoch=0,
        prev_seal="0" * 64,
        time=height,
        record_count=count - 1,
        state_root="0" * 64,
        validators="0" * 64,
        version=1,
    ).to_bytes()
    entries = (*(b"entry %d of %d" % (n, height) for n in range(count - 1)), seal)
    after, nodes = frontier.extend(map(leaf_hash, entries))
    fields: dict[str, object] = {
        "height": height,
        "epoch": 0,
        "view": height,
        "digest": hashlib.sha256(b"block %d" % height).digest(),
        "first_index": frontier.size,
        "entries": entries,
        "records": [(hashlib.sha256(entry).digest(), frontier.size + n) for n, entry in enumerate(entries[:-1])],
        "header": None,
        "certificate": None,
        "cosignature": b"cosigned",
        "frontier": after,
        "nodes": nodes,
        "documents": [],
        "history": [],
        "serials": [],
        "keys": [],
        **changes,
    }
    store.commit(BlockCommit(**fields))  # type: ignore[arg-type]
    return after


@settings(deadline=None, max_examples=15)
@given(counts=st.lists(st.integers(min_value=1, max_value=300), min_size=1, max_size=6), reopen=st.booleans())
def test_proofs_from_tiles_hold_for_every_block_boundary(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], reopen: bool
) -> None:
    path = tmp_path_factory.mktemp("store") / "ledger.db"
    store = LedgerStore(Database(path))
    frontier, sizes = Frontier(), []
    for height, count in enumerate(counts):
        frontier = commit_block(store, height, frontier, count)
        sizes.append(frontier.size)
        if reopen:
            store.close()
            store = LedgerStore(Database(path))
    with store.read() as reader:
        leaves = [leaf_hash(entry) for entry in reader.entries(0, frontier.size)]
        assert root_of(leaves) == frontier.root
        for size in sizes:
            root = root_of(leaves[:size])
            for index in {0, size // 2, size - 1}:
                proof = inclusion_proof(index, size, reader.node)
                verify_inclusion(leaf_hash=leaves[index], index=index, size=size, proof=proof, root=root)
            verify_consistency(
                size1=size,
                size2=frontier.size,
                proof=consistency_proof(size, frontier.size, reader.node),
                root1=root,
                root2=frontier.root,
            )
        for number in range(frontier.size >> 8):
            assert reader.tile(0, number) == b"".join(leaves[256 * number : 256 * (number + 1)])
        width = frontier.size & 255
        if width:
            assert reader.tile(0, frontier.size >> 8, width) == b"".join(leaves[-width:])
        with pytest.raises(InputError, match="no such tile"):
            reader.tile(0, frontier.size >> 8, width + 1)
    store.close()


def test_epochs_are_given_back_in_order_with_their_proofs_and_a_missing_one_is_noticed(tmp_path: Path) -> None:
    def opening(epoch: int, height: int) -> EpochRow:
        proof = StateProof(siblings=("a" * 44,) * epoch)
        return EpochRow(epoch=epoch, height=height, validators=b"document %d" % epoch, proof=proof)

    store = LedgerStore(Database(tmp_path / "ledger.db"))
    frontier = commit_block(store, 0, Frontier(), 2)
    frontier = commit_block(store, 1, frontier, 2, opens=opening(1, 1))
    frontier = commit_block(store, 2, frontier, 2)
    frontier = commit_block(store, 3, frontier, 2, opens=opening(2, 3))
    with store.read() as reader:
        assert reader.epochs() == [opening(1, 1), opening(2, 3)]
    with store._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM epochs WHERE epoch = 1")
    with store.read() as reader, pytest.raises(CorruptionError, match="an epoch is missing"):
        reader.epochs()
    store.close()


def test_tiles_above_the_leaves_hold_the_roots_of_full_tiles() -> None:
    leaves = [leaf_hash(b"%d" % n) for n in range(70_000)]
    tiles: dict[tuple[int, int], bytes] = {}
    partial, frontier = PartialTiles.load(0, lambda *_: b""), Frontier()
    for at in range(0, len(leaves), 999):
        frontier, nodes = frontier.extend(leaves[at : at + 999])
        changed, partial = partial.extended(nodes)
        tiles.update({(level, number): hashes for level, number, hashes in changed})
    assert len(tiles[1, 0]) == 256 * 32
    assert tiles[1, 0][:32] == root_of(leaves[:256])
    assert tiles[2, 0] == root_of(leaves[: 256 * 256])
    assert tiles[1, 1] == b"".join(root_of(leaves[n : n + 256]) for n in range(65_536, 69_888, 256))


def test_projections_and_documents_are_found_again(tmp_path: Path) -> None:
    store = LedgerStore(Database(tmp_path / "ledger.db"))
    first = [(bytes([n]) * 32, "weapon", f"w{n}", b"one %d" % n) for n in range(200)]
    frontier = commit_block(
        store,
        0,
        Frontier(),
        5,
        documents=first,
        history=[("wa", 1), ("wb", 1), ("wa", 2)],
        serials=[("S1", "GLC", "wa"), ("S1", "GLC", "wb"), ("S1", "SW", "wc"), ("S2", "GLC", "wd")],
        keys=[("keyid", "public")],
    )
    commit_block(store, 1, frontier, 2, documents=[(bytes([7]) * 32, "weapon", "w7", b"two")], history=[("wa", 5)])
    with store.read() as reader:
        keys = [bytes([n]) * 32 for n in range(201)]
        documents = reader.documents(keys)
        assert documents == {row[0]: row[3] for row in first} | {bytes([7]) * 32: b"two"}
        assert {row[0]: row[3] for row in reader.all_documents()} == documents
        assert reader.history("wa", size=6) == [1, 2, 5]
        assert reader.history("wa", size=5) == [1, 2]
        assert reader.history("nobody", size=6) == []
        found = reader.weapons_by_serial("S1")
        assert found == [("GLC", "wa"), ("GLC", "wb"), ("SW", "wc")]
        assert reader.weapons_by_serial("S1", after=found[0], limit=1) == [found[1]]
        assert reader.weapons_by_serial("S1", make="SW") == [found[2]]
        assert reader.publics(["keyid", "other"]) == {"keyid": ["public"]}
        place = reader.place_of_index(5)
        assert place is not None
        assert (place.height, place.first_index, place.size, place.cosignature) == (1, 5, 7, b"cosigned")
        assert reader.place_of_index(7) is None
        assert reader.place_at_size(5) == reader.place_of_index(4)
        assert reader.place_at_size(6) is None
        assert reader.place_of_digest(place.digest) == place
        record = hashlib.sha256(b"entry 0 of 1").digest()
        assert reader.known_ids([record, bytes(32)]) == {record: 5}
        found_record = reader.record(record.hex())
        assert found_record is not None
        assert (found_record.index, found_record.height) == (5, 1)
        assert reader.entries_at([5, 0]) == {0: b"entry 0 of 0", 5: b"entry 0 of 1"}
    store.close()


def test_a_snapshot_does_not_see_a_later_commit(tmp_path: Path) -> None:
    store = LedgerStore(Database(tmp_path / "ledger.db"))
    frontier = commit_block(store, 0, Frontier(), 2)
    with store.read() as reader:
        assert reader.height() == 0
        commit_block(store, 1, frontier, 2)
        assert reader.height() == 0
        assert reader.entry(2) is None
    with store.read() as reader:
        assert reader.height() == 1
    store.close()


def test_a_block_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    store = LedgerStore(Database(tmp_path / "ledger.db"))
    frontier = commit_block(store, 0, Frontier(), 3)
    taken = hashlib.sha256(b"entry 0 of 0").digest()
    with pytest.raises(StoreError):
        commit_block(store, 1, frontier, 2, records=[(taken, 3)])  # the record's id stands there already
    with store.read() as reader:
        assert reader.height() == 0
        assert reader.entry(3) is None
    commit_block(store, 1, frontier, 300)
    with store.read() as reader:
        assert reader.tile(0, 0, 256)[96:128] == leaf_hash(b"entry 0 of 1")
    store.close()


def test_a_missing_hash_is_corruption(tmp_path: Path) -> None:
    store = LedgerStore(Database(tmp_path / "ledger.db"))
    commit_block(store, 0, Frontier(), 10)
    with store.read() as reader, pytest.raises(CorruptionError):
        reader.node(4, 0)
    store.close()
