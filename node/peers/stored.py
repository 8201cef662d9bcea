"""Catch-up requests answered from the ledger's store."""

from collections.abc import Iterator

from node.peers.catchup import CertifiedBlock
from node.storage import LedgerStore


class StoredBlocks:
    """The `BlockSource` of a running node: one snapshot of the store for each page."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    def certified_blocks(self, first_height: int, count: int) -> Iterator[CertifiedBlock]:
        """Final blocks with rising heights from `first_height` (1 at least: height 0 is the genesis document).

        Raises:
            StoreError: the store failed; CorruptionError if a block is not what was committed.
        """
        with self._store.read() as reader:
            for height in range(first_height, first_height + count):
                stored = reader.block(height)
                if stored is None:
                    return
                yield CertifiedBlock(block=stored.block, certificate=stored.certificate)
