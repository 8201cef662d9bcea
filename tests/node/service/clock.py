"""A clock that a test moves."""


class ManualClock:
    """`node.clock.Clock` whose two times advance together, by hand."""

    def __init__(self, wall_ms: int = 1_790_000_000_000) -> None:
        self._wall_ms = wall_ms
        self._monotonic_ms = 0

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._wall_ms

    def monotonic_ms(self) -> int:
        """Milliseconds since the test began."""
        return self._monotonic_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        """Advance, at once."""
        self.advance(duration_ms)

    def advance(self, duration_ms: int) -> None:
        """Let time pass."""
        self._wall_ms += duration_ms
        self._monotonic_ms += duration_ms
