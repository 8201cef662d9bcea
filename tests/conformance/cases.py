"""What all kinds of vectors share: cases with a verdict, reading files, and fields that may be anything."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.codec import b64decode
from ledger.errors import TracemarkError


class UnreadableError(Exception):
    """A path that cannot be read as what its kind needs: the run ends with 2."""


class MalformedCaseError(Exception):
    """One case without a field it needs, or with one of the wrong type: it is rejected."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case's outcome. `detail` says what we did; with a failed one, also what was expected."""

    name: str
    passed: bool
    detail: str

    def line(self) -> str:
        """The case as one printable line."""
        text = f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {self.detail}"
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def judge(name: str, *, accept: bool | None, check: Callable[[], object]) -> Case:
    """Run a check that raises to reject, and compare with the expectation (None: either verdict will do)."""
    try:
        check()
    except (TracemarkError, MalformedCaseError) as error:
        rejection: str | None = str(error)
    else:
        rejection = None
    verdict = "accepted" if rejection is None else f"rejected ({rejection})"
    passed = accept is None or accept == (rejection is None)
    return Case(name=name, passed=passed, detail=verdict if passed else f"{verdict}, which is wrong")


def read_bytes(path: Path) -> bytes:
    """A file's bytes."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """A file's JSON."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path}: not JSON: {error}") from error


def json_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and those named `*.json` in the folders named."""
    for path in paths:
        yield from sorted(path.rglob("*.json")) if path.is_dir() else [path]


def objects(path: Path) -> list[Any]:
    """The cases of a file: a list of them, or a single one."""
    document = read_json(path)
    if isinstance(document, dict):
        return [document]
    if not isinstance(document, list):
        raise UnreadableError(f"{path}: neither a list of cases nor a case")
    return document


class Fields:
    """The fields of one case, whatever it really is. Every getter raises `MalformedCaseError`."""

    def __init__(self, case: Any) -> None:
        self._case: dict[str, Any] = case if isinstance(case, dict) else {}

    def value(self, name: str) -> Any:
        """Any value, None where absent."""
        return self._case.get(name)

    def text(self, name: str) -> str:
        """A string."""
        value = self.value(name)
        if not isinstance(value, str):
            raise MalformedCaseError(f"{name} is no string")
        return value

    def number(self, name: str) -> int:
        """An integer."""
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise MalformedCaseError(f"{name} is no integer")
        return value

    def base64(self, name: str) -> bytes:
        """Bytes in base64."""
        return b64decode(self.text(name), what=name)

    def base64_list(self, name: str) -> list[bytes]:
        """A list of bytes in base64; absent and null mean none, as in the programs that write these files."""
        values = self.value(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise MalformedCaseError(f"{name} is no list of strings")
        return [b64decode(value, what=name) for value in values]

    def hex(self, name: str) -> bytes:
        """Bytes in hexadecimal, two digits each."""
        return from_hex(self.text(name), name)

    def list(self, name: str) -> list[Any]:
        """A list."""
        value = self.value(name)
        if not isinstance(value, list):
            raise MalformedCaseError(f"{name} is no list")
        return value


def from_hex(text: str, name: str) -> bytes:
    """Bytes of hexadecimal digits, nothing between them."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise MalformedCaseError(f"{name} is not hexadecimal") from error
    if data.hex() != text.lower():
        raise MalformedCaseError(f"{name} is not hexadecimal")
    return data
