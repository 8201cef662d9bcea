"""Reading the ledger as of one height: the newest quorum-cosigned checkpoint (DESIGN 7).

The store may be some blocks ahead of that checkpoint. A view is one snapshot of the store, read back to the checkpoint's
height by what the blocks since then overwrote; so concurrent commits never show in an answer, and its proofs all stand
against one root.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from ledger.errors import CorruptionError, InputError, InternalError
from ledger.state.model import StateKey, encode_document
from ledger.statetree import StateProof, key_hash, value_hash
from node.cosigning import CosignedCheckpoint, Cosigning
from node.execution.versions import Version, Versions
from node.service.errors import NotReadyError
from node.storage import LedgerReader, LedgerStore

_ATTEMPTS: Final = 8
"""Tries to catch a snapshot and a checkpoint that fit: each fails only if a commit and its quorum came in between."""


class CosignedView:
    """See `node.service.ports.View`."""

    def __init__(
        self, reader: LedgerReader, checkpoint: CosignedCheckpoint, versions: Sequence[Version], cosigning: Cosigning
    ) -> None:
        """`versions`: that of the checkpoint, and those after it up to the snapshot's."""
        self._reader = reader
        self._cosigning = cosigning
        self._cosigned = checkpoint
        self._version, *self._later = versions

    @property
    def height(self) -> int:
        """Height of the block that the checkpoint closes."""
        return self._cosigned.height

    @property
    def size(self) -> int:
        """Entries of the log."""
        return self._cosigned.size

    @property
    def checkpoint(self) -> bytes:
        """The signed note: this node's log line and the cosignatures known."""
        return self._cosigning.note(self._cosigned)

    @property
    def evidence_checkpoint(self) -> bytes:
        """The same checkpoint in the strict minimal form of evidence."""
        return self._cosigning.evidence_note(self._cosigned)

    def documents(self, keys: Iterable[StateKey]) -> dict[StateKey, bytes]:
        """Canonical bytes of those documents that there are.

        Raises:
            CorruptionError: a stored document is not the one that the state tree names.
        """
        found: dict[StateKey, bytes] = {}
        stored: dict[bytes, StateKey] = {}
        for key in dict.fromkeys(keys):
            overwriting = next((version for version in self._later if key in version.previous), None)
            if overwriting is None:
                stored[key_hash(key.kind, key.id)] = key
            else:
                document = overwriting.previous[key]
                if document is not None:
                    found[key] = encode_document(document)
        read = self._reader.documents(stored)
        for hashed, key in stored.items():
            data, expected = read.get(hashed), self._version.tree.get(hashed)
            if (None if data is None else value_hash(data)) != expected:
                raise CorruptionError(
                    f"the stored document {key.kind} {key.id} is not the one that the blocks wrote",
                    expected="nothing" if expected is None else expected.hex(),
                    actual="nothing" if data is None else value_hash(data).hex(),
                )
            if data is not None:
                found[key] = data
        return found

    def prove(self, key: StateKey) -> StateProof:
        """Presence or absence of a document under the state root."""
        return self._version.tree.prove(key_hash(key.kind, key.id))

    def history(self, weapon_id: str) -> list[int]:
        """Log indices of the records that wrote a weapon's document, rising."""
        return self._reader.history(weapon_id, size=self.size)

    def entries(self, indices: Sequence[int]) -> list[bytes]:
        """Entry bytes at these indices, in their order.

        Raises:
            InputError: code `out_of_range`.
            CorruptionError: an entry is missing.
        """
        beyond = [index for index in indices if not 0 <= index < self.size]
        if beyond:
            raise InputError(
                "no such entry", code="out_of_range", expected=f"0 <= index < {self.size}", actual=beyond[0]
            )
        found = self._reader.entries_at(indices)
        missing = [index for index in indices if index not in found]
        if missing:
            raise CorruptionError("an entry of the log is missing", actual=f"entry {missing[0]}")
        return [found[index] for index in indices]

    def weapons_by_serial(
        self, serial: str, *, make: str | None, after: tuple[str, str], limit: int
    ) -> list[tuple[str, str]]:
        """(make, weapon id) of weapons with this normalised serial, in that order, those after `after`."""
        tree = self._version.tree
        found: list[tuple[str, str]] = []
        while len(found) < limit:
            page = self._reader.weapons_by_serial(serial, make=make, after=after, limit=limit)
            found += [row for row in page if tree.get(key_hash("weapon", row[1])) is not None]
            if len(page) < limit:
                break
            after = page[-1]
        return found[:limit]

    def proposals(self, *, after: str, limit: int) -> list[str]:
        """Ids of proposals in their order, those after `after`."""
        tree = self._version.tree
        found: list[str] = []
        while len(found) < limit:
            page = self._reader.proposals(after=after, limit=limit)
            found += [name for name in page if tree.get(key_hash("proposal", name)) is not None]
            if len(page) < limit:
                break
            after = page[-1]
        return found[:limit]

    def tile(self, level: int, number: int, width: int) -> bytes:
        """The first `width` hashes of a tile of the log.

        Raises:
            InputError: code `no_such_tile`, also for hashes beyond the checkpoint.
        """
        nodes = self.size >> (8 * level)
        if number * 256 + width > nodes:
            raise InputError(
                "there is no such tile", code="no_such_tile", expected=f"at most {nodes} hashes at this level"
            )
        return self._reader.tile(level, number, width)

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree of the log (for proofs)."""
        return self._reader.node(level, index)

    def publics(self, keyids: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Public keys (hex) by key id, of those that the state has ever named."""
        return self._reader.publics(keyids)


class CosignedViews:
    """See `node.service.ports.Views`. Any thread."""

    def __init__(self, store: LedgerStore, versions: Versions, cosigning: Cosigning) -> None:
        self._store = store
        self._versions = versions
        self._cosigning = cosigning

    @contextmanager
    def view(self) -> Iterator[CosignedView]:
        """The view of the newest quorum-cosigned checkpoint.

        Raises:
            NotReadyError: code `not_cosigned`: none is known yet, or the log has run too far ahead of it.
            StoreError: the store could not be read.
        """
        for _ in range(_ATTEMPTS):
            with self._store.read() as reader:
                head_height = reader.height()
                checkpoint = self._cosigning.newest
                published = self._versions.newest  # taken after the snapshot: it reaches at least as far
                if checkpoint is None:
                    break
                versions = [v for v in published if checkpoint.height <= v.height <= head_height]
                if not versions or versions[0].height != checkpoint.height:
                    if checkpoint.height > head_height:
                        continue
                    break
                if versions[-1].height != head_height:
                    raise InternalError("the store is ahead of the versions", actual=f"height {head_height}")
                yield CosignedView(reader, checkpoint, versions, self._cosigning)
                return
        raise NotReadyError(
            "no checkpoint with a quorum of cosignatures is at hand",
            code="not_cosigned",
            expected="cosignatures of the newest blocks by a quorum of agencies",
            help="Ask again in a moment, or ask another node; see reasons under /v1/network.",
        )
