"""Time and the network: one queue of events, one generator of chance, links that fail as planned."""

import heapq
import random
from collections import Counter
from collections.abc import Callable

from tests.simulator.plan import Plan


class World:
    """The discrete-event loop. `now_ms` only moves when the next event is taken."""

    def __init__(self, plan: Plan, *, transcript: list[str] | None = None) -> None:
        self.plan = plan
        self.rng = random.Random(f"run {plan.seed}")
        self.now_ms = 0
        self.healed = False
        self.exercised: Counter[str] = Counter()
        self.cut: set[tuple[int, int]] = set()
        """Links that carry nothing now, as (from, to)."""
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._transcript = transcript

    def at(self, at_ms: int, action: Callable[[], None]) -> None:
        """Do something at a time (now, if that is past)."""
        self._count += 1
        heapq.heappush(self._queue, (max(at_ms, self.now_ms), self._count, action))

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something later."""
        self.at(self.now_ms + delay_ms, action)

    def run_until(self, end_ms: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Take events until `done` or the time is up. Returns whether it is done."""
        while self._queue and self._queue[0][0] <= end_ms:
            if done():
                return True
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        if not done():
            self.now_ms = end_ms
            return False
        return True

    def carry(self, origin: int, target: int, deliver: Callable[[], None]) -> None:
        """Send something over a link: lost, doubled, delayed and overtaken as planned, whole once healed."""
        plan, rng = self.plan, self.rng
        if self.healed:
            self.after(plan.delay_ms // 2 + rng.randrange(1 + min(plan.spread_ms, 50)), deliver)
            return
        if (origin, target) in self.cut:
            self.exercised["cut"] += 1
            return
        if rng.random() < plan.loss:
            self.exercised["lost"] += 1
            return
        copies = 1
        if rng.random() < plan.duplication:
            self.exercised["doubled"] += 1
            copies = 2
        for _ in range(copies):
            delay_ms = plan.delay_ms + rng.randrange(1 + plan.spread_ms)
            if rng.random() < plan.late:
                self.exercised["delayed tenfold"] += 1
                delay_ms *= 10
            self.after(delay_ms, deliver)

    def mend(self) -> None:
        """All links carry again."""
        self.cut.clear()

    def note(self, text: Callable[[], str]) -> None:
        """A line of the transcript, if one is kept."""
        if self._transcript is not None:
            self._transcript.append(f"{self.now_ms:>8} {text()}")
