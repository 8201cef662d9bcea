"""The log of inquirers' questions: durable before the answer, in groups, off the event loop (DESIGN 11).

The chain of hashes and the table are the agency store's; this module gathers what arrives while a commit is under way
into the next one.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from ledger.codec import encode
from ledger.errors import OverloadError, StoreError
from node.service.access import Caller, Purpose
from node.service.readers import Readers

MAX_WAITING: Final = 1_000
"""Questions waiting for one commit of under a millisecond: beyond, the disk has stopped."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, by whom, why, and when (ms since 1970). `token` is the token's public id, not the secret."""

    time_ms: int
    token: str
    party: str
    purpose: str
    case: str
    asked: str


Append = Callable[[Sequence[bytes]], None]
"""Appends questions (canonical JSON) to the chained log in one durable transaction, or raises StoreError."""


class QueryLog:
    """Group commit of questions. Lives on the event loop; `append` runs in a reader's thread."""

    def __init__(self, append: Append, readers: Readers, *, wall_ms: Callable[[], int]) -> None:
        self._append = append
        self._readers = readers
        self._wall_ms = wall_ms
        self._waiting: list[tuple[Question, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def record(self, caller: Caller, purpose: Purpose, asked: str) -> None:
        """Return once the question is durable.

        Raises:
            StoreError: it could not be logged, so it must not be answered.
            OverloadError: code `query_log_full`.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise OverloadError("the query log cannot keep up", code="query_log_full")
        question = Question(
            time_ms=self._wall_ms(),
            token=caller.token,
            party=caller.party,
            purpose=purpose.purpose,
            case=purpose.case,
            asked=asked,
        )
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, durable))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await durable

    async def _flush(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                try:
                    await self._readers.run(partial(self._append, [encode(question) for question, _ in group]))
                except (StoreError, OverloadError) as error:
                    for _, durable in group:
                        if not durable.done():
                            durable.set_exception(error)
                else:
                    for _, durable in group:
                        if not durable.done():  # the caller may have gone away
                            durable.set_result(None)
        finally:
            self._flushing = None
