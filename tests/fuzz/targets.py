"""Everything that is fuzzed."""

from typing import Final

from tests.fuzz.files import FILES
from tests.fuzz.forgeries import FORGERIES
from tests.fuzz.harness import Target
from tests.fuzz.lawless import LAWLESS
from tests.fuzz.members import MEMBERS
from tests.fuzz.parsers import PARSERS
from tests.fuzz.requests import REQUESTS
from tests.fuzz.voices import VOICES
from tests.fuzz.wires import WIRES

TARGETS: Final[tuple[Target, ...]] = (*PARSERS, *WIRES, *VOICES, *MEMBERS, *REQUESTS, *FILES, *FORGERIES, *LAWLESS)
