"""Executing records on a parent's outcome, one after the other, and closing them into an overlay.

The working set (what records say they touch, and what those documents lead to) is read for many records at once; a record
then executes on a dictionary. A record that a rule refuses leaves nothing behind.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from ledger.block import NEWEST_VERSION, Seal
from ledger.errors import InternalError
from ledger.limits import MAX_BLOCK_WEAPONS
from ledger.merkle.hashing import leaf_hash
from ledger.records.envelope import ParsedRecord, SignedRecord
from ledger.snapshot import manifest_of, names_snapshot
from ledger.state.lookup import parameters, validators, version_at
from ledger.state.model import VALIDATORS_KEY, At, Doc, StateKey, ValidatorsDoc, encode_document
from ledger.state.transition import apply, check, follows, touches
from ledger.state.validators import validators_hash_of
from ledger.statetree import key_hash, value_hash
from node.execution.documents import Documents
from node.execution.overlay import DocumentRow, Overlay

_ROUNDS: Final = 3
"""How often `follows` may lead further (ledger.state.transition)."""


class BlockFullError(InternalError):
    """The block has no room for one more record: it would touch too many weapons, or the block is closing (P8.1) and has
    its last record. The records before it stand."""

    default_code = "block_full"


class WorkingState:
    """The state as of an overlay, as far as it was loaded: what rules read (`ledger.state.model.State`)."""

    def __init__(self, documents: Documents, parent: Overlay) -> None:
        """Requires that the newest committed ancestor of `parent` is the documents' base.

        Raises:
            InternalError: code `stale_parent`: it is not; the parent can no longer become final.
        """
        self._layers = parent.uncommitted()
        committed = self._layers[-1].parent if self._layers else parent
        if committed is not documents.base:
            raise InternalError("the parent no longer stands on the committed state", code="stale_parent")
        self._documents = documents
        self.working: dict[StateKey, Doc | None] = {}
        self.hashes: dict[StateKey, bytes] = {}

    def get(self, key: StateKey, /) -> Doc | None:
        """The document under `key`; read at once if it was not loaded before."""
        try:
            return self.working[key]
        except KeyError:
            self.load([key])
            return self.working[key]

    def load(self, keys: Iterable[StateKey]) -> list[StateKey]:
        """Read documents that are not loaded yet; return the keys of those."""
        working = self.working
        fresh = [key for key in dict.fromkeys(keys) if key not in working]
        unlayered = []
        for key in fresh:
            layer = next((layer for layer in self._layers if key in layer.documents), None)
            if layer is None:
                unlayered.append(key)
            else:
                working[key] = layer.documents[key]
        if unlayered:
            working.update(self._documents.load(unlayered, self.hashes))
        return fresh

    def gather(self, keys: Iterable[StateKey]) -> None:
        """Load all that records touch, given these keys, and what that leads to."""
        fresh = self.load(keys)
        for _ in range(_ROUNDS):
            found = (self.working[key] for key in fresh)
            fresh = self.load(key for document in found if document is not None for key in follows(document))
            if not fresh:
                break


def touched_by(records: Iterable[ParsedRecord | SignedRecord]) -> Iterator[StateKey]:
    """The keys that the records alone show they touch."""
    return (key for record in records for key in touches(record.record, record.id))


class BlockRun(WorkingState):
    """A block being executed on its parent."""

    def __init__(self, documents: Documents, parent: Overlay, *, height: int, time_ms: int) -> None:
        """See `WorkingState`.

        Raises:
            InternalError: also code `unsupported_version`: this program does not know the version of the block's rules.
        """
        super().__init__(documents, parent)
        self.parent = parent
        self._height = height
        self._time_ms = time_ms
        self.first_index = parent.frontier.size
        self.validators: ValidatorsDoc = validators(self)
        self._version = _supported(version_at(parameters(self), height), height)
        self.record_ids: dict[str, int] = {}
        self.entries: list[bytes] = []
        self._changed: dict[StateKey, Doc] = {}
        self._previous: dict[StateKey, Doc | None] = {}
        self._history: list[tuple[str, int]] = []
        self._weapons: set[str] = set()

    @property
    def is_closing(self) -> bool:
        """Whether a record has changed the validators: it is the block's last."""
        return VALIDATORS_KEY in self._changed

    @property
    def changed_count(self) -> int:
        """Documents that the block has changed so far."""
        return len(self._changed)

    @property
    def place(self) -> At:
        """Where the next record would stand."""
        return At(index=self.first_index + len(self.entries), time_ms=self._time_ms, height=self._height)

    def execute(self, signed: SignedRecord) -> None:
        """Execute one record, or leave everything as it was.

        Raises:
            RuleError: the rules refuse it.
            BlockFullError: the block may not touch so many weapons, or its validators changed already.
        """
        if self.is_closing:
            raise BlockFullError("no record follows the one that changes the validators", expected="the block's seal")
        at = self.place
        check(self, signed, at)
        changes = apply(self, signed, at)
        weapons = [key.id for key in changes if key.kind == "weapon"]
        if len(self._weapons) + len(weapons) > MAX_BLOCK_WEAPONS:
            touched = self._weapons.union(weapons)
            if len(touched) > MAX_BLOCK_WEAPONS:
                raise BlockFullError(
                    "the block touches too many weapons", expected=MAX_BLOCK_WEAPONS, actual=len(touched)
                )
        self._weapons.update(weapons)
        self._history += [(weapon, at.index) for weapon in weapons]
        working, previous = self.working, self._previous
        for key, document in changes.items():
            if key not in previous:
                previous[key] = working.get(key)
            working[key] = document
        self._changed.update(changes)
        self.record_ids[signed.id] = at.index
        self.entries.append(signed.entry)

    def close(self, *, view: int, leaf_hashes: Sequence[bytes] | None = None) -> Overlay:
        """Seal the block: its overlay, the digest still empty, the seal its last entry. Epoch, validators and version are
        those of the state before the block.

        Args:
            view: the block's own view.
            leaf_hashes: of the records' entries, where they are known already.
        """
        rows: list[DocumentRow] = []
        leaves: dict[bytes, bytes] = {}
        for key, document in self._changed.items():
            data = encode_document(document)
            hashed = self.hashes.get(key) or key_hash(key.kind, key.id)
            leaves[hashed] = value_hash(data)
            rows.append((hashed, key.kind, key.id, data))
        tree = self.parent.tree.update(leaves)
        seal = Seal(
            height=self._height,
            view=view,
            epoch=self.validators.epoch,
            prev_seal=self.parent.seal_hash.hex(),
            time=self._time_ms,
            record_count=len(self.entries),
            state_root=tree.root.hex(),
            validators=validators_hash_of(self.validators).hex(),
            version=self._version,
            snapshot=snapshot_hash(self.parent) if names_snapshot(self._version, self._height) else msgspec.UNSET,
        ).to_bytes()
        hashes = [*(leaf_hashes or map(leaf_hash, self.entries)), leaf_hash(seal)]
        frontier, nodes = self.parent.frontier.extend(hashes)
        return Overlay(
            parent=self.parent,
            digest=b"",
            height=self._height,
            time_ms=self._time_ms,
            seal_hash=value_hash(seal),
            frontier=frontier,
            tree=tree,
            entries=(*self.entries, seal),
            record_ids=self.record_ids,
            nodes=nodes,
            documents=self._changed,
            previous=self._previous,
            rows=rows,
            history=self._history,
            leaf_hashes=tuple(hashes),
        )


def _supported(version: int, height: int) -> int:
    """The version of the rules in force for a block, if this program knows it.

    Raises:
        InternalError: code `unsupported_version`.
    """
    if version > NEWEST_VERSION:
        raise InternalError(
            f"from height {height} on the ledger follows rules that this program does not know",
            code="unsupported_version",
            expected=f"version {NEWEST_VERSION} at most",
            actual=f"version {version}",
            help="Install a version of the program that knows them, and restart the node.",
        )
    return version


def snapshot_hash(overlay: Overlay) -> str:
    """The hash of the manifest of the ledger as it is after this block, in hex."""
    return manifest_of(
        height=overlay.height,
        size=overlay.frontier.size,
        log_root=overlay.frontier.root,
        state_root=overlay.tree.root,
        documents=len(overlay.tree),
        seal_hash=overlay.seal_hash,
    ).hash
