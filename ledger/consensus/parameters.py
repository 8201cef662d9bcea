"""What a replica is configured with. Nothing here is agreed on: nodes may differ, and safety never depends on it (P1.3)."""

from typing import Final

import msgspec

from ledger.errors import ConfigurationError

MINUTE_MS: Final = 60_000


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """Times of a replica, in milliseconds unless named otherwise.

    The defaults suit a few agencies in different countries (round trips up to 150 ms, blocks of seconds of work): the lead
    timer covers a build, its transfer and the way there; the advance timer a check and two rounds of votes besides.
    The cap must exceed the slowest honest view (P5.1).
    """

    lead_timeout_ms: int = 1_000
    """For the leader's first signed proposal."""
    advance_timeout_ms: int = 2_500
    """For leaving the view; longer than the lead timer."""
    timeout_growth_percent: int = 150
    """Both timers grow so for each view since the last finalization."""
    timeout_cap_ms: int = 30_000
    """The lead timer grows no further than this, the advance timer no further than this and a lead more."""
    retry_ms: int = 1_000
    """Between repetitions of an own nullify (P5.7)."""
    standstill_ms: int = 3_000
    """Without a new finalization while busy, before certificates and votes are repeated (P5.8)."""
    status_ms: int = 2_000
    """Between Status messages (P7.1)."""
    fetch_ms: int = 500
    """Before the next peer is asked for a missing block or certificate."""
    heartbeat_s: int = 600
    """Without a block, before an empty one is due (P6.2)."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be positive", expected=">= 1", actual=getattr(self, name))
        if self.advance_timeout_ms <= self.lead_timeout_ms:
            raise ConfigurationError(
                "the advance timer must be longer than the lead timer",
                expected=f"> {self.lead_timeout_ms}",
                actual=self.advance_timeout_ms,
            )
        if self.timeout_growth_percent < 100 or self.timeout_cap_ms < self.advance_timeout_ms:
            raise ConfigurationError(
                "timeouts must grow up to a cap above the advance timer",
                expected=">= 100 percent, cap >= advance_timeout_ms",
                actual=f"{self.timeout_growth_percent} percent, cap {self.timeout_cap_ms}",
            )

    def lead_ms(self, views_since_finalization: int) -> int:
        """The lead timer after so many views without a finalization."""
        return self._grown(self.lead_timeout_ms, views_since_finalization, self.timeout_cap_ms)

    def advance_ms(self, views_since_finalization: int) -> int:
        """The advance timer after so many views without a finalization: longer than the lead timer, also at the cap."""
        cap_ms = self.timeout_cap_ms + self.lead_timeout_ms
        return self._grown(self.advance_timeout_ms, views_since_finalization, cap_ms)

    def _grown(self, base_ms: int, views: int, cap_ms: int) -> int:
        grown_ms = base_ms
        for _ in range(views):
            if grown_ms >= cap_ms:
                break
            grown_ms = max(grown_ms + 1, grown_ms * self.timeout_growth_percent // 100)
        return min(grown_ms, cap_ms)
