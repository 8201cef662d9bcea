"""Damage inside what was synced: the write-ahead log loses its end without a word, and the other database tells.

SQLite ends a write-ahead log at the first frame whose sum is wrong, and what lay behind is gone. A ledger that is so cut
back catches up and signs nothing twice; votes that are so cut back are missed (P7.5).
"""

import asyncio
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.node.cluster import cluster_of
from tests.node.integrity.test_fsck import own_views
from tests.node.reverify import reverify
from tests.node.test_cluster import enrol_maker, weapons
from tests.world import GENESIS

PARTY = "interior"
INDEX = 1


def crashed_network(folder: Path, target: Path) -> None:
    """Data directories of four nodes after some blocks, one of them crashed with its write-ahead logs as they were."""

    async def scenario() -> None:
        async with cluster_of(folder, GENESIS) as cluster:
            await enrol_maker(cluster)
            for n in range(24):
                await cluster.final(n % 4, *weapons(cluster, 10 * n, 1))
            await cluster.level()
            await cluster.crash(INDEX)
            shutil.copytree(folder / PARTY, target / PARTY)

    asyncio.run(scenario())
    for party in ("customs", "neighbour", "police"):
        shutil.copytree(folder / party, target / party)
    for shared in target.glob("*/*-shm"):
        shared.unlink()


def damage(path: Path, fraction: float) -> None:
    """One bit of a frame that was synced long ago."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * fraction)
    data[at] ^= 0x10
    path.write_bytes(data)


async def goes_on(folder: Path) -> list[str]:
    """All four start, get level, and make records final; the alarms that were raised."""
    with capture_logs() as lines:
        async with cluster_of(folder, GENESIS) as cluster:
            await cluster.level()
            cluster.world.time_ms = cluster.clock.wall_ms()
            cluster.world.enrol("interior", "maker", "maker", makes=("GLC",))
            for n in range(4):
                await cluster.final(n, *weapons(cluster, 9_000 + 10 * n, 1))
            await cluster.level()
    return [line["code"] for line in lines if line["log_level"] == "critical"]


@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_a_ledger_that_lost_its_newest_blocks_gets_them_back_and_signs_nothing_twice(
    tmp_path: Path, fraction: float
) -> None:
    network = tmp_path / "crashed"
    crashed_network(tmp_path / "run", network)
    folder = network / PARTY
    intact = tmp_path / "intact"
    shutil.copytree(folder, intact)
    before, old = own_views(intact), reverify(intact, GENESIS, PARTY)
    damage(folder / "ledger.db-wal", fraction)
    probe = tmp_path / "probe"
    shutil.copytree(folder, probe)
    assert reverify(probe, GENESIS, PARTY).height < old.height, "it lost something"
    assert asyncio.run(goes_on(network)) == []
    verified = reverify(folder, GENESIS, PARTY)
    assert verified.height > old.height
    after = own_views(folder)
    assert {key for key in before.keys() & after.keys() if before[key] != after[key]} == set()


def test_votes_that_lost_their_newest_are_missed(tmp_path: Path) -> None:
    network = tmp_path / "crashed"
    crashed_network(tmp_path / "run", network)
    damage(network / PARTY / "votes.db-wal", 0.4)
    assert "votes_lost" in asyncio.run(goes_on(network))
    reverify(network / PARTY, GENESIS, PARTY)


def test_the_cluster_of_these_tests_is_level_without_damage(tmp_path: Path) -> None:
    network = tmp_path / "crashed"
    crashed_network(tmp_path / "run", network)
    assert asyncio.run(goes_on(network)) == []
