"""Verifying the records of fetched blocks ahead of their execution, while a node catches up (PROTOCOL P7.2).

Execution holds the interpreter's lock nearly all the time, so threads would gain nothing: a process (`verifier`) parses and
verifies the blocks that wait, one after the other. What it says is used where a block comes to be executed (`take`); a
block that it has not begun is taken from it and verified in place, so that both work as fast as they can, and whatever does
not verify there is judged in place, too: the verdict on a block is the same with it and without.

The process is begun when a page of some size comes, and ends when nothing has come for a while. If it fails, blocks are
verified in place, and another is begun when a page comes a while later; nothing depends on it.
"""

import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import BinaryIO, Final, cast

import msgspec
import structlog

from ledger.block import Block
from ledger.errors import StoreError
from ledger.limits import VERIFY_AHEAD_BYTES, VERIFY_AHEAD_RECORDS
from ledger.records import Record
from ledger.records.envelope import SignedRecord
from node.execution.verifier import Request, Verified, program, read_frame, write_frame

FindKeys = Callable[[Collection[str]], Mapping[str, list[str]]]
"""All public keys (hex) that the state has ever named, by key id; called in a thread of its own."""

_PROGRAM: Final = program()
"""What this node runs: looked at when it begins, as the code on disk may be replaced later."""
IDLE_S: Final = 10.0
"""The process ends when no block has come for so long."""
PATIENCE_S: Final = 5.0
"""A block that the process has begun is waited for so long; then it is verified in place, and the process ended."""
REST_S: Final = 60.0
"""None is begun for so long after one failed."""
_PIPE_BYTES: Final = 1 << 20
"""A block's worth goes through without waiting, where the system lets a pipe be so large."""
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT", "LANG", "LC_ALL")
"""All that the process is told of the environment: a secret may stand in it."""

_LOG: Final = structlog.get_logger("node.execution")
_ENCODER: Final = msgspec.msgpack.Encoder()
_VERIFIED: Final = msgspec.msgpack.Decoder(list[Verified | None])
_PAYLOADS: Final[msgspec.json.Decoder[Record]] = msgspec.json.Decoder(Record)


class VerifierError(Exception):
    """The process does not answer as it must."""


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    """As `verifier.Answer`; what verified stays encoded until the block is executed, for it takes the least room so."""

    verified: msgspec.Raw
    unknown: list[str]


_ANSWERS: Final = msgspec.msgpack.Decoder(_Answer)


class _Waiting(msgspec.Struct):
    """A block that was offered, and what was said of its records."""

    block: Block
    is_begun: bool = False
    answer: bytes | None = None


class VerifiedAhead:
    """Blocks that wait to be executed, and what is known of their records. Thread-safe."""

    def __init__(self, find_keys: FindKeys, *, processors: int | None = None) -> None:
        """`processors`: of the machine, unless given; with one alone, nothing is done ahead."""
        self._find_keys = find_keys
        self._is_useful = (processors or os.cpu_count() or 1) > 1
        self._changed = threading.Condition()
        self._held: OrderedDict[bytes, _Waiting] = OrderedDict()
        self._held_bytes = 0
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._resting_until_s = 0.0
        self._is_closed = False

    def offer(self, blocks: Collection[Block]) -> None:
        """These blocks, whose bodies are those that their headers name, will probably be executed soon, in this order.
        Beyond `VERIFY_AHEAD_BYTES`, those offered first are forgotten."""
        with self._changed:
            if (
                self._is_closed
                or not self._is_useful
                or (self._thread is None and not self._is_worth_a_process(blocks))
            ):
                return
            for block in blocks:
                if block.digest not in self._held:
                    self._held[block.digest] = _Waiting(block)
                    self._held_bytes += block.body_bytes
            while self._held_bytes > VERIFY_AHEAD_BYTES:
                self._forget(next(iter(self._held)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="verify ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def take(self, block: Block) -> list[SignedRecord | None] | None:
        """What is known of a block's records, in their order: those that verified, None for each other one; None where
        nothing is known of the block. It is forgotten here."""
        with self._changed:
            waiting = self._held.get(block.digest)
            if waiting is None:
                return None
            process = self._process
            if (
                waiting.is_begun
                and not self._changed.wait_for(
                    lambda: waiting.answer is not None or self._process is not process, PATIENCE_S
                )
                and process is not None
            ):
                process.kill()  # it hangs: every block would wait for it, and what is offered to it be kept
            self._forget(block.digest)
        return None if waiting.answer is None else _records(block, waiting.answer)

    def close(self) -> None:
        """Verify nothing more ahead, and end the process."""
        with self._changed:
            self._is_closed = True
            thread, process = self._thread, self._process
            self._changed.notify_all()
        if thread is not None:
            thread.join(PATIENCE_S)
            if thread.is_alive() and process is not None:
                process.kill()

    def _is_worth_a_process(self, blocks: Collection[Block]) -> bool:
        records = sum(len(block.entries) for block in blocks)
        return records >= VERIFY_AHEAD_RECORDS and time.monotonic() >= self._resting_until_s

    def _forget(self, digest: bytes) -> None:
        waiting = self._held.pop(digest, None)
        if waiting is not None:
            self._held_bytes -= waiting.block.body_bytes

    def _run(self) -> None:
        try:
            with _process() as process:
                self._process = process
                target, source = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)  # pipes, both
                while (waiting := self._next()) is not None:
                    answer = self._ask(target, source, waiting.block)
                    with self._changed:
                        waiting.answer = answer
                        self._changed.notify_all()
                target.close()
        except (OSError, VerifierError, StoreError) as error:
            _LOG.warning("records are verified in place for a while", reason=str(error))
            self._resting_until_s = time.monotonic() + REST_S
        finally:
            with self._changed:
                self._held.clear()
                self._held_bytes = 0
                self._thread = self._process = None
                self._changed.notify_all()

    def _next(self) -> _Waiting | None:
        """The next block to verify, begun; None if none has come for long, or none is wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._first() is not None, IDLE_S)
            waiting = None if self._is_closed else self._first()
            if waiting is not None:
                waiting.is_begun = True
            return waiting

    def _first(self) -> _Waiting | None:
        return next((waiting for waiting in self._held.values() if not waiting.is_begun), None)

    def _ask(self, target: BinaryIO, source: BinaryIO, block: Block) -> bytes:
        answer = _converse(target, source, Request({}, block.entries))
        keys = self._find_keys(answer.unknown) if answer.unknown else {}
        if keys:
            answer = _converse(target, source, Request(keys, block.entries))
        return bytes(answer.verified)


def _process() -> "subprocess.Popen[bytes]":
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - its words are this program's own
        [sys.executable, "-P", "-m", "node.execution.verifier", _PROGRAM],  # -P: nothing of the working directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        pipesize=_PIPE_BYTES,
        start_new_session=True,  # a Ctrl+C is for the node
    )


def _converse(target: BinaryIO, source: BinaryIO, request: Request) -> _Answer:
    write_frame(target, _ENCODER.encode(request))
    frame = read_frame(source)
    if frame is None:
        raise VerifierError("the process that verifies records has ended")
    try:
        return _ANSWERS.decode(frame)
    except msgspec.MsgspecError as error:
        raise VerifierError(f"the process that verifies records answers nothing that can be read: {error}") from error


def _records(block: Block, answer: bytes) -> list[SignedRecord | None] | None:
    """The records that verified; None where this is no answer about the block."""
    try:
        verified = _VERIFIED.decode(answer)
        if len(verified) != len(block.entries):
            return None
        return [
            None
            if each is None
            else SignedRecord(
                record=_PAYLOADS.decode(each.payload),
                id=each.id,
                entry=entry,
                issued_ms=each.issued_ms,
                signers=(each.signer,),
            )
            for entry, each in zip(block.entries, verified, strict=True)
        ]
    except msgspec.MsgspecError as error:
        _LOG.warning("the process that verifies records says what cannot be read", reason=str(error))
        return None
