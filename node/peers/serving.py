"""How many answers are made at once for peers that catch up: in all, and for one agency, so that none keeps all the others
waiting. Lives on the event loop."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ledger.limits import CATCHUP_CONCURRENCY, CATCHUP_PARTY_CONCURRENCY


class Serving:
    """Places for answers being made."""

    def __init__(self) -> None:
        self._busy: Final[Counter[str]] = Counter()

    def has_place(self, party: str) -> bool:
        """Whether an answer to this agency may be made now."""
        return self._busy.total() < CATCHUP_CONCURRENCY and self._busy[party] < CATCHUP_PARTY_CONCURRENCY

    @contextmanager
    def place(self, party: str) -> Iterator[None]:
        """Take a place for one answer. Requires `has_place`."""
        self._busy[party] += 1
        try:
            yield
        finally:
            self._busy[party] -= 1
