"""A few inputs for every target; `python -m tests.fuzz` feeds as many as one likes."""

import pytest

from tests.fuzz.harness import FuzzFailureError, Target, accepts, run_target
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_only_our_errors_leave(target: Target) -> None:
    outcome = run_target(target, seed="pytest", inputs=range(target.few))
    assert outcome.accepted < outcome.inputs, "nothing was refused: the inputs are not bent"


def test_a_foreign_error_is_a_failure_that_can_be_fed_again() -> None:
    target = Target(name="broken", draw=lambda dice: dice.randbytes(2), feed=lambda data: accepts(lambda: {}[data]))
    with pytest.raises(FuzzFailureError, match="--target broken --seed 7 --number 3"):
        run_target(target, seed="7", inputs=[3])
