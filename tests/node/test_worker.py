"""The executor's thread: one thing at a time, what is urgent first."""

import asyncio
import threading

import pytest

from ledger.errors import InternalError, RuleError
from node.worker import Worker


def test_urgent_work_goes_before_ordinary_work() -> None:
    async def scenario() -> None:
        worker, begun, gate, order = Worker("test"), threading.Event(), threading.Event(), list[str]()

        def hold() -> None:
            begun.set()
            gate.wait(20)

        held = worker.call(hold)
        await asyncio.to_thread(begun.wait, 20)
        slow = [worker.call(lambda n=n: order.append(f"ordinary {n}")) for n in range(3)]  # type: ignore[misc]
        fast = [worker.call(lambda n=n: order.append(f"urgent {n}"), urgent=True) for n in range(2)]  # type: ignore[misc]
        assert worker.waiting == 3
        gate.set()
        await asyncio.gather(held, *slow, *fast)
        assert order == ["urgent 0", "urgent 1", "ordinary 0", "ordinary 1", "ordinary 2"]
        await worker.close()

    asyncio.run(scenario())


def test_those_who_ask_for_much_and_for_little_take_turns() -> None:
    async def scenario() -> None:
        worker, begun, gate, order = Worker("test"), threading.Event(), threading.Event(), list[str]()

        def hold() -> None:
            begun.set()
            gate.wait(20)

        held = worker.call(hold)
        await asyncio.to_thread(begun.wait, 20)
        asked = [(whose, n) for whose, count in (("greedy", 4), ("modest", 1), ("middling", 2)) for n in range(count)]
        done = [worker.call(lambda a=a: order.append(f"{a[0]} {a[1]}"), whose=a[0]) for a in asked]  # type: ignore[misc]
        assert worker.waiting == 7
        gate.set()
        await asyncio.gather(held, *done)
        assert order == ["greedy 0", "modest 0", "middling 0", "greedy 1", "middling 1", "greedy 2", "greedy 3"]
        assert worker.waiting == 0
        await worker.close()

    asyncio.run(scenario())


def test_errors_belong_to_the_one_who_asked() -> None:
    async def scenario() -> None:
        worker = Worker("test")

        def fail() -> None:
            raise RuleError("no")

        with pytest.raises(RuleError):
            await worker.call(fail)
        assert await worker.call(lambda: 7) == 7
        await worker.close()
        with pytest.raises(InternalError):
            worker.call(lambda: 8)

    asyncio.run(scenario())


def test_closing_does_what_waits() -> None:
    async def scenario() -> None:
        worker, gate = Worker("test"), threading.Event()
        held, waiting = worker.call(lambda: gate.wait(20)), worker.call(lambda: "done")
        closing = asyncio.ensure_future(worker.close())
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(held, closing)
        assert await waiting == "done"

    asyncio.run(scenario())
