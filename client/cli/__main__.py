"""The command `tracemark`, also as `python -m client.cli`. Loading it takes a moment, in which Ctrl-C is heard, too."""

import sys
from importlib import import_module

EXIT_INTERRUPTED = 130
"""As `client.errors` has it, which is not loaded yet."""


def main() -> int:
    """See `client.cli.main.main`."""
    try:
        code: int = import_module("client.cli.main").main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
