"""Those who wait until their records are final under a quorum-cosigned checkpoint. Lives on the event loop."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from ledger.errors import OverloadError
from ledger.limits import FINAL_WAITERS
from node.service.ports import Outcome


class _Waiter:
    __slots__ = ("decided", "outcomes", "remaining")

    def __init__(self, record_ids: Iterable[str]) -> None:
        self.remaining = set(record_ids)
        self.outcomes: dict[str, Outcome] = {}
        self.decided = asyncio.Event()

    def settle(self, record_id: str, outcome: Outcome) -> None:
        self.outcomes[record_id] = outcome
        self.remaining.discard(record_id)
        if not self.remaining:
            self.decided.set()


class FinalityWaiters:
    """Waiters by record. A record that is final waits further, in `_placed`, for the cosignatures that cover it."""

    def __init__(self) -> None:
        self._waiters: dict[str, list[_Waiter]] = {}
        self._placed: dict[str, Outcome] = {}
        self._cosigned_size = 0

    def open(self, record_ids: Sequence[str]) -> "_Waiter":
        """Begin to wait, before asking what is known of the records: so nothing is missed in between.

        Raises:
            OverloadError: code `too_many_waiting`.
        """
        if len(self._waiters) + len(record_ids) > FINAL_WAITERS:
            raise OverloadError(
                "too many submitters are waiting", code="too_many_waiting", expected=f"<= {FINAL_WAITERS}"
            )
        waiter = _Waiter(record_ids)
        for record_id in waiter.remaining:
            self._waiters.setdefault(record_id, []).append(waiter)
        return waiter

    def close(self, waiter: "_Waiter", record_ids: Iterable[str]) -> None:
        """End waiting."""
        for record_id in set(record_ids):
            others = self._waiters.get(record_id, [])
            if waiter in others:
                others.remove(waiter)
            if not others:
                self._waiters.pop(record_id, None)
                self._placed.pop(record_id, None)

    def placed(self, places: Mapping[str, int], height: int) -> None:
        """Records are final: their log indices, in the block at `height`."""
        for record_id in self._waiters.keys() & places.keys():
            self.known(Outcome(id=record_id, status="final", index=places[record_id], height=height))

    def known(self, outcome: Outcome) -> None:
        """What became of a record: settles it, unless it is pending, or final and not covered yet."""
        if outcome.id is None or outcome.id not in self._waiters or outcome.status == "pending":
            return
        if outcome.index is not None and outcome.index >= self._cosigned_size:
            self._placed[outcome.id] = outcome
            return
        for waiter in self._waiters[outcome.id]:
            waiter.settle(outcome.id, outcome)

    def cosigned(self, size: int) -> None:
        """A checkpoint of this size has its quorum."""
        self._cosigned_size = size
        covered = [outcome for outcome in self._placed.values() if outcome.index is not None and outcome.index < size]
        for outcome in covered:
            if outcome.id is not None:
                del self._placed[outcome.id]
            self.known(outcome)
