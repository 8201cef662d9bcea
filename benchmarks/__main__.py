"""All benchmarks, one after the other: `make bench`. Each is also a module of its own."""

import subprocess
import sys

MODULES = (
    "benchmarks.statetree",
    "benchmarks.rules",
    "benchmarks.wire",
    "benchmarks.audit",
    "benchmarks.engine",
    "benchmarks.network",
)


def main() -> int:
    """Run each in a process of its own, so that none sees another's memory; the first failure ends it."""
    for module in MODULES:
        code = subprocess.run([sys.executable, "-m", module], check=False).returncode
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
