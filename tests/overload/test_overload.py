"""Overload of nodes in one process: who sends little gets through while others send much, and a full pool empties itself."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from node.mempool import PoolLimits
from node.node import Node
from tests.node.cluster import Cluster, cluster_of
from tests.node.test_cluster import entry, weapons
from tests.world import GENESIS, build_genesis

GREEDY = 800


async def enrol(cluster: Cluster) -> None:
    """Two makers of different makes are final."""
    cluster.world.time_ms = cluster.clock.wall_ms()
    for party, make in (("maker", "GLC"), ("modest", "SW")):
        record = cluster.world.enrol("interior", party, "maker", makes=(make,))
        await cluster.final(0, entry(cluster, record))


async def insist(node: Node, entries: Sequence[bytes], source: str) -> int:
    """Submit until all were taken; how often some were refused for want of room."""
    refusals, left = 0, list(entries)
    while left:
        outcomes = await node.submit(left, source=source)
        assert all(outcome.status == "pending" or outcome.error is not None for outcome in outcomes)
        codes = {outcome.error.code for outcome in outcomes if outcome.error is not None}
        assert codes <= {"issuer_share_full", "source_share_full", "mempool_full"}, codes
        left = [record for record, outcome in zip(left, outcomes, strict=True) if outcome.status == "refused"]
        refusals += bool(left)
        await asyncio.sleep(0.01 if left else 0)
    return refusals


def test_who_sends_little_is_served_while_another_fills_the_pool(tmp_path: Path) -> None:
    """The greedy one's records are refused for want of room; one of the modest one's never is, and waits for few of them."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, build_genesis("interior")) as cluster:
            await enrol(cluster)
            node = cluster.node(0)
            node.mempool._limits = PoolLimits(records=300)  # type: ignore[misc]
            much = asyncio.create_task(insist(node, weapons(cluster, 0, GREEDY), "greedy"))
            for number in range(5):
                little = [entry(cluster, cluster.world.register("modest", f"M{number}", make="SW"))]
                [outcome] = await cluster.final(0, *little)
                assert outcome.status == "final"
                assert not much.done(), "the modest one waited for the greedy one"
            assert await much > 0, "there was room for all: this was no overload"
            await cluster.level()

    asyncio.run(scenario())


def test_a_flood_at_one_node_of_four_ends_in_one_state_with_nothing_pending(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol(cluster)
            for node in cluster.running:
                node.mempool._limits = PoolLimits(records=120)  # type: ignore[misc]
            much = asyncio.create_task(insist(cluster.node(1), weapons(cluster, 0, 300), "greedy"))
            little = [entry(cluster, cluster.world.register("modest", f"M{n}", make="SW")) for n in range(4)]
            await asyncio.gather(*(cluster.final(index, little[index]) for index in range(4)))
            await much
            await cluster.final(1, *weapons(cluster, 1_000, 1))
            await cluster.level()

    asyncio.run(scenario())
