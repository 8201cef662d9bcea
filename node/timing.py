"""The replica's times: those that all agencies agreed on, and for the rest what suits any network."""

from typing import Protocol

import msgspec

from ledger.consensus.parameters import Parameters

DEFAULT = Parameters()


class AgreedTimes(Protocol):
    """What the genesis document, and later the parameters' document, fixes."""

    @property
    def lead_timeout_ms(self) -> int: ...

    @property
    def advance_timeout_ms(self) -> int: ...

    @property
    def heartbeat_s(self) -> int: ...


def with_agreed(agreed: AgreedTimes, times: Parameters = DEFAULT) -> Parameters:
    """These times with the agreed ones in their places. What an agreement may leave out of order is put in order: an advance
    timer that is longer than the lead timer, a cap above both."""
    advance_ms = max(agreed.advance_timeout_ms, agreed.lead_timeout_ms + 1)
    return msgspec.structs.replace(
        times,
        lead_timeout_ms=agreed.lead_timeout_ms,
        advance_timeout_ms=advance_ms,
        timeout_cap_ms=max(times.timeout_cap_ms, advance_ms),
        heartbeat_s=agreed.heartbeat_s,
    )
