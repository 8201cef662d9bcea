"""Whose submissions are looked at, and whose are told to come again, before anything of them is read (DESIGN 11).

A party is put off while what it sent before waits for its turn, and for a moment after all of a submission found no room:
saying no must stay far cheaper than looking, or a flood is won by whoever asks most often. Small parties are never put off
for waiting: that others make everybody wait is not their doing.

Lives on the event loop.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil

from ledger.errors import OverloadError
from ledger.limits import ADMISSION_PROMPT_RECORDS, ADMISSION_PUT_OFF_MS, ADMISSION_RECORDS, ADMISSION_WAIT_MS
from node.service.ports import Outcome


class Intake:
    """The submissions under way, by source."""

    def __init__(self, *, monotonic_ms: Callable[[], int], waited_ms: Callable[[str], int]) -> None:
        """`waited_ms`: how long the first piece of a source's submissions has waited for its turn (`Worker.waited_ms`)."""
        self._monotonic_ms = monotonic_ms
        self._waited_ms = waited_ms
        self._records: Counter[str] = Counter()
        self._put_off_until_ms: dict[str, int] = {}

    def require_turn(self, source: str) -> None:
        """Refuse whatever a source submits, if it would only wait, or find no room again.

        Raises:
            OverloadError: code `admission_behind`.
        """
        now_ms = self._monotonic_ms()
        if now_ms < self._put_off_until_ms.get(source, 0):
            raise _behind("what was submitted a moment ago found no room", 1)
        waited_ms, records = self._waited_ms(source), self._records[source]
        if records > ADMISSION_RECORDS or (records > ADMISSION_PROMPT_RECORDS and waited_ms > ADMISSION_WAIT_MS):
            raise _behind("what was submitted before still waits to be looked at", max(1, ceil(waited_ms / 1000)))

    @contextmanager
    def looking_at(self, source: str, count: int) -> Iterator[None]:
        """A submission of so many records is under way."""
        self._records[source] += count
        try:
            yield
        finally:
            self._records[source] -= count
            if self._records[source] <= 0:
                del self._records[source]

    def note(self, source: str, outcomes: Sequence[Outcome]) -> None:
        """What became of a submission: if nothing of it found room, the next ones would not either."""
        now_ms = self._monotonic_ms()
        for other in [name for name, until_ms in self._put_off_until_ms.items() if until_ms <= now_ms]:
            del self._put_off_until_ms[other]
        if outcomes and all(isinstance(outcome.error, OverloadError) for outcome in outcomes):
            self._put_off_until_ms[source] = now_ms + ADMISSION_PUT_OFF_MS


def _behind(message: str, retry_after_s: int) -> OverloadError:
    return OverloadError(
        message,
        code="admission_behind",
        retry_after_s=retry_after_s,
        help=f"Send the same again after {retry_after_s} s: nothing of it was taken.",
    )
