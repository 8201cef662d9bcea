"""Persist, then send (P3.2): group commit of what consensus must not forget.

Records that come while a transaction is under way share the next one. Whatever depends on a record (a message, a commit)
is queued behind it and carried out, in order, once it is durable. After a failure nothing that waits is ever carried out.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ledger.block import Block
from ledger.consensus.messages import DurableRecord
from ledger.limits import DRIVER_BACKLOG_BYTES
from node.counters import NodeCounters
from node.storage import VoteStore

_PRUNE_EVERY: Final = 16
"""Transactions between two that also prune: deleting is at leisure (P3.5)."""
_COSIGNATURES_WAITING: Final = 64
"""Cosignatures that wait for a group to go with, before they get one of their own."""
_SMALL_BYTES: Final = 512
"""What anything but a block counts for in the backlog."""


class Journal:
    """The votes database's only writer. Lives on the event loop; transactions run in a thread of its own."""

    def __init__(self, store: VoteStore, counters: NodeCounters, on_failed: Callable[[Exception], None]) -> None:
        self._store = store
        self._counters = counters
        self._on_failed = on_failed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="votes")
        self._records: list[DurableRecord] = []
        self._cosignatures: list[tuple[int, int, bytes]] = []
        self._closings: list[tuple[int, int, bytes]] = []
        self._prune: tuple[int, int] | None = None
        self._forget_below = 0
        self._suspect: bool | None = None
        self._asked = 0
        self._durable = 0
        self._in_group = 0
        self._groups = 0
        self._actions: deque[tuple[int, Callable[[], None]]] = deque()
        self._backlog_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._flushing: asyncio.Task[None] | None = None
        self._failed = False

    def persist(self, record: DurableRecord) -> None:
        """Keep a record; durable in the next transaction."""
        self._records.append(record)
        self._asked += 1
        self._counters.persists += 1
        self._backlog_bytes += record.body_bytes if isinstance(record, Block) else _SMALL_BYTES
        if self._backlog_bytes > DRIVER_BACKLOG_BYTES:
            self._has_room.clear()
        self._kick()

    def mark_votes(self, *, suspect: bool) -> None:
        """Remember, or forget, that votes may be missing (P7.5); durable in the next transaction, as a record is."""
        self._suspect = suspect
        self._asked += 1
        self._kick()

    def keep_cosignature(self, size: int, signer: int, data: bytes, *, closing: bool, forget_below: int) -> None:
        """Keep a peer's cosignature, with the next group: nothing waits for it. Those of smaller sizes than
        `forget_below` may go; those that close an epoch stay for ever, and are written at once."""
        (self._closings if closing else self._cosignatures).append((size, signer, data))
        self._forget_below = forget_below
        if closing or len(self._cosignatures) >= _COSIGNATURES_WAITING:
            self._kick()

    def prune(self, epoch: int, view: int) -> None:
        """What lies at or below may go (P3.5), at leisure."""
        self._prune = (epoch, view)

    def after(self, action: Callable[[], None]) -> None:
        """Carry out `action` once everything persisted so far is durable: at once if it is."""
        if self._failed:
            return
        if self._durable == self._asked and not self._actions:
            action()
        else:
            self._actions.append((self._asked, action))

    async def room(self) -> None:
        """Wait while too much waits to be durable."""
        await self._has_room.wait()

    async def close(self) -> None:
        """Make durable what waits, and end the thread. Nothing may be persisted any more."""
        if self._cosignatures:
            self._kick()
        while self._flushing is not None:
            await self._flushing
        self._thread.shutdown()

    async def abandon(self) -> None:
        """End where it stands: nothing that waits is written or carried out. A transaction under way ends by itself."""
        self._failed = True
        self._actions.clear()
        if self._flushing is not None:
            self._flushing.cancel()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _kick(self) -> None:
        if self._flushing is None and not self._failed:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        # A task begins after the step that woke it has returned: all that the step persists is in the first group.
        loop = asyncio.get_running_loop()
        try:
            while self._has_work() and not self._failed:
                await loop.run_in_executor(self._thread, self._group())
                self._release()
        except Exception as error:  # noqa: BLE001 - whatever it is, this group is not known to be durable, so none may follow
            self._failed = True
            self._actions.clear()
            self._has_room.set()
            self._on_failed(error)
        finally:
            self._flushing = None

    def _has_work(self) -> bool:
        return bool(self._records or self._cosignatures or self._closings) or self._suspect is not None

    def _group(self) -> Callable[[], None]:
        records, cosignatures, closings = self._records, self._cosignatures, self._closings
        self._records, self._cosignatures, self._closings = [], [], []
        asked = self._asked
        suspect, self._suspect = self._suspect, None
        self._groups += 1
        self._counters.groups += 1
        prune = forget_below = None
        if self._groups % _PRUNE_EVERY == 0:
            prune, self._prune, forget_below = self._prune, None, self._forget_below
        self._in_group = asked

        def write() -> None:
            self._store.append(
                records,
                cosignatures=cosignatures,
                closings=closings,
                prune=prune,
                forget_below=forget_below or 0,
                votes_suspect=suspect,
            )

        return write

    def _release(self) -> None:
        self._durable = self._in_group
        while self._actions and self._actions[0][0] <= self._durable:
            self._actions.popleft()[1]()
        self._backlog_bytes = sum(
            record.body_bytes if isinstance(record, Block) else _SMALL_BYTES for record in self._records
        )
        if self._backlog_bytes <= DRIVER_BACKLOG_BYTES:
            self._has_room.set()
