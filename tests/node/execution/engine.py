"""An engine without consensus: executor, pool and admission on a real store, driven by hand."""

from pathlib import Path

import msgspec

from ledger.block import Block
from ledger.errors import RuleError
from ledger.genesis import Genesis
from ledger.records import ProposalOpen, ProposalVote
from ledger.records.envelope import sign_record
from ledger.state.lookup import validators
from node.admission import Admission
from node.execution.documents import Documents
from node.execution.executor import BlockPlan, Executor
from node.execution.opening import open_state
from node.execution.run import WorkingState
from node.execution.signatures import Signatures
from node.execution.versions import Versions, version_of
from node.mempool import Mempool, PoolLimits
from node.service.ports import Outcome
from node.storage import Database, LedgerStore
from tests.world import GENESIS, START_MS, World


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_ms = START_MS + 60_000

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        self.now_ms += duration_ms


class Engine:
    """One node's state machinery."""

    def __init__(self, folder: Path, genesis: Genesis = GENESIS, *, limits: PoolLimits | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = HandClock()
        self.genesis = genesis
        self.world = World(genesis)
        self.world.time_ms = self.clock.wall_ms()
        self.store = LedgerStore(Database(folder / "ledger.db"))
        _, self.base = open_state(genesis, self.store, lambda size, root: b"cosigned")
        self.versions = Versions(version_of(self.base))
        self.pool = Mempool(limits or PoolLimits())
        self.signatures = Signatures(threads=2)
        self.documents = Documents(self.store, self.base)
        self.executor = Executor(
            genesis=genesis,
            store=self.store,
            documents=self.documents,
            versions=self.versions,
            mempool=self.pool,
            signatures=self.signatures,
        )
        self.admission = Admission(
            executor=self.executor, mempool=self.pool, signatures=self.signatures, store=self.store, clock=self.clock
        )

    def close(self) -> None:
        self.signatures.close()
        self.store.close()

    def sign(self, record: object) -> bytes:
        world = self.world
        keys = world.governance if isinstance(record, ProposalOpen | ProposalVote) else world.keys
        return sign_record(record, keys[record.issuer])  # type: ignore[arg-type, attr-defined]

    def state(self, parent: Block | None = None) -> WorkingState:
        """The state after a block that was executed here, or after the committed one."""
        digest = None if parent is None else parent.digest
        found = (overlay for overlay in self.executor.overlays if overlay.digest == digest)
        return WorkingState(self.documents, next(found, self.documents.base))

    def admit(self, *records: object, from_peer: bool = False, source: str = "test") -> list[Outcome]:
        entries = [record if isinstance(record, bytes) else self.sign(record) for record in records]
        return self.admission.admit(entries, source=source, from_peer=from_peer)[0]

    def plan(self, parent: Block | None = None, *, allow_empty: bool = False, time_ms: int | None = None) -> BlockPlan:
        """What a leader would be asked to build on `parent`, or on the committed state."""
        base = self.documents.base
        return BlockPlan(
            epoch=validators(self.state(parent)).epoch,
            view=(parent.header.view if parent else base.height) + 1,
            height=(parent.header.height if parent else base.height) + 1,
            parent_view=parent.header.view if parent else base.height,
            parent_digest=parent.digest if parent else base.digest,
            parent_seal=parent.seal_hash if parent else base.seal_hash,
            proposer=0,
            time_ms=time_ms or max(self.clock.wall_ms(), (parent.header.time if parent else base.time_ms) + 1),
            allow_empty=allow_empty,
        )

    def build(self, parent: Block | None = None, *, allow_empty: bool = False) -> Block:
        block = self.executor.build(self.plan(parent, allow_empty=allow_empty))
        assert block is not None
        return block

    def prepare(self, block: Block) -> None:
        """Write the block, but do not move on yet."""
        commit = self.executor.prepare(
            block,
            epoch=block.header.epoch,
            view=block.header.view,
            certificate=msgspec.msgpack.encode(None),
            cosign=lambda size, root: b"cosigned",
            oldest_height=0,
        )
        self.store.commit(commit)

    def commit(self, block: Block) -> None:
        self.prepare(block)
        overlay, _ = self.executor.advance(block.digest)
        self.admission.refresh(overlay)

    def make_final(self, *records: object) -> Block:
        outcomes = self.admit(*records)
        assert [outcome.status for outcome in outcomes] == ["pending"] * len(records), outcomes
        block = self.build()
        self.commit(block)
        return block

    def trade(self) -> None:
        """A maker, an importer and a dealer are enrolled."""
        world = self.world
        self.make_final(
            world.enrol("interior", "maker", "maker", makes=("GLC",)),
            world.enrol("interior", "importer", "importer", any_make=True),
            world.enrol("interior", "dealer", "dealer"),
        )


def code_of(outcome: Outcome) -> str:
    """The code by which a record was refused."""
    assert outcome.status == "refused"
    assert outcome.error is not None
    return outcome.error.code


__all__ = ["Engine", "HandClock", "RuleError", "code_of"]
