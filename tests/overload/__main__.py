"""`python -m tests.overload [--seconds 60] [--only NAME] [--keep DIR]`: figures as JSON lines; exits 1 if one is not met."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.report import emit, emit_machine
from tests.overload.scenarios import SCENARIOS


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Overload four real nodes, and measure what honest clients get.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each flood lasts")
    parser.add_argument("--only", choices=list(SCENARIOS), action="append", help="only these scenarios")
    parser.add_argument("--keep", type=Path, help="a new folder for the networks, which are kept")
    options = parser.parse_args()
    emit_machine()
    failed = False
    with tempfile.TemporaryDirectory(prefix="tracemark-overload-") as temporary:
        for name, scenario in SCENARIOS.items():
            if options.only is None or name in options.only:
                failures = scenario((options.keep or Path(temporary)) / name, options.seconds)
                emit("verdict", scenario=name, failures=failures)
                failed |= bool(failures)
    emit_machine()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
