"""Making snapshots while blocks go on (PROTOCOL P7.3).

Right after a block whose child's seal names a snapshot, a read transaction on the store is opened in a thread: it sees the
documents of that height for as long as it lasts, whatever is committed meanwhile. They are copied out in slices, so that no
vote waits for the interpreter's lock. A snapshot is made only where the log has grown enough since the last; where one
cannot be made, the next will do.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from ledger.errors import StoreError
from ledger.limits import SNAPSHOT_BLOCKS, SNAPSHOT_GROWTH_PERCENT, SNAPSHOT_MIN_ENTRIES, SNAPSHOTS_KEPT
from ledger.snapshot import SnapshotDocument, SnapshotManifest, manifest_of, names_snapshot
from ledger.state.lookup import version_at
from ledger.state.model import PARAMETERS_KEY, ParametersDoc, decode_document
from ledger.statetree import KEY_BITS, key_hash
from node.execution.overlay import Overlay
from node.snapshots.files import Snapshot, forget_others, read_snapshots, write_snapshot
from node.storage import LedgerReader, LedgerStore

_PAUSE_S: Final = 0.001
"""Between two slices of documents: whoever waits for the interpreter gets it."""
_INTERRUPTED: Final = "interrupted"
_LOG: Final = structlog.get_logger("node.snapshots")


class SnapshotExporter:
    """Makes and keeps a node's snapshots. `follow` and `stop` belong to the event loop."""

    def __init__(
        self,
        store: LedgerStore,
        folder: Path,
        *,
        min_entries: int = SNAPSHOT_MIN_ENTRIES,
    ) -> None:
        """
        Args:
            store: the ledger's.
            folder: where snapshots are kept; made when the first is. What cannot be read there is done without.
            min_entries: by how much the log must have grown at least since the last one.
        """
        self._store = store
        self._folder = folder
        self._min_entries = min_entries
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._kept: tuple[Snapshot, ...] = ()
        try:
            found, damaged = read_snapshots(folder)
            for each in damaged:
                _LOG.warning("a snapshot was damaged and is deleted: another will be made", **each.as_dict())
            self._kept = tuple(found[-SNAPSHOTS_KEPT:])
            self._forget_others()  # what a crash left of one, too
        except OSError as error:
            _LOG.warning("the folder of snapshots cannot be read", folder=str(folder), reason=str(error))

    @property
    def kept(self) -> tuple[Snapshot, ...]:
        """The snapshots that can be served, by rising height. May be read from any thread."""
        return self._kept

    def follow(self, overlay: Overlay, *, is_behind: bool) -> None:
        """A block is committed. A node that is behind has better things to do."""
        if (overlay.height + 1) % SNAPSHOT_BLOCKS or self._task is not None or self._is_stopping or is_behind:
            return
        size = overlay.frontier.size
        newest = self._kept[-1].manifest.size if self._kept else 0
        if size - newest < max(self._min_entries, newest * SNAPSHOT_GROWTH_PERCENT // 100):
            return
        self._task = asyncio.get_running_loop().create_task(self._export(overlay))
        self._task.add_done_callback(self._finished)

    async def stop(self) -> None:
        """End what is under way; what was copied so far is no snapshot."""
        self._is_stopping = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _export(self, overlay: Overlay) -> None:
        made = await asyncio.to_thread(self.make, overlay)
        if made is None:
            return
        _LOG.info("a snapshot was made", height=made.manifest.height, bytes=made.total_bytes)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None and not (isinstance(error, StoreError) and error.code == _INTERRUPTED):
            _LOG.warning("a snapshot could not be made", exc_info=error)

    def make(self, overlay: Overlay) -> Snapshot | None:
        """Make a snapshot of the newest committed block, and let go of the oldest; None if the store is past it already, or
        the next block's seal names none. Blocks; in one thread at a time.

        Raises:
            StoreError: the store could not be read. OSError: the snapshot could not be written.
        """
        with self._store.read() as reader:
            if reader.height() != overlay.height or not _names_snapshot(reader, overlay.height + 1):
                return None  # the next block was quicker, or the ledger's version has no snapshots
            manifest = manifest_of(
                height=overlay.height,
                size=overlay.frontier.size,
                log_root=overlay.frontier.root,
                state_root=overlay.tree.root,
                documents=len(overlay.tree),
                seal_hash=overlay.seal_hash,
            )
            roots = b"".join(overlay.tree.subtrees(manifest.depth))
            made = write_snapshot(self._folder, manifest, roots, self._chunks(reader, manifest))
        if made is not None:
            self._kept = (*self._kept, made)[-SNAPSHOTS_KEPT:]
            self._forget_others()
        return made

    def _forget_others(self) -> None:
        for error in forget_others(self._folder, [each.manifest.height for each in self._kept]):
            _LOG.warning("what is left of a snapshot cannot be deleted", reason=str(error))

    def _chunks(self, reader: LedgerReader, manifest: SnapshotManifest) -> Iterator[list[SnapshotDocument]]:
        """Every chunk's documents, in order, empty ones too."""
        shift, number = KEY_BITS - manifest.depth, 0
        chunk: list[SnapshotDocument] = []
        for key, kind, name, value in reader.documents_by_key():
            while int.from_bytes(key) >> shift != number:
                yield chunk
                self._pause()
                chunk, number = [], number + 1
            chunk.append((kind, name, value))
        for _ in range(number, 1 << manifest.depth):
            yield chunk
            chunk = []

    def _pause(self) -> None:
        if self._is_stopping:
            raise StoreError("the node is stopping", code=_INTERRUPTED)
        time.sleep(_PAUSE_S)


def _names_snapshot(reader: LedgerReader, height: int) -> bool:
    """Whether the seal of the next block, at `height`, names a snapshot."""
    key = key_hash(PARAMETERS_KEY.kind, PARAMETERS_KEY.id)
    document = decode_document(PARAMETERS_KEY.kind, reader.documents([key])[key])
    assert isinstance(document, ParametersDoc)
    return names_snapshot(version_at(document, height), height)
