"""Sample manifests for demonstrations and tests: invented makers, models and serials, the same for the same seed.

The makers' codes come with a code list of their own, so that a sample manifest is checked as a real one is.
"""

import csv
import io
import random
from typing import Final

from client.manifest import COLUMNS

_MAKERS: Final = (
    ("ALD", "ALDANE ARMS", "AT"),
    ("BRK", "BERKA WERKE", "CZ"),
    ("HOL", "HOLMGAARD", "SE"),
    ("MIR", "MIRANTE", "IT"),
    ("TRV", "TREVELYAN & SONS", "GB"),
)
_MODELS: Final = (
    ("P10", "PI", "9", True),
    ("P10 Compact", "PI", "9", True),
    ("P45 Service", "PI", "45", True),
    ("R6 Revolver", "PR", "38", False),
    ("H2 Carbine", "RI", "223", False),
    ("H8 Bolt", "RB", "30", False),
    ("S12 Field", "SP", "12", False),
)
_LETTERS: Final = "ABCDEFGHJKLMNPRSTUVWXYZ"
_FIRST_YEAR: Final = 1998


def sample_codes() -> bytes:
    """The code list of the sample makers: CSV with `code,definition`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("code", "definition"))
    writer.writerows((code, f"{name} (sample)") for code, name, _ in _MAKERS)
    return text.getvalue().encode()


def sample_make_codes() -> tuple[str, ...]:
    """The codes alone, sorted: what a maker of all of them is enrolled for."""
    return tuple(sorted(code for code, _, _ in _MAKERS))


def sample_manifest(weapons: int, *, seed: int, last_year: int) -> bytes:
    """A clean manifest: CSV with a header and `weapons` lines, distinct in make and serial.

    Args:
        weapons: how many lines, at least 1.
        seed: the same seed gives the same bytes.
        last_year: the latest year of manufacture.
    """
    chance = random.Random(seed)  # noqa: S311 - invented data, not a secret
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    seen: set[tuple[str, str]] = set()
    while len(seen) < weapons:
        code, name, country = chance.choice(_MAKERS)
        serial = _serial(chance)
        if (code, serial) in seen:
            continue
        seen.add((code, serial))
        model, kind, calibre, parts = chance.choice(_MODELS)
        components = f"barrel={serial};slide={serial}" if parts else ""
        year = chance.randint(_FIRST_YEAR, last_year)
        writer.writerow((code, name, model, kind, calibre, serial, country, year, components))
    return text.getvalue().encode()


def _serial(chance: random.Random) -> str:
    """One of the shapes seen in real traces: letters and digits, or digits alone, leading zeros included."""
    letters = "".join(chance.choices(_LETTERS, k=chance.choice((0, 2, 3, 4))))
    digits = 7 if not letters else 3 if len(letters) == 4 else 6
    return f"{letters}{chance.randrange(10**digits):0{digits}}"
