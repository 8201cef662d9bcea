"""What every question needs, in one frozen value: the node, its views, the readers' threads, tokens, quotas, query log."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from ledger.errors import CorruptionError
from ledger.genesis import Genesis
from ledger.succession import Succession
from node.service.ports import Node, View, Views
from node.service.querylog import QueryLog
from node.service.quota import Quota
from node.service.readers import Readers
from node.service.room import ByteRoom
from node.service.tokens import TokenAuthority

T = TypeVar("T")


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Made once by `node.app.create_app`; handed to every route. `succession`: of the validators, as far as this node can
    prove it. `exposition`: the metrics as
    Prometheus reads them. `closing`: set when the node is about to stop, so that nobody goes on waiting."""

    genesis: Genesis
    party: str
    node: Node
    views: Views
    readers: Readers
    tokens: TokenAuthority
    request_quota: Quota
    record_quota: Quota
    query_log: QueryLog
    succession: Callable[[], Awaitable[Succession]]
    exposition: Callable[[], bytes]
    closing: asyncio.Event
    room: ByteRoom = msgspec.field(default_factory=ByteRoom)

    async def read(self, question: Callable[[View], T], *, is_known: bool = True) -> T:
        """Answer a question of the newest quorum-cosigned view in a reader's thread; `is_known`: a caller's with a token.

        Raises:
            NotReadyError: there is no such view yet.
            OverloadError: too many questions are waiting.
            StoreError: the store could not be read. Where it holds something other than was written, the node also stops
                voting: it would vote on that.
        """
        try:
            return await self.readers.run(lambda: _ask(self.views, question), is_known=is_known)
        except CorruptionError as error:
            self.node.fail(error)
            raise


def _ask(views: Views, question: Callable[[View], T]) -> T:
    with views.view() as view:
        return question(view)
