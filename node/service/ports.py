"""What the services need of the node: the seam between questions and the machinery that keeps the ledger.

The driver and the stores fit these shapes; nothing here imports them, so that a service can be read, and tried, alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import msgspec

from ledger.errors import TracemarkError
from ledger.records.evidence import Evidence
from ledger.state.model import StateKey
from ledger.statetree import StateProof
from node.progress import Progress

RecordStatus = Literal["pending", "final", "refused", "expired"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one record. `id` is None where the bytes were too malformed to have one; `index` and `height` are
    there once it is final, `error` where it was refused."""

    id: str | None
    status: RecordStatus
    index: int | None = None
    height: int | None = None
    error: TracemarkError | None = None


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Another agency's node as this one sees it; `height` is what it last told."""

    party: str
    connected: bool
    height: int | None = None


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The node at one moment. `reasons`: why it is not ready, in words; none if it is. `cosigned`: height and size of the
    newest quorum-cosigned checkpoint. `others`: who else is linked, or may be as an observer. `is_validator`: whether this
    node's key decides in this epoch; else it follows.
    `version`: of the rules, for the next block."""

    epoch: int
    is_validator: bool
    version: int
    height: int
    size: int
    log_root: bytes
    state_root: bytes
    pending: int
    reasons: tuple[str, ...]
    progress: Progress
    validators: tuple[PeerStatus, ...]
    others: tuple[PeerStatus, ...]
    cosigned: tuple[int, int] | None = None


class Node(Protocol):
    """The running node. Called on the event loop."""

    def status(self) -> NodeStatus:
        """The node now."""
        ...

    def fail(self, error: TracemarkError) -> None:
        """The ledger's store is broken: stop voting, and say so."""
        ...

    def evidence_held(self) -> Mapping[str, Evidence]:
        """Evidence against agencies' nodes, by what it is about."""
        ...

    def require_turn(self, source: str) -> None:
        """Refuse, as OverloadError, what a source submits while what it sent before has waited too long for its turn."""
        ...

    async def submit(self, entries: Sequence[bytes], *, source: str) -> Sequence[Outcome]:
        """Admit entries: one outcome for each, in order. `source` names who is charged for the mempool's room."""
        ...

    async def wait_final(self, record_ids: Sequence[str], *, timeout_s: float) -> Sequence[Outcome]:
        """Wait until each record is refused, expired, or final under a quorum-cosigned checkpoint; or for `timeout_s`."""
        ...

    async def outcome(self, record_id: str) -> Outcome | None:
        """What became of a record; None where this node never saw it."""
        ...


class View(Protocol):
    """The ledger as of one quorum-cosigned checkpoint. Used in one thread, inside its context."""

    @property
    def height(self) -> int:
        """Height of the block that the checkpoint closes."""
        ...

    @property
    def size(self) -> int:
        """Entries of the log."""
        ...

    @property
    def checkpoint(self) -> bytes:
        """The signed note: this node's log line and the cosignatures known."""
        ...

    @property
    def evidence_checkpoint(self) -> bytes:
        """The same checkpoint in the strict minimal form of evidence."""
        ...

    def documents(self, keys: Iterable[StateKey]) -> Mapping[StateKey, bytes]:
        """Canonical bytes of those documents that there are."""
        ...

    def prove(self, key: StateKey) -> StateProof:
        """Presence or absence of a document under the state root."""
        ...

    def history(self, weapon_id: str) -> Sequence[int]:
        """Log indices of the records that wrote a weapon's document, rising."""
        ...

    def entries(self, indices: Sequence[int]) -> Sequence[bytes]:
        """Entry bytes at these indices, in their order."""
        ...

    def weapons_by_serial(
        self, serial: str, *, make: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[tuple[str, str]]:
        """(make, weapon id) of weapons with this normalised serial, in that order, those after `after`."""
        ...

    def proposals(self, *, after: str, limit: int) -> Sequence[str]:
        """Ids of proposals in their order, those after `after`."""
        ...

    def tile(self, level: int, number: int, width: int) -> bytes:
        """The first `width` hashes of a tile of the log."""
        ...

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree of the log (for proofs)."""
        ...

    def publics(self, keyids: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Public keys (hex) by key id, of those that the state has ever named: seldom two of one key id."""
        ...


class Views(Protocol):
    """Where views come from."""

    def view(self) -> AbstractContextManager[View]:
        """The view of the newest quorum-cosigned checkpoint.

        Raises:
            NotReadyError: none is known yet.
        """
        ...
