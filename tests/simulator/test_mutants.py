"""The simulator has teeth: each deliberate fault is caught by the seed remembered for it, or by one of a few others."""

from typing import Final

import pytest

from tests.simulator.mutants import caught, likely, mutated, remembered, search
from tests.simulator.mutations import HARMFUL_TOGETHER, MUTANTS, WITHOUT_HARM
from tests.simulator.run import run_seed

OTHERS: Final = 60
"""Seeds tried where the remembered one catches its mutant no more: a change elsewhere may lead its run another way."""


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_catches(name: str) -> None:
    seed = remembered().get(name)
    if seed is None or not caught(name, seed):
        found = search(name, likely(name, OTHERS), enough=1)
        assert found is not None, f"look for a seed: python -m tests.simulator.mutants --search '{name}'"


@pytest.mark.parametrize("name", WITHOUT_HARM)
def test_one_of_two_that_keep_a_rule_is_enough(name: str) -> None:
    """P5.7 and P5.8 are redundant singly, and so is the floor in the guard: the run that fails without both ends well with
    either."""
    assert caught(name, remembered()[HARMFUL_TOGETHER[name[:4]]]) == ""


def test_a_mutant_leaves_no_trace_behind() -> None:
    for name in MUTANTS:
        with mutated(name):
            pass
    for seed in sorted(set(remembered().values())):
        run_seed(seed)
