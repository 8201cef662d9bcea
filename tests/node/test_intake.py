"""Who is told to come again before anything is read: those who send much and wait, and those who just found no room."""

from contextlib import ExitStack

import pytest

from ledger.errors import OverloadError, RuleError
from ledger.limits import ADMISSION_PROMPT_RECORDS, ADMISSION_PUT_OFF_MS, ADMISSION_RECORDS, ADMISSION_WAIT_MS
from node.intake import Intake
from node.service.ports import Outcome

PENDING = Outcome(id="a", status="pending")
FULL = Outcome(id="b", status="refused", error=OverloadError("no room"))
WRONG = Outcome(id="c", status="refused", error=RuleError("no"))


class Desk:
    """An intake with a clock that a test sets."""

    def __init__(self) -> None:
        self.now_ms = 10_000
        self.intake = Intake(monotonic_ms=lambda: self.now_ms)

    def is_refused(self, source: str = "greedy") -> int:
        """The seconds after which to come again; 0 where nothing is refused."""
        try:
            self.intake.require_turn(source)
        except OverloadError as refused:
            assert refused.code == "admission_behind"
            assert refused.retry_after_s >= 1
            return refused.retry_after_s
        return 0


def test_only_who_has_much_under_way_for_long_is_put_off() -> None:
    desk = Desk()
    with desk.intake.looking_at("modest", 1):
        with desk.intake.looking_at("greedy", ADMISSION_PROMPT_RECORDS):
            desk.now_ms += ADMISSION_WAIT_MS
            with desk.intake.looking_at("greedy", 1):
                assert not desk.is_refused("greedy"), "as long as the first is done with soon"
                desk.now_ms += 1
                assert desk.is_refused("greedy") == 1
                desk.now_ms += 2_000
                assert desk.is_refused("greedy") == 3
                assert not desk.is_refused("modest")
            assert not desk.is_refused("greedy")
        assert not desk.is_refused("greedy"), "nothing of it is under way any more"


def test_of_several_under_way_the_first_says_how_long_it_takes() -> None:
    desk = Desk()
    first, second = (desk.intake.looking_at("greedy", ADMISSION_PROMPT_RECORDS) for _ in range(2))
    with second:
        with first:
            pass
        desk.now_ms += ADMISSION_WAIT_MS + 1
        with desk.intake.looking_at("greedy", 1):
            assert desk.is_refused("greedy")


def test_no_more_than_a_bounded_number_is_taken_in_however_fast_it_goes() -> None:
    desk = Desk()
    with ExitStack() as under_way:
        for _ in range(ADMISSION_RECORDS // 250 + 1):
            assert not desk.is_refused()
            under_way.enter_context(desk.intake.looking_at("greedy", 250))
        assert desk.is_refused() == 1
    assert not desk.is_refused()


def test_what_ends_in_an_error_is_under_way_no_more() -> None:
    desk = Desk()
    with pytest.raises(RuleError), desk.intake.looking_at("greedy", ADMISSION_RECORDS + 1):
        raise RuleError("no")
    assert not desk.is_refused()


@pytest.mark.parametrize(
    ("outcomes", "is_put_off"),
    [([FULL, FULL], True), ([FULL, PENDING], False), ([WRONG], False), ([FULL, WRONG], False), ([], False)],
)
def test_who_found_no_room_at_all_is_refused_unread_for_a_moment(outcomes: list[Outcome], is_put_off: bool) -> None:
    desk = Desk()
    desk.intake.note("greedy", outcomes)
    assert bool(desk.is_refused("greedy")) == is_put_off
    assert not desk.is_refused("modest")
    desk.now_ms += ADMISSION_PUT_OFF_MS
    assert not desk.is_refused("greedy")


def test_what_is_remembered_is_forgotten() -> None:
    desk = Desk()
    for number in range(50):
        desk.intake.note(f"party {number}", [FULL])
        desk.now_ms += ADMISSION_PUT_OFF_MS // 5
    assert len(desk.intake._put_off_until_ms) <= 6
