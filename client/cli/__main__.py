"""`python -m client.cli`: the same as the command `tracemark`."""

import sys

from client.cli.main import main

sys.exit(main())
