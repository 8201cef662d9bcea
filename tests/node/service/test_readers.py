"""The readers' queue: bounded, and never full of questions that nobody's quota bounds."""

import asyncio
import threading

import pytest

from ledger.errors import OverloadError
from node.service.readers import MAX_QUEUED, MAX_QUEUED_UNKNOWN, Readers


def test_callers_without_a_token_leave_room_for_those_with_one() -> None:
    async def scenario() -> None:
        readers, go_on = Readers(), threading.Event()
        unknown = [asyncio.create_task(readers.run(go_on.wait, is_known=False)) for _ in range(MAX_QUEUED)]
        await asyncio.sleep(0)
        known = [asyncio.create_task(readers.run(go_on.wait)) for _ in range(MAX_QUEUED - MAX_QUEUED_UNKNOWN)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadError):
            await readers.run(go_on.wait)
        go_on.set()
        assert all(await asyncio.gather(*known))
        answers = await asyncio.gather(*unknown, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, OverloadError)]
        assert (len(refused), answers.count(True)) == (MAX_QUEUED - MAX_QUEUED_UNKNOWN, MAX_QUEUED_UNKNOWN)
        assert await readers.run(go_on.wait, is_known=False), "what ended has left its place"
        readers.close()

    asyncio.run(scenario())
