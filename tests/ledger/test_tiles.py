"""Tiles: paths in one spelling, bundles, and whole trees read back from tiles of every size around the boundaries."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import EncodingError, InputError, VerificationError
from ledger.merkle.hashing import EMPTY_ROOT, leaf_hash
from ledger.merkle.proof import consistency_proof, inclusion_proof
from ledger.merkle.tiles import (
    MAX_TREE_SIZE,
    Tile,
    TileReader,
    decode_entries,
    encode_entries,
    entry_bundles_of_size,
    index_path,
    tiles_of_size,
    verify_tiles,
    width_at_size,
)
from ledger.merkle.tree import root_of
from ledger.merkle.verify import verify_consistency, verify_inclusion

LEAVES = [leaf_hash(b"%d" % i) for i in range(66_000)]


class TiledLog:
    """The tiles of one tree, cut straight from its leaves."""

    def __init__(self, size: int) -> None:
        self.leaves = LEAVES[:size]
        self.root = root_of(self.leaves)
        self.fetched: list[Tile] = []
        self._levels = [self.leaves]
        while len(self._levels[-1]) >= 256:
            below = self._levels[-1]
            self._levels.append([root_of(below[at : at + 256]) for at in range(0, len(below) // 256 * 256, 256)])

    def fetch(self, tile: Tile) -> bytes:
        self.fetched.append(tile)
        assert tile.level is not None
        return b"".join(self._levels[tile.level][tile.first : tile.first + tile.width])


def test_paths_of_the_specification() -> None:
    assert index_path(1_234_067) == "x001/x234/067"
    assert Tile(level=0, index=1_234_067).path == "tile/0/x001/x234/067"
    assert Tile(level=63, index=0, width=255).path == "tile/63/000.p/255"
    assert Tile(level=None, index=999, width=1).path == "tile/entries/999.p/1"


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, MAX_TREE_SIZE), st.integers(1, 256))
def test_every_path_parses_back(level: int | None, index: int, width: int) -> None:
    tile = Tile(level=level, index=index, width=width)
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x234",
        "tile/0/x001/000/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/Entries/000",
        "tile/data/000",
        "tile/0/../000",
        "tile/0/٠٠٠",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(EncodingError, match="bad_tile"):
        Tile.parse(path)


@given(st.text(alphabet="tile/entris0123x.p9", max_size=40))
def test_parse_raises_only_our_error(path: str) -> None:
    try:
        assert Tile.parse(path).path == path
    except EncodingError as error:
        assert error.code == "bad_tile"


def test_tiles_of_seventy_thousand_entries() -> None:
    tiles = list(tiles_of_size(70_000))
    by_level = {level: [tile for tile in tiles if tile.level == level] for level in range(4)}
    assert [len(by_level[level]) for level in range(4)] == [274, 2, 1, 0]
    assert [by_level[level][-1].width for level in range(3)] == [112, 17, 1]
    assert [tile.path for tile in tiles_of_size(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [tile.path for tile in entry_bundles_of_size(257)] == ["tile/entries/000", "tile/entries/001.p/1"]
    assert list(tiles_of_size(0)) == []


@given(st.integers(0, 2_000_000))
def test_tiles_cover_every_complete_node_of_their_levels(size: int) -> None:
    for level in range(3):
        tiles = [tile for tile in tiles_of_size(size) if tile.level == level]
        assert sum(tile.width for tile in tiles) == size >> (8 * level)
        assert all(second.first == first.first + first.width for first, second in pairwise(tiles))
        assert all(tile.width == width_at_size(size, level, tile.index) for tile in tiles)
        assert width_at_size(size, level, len(tiles)) == 0 or len(tiles) == 0


def test_sizes_out_of_range() -> None:
    for size in (-1, MAX_TREE_SIZE + 1):
        with pytest.raises(InputError, match="out_of_range"):
            tiles_of_size(size)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1_000, 65_535, 65_536, 65_537, 66_000])
def test_a_whole_tree_from_its_tiles(size: int) -> None:
    log = TiledLog(size)
    verify_tiles(size, log.root, log.fetch)
    assert TileReader(size, log.fetch).root() == log.root
    if size == 0:
        assert log.root == EMPTY_ROOT
        return
    reader = TileReader(size, log.fetch)
    log.fetched.clear()
    for index in {0, size // 2, size - 1}:
        proof = inclusion_proof(index, size, reader.node)
        verify_inclusion(leaf_hash=log.leaves[index], index=index, size=size, proof=proof, root=log.root)
    for size1 in {1, max(1, size // 3), size}:
        proof = consistency_proof(size1, size, reader.node)
        older = root_of(log.leaves[:size1])
        verify_consistency(size1=size1, root1=older, size2=size, root2=log.root, proof=proof)
    assert len(log.fetched) == len(set(log.fetched)), "each tile is fetched once"
    assert set(log.fetched) <= set(tiles_of_size(size))


@pytest.mark.parametrize("size", [3, 300, 66_000])
def test_one_changed_hash_anywhere_is_found(size: int) -> None:
    log = TiledLog(size)
    for victim in {
        tile.path: tile for tile in (*list(tiles_of_size(size))[:2], *list(tiles_of_size(size))[-4:])
    }.values():

        def corrupted(tile: Tile, victim: Tile = victim) -> bytes:
            data = log.fetch(tile)
            return data[:-1] + bytes([data[-1] ^ 1]) if tile == victim else data

        def shortened(tile: Tile, victim: Tile = victim) -> bytes:
            return log.fetch(tile)[: -32 if tile == victim else None]

        for fetch in (corrupted, shortened):
            with pytest.raises(VerificationError):
                verify_tiles(size, log.root, fetch)


def test_another_root_is_refused() -> None:
    log = TiledLog(300)
    with pytest.raises(VerificationError, match="root_mismatch"):
        verify_tiles(300, LEAVES[0], log.fetch)


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entry_bundles_round_trip(entries: list[bytes]) -> None:
    data = encode_entries(entries)
    assert decode_entries(data, len(entries)) == entries
    for width in {len(entries) - 1, len(entries) + 1} - {-1}:
        with pytest.raises(EncodingError, match="bad_entry_bundle"):
            decode_entries(data, width)


def test_entry_bundle_bounds() -> None:
    longest = [b"x" * 65_535]
    assert decode_entries(encode_entries(longest), 1) == longest
    for entries in ([b"x" * 65_536], [b""] * 257):
        with pytest.raises(EncodingError, match="bad_entry_bundle"):
            encode_entries(entries)
    for data in (b"\x00", b"\x00\x05four", b"\x00\x00\x00"):
        with pytest.raises(EncodingError, match="bad_entry_bundle"):
            decode_entries(data, 1)
