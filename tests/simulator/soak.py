"""Run many seeds, or replay one: `python -m tests.simulator.soak --seeds N [--first S] | --seed S [--transcript]`.

Prints seeds a second and how often each fault was exercised; for a seed that fails, the command that replays it. Exits 1 if
one failed.
"""

import argparse
import sys
import time
from collections import Counter

from tests.simulator.oracle import ViolationError
from tests.simulator.plan import draw
from tests.simulator.run import run_seed

TRANSCRIPT_LINES = 400
PROGRESS_SEEDS = 500


def replay(seed: int, *, whole: bool) -> int:
    """Run one seed and print what happened: its plan, the (last lines of the) transcript, the verdict."""
    transcript: list[str] = []
    print(draw(seed))
    try:
        exercised = run_seed(seed, transcript=transcript)
    except ViolationError as violation:
        print("\n".join(transcript if whole else transcript[-TRANSCRIPT_LINES:]))
        print(f"seed {seed} fails: {violation}")
        return 1
    if whole:
        print("\n".join(transcript))
    print(f"seed {seed} holds: {_counts(exercised)}")
    return 0


def soak(first: int, count: int) -> int:
    """Run `count` seeds from `first` on, and report."""
    exercised: Counter[str] = Counter()
    failed = 0
    started_s = time.monotonic()
    for seed in range(first, first + count):
        if seed > first and (seed - first) % PROGRESS_SEEDS == 0:
            print(f"{seed - first} seeds, {failed} failed", flush=True)
        try:
            exercised += run_seed(seed)
        except ViolationError as violation:
            failed += 1
            print(f"seed {seed} fails: {violation}")
            print(f"  replay: python -m tests.simulator.soak --seed {seed}")
    seconds = time.monotonic() - started_s
    print(f"{count} seeds, {failed} failed, {count / seconds:.1f} seeds/s")
    print(_counts(exercised))
    return 1 if failed else 0


def _counts(exercised: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(exercised.items()))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Soak the consensus simulator.")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one instead")
    parser.add_argument("--transcript", action="store_true", help="with --seed: print every event")
    options = parser.parse_args()
    if options.seed is not None:
        return replay(options.seed, whole=options.transcript)
    return soak(options.first, options.seeds)


if __name__ == "__main__":
    sys.exit(main())
