"""What executing a block gave: the state after it, as changes over its parent's."""

from ledger.errors import InternalError
from ledger.merkle.tree import CompletedNode, Frontier
from ledger.state.model import Doc, StateKey
from ledger.statetree import StateTree

DocumentRow = tuple[bytes, str, str, bytes]
"""(hashed key, kind, id, canonical bytes) of a changed document."""


class Overlay:
    """One executed block. Never changes, but for its digest, once that is known, and for `commit`, which lets go of the
    parent once the store holds the block.

    `documents` are those the block wrote, `previous` what each was before (None: nothing), `rows` the same documents
    encoded, in the same order. `record_ids`: id to log index. `leaf_hashes`: of its entries; `nodes`: the log tree's
    nodes that they completed. Times in ms since 1970.
    """

    __slots__ = (
        "digest",
        "documents",
        "entries",
        "frontier",
        "height",
        "history",
        "is_committed",
        "leaf_hashes",
        "nodes",
        "parent",
        "previous",
        "record_ids",
        "rows",
        "seal_hash",
        "time_ms",
        "tree",
    )

    def __init__(
        self,
        *,
        parent: "Overlay | None",
        digest: bytes,
        height: int,
        time_ms: int,
        seal_hash: bytes,
        frontier: Frontier,
        tree: StateTree,
        entries: tuple[bytes, ...] = (),
        record_ids: dict[str, int] | None = None,
        nodes: list[CompletedNode] | None = None,
        documents: dict[StateKey, Doc] | None = None,
        previous: dict[StateKey, Doc | None] | None = None,
        rows: list[DocumentRow] | None = None,
        history: list[tuple[str, int]] | None = None,
        leaf_hashes: tuple[bytes, ...] = (),
    ) -> None:
        """Without `parent` it is the committed state itself, with nothing laid over it."""
        self.parent = parent
        self.is_committed = parent is None
        self.digest = digest
        self.height = height
        self.time_ms = time_ms
        self.seal_hash = seal_hash
        self.frontier = frontier
        self.tree = tree
        self.entries = entries
        self.record_ids = record_ids or {}
        self.nodes = nodes or []
        self.documents = documents or {}
        self.previous = previous or {}
        self.rows = rows or []
        self.history = history or []
        self.leaf_hashes = leaf_hashes

    @property
    def first_index(self) -> int:
        """Log index of its first entry."""
        return self.frontier.size - len(self.entries)

    def uncommitted(self) -> list["Overlay"]:
        """This overlay and its ancestors down to the committed state, newest first, without the committed one."""
        chain: list[Overlay] = []
        overlay: Overlay | None = self
        while overlay is not None and not overlay.is_committed:
            chain.append(overlay)
            overlay = overlay.parent
        return chain

    def commit(self) -> None:
        """The store holds this block: it is the committed state from here on.

        Raises:
            InternalError: its parent is not committed.
        """
        if self.parent is None or not self.parent.is_committed:
            raise InternalError("a block is committed before its parent", actual=f"height {self.height}")
        self.is_committed = True
        self.parent = None
