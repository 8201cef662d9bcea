"""Tiles: the log's tree and entries as static resources (c2sp.org/tlog-tiles), and reading the tree back from them.

A tile holds up to 256 consecutive nodes of one of the levels 0, 8, 16, ... of the tree; only whole subtrees are in
tiles, and the levels between are hashed from them. An entry bundle holds the entries beneath one tile of level 0.
Serving, fetching and caching are the callers'; here are names, encodings and the arithmetic.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from ledger.errors import EncodingError, InputError, VerificationError
from ledger.limits import MAX_TILE_ENTRY_BYTES
from ledger.merkle.hashing import HASH_BYTES
from ledger.merkle.tree import covering_nodes, fold_right, root_of

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_TILE_LEVEL: Final = 63
"""Tile levels that the path format admits."""
MAX_TREE_SIZE: Final = 2**63 - 1

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """The name of one tile, or (level None) of one entry bundle. `width` counts its hashes or entries: 256 unless
    partial.

    Requires 0 <= level <= 63, index >= 0, 1 <= width <= 256.

    Raises:
        EncodingError: code `bad_tile`.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not (
            0 <= (self.level or 0) <= MAX_TILE_LEVEL
            and 0 <= self.index <= MAX_TREE_SIZE
            and 1 <= self.width <= TILE_WIDTH
        ):
            raise EncodingError(
                "no such tile",
                code="bad_tile",
                expected="level 0 to 63, index >= 0, width 1 to 256",
                actual=f"level {self.level}, index {self.index}, width {self.width}",
            )

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`, relative to the log's prefix."""
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{index_path(self.index)}{partial}"

    @staticmethod
    def parse(path: str) -> "Tile":
        """Parse a path that `path` could have written; every other spelling is refused.

        Raises:
            EncodingError: code `bad_tile`.
        """
        match = _PATH.fullmatch(path)
        if match is not None:
            tile = Tile(
                level=None if match["level"] == "entries" else int(match["level"]),
                index=int(match["index"].replace("x", "").replace("/", "")),
                width=TILE_WIDTH if match["width"] is None else int(match["width"]),
            )
            if tile.path == path:
                return tile
        raise EncodingError(
            "not a tile's path",
            code="bad_tile",
            expected="tile/<L>/<N>[.p/<W>], such as tile/0/x001/x234/067",
            actual=repr(path[:120]),
        )

    @property
    def first(self) -> int:
        """The index, among all nodes of its level (or all entries), of its first."""
        return self.index * TILE_WIDTH


def index_path(index: int) -> str:
    """A tile's index as path elements of three digits: 1234067 is `x001/x234/067`. Requires index >= 0."""
    elements = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        elements.append(f"x{index % 1000:03}")
    return "/".join(reversed(elements))


def tiles_of_size(size: int) -> Iterator[Tile]:
    """Every hash tile of a tree of `size` leaves, by level and index, lazily. Requires 0 <= size < 2**63.

    Raises:
        InputError: code `out_of_range`.
    """
    _require_size(size)
    return (tile for level in range(MAX_TILE_LEVEL + 1) for tile in _tiles_of_level(size, level, level))


def entry_bundles_of_size(size: int) -> Iterator[Tile]:
    """Every entry bundle of a tree of `size` leaves, in order, lazily. Requires 0 <= size < 2**63.

    Raises:
        InputError: code `out_of_range`.
    """
    _require_size(size)
    return _tiles_of_level(size, 0, None)


def width_at_size(size: int, level: int, index: int) -> int:
    """How wide tile (level, index) is in a tree of `size` leaves: 0 where it is not there yet, 256 where it is full."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def node_place(level: int, index: int) -> tuple[int, int, int, int]:
    """Where the tree's node (level, index) is in tiles: (tile level, tile index, first hash, number of hashes).

    The node's hash is `root_of` that many consecutive hashes of the tile; the number is a power of two below 256.
    """
    tile_level, height = divmod(level, TILE_HEIGHT)
    first = index << height
    return tile_level, first >> TILE_HEIGHT, first & (TILE_WIDTH - 1), 1 << height


def node_from_tile(level: int, index: int, tile_hashes: bytes) -> bytes:
    """The hash of node (level, index), given the bytes of the tile that `node_place` names.

    Raises:
        VerificationError: code `bad_tile`, where the tile is too narrow.
    """
    _, _, first, count = node_place(level, index)
    nodes = tile_hashes[first * HASH_BYTES : (first + count) * HASH_BYTES]
    if len(nodes) != count * HASH_BYTES:
        raise _bad_tile(
            "a tile is too narrow", expected=f">= {first + count} hashes", actual=len(tile_hashes) // HASH_BYTES
        )
    return root_of(_split(nodes))


class TileReader:
    """Tree nodes out of tiles that somebody fetches; each tile is asked for once.

    `fetch(tile)` returns the bytes of that hash tile (at the width it has at `size`). What comes back is checked for
    its length only: trust follows from the roots and proofs computed from it.
    """

    def __init__(self, size: int, fetch: Callable[[Tile], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._tiles: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree; a node source for `ledger.merkle.proof`.

        Raises:
            VerificationError: code `bad_tile`, where a tile has another length than its width.
        """
        tile_level, tile_index, _, _ = node_place(level, index)
        place = (tile_level, tile_index)
        if place not in self._tiles:
            width = width_at_size(self._size, tile_level, tile_index)
            self._tiles[place] = check_hash_tile(
                Tile(level=tile_level, index=tile_index, width=width),
                self._fetch(Tile(level=tile_level, index=tile_index, width=width)),
            )
        return node_from_tile(level, index, self._tiles[place])

    def root(self) -> bytes:
        """The root of the whole tree, from as few tiles as it takes."""
        nodes = [self.node(level, index) for level, index in covering_nodes(0, self._size)]
        return fold_right(nodes) if nodes else root_of([])


def check_hash_tile(tile: Tile, data: bytes) -> bytes:
    """The bytes of a hash tile, if they are as many as its width says.

    Raises:
        VerificationError: code `bad_tile`.
    """
    if len(data) != tile.width * HASH_BYTES:
        raise _bad_tile(
            f"{tile.path} has the wrong size", expected=f"{tile.width * HASH_BYTES} bytes", actual=len(data)
        )
    return data


def parent_hash(tile_hashes: bytes) -> bytes:
    """The root over a full tile: its hash in the tile above. Requires 8,192 bytes."""
    return root_of(_split(tile_hashes))


def verify_tiles(size: int, root: bytes, fetch: Callable[[Tile], bytes]) -> None:
    """Verify every hash tile of a tree: full tiles against the tile above, the right edge against the root.

    Raises:
        VerificationError: code `bad_tile` (a size, or a hash that is not that of the tile beneath) or `root_mismatch`.
    """
    below: list[bytes] = []
    tops: list[bytes] = []
    for tile in tiles_of_size(size):
        data = check_hash_tile(tile, fetch(tile))
        if tile.level and data != b"".join(below[tile.first : tile.first + tile.width]):
            raise _bad_tile(f"{tile.path} is not made of the tiles beneath it")
        if tile.width == TILE_WIDTH:
            tops.append(parent_hash(data))
        if width_at_size(size, tile.level or 0, tile.index + 1) == 0:  # the level's last tile
            below, tops = tops, []
    actual = TileReader(size, fetch).root()
    if actual != root:
        raise VerificationError(
            "the tiles do not make the root", code="root_mismatch", expected=root.hex(), actual=actual.hex()
        )


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length in two bytes, big-endian.

    Raises:
        EncodingError: code `bad_entry_bundle`, for an entry over 65,535 bytes or more than 256 of them.
    """
    if len(entries) > TILE_WIDTH or any(len(entry) > MAX_TILE_ENTRY_BYTES for entry in entries):
        raise EncodingError(
            "entries that fit no bundle",
            code="bad_entry_bundle",
            expected=f"at most {TILE_WIDTH} entries of at most {MAX_TILE_ENTRY_BYTES} bytes",
        )
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def decode_entries(data: bytes, width: int) -> list[bytes]:
    """The `width` entries of a bundle.

    Raises:
        EncodingError: code `bad_entry_bundle`, where bytes are missing or left over.
    """
    entries: list[bytes] = []
    at = 0
    for _ in range(width):
        start = at + 2
        at = start + int.from_bytes(data[at:start])
        if at > len(data):
            raise EncodingError(
                "the entry bundle is cut short",
                code="bad_entry_bundle",
                expected=f"{width} entries",
                actual=len(entries),
            )
        entries.append(data[start:at])
    if at != len(data):
        raise EncodingError("bytes after the last entry", code="bad_entry_bundle", expected=at, actual=len(data))
    return entries


def _require_size(size: int) -> None:
    if not 0 <= size <= MAX_TREE_SIZE:
        raise InputError("no such tree", code="out_of_range", expected="0 <= size < 2**63", actual=size)


def _tiles_of_level(size: int, level: int, named: int | None) -> Iterator[Tile]:
    full, rest = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
    for index in range(full):
        yield Tile(level=named, index=index)
    if rest:
        yield Tile(level=named, index=full, width=rest)


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _bad_tile(message: str, *, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(message, code="bad_tile", expected=expected, actual=actual)
