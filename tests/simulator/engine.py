"""The production executor, mempool and admission of one simulated node, called as `node/application.py` calls them.

Only the threads are missing: who calls decides when a piece of work is done. Everything is opened anew from the disk at
each start, and lost at each crash.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ledger.block import Block
from ledger.consensus.effects import Build, Commit
from ledger.consensus.parameters import Parameters
from ledger.errors import InternalError
from ledger.genesis import Genesis
from ledger.state.model import PARAMETERS_KEY, ParametersDoc
from ledger.state.validators import consensus_keys
from node.admission import Admission
from node.clock import Clock
from node.execution.documents import Documents
from node.execution.executor import BlockPlan, Executor, InvalidBlockError
from node.execution.opening import open_state
from node.execution.signatures import Signatures
from node.execution.versions import Versions, version_of
from node.mempool import Mempool
from node.timing import with_agreed
from tests.simulator.application import BuildAnswer, CheckAnswer, Prepared
from tests.simulator.genesis import PARAMETERS
from tests.simulator.sqlite_disk import SqliteDisk

_OVERTAKEN: Final = ("unknown_parent", "stale_parent")
_REGOSSIPED: Final = 64
"""Records that are repeated at once."""


class Engine:
    """One node's state machinery (`Application`). `ids`: the record id of every entry that the run may submit."""

    def __init__(
        self, genesis: Genesis, disk: SqliteDisk, clock: Clock, *, block_records: int, ids: dict[bytes, str]
    ) -> None:
        store = disk.ledger
        _, base = open_state(genesis, store, _cosign)
        self._ids = ids
        self._block_records = block_records
        self._signatures = Signatures(threads=1)
        self._mempool = Mempool()
        self._clock = clock
        self.executor = Executor(
            genesis=genesis,
            store=store,
            documents=Documents(store, base),
            versions=Versions(version_of(base)),
            mempool=self._mempool,
            signatures=self._signatures,
        )
        self._admission = Admission(
            executor=self.executor, mempool=self._mempool, signatures=self._signatures, store=store, clock=clock
        )
        with store.read() as reader:
            self._final = {known.hex() for known in reader.known_ids(map(bytes.fromhex, ids.values()))}

    @property
    def pending(self) -> int:
        return len(self._mempool)

    @property
    def waiting(self) -> int:
        return len(self._mempool) + self._mempool.aside_count

    @property
    def parameters(self) -> Parameters:
        agreed = self.executor.documents.load([PARAMETERS_KEY], {})[PARAMETERS_KEY]
        assert isinstance(agreed, ParametersDoc)
        return with_agreed(agreed, PARAMETERS)

    def admit(self, entries: Sequence[bytes], *, source: str, from_peer: bool) -> tuple[bytes, ...]:
        return tuple(self._admission.admit(entries, source=source, from_peer=from_peer)[1])

    def repeated(self, *, waited_ms: int) -> tuple[bytes, ...]:
        waiting = self._mempool.oldest(_REGOSSIPED, before_ms=self._clock.monotonic_ms() - waited_ms)
        return tuple(pending.signed.entry for pending in waiting)

    def review(self) -> bool:
        return self._admission.review()

    def build(self, wanted: Build) -> BuildAnswer:
        plan = BlockPlan(**{name: getattr(wanted, name) for name in BlockPlan.__struct_fields__})
        before = len(self._mempool)
        try:
            block = self.executor.build(plan, max_records=self._block_records)
        except InternalError as error:
            return BuildAnswer(outcome=self._overtaken(error))
        return BuildAnswer(
            outcome="empty" if block is None else "built",
            block=block,
            closing=block is not None and self.executor.is_closing(block.digest),
            pool_changed=len(self._mempool) != before,
        )

    def check(self, block: Block) -> CheckAnswer:
        try:
            self.executor.check(block)
        except InvalidBlockError as error:
            return CheckAnswer(verdict="invalid", reason=str(error))
        except InternalError as error:
            return CheckAnswer(verdict=self._overtaken(error))
        return CheckAnswer(verdict="valid", closing=self.executor.is_closing(block.digest))

    def is_closing(self, digest: bytes) -> bool:
        return self.executor.is_closing(digest)

    def prepare(self, commit: Commit, *, newest: bool) -> Prepared:
        block, floor = commit.block, commit.floor
        members = self.executor.closing_members(block.digest)
        rows = self.executor.prepare(
            block,
            epoch=floor.epoch if members is None else members.epoch,
            view=floor.view if members is None else 0,
            certificate=msgspec.msgpack.encode(commit.certificate),
            cosign=_cosign if newest else _cosign_nothing,
            oldest_height=0,
        )
        overlay = next(overlay for overlay in self.executor.overlays if overlay.digest == block.digest)
        return Prepared(
            commit=commit,
            state_root=overlay.tree.root,
            log_root=overlay.frontier.root,
            validators=None if members is None else consensus_keys(members),
            rows=rows,
        )

    def advance(self, prepared: Prepared) -> Parameters | None:
        overlay, _ = self.executor.advance(prepared.commit.block.digest)
        self._admission.refresh(overlay)
        self._final.update(overlay.record_ids)
        agreed = overlay.documents.get(PARAMETERS_KEY)
        return with_agreed(agreed, PARAMETERS) if isinstance(agreed, ParametersDoc) else None

    def drop(self, digests: tuple[bytes, ...]) -> None:
        self.executor.drop(digests)

    def is_pending(self, entry: bytes) -> bool:
        return self._ids[entry] in self._mempool

    def is_final(self, entry: bytes) -> bool:
        return self._ids[entry] in self._final

    def stands_on(self, digest: bytes) -> bool:
        return self.executor.documents.base.digest == digest

    def close(self) -> None:
        self._signatures.close()

    def _overtaken(self, error: InternalError) -> Literal["failed"]:
        """The parent was dropped, or a commit went past it: the replica is told "failed". Anything else is a bug."""
        if error.code not in _OVERTAKEN:
            raise error
        return "failed"


def _cosign(size: int, root: bytes) -> bytes:
    """No cosignature: the log and state roots of all machines are compared by the oracle itself."""
    return b""


def _cosign_nothing(size: int, root: bytes) -> None:
    """What an older block of a group gets."""
