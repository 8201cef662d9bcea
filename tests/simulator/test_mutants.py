"""The simulator has teeth: each deliberate fault in the replica is caught within a bounded number of seeds."""

from typing import Final

import pytest

from tests.simulator.mutants import MUTANTS, catch, mutated
from tests.simulator.run import run_seed

KNOWN: Final = (0, 2, 3, 4, 10, 16, 26, 31, 40, 46, 57, 228)
"""Seeds that caught a mutant when they were last looked for; tried first, since most runs suit only some faults."""
SEEDS: Final = tuple(dict.fromkeys((*KNOWN, *range(300))))


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_catches(name: str) -> None:
    assert catch(name, SEEDS) is not None


def test_a_mutant_leaves_no_trace_behind() -> None:
    for name in MUTANTS:
        with mutated(name):
            pass
    for seed in KNOWN:
        run_seed(seed)
