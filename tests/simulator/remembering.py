"""Pure functions that every machine of every run asks the same questions: each is computed once for the whole process.

Verifying a signature and parsing an entry depend on nothing but their arguments, so a run cannot tell the difference, but
for its speed. What is remembered is thrown away when it becomes too much.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final
from unittest.mock import patch

import nacl.bindings
import nacl.exceptions

from ledger.errors import InputError
from ledger.records.envelope import parse_entry

MOST: Final = 100_000
"""Answers kept of each question."""


class Remembered:
    """A pure function that remembers its answers, and the errors by which it refuses."""

    def __init__(self, function: Callable[..., object], refusals: type[Exception]) -> None:
        self._function = function
        self._refusals = refusals
        self._answers: dict[tuple[object, ...], object] = {}
        self._errors: dict[tuple[object, ...], Exception] = {}

    def __call__(self, *question: object) -> object:
        answer = self._answers.get(question)
        if answer is not None:
            return answer
        error = self._errors.get(question)
        if error is not None:
            raise error.with_traceback(None)
        if len(self._answers) + len(self._errors) > MOST:
            self._answers.clear()
            self._errors.clear()
        try:
            answer = self._answers[question] = self._function(*question)
        except self._refusals as refused:
            self._errors[question] = refused
            raise
        return answer


_open = Remembered(nacl.bindings.crypto_sign_open, nacl.exceptions.BadSignatureError)
_parse = Remembered(parse_entry, InputError)


@contextmanager
def remembered_answers() -> Iterator[None]:
    """Let nodes remember, until the block is left."""
    with ExitStack() as patches:
        patches.enter_context(patch("nacl.bindings.crypto_sign_open", _open))
        for user in ("node.admission", "node.execution.executor"):
            patches.enter_context(patch(f"{user}.parse_entry", _parse))
        yield
