"""Persist, then send, on a simulated disk: `node/journal.py` without its thread.

Records that come while a transaction is under way share the next one; what depends on a record waits until it is durable.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from ledger.consensus.messages import Certificate, DurableRecord, Finalize, Notarize, Nullify
from tests.simulator.application import Disk, Group

PRUNE_EVERY: Final = 4
"""Transactions between two that also prune; rarer in a node, which lives longer."""


class Marks:
    """Which votes and certificates were ever durable on one disk, for the oracle (S6)."""

    def __init__(self) -> None:
        self._marks: set[tuple[object, ...]] = set()

    def add(self, records: tuple[DurableRecord, ...]) -> None:
        """These are durable."""
        self._marks.update(_mark(r) for r in records if isinstance(r, Notarize | Nullify | Finalize | Certificate))

    def has_vote(self, vote: Notarize | Nullify | Finalize) -> bool:
        """Whether this vote was durable at some time."""
        return _mark(vote) in self._marks

    def has_certificate(self, certificate: Certificate) -> bool:
        """Whether a certificate of this content was durable at some time."""
        return _mark(certificate) in self._marks


class Journal:
    """One life's order of writes and of what waits for them. `begin` starts a transaction, and calls back when it ends."""

    def __init__(self, disk: Disk, marks: Marks, begin: Callable[[Callable[[], None]], None]) -> None:
        self._disk = disk
        self._marks = marks
        self._begin = begin
        self._records: list[DurableRecord] = []
        self._suspect: bool | None = None
        self._prune: tuple[int, int] | None = None
        self._asked = 0
        self._durable = 0
        self._groups = 0
        self._actions: deque[tuple[int, Callable[[], None]]] = deque()
        self.under_way: Group | None = None
        """The transaction that is being written."""
        self.failed = False

    def persist(self, record: DurableRecord) -> None:
        """Keep a record; durable in the next transaction."""
        self._records.append(record)
        self._asked += 1

    def mark_votes(self, *, suspect: bool) -> None:
        """Keep whether votes may be missing (P7.5); durable in the next transaction."""
        self._suspect = suspect
        self._asked += 1

    def prune(self, epoch: int, view: int) -> None:
        """What lies at or below may go (P3.5), at leisure."""
        self._prune = (epoch, view)

    def after(self, action: Callable[[], None]) -> None:
        """Carry out `action` once everything persisted so far is durable: at once if it is."""
        if self.failed:
            return
        if self._durable == self._asked and not self._actions:
            action()
        else:
            self._actions.append((self._asked, action))

    def kick(self) -> None:
        """A step has ended: begin a transaction, if there is something to write and none is under way."""
        if self.under_way is not None or self.failed or not (self._records or self._suspect is not None):
            return
        self._groups += 1
        prune = None
        if self._groups % PRUNE_EVERY == 0:
            prune, self._prune = self._prune, None
        self.under_way = Group(records=tuple(self._records), prune=prune, suspect=self._suspect)
        self._records, self._suspect = [], None
        asked = self._asked
        self._begin(lambda: self._written(asked))

    def fail(self) -> None:
        """A transaction did not become durable as far as is known: nothing that waits is ever carried out."""
        self.failed = True
        self.under_way = None
        self._actions.clear()

    def write(self) -> None:
        """The transaction under way, at the disk."""
        assert self.under_way is not None
        self._disk.append(self.under_way)

    def _written(self, asked: int) -> None:
        assert self.under_way is not None
        self.write()
        self._marks.add(self.under_way.records)
        self.under_way = None
        self._durable = asked
        while self._actions and self._actions[0][0] <= self._durable:
            self._actions.popleft()[1]()
        self.kick()


def _mark(record: Notarize | Nullify | Finalize | Certificate) -> tuple[object, ...]:
    if isinstance(record, Certificate):
        return (record.kind, record.epoch, record.view, record.proposal)
    if isinstance(record, Nullify):
        return ("nullify", record.epoch, record.view, record.signature)
    return (type(record).__name__, record.proposal, record.signature)
