"""Records of one peer that wait for admission, by who issued them (P6.1).

A peer passes on what all its clients submit. Taken in the order of coming, a single record would wait behind the thousands
of somebody who sends without end, at every node but the first. So issuers take turns here, too, spread over a fixed number
of queues by a hash that nobody outside knows (stochastic fairness queueing, McKenney 1990): bounded whatever issuers a
hostile peer invents. What is too much is dropped from the longest queue, its newest first.

Lives on the event loop.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from ledger.limits import GOSSIP_BACKLOG_BYTES, GOSSIP_BACKLOG_RECORDS, GOSSIP_QUEUES
from ledger.records.envelope import stated_issuer
from node.admission import SLICE_BYTES, SLICE_RECORDS

_TURN_BYTES: Final = SLICE_BYTES // 16
"""What a queue may give in one turn: a few single records; a larger one after as many turns as it takes (deficit round
robin, Shreedhar and Varghese 1996)."""


class _Queue:
    __slots__ = ("bytes", "credit", "entries")

    def __init__(self) -> None:
        self.entries: deque[bytes] = deque()
        self.bytes = 0
        self.credit = 0


class GossipBacklog:
    """The queues of one peer."""

    def __init__(
        self,
        *,
        room_bytes: int = GOSSIP_BACKLOG_BYTES,
        room_records: int = GOSSIP_BACKLOG_RECORDS,
        queues: int = GOSSIP_QUEUES,
    ) -> None:
        self._room_bytes: Final = room_bytes
        self._room_records: Final = room_records
        self._queues: Final = [_Queue() for _ in range(queues)]
        self._turns: deque[_Queue] = deque()
        self.held_bytes = 0
        self._held_records = 0

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, entries: Sequence[bytes]) -> int:
        """Let entries wait; returns how many (of these, or of earlier ones) found no room."""
        for entry in entries:
            queue = self._queues[hash(stated_issuer(entry)) % len(self._queues)]
            if not queue.entries:
                queue.credit = 0
                self._turns.append(queue)
            queue.entries.append(entry)
            queue.bytes += len(entry)
            self.held_bytes += len(entry)
            self._held_records += 1
        dropped = 0
        while self.held_bytes > self._room_bytes or self._held_records > self._room_records:
            is_large = self.held_bytes > self._room_bytes
            longest = max(self._turns, key=lambda queue: queue.bytes if is_large else len(queue.entries))
            self._remove(longest, longest.entries.pop())
            if not longest.entries:
                self._turns.remove(longest)
            dropped += 1
        return dropped

    def take(self) -> list[bytes]:
        """What is admitted next: no more than a slice (`node.admission`), from the queues in turn; one entry at least, if
        there are any."""
        taken: list[bytes] = []
        size = 0
        while self._turns and len(taken) < SLICE_RECORDS:
            queue = self._turns[0]
            if len(queue.entries[0]) > queue.credit:
                queue.credit += _TURN_BYTES
            while queue.entries and len(queue.entries[0]) <= queue.credit and len(taken) < SLICE_RECORDS:
                if taken and size + len(queue.entries[0]) > SLICE_BYTES:
                    return taken
                entry = queue.entries.popleft()
                queue.credit -= len(entry)
                size += len(entry)
                taken.append(entry)
                self._remove(queue, entry)
            if queue.entries:
                self._turns.rotate(-1)
            else:
                self._turns.popleft()
        return taken

    def _remove(self, queue: _Queue, entry: bytes) -> None:
        queue.bytes -= len(entry)
        self.held_bytes -= len(entry)
        self._held_records -= 1
