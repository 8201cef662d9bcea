"""Three hundred runs of whole clusters under faults and liars (PROTOCOL P10, P11), and the simulator's own promises."""

import msgspec
import pytest

from tests.simulator.actors import ACTORS
from tests.simulator.oracle import ViolationError
from tests.simulator.plan import draw
from tests.simulator.run import run_plan, run_seed

SEEDS = 300
FOUND = (202062, 203644, 203665, 223184, 2002873, 3601289)
"""Seeds that once failed, in longer runs."""


@pytest.mark.parametrize("seed", [*range(SEEDS), *FOUND])
def test_seed(seed: int) -> None:
    try:
        run_seed(seed)
    except ViolationError as violation:
        pytest.fail(f"{violation}\nreplay: python -m tests.simulator.soak --seed {seed}", pytrace=False)


@pytest.mark.parametrize("seed", FOUND)
def test_what_once_failed_holds_without_what_is_drawn_since(seed: int) -> None:
    run_plan(msgspec.structs.replace(draw(seed), decisions=(), encoded=False, group_faults=0, relied_on=False))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_networks_too_small_to_tolerate_a_fault_work_while_all_are_there(size: int, seed: int) -> None:
    plan = draw(seed)
    skews_ms = (plan.skews_ms * size)[:size]
    changes = {"size": size, "liars": (), "observers": 0, "epoch_changes": 0, "amnesia": 0, "stories": 4}
    run_plan(msgspec.structs.replace(plan, **changes, skews_ms=skews_ms, safety_ms=20_000))


@pytest.mark.parametrize("application", ["production", "toy"])
def test_a_seed_reproduces_its_run_exactly(application: str) -> None:
    seed = next(seed for seed in range(100) if draw(seed).application == application and draw(seed).crashes)
    first: list[str] = []
    second: list[str] = []
    assert run_seed(seed, transcript=first) == run_seed(seed, transcript=second)
    assert first == second
    assert len(first) > 100


def test_the_plans_cover_every_actor_and_size_and_mostly_production_nodes() -> None:
    plans = [draw(seed) for seed in range(SEEDS)]
    assert {plan.size for plan in plans} == {1, 4, 5, 7, 10}
    assert {actor for plan in plans for _, actor in plan.liars} == set(ACTORS)
    assert all(len(plan.liars) + plan.amnesia <= (plan.size - 1) // 3 for plan in plans)
    assert {kind for plan in plans for kind in plan.decisions} == {"replace", "rotate", "parameters", "suspend"}
    assert SEEDS / 4 < sum(plan.encoded for plan in plans) < SEEDS / 2
    assert sum(plan.group_faults > 0 for plan in plans) > SEEDS / 2
    assert sum(plan.application == "production" for plan in plans) > 0.7 * SEEDS
