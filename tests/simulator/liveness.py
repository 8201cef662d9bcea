"""What must come to pass once the network is whole (P10): L1, everything pending becomes final; L2, then blocks stop."""

from typing import Final

from tests.simulator.clients import Clients
from tests.simulator.genesis import PARAMETERS
from tests.simulator.machine import Machine
from tests.simulator.oracle import ViolationError
from tests.simulator.world import World

LIVENESS_MS: Final = 240_000
"""When to give up; what is demanded is a number of views. (Half of it was too short for seed 223184: 62 blocks of two
records and six epochs, where each is built, checked and committed in 700 ms at most.)"""
QUIET_MS: Final = 15_000
QUIET_WINDOWS: Final = 6
MAX_VIEWS_TO_FINAL: Final = 10
"""L1's bound on views from healing to the first block's finality: f liars' turns, and views that were under way."""
MAX_VIEWS_PER_RECORD: Final = 2
"""And for each further record, which may need a block of its own: liars lead less than half of the views."""
VIEWS_LOST_TO_SLOW_BLOCKS: Final = 1
"""And one more for each, where a commit and the building of the next block may together outlast a leader's timer: the view
then ends before its block is there. (Not counted at first: seed 202062, one node that takes up to 700 ms for each.)"""


def demand_liveness(world: World, honest: list[Machine], clients: Clients) -> None:
    """L1: every story is told at every honest machine, within a bounded time and number of views.

    Raises:
        ViolationError: it is not.
    """
    started = max(_position(machine) for machine in honest)
    undone = clients.unfinished()
    clients.insist()

    looked_at: tuple[int, ...] = ()

    def final() -> bool:
        nonlocal looked_at
        heights = tuple(machine.height if machine.replica is not None else -1 for machine in honest)
        if heights == looked_at:
            return False
        looked_at = heights
        return -1 not in heights and clients.all_told

    if not world.run_until(world.now_ms + LIVENESS_MS, final):
        where = {m.number: (_position(m), m.height, m.application.pending, m.stopped) for m in honest}
        raise ViolationError(
            f"L1 records are not final after {LIVENESS_MS} ms; (epoch, view), height, pending, stopped: {where}"
        )
    ended = max(_position(machine) for machine in honest)
    may_outlast = 2 * world.plan.execute_ms > PARAMETERS.lead_timeout_ms
    per_record = MAX_VIEWS_PER_RECORD + (VIEWS_LOST_TO_SLOW_BLOCKS if may_outlast else 0)
    views = ended[1] - started[1] if ended[0] == started[0] else ended[1]
    world.exercised["views to finality"] += views
    allowed = MAX_VIEWS_TO_FINAL * (2 if world.plan.relied_on else 1)  # one more goes down meanwhile
    if views > allowed + per_record * undone:
        raise ViolationError(f"L1 it took {views} views from healing to finality of {undone} records")


def demand_quiet(world: World, honest: list[Machine]) -> None:
    """L2: with nothing pending, blocks stop, views too. All honest machines are then at one height, and nothing
    that cannot become final keeps one busy (P6.1).

    Not at once: what was voted for above the last final block keeps them busy until a block above it is final (P6.2), and
    with silent leaders and grown timers that takes some views more.

    Raises:
        ViolationError: they do not stop.
    """
    now = [_stand(machine) for machine in honest]
    for _ in range(QUIET_WINDOWS):
        before = now
        world.run_until(world.now_ms + QUIET_MS)
        now = [_stand(machine) for machine in honest]
        pending = [machine.application.pending for machine in honest]
        heights = {height for height, _, _ in now}
        if len(heights) == 1 and -1 not in heights and now == before and not any(pending):
            return
    raise ViolationError(f"L2 (height, epoch, view) {before} became {now}, pending are {pending}")


def _stand(machine: Machine) -> tuple[int, int, int]:
    """Height, epoch and view; of one that is down (which it may be yet, by the plan of a run that does without one) none."""
    return (-1, -1, -1) if machine.replica is None else (machine.height, *_position(machine))


def _position(machine: Machine) -> tuple[int, int]:
    assert machine.replica is not None
    status = machine.replica.status()
    return status.epoch, status.view
