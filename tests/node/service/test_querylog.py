"""The query log: nothing returns before it is durable, waiting questions share a commit, a failure reaches all of them."""

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from ledger.errors import OverloadError, StoreError
from node.service.access import Caller, Purpose
from node.service.querylog import MAX_WAITING, QueryLog
from node.service.readers import Readers
from node.storage import AgencyStore, Database

CALLER = Caller(token="t1", party="police", role="inquirer")
PURPOSE = Purpose(purpose="criminal investigation", case="26-1178")


class _Disk:
    """Appends that a test lets through one by one."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.gate = threading.Semaphore(0)
        self.error: StoreError | None = None

    def append(self, entries: Sequence[bytes]) -> None:
        self.gate.acquire(timeout=10)
        if self.error is not None:
            raise self.error
        self.groups.append(list(entries))


def test_waiting_questions_share_the_next_commit() -> None:
    disk = _Disk()

    async def scenario() -> None:
        log = QueryLog(disk.append, Readers(), wall_ms=lambda: 5)
        first = asyncio.create_task(log.record(CALLER, PURPOSE, "GET /a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(log.record(CALLER, PURPOSE, f"GET /{number}")) for number in range(5)]
        await asyncio.sleep(0)
        assert not first.done()
        disk.gate.release()
        await first
        assert not any(other.done() for other in others)
        disk.gate.release()
        await asyncio.gather(*others)

    asyncio.run(scenario())
    assert [len(group) for group in disk.groups] == [1, 5]
    assert json.loads(disk.groups[0][0]) == {
        "asked": "GET /a",
        "case": "26-1178",
        "party": "police",
        "purpose": "criminal investigation",
        "time_ms": 5,
        "token": "t1",
    }


def test_a_failed_commit_refuses_every_question_in_it_and_the_next_one_is_tried() -> None:
    disk = _Disk()
    disk.error = StoreError("disk full")

    async def scenario() -> None:
        log = QueryLog(disk.append, Readers(), wall_ms=lambda: 5)
        disk.gate.release(2)
        outcomes = await asyncio.gather(
            log.record(CALLER, PURPOSE, "GET /a"), log.record(CALLER, PURPOSE, "GET /b"), return_exceptions=True
        )
        assert all(isinstance(outcome, StoreError) for outcome in outcomes)
        disk.error = None
        disk.gate.release()
        await log.record(CALLER, PURPOSE, "GET /c")

    asyncio.run(scenario())
    assert len(disk.groups) == 1


def test_what_waits_is_bounded() -> None:
    disk = _Disk()

    async def scenario() -> None:
        log = QueryLog(disk.append, Readers(), wall_ms=lambda: 5)
        tasks = [asyncio.create_task(log.record(CALLER, PURPOSE, "GET /a"))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(log.record(CALLER, PURPOSE, "GET /a")) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadError):
            await log.record(CALLER, PURPOSE, "GET /a")
        disk.gate.release(2)
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_the_lines_are_chained_in_the_agency_store(tmp_path: Path) -> None:
    store = AgencyStore(Database(tmp_path / "agency.db"))

    async def scenario() -> None:
        log = QueryLog(store.append_queries, Readers(), wall_ms=lambda: 5)
        await asyncio.gather(*(log.record(CALLER, PURPOSE, f"GET /{number}") for number in range(10)))

    asyncio.run(scenario())
    lines = store.queries(count=100)
    assert [json.loads(line.entry)["asked"] for line in lines] == [f"GET /{number}" for number in range(10)]
