"""Feeding a target many inputs, and saying which one it did not take as it must: with a foreign error, too slowly, or with
too much memory.

An input's number, its target and the seed are all that is needed to feed it again. The bound on time is of processor time,
so that a busy machine fails nobody; memory is bounded by the limit that the kernel holds the process to (`bounded_memory`).
"""

import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import FrameType
from typing import Any, Final, NamedTuple

import msgspec

from ledger.errors import InternalError, TracemarkError

LIMIT_S: Final = 1.0
"""Processor time that one input may take: a million times what most of them do."""
LIMIT_BYTES: Final = 1024**3
"""Address space that a target may take beyond what the process has at its start. Every input is below 100 kB."""
GROWTH_BYTES: Final = 256 * 1024**2
"""What may stay in memory after a target's inputs: more is a leak. Caches are bounded far below it."""
TELL_EVERY_S: Final = 10.0

Bend = Callable[[bytes, Random, Sequence[bytes]], bytes]
"""(input, dice, other inputs) -> a bent input."""


class Target(NamedTuple):
    """`draw` makes an input; `feed` gives it to what is tested and says whether it was accepted.

    `few`: how many inputs it gets in a test run. `good`, `bend`: of a target of bytes, good inputs and how they are bent.
    """

    name: str
    draw: Callable[[Random], Any]
    feed: Callable[[Any], bool]
    few: int = 150
    good: Callable[[], Sequence[bytes]] | None = None
    bend: Bend | None = None


class FuzzFailureError(AssertionError):
    """An input that was not refused as it must be, or should not have been accepted."""


class TooSlowError(BaseException):
    """Raised within the code that an input keeps busy; no handler of errors there shall catch it."""


class Outcome(NamedTuple):
    """What became of a target's inputs. `slowest_s`, `slowest`: processor time and number of the slowest one; `grown_bytes`:
    how much more memory the process held at the end than after its first inputs."""

    inputs: int
    accepted: int
    seconds: float
    slowest_s: float = 0.0
    slowest: int = 0
    grown_bytes: int = 0


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


def run_target(
    target: Target, *, seed: str, inputs: Iterable[int], tell: Callable[[int, int, float], None] | None = None
) -> Outcome:
    """Feed the inputs of these numbers, each of which follows from target, seed and number alone.

    Args:
        target: what is tested.
        seed: other inputs for the same numbers.
        inputs: their numbers.
        tell: called now and then with the next number, the count so far, and the seconds so far.

    Raises:
        FuzzFailureError: an input fails; the message says how to feed it again.
    """
    count = accepted = slowest = held = 0
    slowest_s = 0.0
    dice = Random()
    started_s = told_s = time.perf_counter()
    with _watched():
        for number in inputs:
            dice.seed(f"{seed}/{target.name}/{number}")
            given = target.draw(dice)
            try:
                began_s = time.process_time()
                signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
                accepted += target.feed(given)
                signal.setitimer(signal.ITIMER_PROF, 0)
                took_s = time.process_time() - began_s
            except BaseException as error:
                signal.setitimer(signal.ITIMER_PROF, 0)
                if isinstance(error, KeyboardInterrupt):
                    raise
                raise FuzzFailureError(_failure(target, seed, number, given, error)) from error
            count += 1
            if took_s > slowest_s:
                slowest_s, slowest = took_s, number
            if count == 1_000:
                held = resident_bytes()
            if tell is not None and (now_s := time.perf_counter()) - told_s >= TELL_EVERY_S:
                told_s = now_s
                tell(number + 1, count, now_s - started_s)
    grown = resident_bytes() - held if count >= 1_000 else 0
    if grown > GROWTH_BYTES:
        raise FuzzFailureError(f"{target.name}: {count} inputs left {grown} bytes more in memory")
    return Outcome(count, accepted, time.perf_counter() - started_s, slowest_s, slowest, grown)


def _failure(target: Target, seed: str, number: int, given: object, error: BaseException) -> str:
    said = f"took more than {LIMIT_S} s" if isinstance(error, TooSlowError) else f"{type(error).__name__}: {error}"
    return (
        f"{target.name}: {said}\n"
        f"  again: python -m tests.fuzz --target {target.name} --seed {seed} --number {number}\n"
        f"  input: {given!r:.2000}"
    )


@contextmanager
def _watched() -> Iterator[None]:
    """Within it, the profiling timer interrupts what runs."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, late)
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, before)


@contextmanager
def bounded_memory(limit_bytes: int = LIMIT_BYTES) -> Iterator[None]:
    """Within it, the process cannot take so much more address space: an input that wants it gets a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_statm()[0] + limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not tell."""
    return _statm()[1]


def _statm() -> tuple[int, int]:
    if sys.platform != "linux":
        return 0, 0
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a file of the kernel, read 200 times a second at most
        size, resident = file.read().split()[:2]
    return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()
