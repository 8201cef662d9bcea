"""Faults of the program itself: whatever ends a task or a step, the node stops voting and says so; a restart goes on."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.consensus.effects import Send, ServeBlock
from ledger.consensus.messages import BlockRequest
from ledger.consensus.replica import Replica
from ledger.limits import NEAR_BLOCKS, RECORD_MAX_AGE_MS
from ledger.state.model import ValidatorsDoc
from ledger.state.validators import validator_of
from node.admission import Admission
from node.driver import Driver
from node.execution.executor import Executor
from node.membership import Members
from node.storage import LedgerStore
from tests.node.cluster import PATIENCE_S, QUICK, Cluster, cluster_of
from tests.node.test_cluster import enrol_maker, weapons
from tests.world import DAY_MS, GENESIS, build_agency, build_genesis


class BugError(Exception):
    """What nobody expected."""


def broken(*_: Any, **__: Any) -> Any:
    raise BugError("this cannot happen")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Executor, "build"),
        (Executor, "prepare"),
        (Executor, "advance"),
        (LedgerStore, "commit"),
        (Replica, "step"),
    ],
)
def test_a_fault_of_the_program_stops_the_voting_loudly_and_a_restart_goes_on(
    tmp_path: Path, owner: type, name: str
) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, build_genesis("interior"))
        await cluster.start()
        await enrol_maker(cluster)
        node = cluster.node(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, broken)
            await node.submit(weapons(cluster, 0, 1), source="test")
            await until(lambda: node.status().reasons != ())
            [reason] = node.status().reasons
            assert "stopped voting" in reason
            assert "BugError: this cannot happen" in reason
            await cluster.crash(0)
        await cluster.start()
        await cluster.final(0, *weapons(cluster, 10, 1))
        await cluster.stop()

    asyncio.run(scenario())


def test_after_a_block_that_may_not_be_committed_no_later_one_is_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, build_genesis("interior"))
        await cluster.start()
        await enrol_maker(cluster)
        node = cluster.node(0)
        heights: list[int] = []
        commit = LedgerStore.commit

        def sometimes(self: LedgerStore, block: Any) -> None:
            heights.append(block.height)
            if len(heights) == 1:
                raise BugError("this cannot happen")
            commit(self, block)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LedgerStore, "commit", sometimes)
            for n in range(3):
                await node.submit(weapons(cluster, n, 1), source="test")
            await until(lambda: node.status().reasons != ())
            await cluster.crash(0)
        assert len(heights) == 1
        await cluster.start()
        await cluster.final(0, *weapons(cluster, 10, 1))
        await cluster.stop()

    asyncio.run(scenario())


def test_a_check_that_ends_in_a_fault_of_the_program_stops_the_voting_of_that_node_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            ill = cluster.node(3)
            ill._driver._application._executor.check = broken  # type: ignore[method-assign]
            await cluster.final(0, *weapons(cluster, 0, 1))
            await until(lambda: any("stopped voting" in reason for reason in ill.status().reasons))

    asyncio.run(scenario())


def test_a_fault_while_fetching_ends_neither_the_voting_nor_the_catch_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            cluster.cut(3)
            for n in range(NEAR_BLOCKS + 4):
                await cluster.final(0, *weapons(cluster, n, 1))
            fetch, calls = cluster.fetch_blocks, 0

            async def sometimes(party: str, from_height: int, count: int) -> Any:
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise BugError("what a hostile server made of the client")
                return await fetch(party, from_height, count)

            cluster.fetch_blocks = sometimes  # type: ignore[method-assign]
            cluster.heal()
            await cluster.level()
            assert calls >= 2
            assert cluster.node(3).status().reasons == ()

    asyncio.run(scenario())


def test_who_waits_is_told_of_a_record_that_is_refused_while_a_block_is_built(tmp_path: Path) -> None:
    """The building itself has to tell: a node that takes itself for busy would end that with a block about nothing."""
    only_building = msgspec.structs.replace(QUICK, standstill_ms=3_600_000, heartbeat_s=10**9)

    async def scenario() -> None:
        async with cluster_of(tmp_path, build_genesis("interior"), parameters=only_building) as cluster:
            await enrol_maker(cluster)
            node = cluster.node(0)
            built = node.counters.blocks_built
            admit = Admission.admit

            def admit_and_wait_too_long(self: Admission, *arguments: Any, **named: Any) -> Any:
                admitted = admit(self, *arguments, **named)
                cluster.clock.jump(RECORD_MAX_AGE_MS + DAY_MS)
                return admitted

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Admission, "admit", admit_and_wait_too_long)
                [taken] = await node.submit(weapons(cluster, 0, 1), source="test")
            assert taken.status == "pending"
            assert taken.id is not None
            [outcome] = await cluster.decided(0, taken.id)
            assert outcome.status == "refused"
            assert outcome.error is not None
            assert outcome.error.code == "issued_too_old"
            assert node.status().pending == 0
            assert node.counters.blocks_built == built

    asyncio.run(scenario())


def test_what_waits_to_be_durable_goes_to_whom_it_was_meant_for_though_an_epoch_begins_meanwhile(
    tmp_path: Path,
) -> None:
    """The numbers of the next epoch name others."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            driver = cluster.node(3)._driver
            waiting: list[Callable[[], None]] = []
            sent: list[tuple[str, object]] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(driver.journal, "after", waiting.append)
                patch.setattr(driver._transport, "send", lambda party, message: sent.append((party, message)))
                request = BlockRequest(digest=bytes(32))
                driver._effects[Send](Send(0, request))
                agencies = tuple(validator_of(build_agency(party)) for party in ("coast", "customs", "police"))
                document = ValidatorsDoc(epoch=1, members=agencies)
                driver._roster.open(Members.of_document(document, bytes(32)))
                driver._effects[Send](Send(0, request))
                for action in waiting:
                    action()
            assert sent == [("customs", request), ("coast", request)]

    asyncio.run(scenario())


def test_one_peer_has_few_blocks_looked_up_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, build_genesis("interior")) as cluster:
            driver: Driver = cluster.node(0)._driver
            before = len(driver._tasks)
            for _ in range(10 * NEAR_BLOCKS):
                driver._serve(ServeBlock(0, bytes(32)))
            assert len(driver._tasks) - before == NEAR_BLOCKS
            await until(lambda: len(driver._tasks) == before)
            driver._serve(ServeBlock(0, bytes(32)))
            assert len(driver._tasks) - before == 1

    asyncio.run(scenario())
