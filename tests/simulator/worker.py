"""The executor's thread as simulated time: one piece of work after the other, the urgent ones first (`node/worker.py`).

A piece of work happens at the end of its time, so that whatever happens meanwhile happens before it. For the toy
application all pieces run at once: answers then come in any order, which the replica must bear as well.
"""

from collections import deque
from collections.abc import Callable

from tests.simulator.world import World

Work = Callable[[], None]


class Worker:
    """The queue of one life of a machine. `alive` wraps what must not happen after a crash."""

    def __init__(self, world: World, alive: Callable[[Work], Work], *, parallel: bool) -> None:
        self._world = world
        self._alive = alive
        self._parallel = parallel
        self._urgent: deque[tuple[int, Work]] = deque()
        self._ordinary: deque[tuple[int, Work]] = deque()
        self._busy = False

    def call(self, work: Work, *, slowest_ms: int, urgent: bool = True) -> None:
        """Do `work`, which takes up to `slowest_ms`, when its turn comes."""
        duration_ms = self._world.rng.randint(0, max(1, slowest_ms))
        if self._parallel:
            self._world.after(duration_ms, self._alive(work))
            return
        (self._urgent if urgent else self._ordinary).append((duration_ms, work))
        self._next()

    def _next(self) -> None:
        if self._busy or not (self._urgent or self._ordinary):
            return
        self._busy = True
        duration_ms, work = (self._urgent or self._ordinary).popleft()

        def done() -> None:
            self._busy = False
            work()
            self._next()

        self._world.after(duration_ms, self._alive(done))
