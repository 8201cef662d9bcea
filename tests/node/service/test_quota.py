"""Token buckets: never more than burst + rate * time, per token and per party; a refusal takes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import OverloadError
from node.service.access import Caller
from node.service.quota import Quota, QuotaRates, Rate


class _Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> int:
        return int(self.now_s * 1000)


def _caller(token: str, party: str = "dealer") -> Caller:
    return Caller(token=token, party=party, role="holder")


def _quota(time: _Time, *, token: tuple[int, int], party: tuple[int, int]) -> Quota:
    rates = QuotaRates(token=Rate(per_second=token[0], burst=token[1]), party=Rate(per_second=party[0], burst=party[1]))
    return Quota("records", rates, monotonic_ms=time)


def test_refuses_beyond_the_burst_and_says_when_the_same_charge_passes() -> None:
    time = _Time()
    quota = _quota(time, token=(10, 20), party=(100, 100))
    quota.charge(_caller("a"), 20)
    with pytest.raises(OverloadError) as refused:
        quota.charge(_caller("a"), 15)
    assert (refused.value.code, refused.value.retry_after_s) == ("quota_exceeded", 2)
    time.now_s = 2.0
    quota.charge(_caller("a"), 15)


def test_a_party_is_bounded_over_all_its_tokens_and_a_refusal_takes_nothing() -> None:
    time = _Time()
    quota = _quota(time, token=(10, 20), party=(10, 30))
    quota.charge(_caller("a"), 20)
    with pytest.raises(OverloadError):
        quota.charge(_caller("b"), 20)
    quota.charge(_caller("b"), 10)
    quota.charge(_caller("c", party="other"), 20)


def test_a_batch_larger_than_the_bucket_passes_when_the_bucket_is_full() -> None:
    time = _Time()
    quota = _quota(time, token=(1, 5), party=(10, 50))
    quota.charge(_caller("a"), 500)
    with pytest.raises(OverloadError):
        quota.charge(_caller("a"), 1)


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=5), st.integers(min_value=1, max_value=30)), max_size=50))
def test_never_grants_more_than_burst_and_rate_allow(charges: list[tuple[float, int]]) -> None:
    time = _Time()
    quota = _quota(time, token=(7, 30), party=(1_000, 1_000))
    granted = 0
    for pause_s, units in charges:
        time.now_s += pause_s
        try:
            quota.charge(_caller("a"), units)
        except OverloadError:
            continue
        granted += units
    assert granted <= 30 + 7 * time.now_s + 1e-6
