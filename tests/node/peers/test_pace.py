"""A link's share of the event loop: all of it for a moment, a quarter in the long run, and nothing owed by who is quiet."""

import pytest

from node.peers.pace import Pace


class Time:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_link_that_sends_without_end_gets_its_share_of_the_time() -> None:
    time = Time()
    pace = Pace(share=0.25, burst_s=1.0, monotonic=time)
    busy_s = 0.0
    for _ in range(100_000):
        pause_s = pace.spend(0.001)
        busy_s += 0.001
        time.now_s += 0.001 + pause_s
    assert busy_s == pytest.approx((time.now_s - 100.0) * 0.25 + 1.0, rel=0.02)


def test_a_burst_is_read_at_once_and_a_quiet_link_never_waits() -> None:
    time = Time()
    pace = Pace(share=0.25, burst_s=1.0, monotonic=time)
    assert [pace.spend(0.001) for _ in range(990)] == [0.0] * 990
    assert pace.spend(0.1) > 0
    time.now_s += 10
    for _ in range(1_000):
        assert pace.spend(0.0002) == 0.0
        time.now_s += 0.001


def test_what_a_message_waited_for_is_not_its_own() -> None:
    pace = Pace(share=0.25, burst_s=1.0, monotonic=Time())
    assert pace.spend(60.0) == 0.0
