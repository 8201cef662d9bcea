"""Waiters end when their record is decided and, if final, covered by a cosigned checkpoint."""

import pytest

from ledger.errors import OverloadError, RuleError
from node.service.ports import Outcome
from node.waiting import FinalityWaiters


def test_a_final_record_waits_for_the_checkpoint_that_covers_it() -> None:
    waiters = FinalityWaiters()
    waiter = waiters.open(["a", "b"])
    waiters.placed({"a": 10, "b": 11, "other": 12}, height=3)
    waiters.cosigned(11)
    assert waiter.outcomes == {"a": Outcome(id="a", status="final", index=10, height=3)}
    assert not waiter.decided.is_set()
    waiters.cosigned(13)
    assert waiter.outcomes["b"].index == 11
    assert waiter.decided.is_set()


def test_a_refused_record_ends_its_waiters() -> None:
    waiters = FinalityWaiters()
    first, second = waiters.open(["a"]), waiters.open(["a", "a"])
    waiters.known(Outcome(id="a", status="pending"))
    assert not first.decided.is_set()
    waiters.known(Outcome(id="a", status="refused", error=RuleError("no")))
    assert first.decided.is_set()
    assert second.decided.is_set()


def test_what_was_covered_before_is_settled_at_once() -> None:
    waiters = FinalityWaiters()
    waiters.cosigned(20)
    waiter = waiters.open(["a"])
    waiters.known(Outcome(id="a", status="final", index=19, height=4))
    assert waiter.decided.is_set()


def test_nothing_is_left_of_those_who_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.waiting.FINAL_WAITERS", 3)
    waiters = FinalityWaiters()
    for _ in range(5):
        waiter = waiters.open(["a", "b", "c"])
        with pytest.raises(OverloadError):
            waiters.open(["d"])
        waiters.placed({"a": 5}, height=1)
        waiters.close(waiter, ["a", "b", "c"])
    assert waiters._waiters == {}
    assert waiters._placed == {}
