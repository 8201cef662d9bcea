"""Whose submissions are looked at, and whose are told to come again, before anything of them is read (DESIGN 11).

A party is put off while much of what it sent before is being looked at for long, and for a moment after all of a submission
found no room: saying no must stay far cheaper than looking, or a flood is won by whoever asks most often. Small parties are
never put off for waiting: that others make everybody wait is not their doing.

Lives on the event loop.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from math import ceil
from typing import NamedTuple

from ledger.errors import OverloadError
from ledger.limits import ADMISSION_PROMPT_RECORDS, ADMISSION_PUT_OFF_MS, ADMISSION_RECORDS, ADMISSION_WAIT_MS
from node.service.ports import Outcome


class _Submission(NamedTuple):
    records: int
    since_ms: int


class Intake:
    """The submissions under way, by source."""

    def __init__(self, *, monotonic_ms: Callable[[], int]) -> None:
        self._monotonic_ms = monotonic_ms
        self._numbers = count()
        self._under_way: dict[str, dict[int, _Submission]] = {}
        self._put_off_until_ms: dict[str, int] = {}

    def require_turn(self, source: str) -> None:
        """Refuse whatever a source submits, if it would only wait, or find no room again.

        Raises:
            OverloadError: code `admission_behind`.
        """
        now_ms = self._monotonic_ms()
        if now_ms < self._put_off_until_ms.get(source, 0):
            raise _behind("what was submitted a moment ago found no room", 1)
        under_way = self._under_way.get(source)
        if under_way is None:
            return
        records = sum(submission.records for submission in under_way.values())
        waited_ms = now_ms - next(iter(under_way.values())).since_ms
        if records > ADMISSION_RECORDS or (records > ADMISSION_PROMPT_RECORDS and waited_ms > ADMISSION_WAIT_MS):
            raise _behind("what was submitted before is still being looked at", max(1, ceil(waited_ms / 1000)))

    @contextmanager
    def looking_at(self, source: str, records: int) -> Iterator[None]:
        """A submission of so many records is under way."""
        number = next(self._numbers)
        under_way = self._under_way.setdefault(source, {})
        under_way[number] = _Submission(records, self._monotonic_ms())
        try:
            yield
        finally:
            del under_way[number]
            if not under_way:
                self._under_way.pop(source, None)

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
