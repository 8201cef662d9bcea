"""Hash tiles (C2SP tlog-tiles): how the log tree's nodes lie in the store.

A tile of level L holds up to 256 neighbouring nodes of tree level 8 * L. Nodes of the levels between are recomputed from
the tile below them. Only the rightmost tile of each level is partial; those few are kept here, so that appending reads
nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final

from ledger.merkle.hashing import HASH_BYTES
from ledger.merkle.tree import CompletedNode

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes of a full tile."""

TileRow = tuple[int, int, bytes]
"""(level, number, hashes)."""


class PartialTiles:
    """The rightmost tile of each level, by level. A value: extending makes a new one."""

    __slots__ = ("_tiles",)

    def __init__(self, tiles: dict[int, tuple[int, bytes]]) -> None:
        """For this module's own use: see `load`."""
        self._tiles = tiles

    @staticmethod
    def load(size: int, tile: Callable[[int, int, int], bytes]) -> "PartialTiles":
        """Those of a log of `size` entries; `tile(level, number, width)` reads one from the store."""
        tiles: dict[int, tuple[int, bytes]] = {}
        level = 0
        while (nodes := size >> (TILE_HEIGHT * level)) > 0:
            number, width = divmod(nodes, TILE_WIDTH)
            tiles[level] = (number, tile(level, number, width) if width else b"")
            level += 1
        return PartialTiles(tiles)

    def extended(self, nodes: Iterable[CompletedNode]) -> tuple[list[TileRow], "PartialTiles"]:
        """The tiles that change when these nodes are completed (each level's in rising order), and what is then partial."""
        growing: dict[tuple[int, int], list[bytes]] = {}
        for level, index, node in nodes:
            if level % TILE_HEIGHT == 0:
                growing.setdefault((level // TILE_HEIGHT, index >> TILE_HEIGHT), []).append(node)
        tiles = dict(self._tiles)
        changed: list[TileRow] = []
        for (level, number), hashes in growing.items():
            held_number, held = tiles.get(level, (number, b""))
            whole = (held if held_number == number else b"") + b"".join(hashes)
            changed.append((level, number, whole))
            full = len(whole) == TILE_WIDTH * HASH_BYTES
            tiles[level] = (number + 1, b"") if full else (number, whole)
        return changed, PartialTiles(tiles)
