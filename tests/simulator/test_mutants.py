"""The simulator has teeth: each deliberate fault in the replica is caught within a few seeds."""

import pytest

from tests.simulator.mutants import MUTANTS, catch, mutated
from tests.simulator.run import run_seed

SEEDS = range(100)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_catches(name: str) -> None:
    assert catch(name, SEEDS) is not None


def test_a_mutant_leaves_no_trace_behind() -> None:
    for name in MUTANTS:
        with mutated(name):
            pass
    run_seed(0)
