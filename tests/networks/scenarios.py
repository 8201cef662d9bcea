"""What networks suffer. Of four agencies, three are a quorum."""

import random
import time
from typing import Final

from client.demo.cast import AGENCIES, CUSTOMS, INTERIOR, NEIGHBOUR, POLICE
from tests.networks.disk import Disk
from tests.networks.fabric import pairs_between
from tests.networks.network import FaultyNetwork
from tests.networks.trial import Scenario, Trial

CLOCK_ERROR_MS: Final = 5 * 60 * 1000
DELAY_MS: Final = 150


def cut_off(*, lasts_s: float, victim: str = CUSTOMS) -> Scenario:
    """One agency without any link."""

    def run(trial: Trial) -> None:
        network = trial.network
        words = f"{victim} cut off"
        trial.fault(words, lambda: network.cut_off(victim), network.mend, lasts_s=lasts_s, away=(victim,))

    return Scenario(name=f"cut off {lasts_s:.0f} s", run=run)


def cut_off_in_turn(*, lasts_s: float) -> Scenario:
    """Each agency cut off, one after the other."""

    def run(trial: Trial) -> None:
        network = trial.network
        for victim in AGENCIES:
            trial.fault(
                f"{victim} cut off",
                lambda victim=victim: network.cut_off(victim),  # type: ignore[misc]
                network.mend,
                lasts_s=lasts_s,
                away=(victim,),
            )

    return Scenario(name=f"each cut off {lasts_s:.0f} s", run=run)


def split(*, lasts_s: float) -> Scenario:
    """Two and two: nobody has a quorum."""

    def run(trial: Trial) -> None:
        network = trial.network
        trial.fault(
            "two and two",
            lambda: network.cut_off(INTERIOR, CUSTOMS),
            network.mend,
            lasts_s=lasts_s,
            away=AGENCIES,
            is_quorum_up=False,
        )

    return Scenario(name=f"split 2|2 {lasts_s:.0f} s", run=run)


def all_apart(*, lasts_s: float) -> Scenario:
    """Every link cut."""

    def run(trial: Trial) -> None:
        network = trial.network
        trial.fault(
            "every link cut",
            lambda: network.cut(pairs_between(AGENCIES, AGENCIES)),
            network.mend,
            lasts_s=lasts_s,
            away=AGENCIES,
            is_quorum_up=False,
        )

    return Scenario(name=f"all apart {lasts_s:.0f} s", run=run)


def one_link(*, lasts_s: float) -> Scenario:
    """One link cut: all are still reached by a quorum."""

    def run(trial: Trial) -> None:
        network = trial.network
        ways = pairs_between([INTERIOR], [POLICE])
        trial.fault(
            "interior and police apart", lambda: network.cut(ways), network.mend, lasts_s=lasts_s, away=AGENCIES
        )

    return Scenario(name=f"one link cut {lasts_s:.0f} s", run=run)


def one_way(*, lasts_s: float) -> Scenario:
    """An agency that nobody hears, then one that hears nobody, then one link's loss."""

    def run(trial: Trial) -> None:
        network = trial.network
        others = [agency for agency in AGENCIES if agency != CUSTOMS]
        unheard = [(CUSTOMS, other) for other in others]
        deaf = [(other, CUSTOMS) for other in others]
        for words, ways in (("nobody hears customs", unheard), ("customs hears nobody", deaf)):
            trial.fault(
                words,
                lambda ways=ways: network.cut(ways),  # type: ignore[misc]
                network.mend,
                lasts_s=lasts_s,
                away=(CUSTOMS,),
            )

    return Scenario(name=f"one-way loss {lasts_s:.0f} s", run=run)


def late(*, lasts_s: float) -> Scenario:
    """150 ms each way between all agencies; one is cut off meanwhile."""

    def run(trial: Trial) -> None:
        network = trial.network
        trial.fault(f"{DELAY_MS} ms each way", lambda: network.fabric.delay(DELAY_MS), lambda: None, lasts_s=lasts_s)
        trial.fault(
            f"police cut off, at {DELAY_MS} ms",
            lambda: network.cut_off(POLICE),
            network.mend,
            lasts_s=lasts_s,
            away=(POLICE,),
        )

    return Scenario(name=f"{DELAY_MS} ms delay", run=run)


def paused(*lasts_s: float) -> Scenario:
    """SIGSTOP, for a while, and once more."""

    def run(trial: Trial) -> None:
        network = trial.network
        for duration_s in lasts_s:
            trial.fault(
                "police stopped by SIGSTOP",
                lambda: network.pause(POLICE),
                lambda: network.resume(POLICE),
                lasts_s=duration_s,
                away=(POLICE,),
            )

    return Scenario(name=f"paused {', '.join(f'{each:.0f}' for each in lasts_s)} s", run=run)


def killed(*, down_s: float) -> Scenario:
    """SIGKILL and a start: at once, and after a while."""

    def run(trial: Trial) -> None:
        network = trial.network
        for victim, duration_s in ((NEIGHBOUR, 0.0), (INTERIOR, down_s)):
            trial.fault(
                f"{victim} killed by SIGKILL",
                lambda victim=victim: network.kill(victim),  # type: ignore[misc]
                lambda victim=victim: network.start(victim),  # type: ignore[misc]
                lasts_s=max(duration_s, 1.0),
                away=(victim,),
                is_quorum_up=True if duration_s else None,  # in one second there may be no view but the victim's
            )

    return Scenario(name=f"killed, down {down_s:.0f} s", run=run)


def all_killed() -> Scenario:
    """SIGKILL to all four at once."""

    def run(trial: Trial) -> None:
        network = trial.network
        trial.fault(
            "all killed by SIGKILL", network.kill_all, network.start, lasts_s=2, away=AGENCIES, is_quorum_up=False
        )

    return Scenario(name="all killed at once", run=run)


def full_disk(*, lasts_s: float) -> Scenario:
    """The disk of one node full; then room again, and a restart, as its operator would."""
    disks: list[Disk] = []

    def prepare(network: FaultyNetwork) -> None:
        disks.append(network.give_small_disk(CUSTOMS))

    def run(trial: Trial) -> None:
        network, disk = trial.network, disks[-1]

        def heal() -> None:
            disk.free()
            network.stop(CUSTOMS)
            network.start(CUSTOMS)

        words = f"customs' disk full ({disk.name})"
        trial.fault(words, lambda: disk.fill(network.pid(CUSTOMS)), heal, lasts_s=lasts_s, away=(CUSTOMS,))

    return Scenario(name=f"full disk {lasts_s:.0f} s", run=run, prepare=prepare)


def clock_off(*, offset_ms: int, lasts_s: float) -> Scenario:
    """One node's clock is wrong from its start on; then it is right, after a restart."""

    def run(trial: Trial) -> None:
        network = trial.network

        def restart() -> None:
            network.stop(CUSTOMS)
            network.start(CUSTOMS)

        def begin() -> None:
            network.skew(CUSTOMS, offset_ms)
            restart()

        def end() -> None:
            network.skew(CUSTOMS, None)
            restart()

        minutes = abs(offset_ms) // 60_000
        words = f"customs' clock {minutes} min {'ahead' if offset_ms > 0 else 'behind'}"
        trial.fault(words, begin, end, lasts_s=lasts_s, away=(CUSTOMS,))

    return Scenario(name=f"clock {offset_ms // 60_000:+d} min", run=run)


def storm(*, seed: int, lasts_s: float) -> Scenario:
    """Links cut and mended, nodes stopped and killed, as chance has it; then everything is well again."""

    def run(trial: Trial) -> None:
        network, chance = trial.network, random.Random(seed)
        stopped: set[str] = set()
        dead: set[str] = set()

        def one_blow() -> None:
            victim = chance.choice(AGENCIES)
            other = chance.choice([agency for agency in AGENCIES if agency != victim])
            blow = chance.choice(("cut", "cut", "one way", "mend", "mend", "stop", "go on", "kill", "start"))
            if blow == "cut":
                network.cut(pairs_between([victim], [other]))
            elif blow == "one way":
                network.cut([(victim, other)])
            elif blow == "mend":
                network.mend(pairs_between([victim], [other]))
            elif blow == "stop" and victim not in stopped | dead:
                network.pause(victim)
                stopped.add(victim)
            elif blow == "go on" and victim in stopped:
                network.resume(victim)
                stopped.discard(victim)
            elif blow == "kill" and victim not in stopped | dead:
                network.kill(victim)
                dead.add(victim)
            elif blow == "start" and victim in dead:
                network.start(victim)
                dead.discard(victim)

        def begin() -> None:
            ends_s = time.monotonic() + lasts_s
            while time.monotonic() < ends_s:
                one_blow()
                time.sleep(chance.uniform(0.2, 1.5))

        def end() -> None:
            network.mend()
            for victim in tuple(stopped):
                network.resume(victim)
            if dead:
                network.start(*sorted(dead))

        trial.fault(f"a storm (seed {seed})", begin, end, lasts_s=lasts_s, away=AGENCIES, is_quorum_up=None)

    return Scenario(name=f"storm {seed}", run=run)


ALL: Final = (
    cut_off(lasts_s=10),
    cut_off(lasts_s=30),
    cut_off(lasts_s=60),
    cut_off_in_turn(lasts_s=8),
    split(lasts_s=30),
    all_apart(lasts_s=15),
    one_link(lasts_s=30),
    one_way(lasts_s=30),
    late(lasts_s=20),
    paused(5, 30),
    killed(down_s=20),
    all_killed(),
    full_disk(lasts_s=20),
    clock_off(offset_ms=CLOCK_ERROR_MS, lasts_s=20),
    clock_off(offset_ms=-CLOCK_ERROR_MS, lasts_s=20),
    storm(seed=1, lasts_s=40),
    storm(seed=2, lasts_s=40),
)
"""Some fifteen minutes together."""


def _selection() -> Scenario:
    def run(trial: Trial) -> None:
        for each in (cut_off(lasts_s=8), split(lasts_s=4)):
            each.run(trial)

    return Scenario(name="a short one of two kinds", run=run)


SELECTION: Final = _selection()
"""For every run of the tests: less than a minute."""
