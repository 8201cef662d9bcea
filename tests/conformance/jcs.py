"""RFC 8785 canonical forms: a folder with `input/` and `output/`, one file of each name in both.

Our writer writes the same bytes or refuses, never others; it may refuse only what lies outside Tracemark's domain.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ledger.codec import canonical
from ledger.errors import EncodingError
from tests.conformance.cases import Case, UnreadableError, read_bytes

MAX_SAFE_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 64


class _Repeated:
    """Stands for an object with a key twice, which is no I-JSON and has no canonical form."""


def jcs_cases(paths: Sequence[Path]) -> Iterator[Case]:
    """One case a file in `input/`."""
    for folder in paths:
        if not (folder / "input").is_dir() or not (folder / "output").is_dir():
            raise UnreadableError(f"{folder}: no folder with input/ and output/")
        for path in sorted((folder / "input").iterdir()):
            yield _case(path, read_bytes(folder / "output" / path.name))


def _case(path: Path, expected: bytes) -> Case:
    try:
        value = json.loads(read_bytes(path), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path}: not JSON: {error}") from error
    try:
        written = canonical(value)
    except EncodingError as error:
        allowed = not _in_domain(value, 0)
        detail = f"refused ({error})" if allowed else f"refused ({error}), but it is in our domain"
        return Case(name=path.name, passed=allowed, detail=detail)
    # The last newline of a file in `output/` is an editor's, not the form's: canonical forms have none.
    passed = written == expected.removesuffix(b"\n")
    return Case(
        name=path.name, passed=passed, detail="equal" if passed else f"wrote {written!r}, expected {expected!r}"
    )


def _object(pairs: list[tuple[str, Any]]) -> Any:
    values = dict(pairs)
    return values if len(values) == len(pairs) else _Repeated()


def _in_domain(value: Any, depth: int) -> bool:
    if depth > MAX_DEPTH or isinstance(value, float | _Repeated):
        return False
    if isinstance(value, str):
        return not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        keys = all(_in_domain(key, depth) and max(key, default="") <= "\uffff" for key in value)
        return keys and all(_in_domain(item, depth + 1) for item in value.values())
    if isinstance(value, list):
        return all(_in_domain(item, depth + 1) for item in value)
    return not isinstance(value, int) or abs(value) <= MAX_SAFE_INTEGER
