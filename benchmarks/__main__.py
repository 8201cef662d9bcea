"""All benchmarks, one after the other: `make bench`; or those named: `python -m benchmarks join audit`. Each is also a
module of its own, with options."""

import subprocess
import sys

MODULES = (
    "benchmarks.statetree",
    "benchmarks.rules",
    "benchmarks.wire",
    "benchmarks.audit",
    "benchmarks.engine",
    "benchmarks.network",
    "benchmarks.join",
)


def main() -> int:
    """Run each in a process of its own, so that none sees another's memory; the first failure ends it."""
    named = [f"benchmarks.{name}" for name in sys.argv[1:]]
    unknown = [module for module in named if module not in MODULES]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(MODULES)}", file=sys.stderr)
        return 2
    for module in named or MODULES:
        code = subprocess.run([sys.executable, "-m", module], check=False).returncode
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
