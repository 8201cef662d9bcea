"""A simulated disk: a journal of consensus records with explicit syncs, and the store of committed blocks with the floor.

Writes are in order; a crash keeps what was synced and, of the rest, a prefix of the run's choosing (torn writes are a prefix
here because the votes' store is one journal in transactions). The store takes a block and its floor in one transaction.
"""

from collections.abc import Callable

import msgspec

from ledger.block import Block
from ledger.consensus.durable import Durable, Image
from ledger.consensus.effects import Commit, Floor
from ledger.consensus.messages import Certificate, DurableRecord, Finalize, Notarize, Nullify


class Disk:
    """One machine's two stores. `appended` and `synced` count records of the journal."""

    def __init__(self, genesis: Floor) -> None:
        self.genesis = genesis
        self.floor = genesis
        self.chain: list[tuple[Block, Certificate]] = []
        self.heights: dict[bytes, int] = {genesis.digest: 0}
        self._durable = Image()
        self._ever: set[tuple[object, ...]] = set()
        self._unsynced: list[DurableRecord] = []
        self.appended = 0
        self.synced = 0

    def append(self, record: DurableRecord) -> None:
        """Write without syncing."""
        self._unsynced.append(record)
        self.appended += 1

    def sync(self, up_to: int) -> None:
        """Make the first `up_to` records ever appended durable."""
        count = up_to - self.synced
        for record in self._unsynced[:count]:
            self._fold(record)
        del self._unsynced[:count]
        self.synced = up_to

    def crash(self, kept: Callable[[int], int]) -> None:
        """Lose unsynced records but for a prefix of `kept(count)` of them."""
        prefix = kept(len(self._unsynced))
        for record in self._unsynced[:prefix]:
            self._fold(record)
        self._unsynced.clear()
        self.appended = self.synced

    def commit(self, commit: Commit, *, closing: bool) -> None:
        """One transaction: the block and the new floor; that of the next epoch after a closing block (P8.2)."""
        assert commit.floor.height == self.floor.height + 1
        self.chain.append((commit.block, commit.certificate))
        self.heights[commit.block.digest] = commit.floor.height
        floor = commit.floor
        self.floor = msgspec.structs.replace(floor, epoch=floor.epoch + 1, view=0) if closing else floor

    def prune(self, epoch: int, view: int) -> None:
        """What a driver's lazy pruning does to the durable journal."""
        self._durable.prune(epoch, view)

    def load(self) -> Durable:
        """What a restart finds."""
        return Durable(floor=self.floor, records=self._durable.records())

    @property
    def durable(self) -> Image:
        """The synced records."""
        return self._durable

    def has_vote(self, vote: Notarize | Nullify | Finalize) -> bool:
        """Whether this vote was durable at some time."""
        return _mark(vote) in self._ever

    def has_certificate(self, certificate: Certificate) -> bool:
        """Whether a certificate of this content was durable at some time."""
        return _mark(certificate) in self._ever

    def _fold(self, record: DurableRecord) -> None:
        self._durable.fold(record)
        if isinstance(record, Notarize | Nullify | Finalize | Certificate):
            self._ever.add(_mark(record))


def _mark(record: Notarize | Nullify | Finalize | Certificate) -> tuple[object, ...]:
    if isinstance(record, Certificate):
        return (record.kind, record.epoch, record.view, record.proposal)
    if isinstance(record, Nullify):
        return ("nullify", record.epoch, record.view, record.signature)
    return (type(record).__name__, record.proposal, record.signature)
