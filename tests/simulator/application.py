"""What a machine asks of the application behind the consensus: the toy's and the production node's answers alike.

Each method is one piece of work of the executor's thread, as `node/application.py` gives it out; a machine decides when it
is done, and feeds the answer to its replica.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from ledger.block import Block
from ledger.consensus.durable import Durable
from ledger.consensus.effects import Build, Commit
from ledger.consensus.messages import Certificate, DurableRecord
from ledger.consensus.parameters import Parameters
from node.storage import BlockCommit


class BuildAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a Build. `pool_changed`: records were refused."""

    outcome: Literal["built", "empty", "failed"]
    block: Block | None = None
    closing: bool = False
    pool_changed: bool = False


class CheckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a Check."""

    verdict: Literal["valid", "invalid", "failed"]
    closing: bool = False
    reason: str = ""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A commit ready to be written: what the log and the state will be after it, and the next validators if it closes."""

    commit: Commit
    state_root: bytes
    log_root: bytes
    validators: tuple[bytes, ...] | None = None
    rows: BlockCommit | None = None
    """For a disk that keeps rows."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction of the votes' store: what is kept, what may go, and whether votes may be missing if that changes."""

    records: tuple[DurableRecord, ...]
    prune: tuple[int, int] | None = None
    suspect: bool | None = None


class Application(Protocol):
    """The state of one machine's node, from one start to the next crash."""

    @property
    def pending(self) -> int:
        """Records pending here (P6.1)."""
        ...

    @property
    def waiting(self) -> int:
        """Pending records, and those set aside."""
        ...

    @property
    def parameters(self) -> Parameters:
        """The replica's times, as agreed on so far."""
        ...

    def admit(self, entries: Sequence[bytes], *, source: str, from_peer: bool) -> tuple[bytes, ...]:
        """Take records into the pool; those that are pending from now on."""
        ...

    def repeated(self, *, waited_ms: int) -> tuple[bytes, ...]:
        """Pending records that have waited so long."""
        ...

    def review(self) -> bool:
        """What time alone has changed; whether it changed the pool."""
        ...

    def build(self, wanted: Build) -> BuildAnswer: ...

    def check(self, block: Block) -> CheckAnswer: ...

    def is_closing(self, digest: bytes) -> bool:
        """Whether an executed block changes the validators (P8.1)."""
        ...

    def prepare(self, commit: Commit, *, newest: bool) -> Prepared:
        """What writes an executed block. `newest`: of those that share its transaction."""
        ...

    def advance(self, prepared: Prepared) -> Parameters | None:
        """The disk holds the block: it is the state now. New times, if the block sets some."""
        ...

    def drop(self, digests: tuple[bytes, ...]) -> None: ...

    def is_pending(self, entry: bytes) -> bool:
        """Whether this record waits here for a block."""
        ...

    def is_final(self, entry: bytes) -> bool:
        """Whether this record stands in a committed block."""
        ...

    def stands_on(self, digest: bytes) -> bool:
        """Whether this block is the committed tip."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Disk(Protocol):
    """Two stores that fail apart: the votes', and the ledger's. Each write is one transaction, durable on return."""

    def load(self) -> Durable:
        """What a restart finds."""
        ...

    def append(self, group: Group) -> None:
        """A transaction of the votes' store."""
        ...

    @property
    def votes_suspect(self) -> bool:
        """Whether votes may be missing (P7.5)."""
        ...

    def commit(self, *blocks: Prepared) -> None:
        """A transaction of the ledger's store: block or blocks, effects and floor (P3.3)."""
        ...

    def crash(self, votes: Group | None, blocks: tuple[Prepared, ...]) -> tuple[str, str]:
        """Lose what was not durable. What was just being written to either store is lost, whole, or torn by chance; returns
        which, for the count of what was exercised."""
        ...

    def lose_votes(self, *, older: bool, noticed: bool) -> bool:
        """Amnesia: the votes' store is empty, or an older copy of itself. `noticed`: as where a node makes it anew, or
        a tool brings the copy back, which mark it (P7.5). Returns whether there was a copy."""
        ...

    def lose_all(self) -> bool:
        """The whole disk is a new one; False where this kind of disk cannot be lost."""
        ...

    def keep_copy(self) -> None:
        """Remember the votes' store as it is, for `lose_votes`."""
        ...

    def find_block(self, digest: bytes) -> Block | None:
        """A committed block."""
        ...

    def certified_blocks(self, first_height: int, count: int) -> tuple[tuple[Block, Certificate], ...]:
        """Committed blocks by height, each with the finalization by which it was committed."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
