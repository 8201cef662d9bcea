"""`python -m tests.fuzz --inputs N [--target NAME] [--seed S]`, or `--target NAME --seed S --number K` to feed one again.

Prints inputs a second and how many were accepted for each target; exits 1 if one failed.
"""

import argparse
import sys

from tests.fuzz.harness import FuzzFailureError, run_target
from tests.fuzz.targets import TARGETS


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Fuzz everything that takes bytes from outside.")
    parser.add_argument("--inputs", type=int, default=1_000, help="how many inputs each target gets")
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="only this one")
    parser.add_argument("--seed", default="0", help="other inputs")
    parser.add_argument("--number", type=int, help="with --target: only the input of this number")
    options = parser.parse_args()
    numbers = range(options.inputs) if options.number is None else range(options.number, options.number + 1)
    failed = 0
    for target in TARGETS:
        if options.target not in (None, target.name):
            continue
        try:
            outcome = run_target(target, seed=options.seed, inputs=numbers)
        except FuzzFailureError as failure:
            failed += 1
            print(failure)
            continue
        speed = outcome.inputs / outcome.seconds
        print(f"{target.name:<16} {outcome.inputs:>8} inputs {outcome.accepted:>8} accepted {speed:>9,.0f} inputs/s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
