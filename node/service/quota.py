"""Token buckets: how much one token, and one party over all its tokens, may ask of this node (DESIGN 11)."""

from collections.abc import Callable
from math import ceil

import msgspec

from ledger.errors import OverloadError
from node.service.access import Caller


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket that refills with `per_second` units up to `burst`."""

    per_second: int
    burst: int


class QuotaRates(msgspec.Struct, frozen=True, kw_only=True):
    """The rates of one resource, for each token and for each party."""

    token: Rate
    party: Rate


class _Bucket:
    __slots__ = ("at_s", "level")

    def __init__(self, level: float, at_s: float) -> None:
        self.level = level
        self.at_s = at_s


class Quota:
    """The buckets of one resource (records, or requests). Lives on the event loop; not shared between threads."""

    def __init__(self, what: str, rates: QuotaRates, *, monotonic_ms: Callable[[], int]) -> None:
        """`what` names the resource in the refusal; `monotonic_ms` a clock that never goes back."""
        self._what = what
        self._rates = rates
        self._monotonic_ms = monotonic_ms
        self._buckets: dict[tuple[str, str], _Bucket] = {}  # two for each token in use: as bounded as the tokens

    def charge(self, caller: Caller, units: int) -> None:
        """Take `units` from the buckets of the caller's token and party, or from neither.

        More units than a bucket holds are charged as a full bucket, so that no lawful batch is refused for ever.

        Raises:
            OverloadError: code `quota_exceeded`, with the seconds after which the same charge would pass.
        """
        now_s = self._monotonic_ms() / 1000
        pairs = (
            (self._bucket(("token", caller.token), self._rates.token, now_s), self._rates.token),
            (self._bucket(("party", caller.party), self._rates.party, now_s), self._rates.party),
        )
        wait_s = max((min(units, rate.burst) - bucket.level) / rate.per_second for bucket, rate in pairs)
        if wait_s > 0:
            raise OverloadError(
                f"too many {self._what} for this token or party",
                code="quota_exceeded",
                retry_after_s=ceil(wait_s),
                expected=f"<= {self._rates.token.per_second} {self._what} a second",
                actual=f"{units} more now",
                help=f"Wait {ceil(wait_s)} s and send the same again: nothing of it was taken.",
            )
        for bucket, rate in pairs:
            bucket.level -= min(units, rate.burst)

    def _bucket(self, key: tuple[str, str], rate: Rate, now_s: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(rate.burst, now_s)
        else:
            bucket.level = min(rate.burst, bucket.level + (now_s - bucket.at_s) * rate.per_second)
            bucket.at_s = now_s
        return bucket
