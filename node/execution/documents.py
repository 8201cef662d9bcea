"""The state's documents at the newest committed block: from memory where they were used lately, else from the store.

Every document read from the store is held against the state tree, so that a corrupt row is noticed when it is read and
never executed upon. Belongs to the executor's thread.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger.errors import CorruptionError
from ledger.limits import DOCUMENT_CACHE_BYTES
from ledger.state.model import DOCUMENT_TYPES, Doc, StateKey
from ledger.statetree import StateTree, key_hash, value_hash
from node.execution.overlay import Overlay
from node.storage import LedgerStore

_DECODERS: Final = {kind: msgspec.json.Decoder(shape) for kind, shape in DOCUMENT_TYPES.items()}
_OVERHEAD_BYTES: Final = 600
"""A decoded document's objects, beside its characters."""
_ABSENT_BYTES: Final = 300
"""What remembering that there is no document costs."""


def decode_stored(key: StateKey, data: bytes) -> Doc:
    """A document from bytes that the state tree vouches for.

    Raises:
        CorruptionError: they are no document of the kind.
    """
    try:
        return _DECODERS[key.kind].decode(data)
    except (msgspec.MsgspecError, KeyError) as error:
        raise CorruptionError(f"the document {key.kind} {key.id} cannot be read: {error}") from error


class Documents:
    """Reads documents as of `base`, the newest committed block, and keeps a bounded number of them."""

    def __init__(self, store: LedgerStore, base: Overlay) -> None:
        self._store = store
        self._base = base
        self._cache: OrderedDict[StateKey, tuple[Doc | None, int]] = OrderedDict()
        self._cached_bytes = 0
        self._committing: list[Overlay] = []

    @property
    def base(self) -> Overlay:
        """The newest committed block."""
        return self._base

    def begin_commit(self, overlay: Overlay) -> None:
        """From now on the store may hold this block's documents already, while `base` is still before it."""
        self._committing.append(overlay)

    def advance(self, overlay: Overlay) -> None:
        """The store holds the block: it is the base now. Requires that it is the oldest begun."""
        assert self._committing[0] is overlay
        self._committing.pop(0)
        overlay.commit()
        self._base = overlay
        for (key, document), row in zip(overlay.documents.items(), overlay.rows, strict=True):
            self._keep(key, document, _OVERHEAD_BYTES + 2 * len(row[3]))
        self._shrink()

    def load(self, keys: Iterable[StateKey], hashes: dict[StateKey, bytes]) -> dict[StateKey, Doc | None]:
        """Documents as of the base, None where there is none. Fills `hashes` with the hashed keys it had to compute.

        Raises:
            CorruptionError: the store holds something other than the state tree says.
            StoreError: the store could not be read.
        """
        found: dict[StateKey, Doc | None] = {}
        missing: dict[bytes, StateKey] = {}
        cache, tree = self._cache, self._base.tree
        for key in keys:
            cached = cache.get(key)
            if cached is not None:
                cache.move_to_end(key)
                found[key] = cached[0]
                continue
            overwritten = next((o for o in self._committing if key in o.previous), None)
            if overwritten is not None:
                found[key] = overwritten.previous[key]
                continue
            hashed = hashes.get(key)
            if hashed is None:
                hashed = hashes[key] = key_hash(key.kind, key.id)
            if tree.get(hashed) is None:
                found[key] = None
                self._keep(key, None, _ABSENT_BYTES)
            else:
                missing[hashed] = key
        if missing:
            self._read(missing, tree, found)
        self._shrink()
        return found

    def _read(self, missing: dict[bytes, StateKey], tree: StateTree, found: dict[StateKey, Doc | None]) -> None:
        with self._store.read() as reader:
            stored = reader.documents(missing)
        for hashed, key in missing.items():
            data = stored.get(hashed)
            if data is None or value_hash(data) != tree.get(hashed):
                raise CorruptionError(
                    f"the stored document {key.kind} {key.id} is not the one that the blocks wrote",
                    expected=(tree.get(hashed) or b"").hex(),
                    actual="nothing" if data is None else value_hash(data).hex(),
                    help="Run `tracemark fsck DIR --repair`: it keeps a copy and mends from the log, or by the peers.",
                )
            document = decode_stored(key, data)
            found[key] = document
            self._keep(key, document, _OVERHEAD_BYTES + 2 * len(data))

    def _keep(self, key: StateKey, document: Doc | None, cost: int) -> None:
        known = self._cache.pop(key, None)
        if known is not None:
            self._cached_bytes -= known[1]
        self._cache[key] = (document, cost)
        self._cached_bytes += cost

    def _shrink(self) -> None:
        while self._cached_bytes > DOCUMENT_CACHE_BYTES:
            _, (_, cost) = self._cache.popitem(last=False)
            self._cached_bytes -= cost


def hash_tree(store: LedgerStore) -> StateTree:
    """The state tree of all stored documents.

    Raises:
        StoreError: the store could not be read.
    """
    with store.read() as reader:
        leaves = sorted((key, value_hash(data)) for key, _, _, data in reader.all_documents())
    return StateTree.build(leaves)
