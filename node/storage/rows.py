"""The values that go into and come out of the store."""

import msgspec

from ledger.block import Block
from ledger.consensus.effects import Floor
from ledger.consensus.messages import Certificate
from ledger.merkle.tree import CompletedNode, Frontier
from ledger.statetree import StateProof


class EpochRow(msgspec.Struct, frozen=True, kw_only=True):
    """How an epoch after the first began: `height` of the block that closed the one before, the validators' document that it
    wrote, and the proof of that document under the block's state root."""

    epoch: int
    height: int
    validators: bytes
    proof: StateProof


class BlockCommit(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one finalized block writes (P3.3), ready as rows.

    `entries` are the records and the seal; `records` the records' ids (32 bytes each) with their indices. `header` and
    `certificate` are msgpack, None for the genesis block. `nodes`: the tree's nodes that the entries completed.
    `documents` as (hashed key, kind, id, canonical bytes), `history` as (weapon, index), `serials` as (serial, make,
    weapon), `keys` as (key id, public key in hex). `opens`: the epoch that begins after the block, if it closes one.
    """

    height: int
    epoch: int
    view: int
    digest: bytes
    first_index: int
    entries: tuple[bytes, ...]
    records: list[tuple[bytes, int]]
    header: bytes | None
    certificate: bytes | None
    cosignature: bytes | None
    frontier: Frontier
    nodes: list[CompletedNode]
    documents: list[tuple[bytes, str, str, bytes]]
    history: list[tuple[str, int]]
    serials: list[tuple[str, str, str]]
    keys: list[tuple[str, str]]
    opens: EpochRow | None = None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest block of the log, by what its seal and the tree say. Hashes are 32 bytes, `time_ms` since 1970.

    `epoch` and `view` are the floor's (P3.1), which may be above the block's own.
    """

    height: int
    epoch: int
    view: int
    digest: bytes
    seal_hash: bytes
    size: int
    time_ms: int
    log_root: bytes
    state_root: bytes
    frontier: Frontier

    @property
    def floor(self) -> Floor:
        """The consensus floor at this head."""
        return Floor(
            epoch=self.epoch,
            view=self.view,
            height=self.height,
            digest=self.digest,
            seal_hash=self.seal_hash,
            time_ms=self.time_ms,
        )


class BlockPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a block stands in the log: entries [first_index, size), the last of them its seal."""

    height: int
    digest: bytes
    first_index: int
    size: int
    log_root: bytes
    cosignature: bytes | None


class StoredBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A committed block and the finalization by which it was committed."""

    block: Block
    certificate: Certificate


class RecordRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record stands in the log."""

    index: int
    height: int
