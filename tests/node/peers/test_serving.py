"""Answers for peers that catch up: few at a time, and none outlives its place."""

import asyncio
import threading

import pytest

from ledger.limits import CATCHUP_CONCURRENCY, CATCHUP_PARTY_CONCURRENCY
from node.peers.serving import Serving


def test_places_are_bounded_in_all_and_for_each_agency() -> None:
    async def scenario() -> None:
        serving, gate = Serving(), threading.Event()
        async with asyncio.timeout(20):
            parties = [f"agency {number // CATCHUP_PARTY_CONCURRENCY}" for number in range(CATCHUP_CONCURRENCY)]
            made = []
            for party in parties:
                assert serving.has_place(party)
                made.append(asyncio.create_task(serving.make(party, lambda: gate.wait(20))))
                await asyncio.sleep(0)
            assert not serving.has_place(parties[0])
            assert not serving.has_place("another")
            gate.set()
            assert await asyncio.gather(*made) == [True] * CATCHUP_CONCURRENCY
            await _until(lambda: serving.has_place(parties[0]))

    asyncio.run(scenario())


def test_who_hangs_up_keeps_the_place_until_the_thread_is_free() -> None:
    async def scenario() -> None:
        serving, begun, gate = Serving(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            gate.wait(20)

        async with asyncio.timeout(20):
            made = [asyncio.create_task(serving.make("agency", work)) for _ in range(CATCHUP_PARTY_CONCURRENCY)]
            await asyncio.to_thread(begun.wait, 20)
            for task in made:
                task.cancel()
            await asyncio.gather(*made, return_exceptions=True)
            await asyncio.sleep(0)
            assert not serving.has_place("agency")
            gate.set()
            await _until(lambda: serving.has_place("agency"))

    asyncio.run(scenario())


def test_an_error_is_the_askers_and_frees_the_place() -> None:
    async def scenario() -> None:
        serving = Serving()

        def fail() -> None:
            raise ValueError("no")

        async with asyncio.timeout(20):
            for _ in range(2 * CATCHUP_CONCURRENCY):
                with pytest.raises(ValueError, match="no"):
                    await serving.make("agency", fail)
                await _until(lambda: serving.has_place("agency"))

    asyncio.run(scenario())


async def _until(condition: object) -> None:
    assert callable(condition)
    while not condition():
        await asyncio.sleep(0)
