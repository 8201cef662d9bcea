"""`python -m tests.fuzz --inputs N [--target NAME ...] [--seed S] [--from K] [--state FILE]`; `--number K` feeds one again.

Every target gets the inputs from number K to K + N. With `--state`, each goes on where an interrupted run of the same seed
stood. Prints how far it is, and for each target inputs a second, how many were accepted, the slowest one, and what stayed in
memory; exits 1 if one failed.
"""

import argparse
import faulthandler
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Final

import structlog

from tests.fuzz.harness import FuzzFailureError, Outcome, Target, bounded_memory, run_target
from tests.fuzz.targets import TARGETS

STUCK_S: Final = 120.0
"""No input at all for so long: one keeps a C function busy, where no signal is heard. The traceback says which."""


class Progress:
    """How far each target is, in a file that survives an interruption."""

    def __init__(self, file: Path | None, seed: str) -> None:
        self._file = file
        self._seed = seed
        self._next: dict[str, int] = {}
        if file is not None and file.exists():
            kept = json.loads(file.read_text())
            if kept["seed"] != seed:
                raise SystemExit(f"{file} is of seed {kept['seed']}, not {seed}")
            self._next = kept["next"]

    def next(self, target: str, first: int) -> int:
        """The number to go on with."""
        return max(first, self._next.get(target, 0))

    def reached(self, target: str, number: int) -> None:
        """All inputs below `number` were fed."""
        self._next[target] = number
        if self._file is not None:
            temporary = self._file.with_suffix(".new")
            temporary.write_text(json.dumps({"seed": self._seed, "next": self._next}, indent=1))
            temporary.replace(self._file)


def feed(target: Target, progress: Progress, *, seed: str, first: int, end: int) -> bool:
    """Feed one target; whether it took all as it must."""
    begin = progress.next(target.name, first)
    if begin >= end:
        print(f"{target.name:<16} {end:>9,} inputs before", flush=True)
        return True

    def tell(number: int, count: int, seconds: float) -> None:
        faulthandler.dump_traceback_later(STUCK_S, exit=True)
        progress.reached(target.name, number)
        print(f"{target.name:<16} {number:>9,} of {end:,} {count / seconds:>9,.0f} inputs/s", flush=True)

    faulthandler.dump_traceback_later(STUCK_S, exit=True)
    try:
        with bounded_memory():
            outcome = run_target(target, seed=seed, inputs=range(begin, end), tell=tell)
    except FuzzFailureError as failure:
        print(f"FAILED {failure}", flush=True)
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
    progress.reached(target.name, end)
    print(f"{target.name:<16} {_told(outcome)}", flush=True)
    return True


def _told(outcome: Outcome) -> str:
    speed = outcome.inputs / outcome.seconds
    return (
        f"{outcome.inputs:>9,} inputs {outcome.accepted:>9,} accepted {speed:>9,.0f} inputs/s"
        f"   slowest {outcome.slowest_s * 1e3:>6.1f} ms (number {outcome.slowest}), grown {outcome.grown_bytes >> 20} MiB"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Fuzz everything that takes bytes from outside.")
    parser.add_argument("--inputs", type=int, default=1_000, help="how many inputs each target gets")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the number of the first")
    names = [target.name for target in TARGETS]
    parser.add_argument("--target", choices=names, action="append", help="only these")
    parser.add_argument("--seed", default="0", help="other inputs")
    parser.add_argument("--number", type=int, help="with --target: only the input of this number")
    parser.add_argument("--state", type=Path, help="keep in this file how far each target is, and go on from there")
    parser.add_argument("--list-guided", action="store_true", help="print the targets that `tests.fuzz.guided` knows")
    options = parser.parse_args()
    if options.list_guided:
        print(*(target.name for target in TARGETS if target.bend is not None))
        return 0
    first, end = options.first, options.first + options.inputs
    if options.number is not None:
        first, end = options.number, options.number + 1
    logging.disable(logging.CRITICAL)  # what libraries say of garbage
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # refusals by the million
    warnings.simplefilter("ignore")
    progress = Progress(options.state, options.seed)
    chosen = [target for target in TARGETS if options.target is None or target.name in options.target]
    passed = [feed(target, progress, seed=options.seed, first=first, end=end) for target in chosen]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
