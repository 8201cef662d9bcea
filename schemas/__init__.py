"""JSON Schemas (2020-12) of every public document: data, beside a way to read them by name.

The files are made from the types that the parsers use (`python -m tests.schemas.generate`), and a test holds the two
together. A schema says what it can of the form; canonical bytes, sorted lists, dates of the calendar and signatures are
beyond it.
"""

import json
from importlib import resources
from typing import Any

_SUFFIX = ".json"


def names() -> tuple[str, ...]:
    """The names of all schemas, sorted: kinds of records, `document.<kind>`, `envelope`, `genesis` and so on."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)))


def load(name: str) -> dict[str, Any]:
    """The schema of that name.

    Raises:
        FileNotFoundError: there is none.
    """
    schema: dict[str, Any] = json.loads(resources.files(__name__).joinpath(name + _SUFFIX).read_text(encoding="utf-8"))
    return schema
