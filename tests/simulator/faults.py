"""What happens to machines and links in the course of the safety phase (PROTOCOL P11), each fault a small type.

Each is drawn and laid into the world's queue before the run. What single messages suffer (loss, duplication, delay,
reordering) is the network's, in `world`.
"""

import random
from functools import partial
from typing import Protocol

import msgspec

from tests.simulator.machine import Machine
from tests.simulator.ports import Store, WriteFault
from tests.simulator.world import World


class Scene(Protocol):
    """What a fault may lay hands on."""

    world: World
    machines: list[Machine]
    honest: list[Machine]


class Partitions(msgspec.Struct, frozen=True):
    """Some machines are cut off from the others for a while, in both directions or in one."""

    count: int
    one_way: bool

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        world = scene.world
        for _ in range(self.count):
            start = rng.randrange(world.plan.safety_ms)
            world.at(start, lambda: self._cut(scene))
            world.at(start + rng.randint(1_000, 8_000), world.mend)

    def _cut(self, scene: Scene) -> None:
        world, numbers = scene.world, [machine.number for machine in scene.machines]
        side = set(world.rng.sample(numbers, world.rng.randint(1, max(1, len(numbers) - 1))))
        others = [number for number in numbers if number not in side]
        world.cut.update((a, b) for a in side for b in others)
        if not self.one_way:
            world.cut.update((b, a) for a in side for b in others)
        world.exercised["one-way partitions" if self.one_way else "partitions"] += 1
        world.note(lambda: f"--- {sorted(side)} {'cannot reach' if self.one_way else 'cut off from'} {others} ---")


class Crashes(msgspec.Struct, frozen=True):
    """Machines crash at any time, and start again soon or later."""

    count: int

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        for _ in range(self.count):
            victim, at_ms = rng.choice(scene.machines), rng.randrange(scene.world.plan.safety_ms)
            scene.world.at(at_ms, lambda victim=victim: crash(victim))  # type: ignore[misc]
            down_ms = rng.choice((rng.randint(1, 300), rng.randint(10, 6_000)))
            scene.world.at(at_ms + down_ms, lambda victim=victim: start(victim))  # type: ignore[misc]


class WriteFaults(msgspec.Struct, frozen=True):
    """The next durable write of a machine is met by a crash, or the disk fails it, with or without keeping it."""

    count: int
    stores: tuple[Store, ...] = ("votes", "block")

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        kinds: tuple[WriteFault, ...] = ("crash", "crash", "failed", "failed but persisted")
        for _ in range(self.count):
            victim, store, fault = rng.choice(scene.honest), rng.choice(self.stores), rng.choice(kinds)
            scene.world.at(
                rng.randrange(scene.world.plan.safety_ms),
                lambda victim=victim, store=store, fault=fault: victim.write_faults.update({store: fault}),  # type: ignore[misc]
            )


class Sleep(msgspec.Struct, frozen=True):
    """One machine is down for most of the safety phase."""

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        victim = rng.choice(scene.honest)
        scene.world.at(rng.randrange(1 + scene.world.plan.safety_ms // 4), lambda: crash(victim))
        scene.world.exercised["slept long"] += 1


class RestartOfAll(msgspec.Struct, frozen=True):
    """All machines restart at one time. `apart`: after they have voted in vain, each by itself (P13, trace 6)."""

    apart: bool

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        world, numbers = scene.world, [machine.number for machine in scene.machines]
        at_ms = rng.randrange(world.plan.safety_ms)
        if self.apart:
            world.at(at_ms, lambda: world.cut.update((a, b) for a in numbers for b in numbers if a != b))
            at_ms += rng.randint(2_000, 9_000)
        for machine in scene.machines:
            world.at(at_ms, lambda machine=machine: crash(machine))  # type: ignore[misc]
            world.at(at_ms + rng.randint(1, 500), lambda machine=machine: start(machine))  # type: ignore[misc]
        world.at(at_ms, world.mend)
        world.exercised["all restarted in one view" if self.apart else "all restarted"] += 1


class ClockSteps(msgspec.Struct, frozen=True):
    """Some machine's wall clock is set, forwards or back."""

    count: int

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        for _ in range(self.count):
            victim, skew_ms = rng.choice(scene.machines), rng.randint(-4_000, 4_000)
            scene.world.at(
                rng.randrange(scene.world.plan.safety_ms),
                lambda victim=victim, skew_ms=skew_ms: self._set(victim, skew_ms),  # type: ignore[misc]
            )

    def _set(self, victim: Machine, skew_ms: int) -> None:
        victim.clock.skew_ms = skew_ms
        victim.world.exercised["clocks set"] += 1


class Amnesia(msgspec.Struct, frozen=True):
    """An honest machine loses its votes, or gets an old copy of them back: it signs nothing until it may (P7.5)."""

    count: int

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        victims = rng.sample(scene.honest, min(self.count, len(scene.honest)))
        for victim in victims * rng.choice((1, 2, 4)):
            older, at_ms = rng.random() < 0.5, rng.randrange(scene.world.plan.safety_ms)
            scene.world.at(rng.randrange(1 + at_ms), victim.disk.keep_copy)
            unasked_ms = at_ms % 1_999 if not older and at_ms % 2 == 0 else None
            scene.world.at(at_ms, partial(self._forget, victim, older, unasked_ms))

    def _forget(self, victim: Machine, older: bool, unasked_ms: int | None) -> None:
        crash(victim)
        if unasked_ms is not None and victim.disk.lose_all():
            victim.unasked_ms = unasked_ms
            victim.tolerated |= {"votes_lost", "votes_suspect"}
            if victim.oracle is not None:
                victim.oracle.wiped(victim.number)
            victim.world.exercised["disks lost"] += 1
        elif victim.disk.lose_votes(older=older, noticed=True):
            victim.tolerated |= {"votes_lost", "votes_suspect"}
            if victim.oracle is not None:
                victim.oracle.forgot(victim.number)
            victim.world.exercised["votes restored from a copy" if older else "votes lost"] += 1
        start(victim)


class ForgetfulLiars(msgspec.Struct, frozen=True):
    """The amnesiacs among the liars crash often, and each time forget what they voted."""

    victims: tuple[int, ...]
    times: int = 6

    def schedule(self, scene: Scene, rng: random.Random) -> None:
        for number in self.victims:
            for _ in range(self.times):
                older = rng.random() < 0.5
                at_ms = rng.randrange(scene.world.plan.safety_ms)
                victim = scene.machines[number]
                scene.world.at(at_ms, lambda victim=victim, older=older: self._forget(victim, older))  # type: ignore[misc]
                scene.world.at(rng.randrange(scene.world.plan.safety_ms), victim.disk.keep_copy)

    def _forget(self, victim: Machine, older: bool) -> None:
        crash(victim)
        if victim.disk.lose_votes(older=older, noticed=False):
            victim.world.exercised["lies of amnesiac"] += 1
        start(victim)


def crash(machine: Machine) -> None:
    """Crash a machine that runs, in the safety phase."""
    if machine.replica is not None and not machine.world.healed:
        machine.world.exercised["crashes"] += 1
        machine.crash()


def end(machine: Machine) -> None:
    """Crash a machine that runs, whenever it is."""
    if machine.replica is not None:
        machine.crash()


def start(machine: Machine) -> None:
    """Start a machine that is down."""
    if machine.replica is None:
        machine.start()
