"""Running one seed."""

from collections import Counter
from contextlib import closing
from unittest.mock import patch

from tests.simulator.cluster import Cluster
from tests.simulator.oracle import PAGE_ITEMS
from tests.simulator.plan import Plan, draw
from tests.simulator.remembering import remembered_answers
from tests.simulator.sqlite_disk import simulated_storage


def run_plan(plan: Plan, *, transcript: list[str] | None = None) -> Counter[str]:
    """Run a plan; return how often each fault was exercised.

    Raises:
        ViolationError: something of P10 does not hold.
    """
    with (
        remembered_answers(),
        patch("ledger.consensus.sharing.STANDSTILL_PAGE_ITEMS", PAGE_ITEMS),
        simulated_storage() as folder,
        closing(Cluster(plan, folder, transcript=transcript)) as cluster,
    ):
        cluster.run()
        exercised = cluster.world.exercised
        for _, actor in plan.liars:
            exercised[f"actor {actor}"] += 1
        exercised[f"{plan.application} runs"] += 1
        for change in cluster.ledger.changes:
            exercised[f"decided: {change}"] += 1
        exercised["blocks"] += max(machine.height for machine in cluster.honest)
        exercised[f"epochs changed by {plan.application}"] += max(cluster.oracle.members)
    return exercised


def run_seed(seed: int, *, transcript: list[str] | None = None) -> Counter[str]:
    """Run the plan of a seed."""
    return run_plan(draw(seed), transcript=transcript)
