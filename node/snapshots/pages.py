"""What a node shows to those who join (PROTOCOL P7.3), as pages of the peer port (`node.peers.pages`).

    /snapshot                                   the newest snapshot's anchor (msgpack)
    /snapshot/roots?height=                     the roots of its chunks
    /snapshot/documents?height=&from=&count=    chunks of documents (msgpack)
    /tiles?level=&from=&count=&size=            hashes of neighbouring tiles of one level, as a log of that size has them
    /epochs?from=                               how the epochs from that number on began (msgpack)

Entries come with their blocks (`node.peers.catchup`). All of it is public among the agencies, and none of it is believed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ledger.anchor import EpochStep, SnapshotAnchor
from ledger.block import BlockHeader
from ledger.errors import InputError
from ledger.limits import (
    MAX_ANCHOR_BLOCKS,
    MAX_CHUNKS_PER_REQUEST,
    MAX_EPOCH_STEPS,
    MAX_FRAME_BYTES,
    MAX_TILES_PER_REQUEST,
)
from ledger.merkle.tiles import MAX_TILE_LEVEL, width_at_size
from ledger.snapshot import SnapshotManifest
from node.peers.pages import Page
from node.snapshots.files import Snapshot, array_header
from node.storage import LedgerReader, LedgerStore

ANCHOR_PATH: Final = "/snapshot"
ROOTS_PATH: Final = "/snapshot/roots"
DOCUMENTS_PATH: Final = "/snapshot/documents"
TILES_PATH: Final = "/tiles"
EPOCHS_PATH: Final = "/epochs"
_ENCODER: Final = msgspec.msgpack.Encoder()


class SnapshotPages:
    """Makes the pages from the store and the snapshots kept. Called from any thread."""

    def __init__(self, store: LedgerStore, kept: Callable[[], Sequence[Snapshot]]) -> None:
        """`kept`: the snapshots that can be served now, by rising height."""
        self._store = store
        self._kept = kept

    def pages(self) -> dict[str, Page]:
        """All of them by path."""
        return {
            ANCHOR_PATH: Page(frozenset(), self._anchor),
            ROOTS_PATH: Page(frozenset({"height"}), self._roots),
            DOCUMENTS_PATH: Page(frozenset({"height", "from", "count"}), self._documents),
            TILES_PATH: Page(frozenset({"level", "from", "count", "size"}), self._tiles),
            EPOCHS_PATH: Page(frozenset({"from"}), self._epochs),
        }

    def _anchor(self, _numbers: Mapping[str, int]) -> bytes | None:
        with self._store.read() as reader:
            for snapshot in reversed(self._kept()):
                anchor = anchor_of(reader, snapshot.manifest)
                if anchor is not None:
                    return _ENCODER.encode(anchor)
        return None

    def _find(self, height: int) -> Snapshot | None:
        return next((each for each in self._kept() if each.manifest.height == height), None)

    def _roots(self, numbers: Mapping[str, int]) -> bytes | None:
        snapshot = self._find(numbers["height"])
        return None if snapshot is None else snapshot.roots

    def _documents(self, numbers: Mapping[str, int]) -> bytes | None:
        snapshot = self._find(numbers["height"])
        count = min(numbers["count"], MAX_CHUNKS_PER_REQUEST)
        return None if snapshot is None else snapshot.chunks(numbers["from"], count)

    def _tiles(self, numbers: Mapping[str, int]) -> bytes | None:
        level, first, size = numbers["level"], numbers["from"], numbers["size"]
        if level > MAX_TILE_LEVEL:
            return None
        hashes: list[bytes] = []
        with self._store.read() as reader:
            for number in range(first, first + min(numbers["count"], MAX_TILES_PER_REQUEST)):
                width = width_at_size(size, level, number)
                if width == 0:
                    break
                try:
                    hashes.append(reader.tile(level, number, width))
                except InputError:
                    return None  # the log here is not that long
        return b"".join(hashes) or None

    def _epochs(self, numbers: Mapping[str, int]) -> bytes | None:
        steps: list[bytes] = []
        size = 0
        with self._store.read() as reader:
            rows = [row for row in reader.epochs() if row.epoch >= numbers["from"]]
            for row in rows[:MAX_EPOCH_STEPS]:
                closing = reader.block(row.height)
                if closing is None:
                    return None
                step = EpochStep(
                    block=closing.block, certificate=closing.certificate, validators=row.validators, proof=row.proof
                )
                encoded = _ENCODER.encode(step)
                size += len(encoded)
                if steps and size > MAX_FRAME_BYTES:
                    break
                steps.append(encoded)
        return array_header(len(steps)) + b"".join(steps)


def anchor_of(reader: LedgerReader, manifest: SnapshotManifest) -> SnapshotAnchor | None:
    """The anchor of a snapshot; None while no block above the one that names it is final, or if that one names another."""
    place = reader.place_at_height(manifest.height + 1)
    if place is None:
        return None
    entry, seal = reader.seal(place)
    if seal.snapshot != manifest.hash:
        return None
    headers: list[BlockHeader] = []
    for height in range(manifest.height + 1, manifest.height + 1 + MAX_ANCHOR_BLOCKS):
        found = reader.header(height)
        if found is None:
            return None
        header, certificate = found
        headers.append(header)
        proposal = certificate.proposal
        if len(headers) > 1 and proposal is not None and proposal.digest == header.digest:
            return SnapshotAnchor(
                manifest=manifest.to_bytes(), seal=entry, headers=tuple(headers), certificate=certificate
            )
    return None
