"""How many bytes of requests this node holds at once: in all, and for one party. Lives on the event loop."""

from collections import Counter
from types import TracebackType
from typing import Final

from ledger.errors import OverloadError
from ledger.limits import API_BODIES_BYTES, API_PARTY_BODIES_BYTES


class ByteRoom:
    """Room for bodies, from their first byte until their request is answered."""

    def __init__(self, *, total_bytes: int = API_BODIES_BYTES, party_bytes: int = API_PARTY_BODIES_BYTES) -> None:
        self._total_bytes: Final = total_bytes
        self._party_bytes: Final = party_bytes
        self._held: Counter[str] = Counter()

    @property
    def held_bytes(self) -> int:
        """Of all parties."""
        return self._held.total()

    def hold(self, party: str) -> "Holding":
        """A share of the room for one request of a party, empty at first."""
        return Holding(self, party)

    def take(self, party: str, size: int) -> None:
        """Take room.

        Raises:
            OverloadError: code `requests_full`; nothing was taken.
        """
        if self._held.total() + size > self._total_bytes or self._held[party] + size > self._party_bytes:
            raise OverloadError(
                "too many large requests at once",
                code="requests_full",
                expected=f"<= {self._party_bytes} bytes of one party, {self._total_bytes} of all",
                help="Send it again in a moment, or wait for the answers to those under way.",
            )
        self._held[party] += size

    def give_back(self, party: str, size: int) -> None:
        """Give back what was taken."""
        self._held[party] -= size
        if self._held[party] <= 0:
            del self._held[party]


class Holding:
    """A context manager: what was taken is given back when it is left."""

    def __init__(self, room: ByteRoom, party: str) -> None:
        self._room = room
        self._party = party
        self._size = 0

    def take(self, size: int) -> None:
        """Take more room; raises as `ByteRoom.take`."""
        self._room.take(self._party, size)
        self._size += size

    def __enter__(self) -> "Holding":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.give_back(self._party, self._size)
