"""Run many seeds, or replay one: `python -m tests.simulator.soak`.

    --seconds N           run seeds for so long (600 unless told)
    --seeds N --first S   or this many, from this one on
    --jobs N              in so many processes
    --seed S              replay one instead, and print its plan, what happened and the verdict

Prints seeds a second and how often each fault was exercised. Stops at the first seed that fails, names the command that
replays it, and exits 1.
"""

import argparse
import gc
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from typing import Final

import msgspec

from node.node import GC_THRESHOLDS
from tests.simulator.oracle import ViolationError
from tests.simulator.plan import draw
from tests.simulator.run import run_seed

SECONDS: Final = 600
TRANSCRIPT_LINES: Final = 400
PROGRESS_S: Final = 30.0
SEEDS_AT_ONCE: Final = 20
"""Seeds given out to each process before the time is looked at."""
TASKS_PER_CHILD: Final = 2_000
"""Seeds after which a process gives way to a new one: what it remembers is bounded, what the allocator keeps is not."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one seed: `failure` says what did not hold, or is empty."""

    seed: int
    exercised: dict[str, int]
    failure: str = ""


def run_one(seed: int) -> Outcome:
    """Run a seed. Whatever it raises is a failure of it: the node's errors and broken contracts as well as the oracle's."""
    try:
        return Outcome(seed, dict(run_seed(seed)))
    except ViolationError as violation:
        return Outcome(seed, {}, str(violation))
    except Exception:  # noqa: BLE001 - a run must never end so, and must be reported with its seed
        return Outcome(seed, {}, traceback.format_exc(limit=-6))


def replay(seed: int, *, whole: bool) -> int:
    """Run one seed and print its plan, what happened (the end of it, unless `whole`), and the verdict."""
    transcript: list[str] = []
    for name, value in msgspec.structs.asdict(draw(seed)).items():
        print(f"{name:>18}: {value}")
    try:
        exercised = run_seed(seed, transcript=transcript)
        verdict = f"seed {seed} holds"
    except ViolationError as violation:
        exercised, verdict = Counter(), f"seed {seed} fails: {violation}"
    except Exception:  # noqa: BLE001 - shown after the transcript that led to it
        exercised, verdict = Counter(), f"seed {seed} fails:\n{traceback.format_exc()}"
    if whole or "fails" in verdict:
        print("\n".join(transcript if whole else transcript[-TRANSCRIPT_LINES:]))
    print(verdict)
    print(in_words(exercised))
    return 1 if "fails" in verdict else 0


def soak(seeds: Iterable[int], *, seconds: float | None, jobs: int) -> int:
    """Run seeds until they end, the time is up, or one fails; report."""
    exercised: Counter[str] = Counter()
    count, shown, started = 0, 0.0, time.monotonic()
    elapsed = 0.0
    for outcome in _outcomes(seeds, jobs):
        count += 1
        elapsed = time.monotonic() - started
        if outcome.failure:
            print(f"seed {outcome.seed} fails: {outcome.failure}")
            print(f"replay: python -m tests.simulator.soak --seed {outcome.seed}", flush=True)
            return 1
        exercised.update(outcome.exercised)
        if elapsed - shown > PROGRESS_S:
            shown = elapsed
            print(f"{count} seeds up to {outcome.seed}, {count / elapsed:.1f} seeds/s", flush=True)
        if seconds is not None and elapsed > seconds:
            break
    print(f"{count} seeds, none failed, {count / max(elapsed, 0.001):.1f} seeds/s")
    print(in_words(exercised), flush=True)
    return 0


def in_words(exercised: Counter[str]) -> str:
    """A line for each thing that was exercised, and how often."""
    return "\n".join(f"{count:>10} {name}" for name, count in sorted(exercised.items()))


def _outcomes(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    """Outcomes in the order of the seeds."""
    if jobs == 1:
        yield from map(run_one, seeds)
        return
    remaining = iter(seeds)
    with get_context("spawn").Pool(jobs, initializer=_tune, maxtasksperchild=TASKS_PER_CHILD) as pool:
        while batch := list(itertools.islice(remaining, jobs * SEEDS_AT_ONCE)):
            yield from pool.map(run_one, batch, chunksize=1)


def _tune() -> None:
    """As a node's process is: records and messages have no cycles, so the collector need not look often (an eighth)."""
    gc.set_threshold(*GC_THRESHOLDS)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Soak the simulator of whole clusters.")
    parser.add_argument("--seconds", type=float, help=f"for how long to run ({SECONDS} unless --seeds is given)")
    parser.add_argument("--seeds", type=int, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="in how many processes")
    parser.add_argument("--seed", type=int, help="replay this one instead")
    parser.add_argument("--transcript", action="store_true", help="with --seed: print every event, not only the last")
    options = parser.parse_args()
    if options.seed is not None:
        return replay(options.seed, whole=options.transcript)
    seeds = (
        itertools.count(options.first) if options.seeds is None else range(options.first, options.first + options.seeds)
    )
    seconds = options.seconds if options.seconds is not None else (None if options.seeds is not None else SECONDS)
    return soak(seeds, seconds=seconds, jobs=options.jobs)


if __name__ == "__main__":
    sys.exit(main())
