"""Clients: they submit their stories to any machine that is up, and again what is not final yet."""

from collections.abc import Callable
from typing import Final

from tests.simulator.machine import Machine
from tests.simulator.oracle import ViolationError
from tests.simulator.workload import Story
from tests.simulator.world import World

PAUSE_MS: Final = 2_000
"""At most between two records of a story."""
RETRY_MS: Final = 6_000
"""At most before a client looks after its story again, while faults last."""
IMPATIENT_MS: Final = 2_000
"""Between two such looks after healing."""
DECIDE_MS: Final = 2_000
"""At most between two looks at how far a proposal is."""
SETTLE_MS: Final = 5_000


class Clients:
    """The clients of one run. Each has one story, and talks to a machine of its choice each time."""

    def __init__(self, stories: list[Story], decisions: tuple[Story, ...], world: World, honest: list[Machine]) -> None:
        """`decisions`: stories of which each begins when the one before is told."""
        self.stories = [*stories, *decisions]
        self._independent = stories
        self._decisions = list(decisions)
        self._world = world
        self._honest = honest

    def schedule(self, end_ms: int) -> None:
        """Begin the stories at any time before `end_ms`."""
        rng = self._world.rng
        self._world.at(rng.randrange(end_ms // 2), self._decide)
        for number, story in enumerate(self._independent):
            at_ms = 0 if number == 0 else rng.randrange(end_ms)
            for entry in story.entries:
                self._world.at(at_ms, self._submission((entry,)))
                at_ms += rng.randint(0, PAUSE_MS)
            self._world.at(at_ms + rng.randint(0, RETRY_MS), self._look_after(story))

    def insist(self) -> None:
        """From now on submit what neither is final nor waits anywhere, again and again, until all stories are told."""
        unfinished = [story for story in self._independent if not self.is_told(story)]
        for story in unfinished:
            left = tuple(entry for entry in story.entries if entry not in story.never and not self._is_known(entry))
            if left:
                self._submission(left)()
        if unfinished:
            self._world.after(IMPATIENT_MS, self.insist)

    def _decide(self) -> None:
        """The validators vote on the next change, if the one before is decided everywhere."""
        while self._decisions and self.is_told(self._decisions[0]):
            self._decisions.pop(0)
        if not self._decisions:
            return
        left = [entry for entry in self._decisions[0].entries if not self._is_known(entry)]
        for entry in left:
            self._submission((entry,))()
        self._world.after(self._world.rng.randint(500, DECIDE_MS), self._decide)

    def _is_known(self, entry: bytes) -> bool:
        return any(machine.application.is_final(entry) for machine in self._honest) or any(
            machine.application.is_pending(entry) for machine in self._honest if machine.replica is not None
        )

    def unfinished(self) -> int:
        """Records that must yet become final at some honest machine."""
        return sum(
            any(not machine.application.is_final(entry) for machine in self._honest)
            for story in self.stories
            for entry in story.must
        ) + sum(not self.is_told(story) for story in self.stories if story.one_of)

    def is_told(self, story: Story) -> bool:
        """Whether a story has come to its end at every honest machine."""
        return all(_is_told_at(machine, story) for machine in self._honest)

    @property
    def all_told(self) -> bool:
        """Whether every story is."""
        return all(map(self.is_told, self.stories))

    def judge(self) -> None:
        """In the end: of what excludes each other one is final, what nobody may do is not, and nothing lawful is left out.

        Raises:
            ViolationError: a story ended otherwise, or a record that is not final would still be taken.
        """
        left = [entry for story in self.stories for entry in story.entries if not self._is_final(entry)]
        for story in self.stories:
            if any(self._is_final(entry) for entry in story.never):
                raise ViolationError("A1 a record is final that no rule allows")
            if any(sum(map(self._is_final, group)) != 1 for group in story.one_of):
                raise ViolationError("A1 of records that exclude each other, not exactly one is final")
        for machine in self._honest:
            machine.submit(left)
        self._world.run_until(self._world.now_ms + SETTLE_MS)
        if any(machine.application.pending for machine in self._honest):
            raise ViolationError("L1 a record that is lawful in the end is not final")

    def _is_final(self, entry: bytes) -> bool:
        return self._honest[0].application.is_final(entry)

    def _look_after(self, story: Story) -> Callable[[], None]:
        def look() -> None:
            if self._world.healed:
                return
            up = [machine for machine in self._honest if machine.replica is not None]
            if up and not _is_told_at(up[0], story):
                self._submission(story.entries)()
                self._world.after(self._world.rng.randint(1, RETRY_MS), look)

        return look

    def _submission(self, entries: tuple[bytes, ...]) -> Callable[[], None]:
        def submit() -> None:
            up = [machine for machine in self._honest if machine.replica is not None]
            if up:
                self._world.rng.choice(up).submit(entries)

        return submit


def _is_told_at(machine: Machine, story: Story) -> bool:
    is_final = machine.application.is_final
    return all(map(is_final, story.must)) and all(any(map(is_final, group)) for group in story.one_of)
