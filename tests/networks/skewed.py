"""`tracemark` on a machine whose clock is wrong: the launcher of one process, which nothing but the trials use.

    python -m tests.networks.skewed OFFSET_MS node run --config node.toml

The wall clock is off by so much (negative: behind); intervals are measured as ever.
"""

import sys

from client.cli.main import main
from node.clock import SystemClock


def skew(offset_ms: int) -> None:
    """Put every system clock of this process off."""
    right = SystemClock.wall_ms

    def wall_ms(self: SystemClock) -> int:
        return right(self) + offset_ms

    SystemClock.wall_ms = wall_ms  # type: ignore[method-assign]


if __name__ == "__main__":
    skew(int(sys.argv.pop(1)))
    sys.exit(main())
