"""Persist, then send: nothing leaves before what precedes it is durable; many share one transaction."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from ledger.consensus.messages import DurableRecord, Nullify
from ledger.errors import StoreError
from ledger.limits import DRIVER_BACKLOG_BYTES
from node.counters import NodeCounters
from node.journal import Journal


def vote(view: int) -> Nullify:
    return Nullify(epoch=0, view=view, signer=0, signature=bytes(64))


class SlowStore:
    """A store whose transactions end when the test says so."""

    def __init__(self) -> None:
        self.groups: list[list[DurableRecord]] = []
        self.closings: list[Any] = []
        self.prunes: list[tuple[int, int]] = []
        self.may_end = threading.Semaphore(0)
        self.error: Exception | None = None

    def append(
        self,
        records: Iterable[DurableRecord] = (),
        *,
        cosignatures: Iterable[Any] = (),
        closings: Iterable[Any] = (),
        prune: tuple[int, int] | None = None,
        forget_below: int = 0,
        votes_suspect: bool | None = None,
    ) -> None:
        self.may_end.acquire()
        if self.error is not None:
            raise self.error
        self.groups.append(list(records))
        self.closings += closings
        if prune is not None:
            self.prunes.append(prune)


class Setting:
    def __init__(self) -> None:
        self.store = SlowStore()
        self.counters = NodeCounters()
        self.failures: list[Exception] = []
        self.journal = Journal(self.store, self.counters, self.failures.append)  # type: ignore[arg-type]
        self.done: list[str] = []
        self.told = asyncio.Event()

    def action(self, name: str) -> Callable[[], None]:
        def act() -> None:
            self.done.append(name)
            self.told.set()

        return act

    async def until(self, *names: str) -> None:
        async with asyncio.timeout(20):
            while self.done != list(names):
                self.told.clear()
                await self.told.wait()


def test_sends_wait_for_what_precedes_them_and_keep_their_order() -> None:
    async def scenario() -> None:
        setting = Setting()
        journal = setting.journal
        journal.after(setting.action("before anything"))
        assert setting.done == ["before anything"]
        journal.persist(vote(1))
        journal.after(setting.action("vote 1"))
        journal.persist(vote(2))
        journal.after(setting.action("vote 2"))
        await asyncio.sleep(0)
        journal.persist(vote(3))  # while the first transaction is under way
        journal.after(setting.action("vote 3"))
        assert setting.done == ["before anything"]
        setting.store.may_end.release()
        await setting.until("before anything", "vote 1", "vote 2")
        setting.store.may_end.release()
        await setting.until("before anything", "vote 1", "vote 2", "vote 3")
        assert setting.store.groups == [[vote(1), vote(2)], [vote(3)]]
        assert (setting.counters.persists, setting.counters.groups) == (3, 2)
        await journal.close()

    asyncio.run(scenario())


def test_after_a_failure_nothing_that_waits_is_sent() -> None:
    async def scenario() -> None:
        setting = Setting()
        setting.store.error = StoreError("the disk is full")
        setting.journal.persist(vote(1))
        setting.journal.after(setting.action("vote 1"))
        setting.store.may_end.release()
        await setting.journal.close()
        assert setting.failures == [setting.store.error]
        setting.journal.persist(vote(2))
        setting.journal.after(setting.action("vote 2"))
        assert setting.done == []
        assert setting.store.groups == []

    asyncio.run(scenario())


def test_after_a_fault_that_is_not_the_stores_no_later_group_releases_what_waits() -> None:
    async def scenario() -> None:
        setting = Setting()
        setting.store.error = MemoryError("no room")
        setting.journal.persist(vote(1))
        setting.journal.after(setting.action("vote 1"))
        setting.store.may_end.release()
        await setting.journal.close()
        assert setting.failures == [setting.store.error]
        setting.store.error = None
        setting.store.may_end.release()
        setting.journal.persist(vote(2))
        setting.journal.after(setting.action("vote 2"))
        await asyncio.sleep(0)
        assert setting.journal._flushing is None
        assert setting.done == []

    asyncio.run(scenario())


def test_a_cosignature_that_closes_an_epoch_waits_for_no_other_record() -> None:
    async def scenario() -> None:
        setting = Setting()
        setting.journal.keep_cosignature(2, 1, b"ordinary", closing=False, forget_below=0)
        setting.store.may_end.release()
        assert setting.journal._flushing is None
        setting.journal.keep_cosignature(4, 1, b"line", closing=True, forget_below=0)
        assert setting.journal._flushing is not None
        await setting.journal._flushing
        assert setting.store.closings == [(4, 1, b"line")]
        await setting.journal.close()

    asyncio.run(scenario())


def test_closing_makes_durable_what_waits() -> None:
    async def scenario() -> None:
        setting = Setting()
        setting.journal.persist(vote(1))
        setting.journal.keep_cosignature(4, 1, b"line", closing=False, forget_below=0)
        setting.store.may_end.release()
        await setting.journal.close()
        assert setting.store.groups == [[vote(1)]]

    asyncio.run(scenario())


def test_pruning_is_at_leisure_with_the_newest_bound() -> None:
    async def scenario() -> None:
        setting = Setting()
        for view in range(1, 40):
            setting.journal.prune(0, view)
            setting.journal.persist(vote(view + 100))
            setting.store.may_end.release()
            while setting.journal._flushing is not None:
                await setting.journal._flushing
        assert setting.store.prunes == [(0, 16), (0, 32)]
        await setting.journal.close()

    asyncio.run(scenario())


def test_too_much_that_waits_holds_up_the_links() -> None:
    async def scenario() -> None:
        setting = Setting()
        for view in range(DRIVER_BACKLOG_BYTES // 512 + 1):
            setting.journal.persist(vote(view + 1))
        room = asyncio.ensure_future(setting.journal.room())
        await asyncio.sleep(0)
        assert not room.done()
        setting.store.may_end.release()
        async with asyncio.timeout(20):
            await room
        await setting.journal.close()

    asyncio.run(scenario())
