"""Feeding a target many inputs, and saying which one it did not take as it must."""

import time
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NamedTuple

import msgspec

from ledger.errors import InternalError, TracemarkError


class Target(NamedTuple):
    """`draw` makes an input; `feed` gives it to what is tested and says whether it was accepted.

    `few`: how many inputs it gets in a test run.
    """

    name: str
    draw: Callable[[Random], Any]
    feed: Callable[[Any], bool]
    few: int = 150


class FuzzFailureError(AssertionError):
    """An input that was not refused as it must be, or should not have been accepted."""


class Outcome(NamedTuple):
    """What became of a target's inputs."""

    inputs: int
    accepted: int
    seconds: float


def accepts(call: Callable[[], object]) -> bool:
    """Whether the call accepts its input. A refusal must be an error of ours, not an internal one, and fit for an answer.

    Raises:
        Whatever else leaves the call: that is what is looked for.
    """
    try:
        call()
    except InternalError:
        raise
    except TracemarkError as error:
        assert error.code, "a refusal without a code"
        assert error.message, "a refusal without words"
        assert str(error)
        msgspec.json.encode(error.as_dict())
        return False
    return True


def run_target(target: Target, *, seed: str, inputs: Iterable[int]) -> Outcome:
    """Feed the inputs of these numbers, each of which follows from target, seed and number alone.

    Raises:
        FuzzFailureError: an input fails; the message says how to feed it again.
    """
    count = accepted = 0
    started_s = time.perf_counter()
    for number in inputs:
        given = target.draw(Random(f"{seed}/{target.name}/{number}"))
        try:
            accepted += target.feed(given)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise FuzzFailureError(
                f"{target.name}: {type(error).__name__}: {error}\n"
                f"  again: python -m tests.fuzz --target {target.name} --seed {seed} --number {number}\n"
                f"  input: {given!r:.2000}"
            ) from error
        count += 1
    return Outcome(count, accepted, time.perf_counter() - started_s)
