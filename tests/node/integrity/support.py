"""A consortium's data directories after a busy day, made once: what damage is done to, in copies."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ledger.records.governance import ValidatorRemove
from node.integrity.fsck import Fsck, Mended
from node.integrity.ledger import Subject
from node.integrity.report import Findings
from node.service.admin import prepare_token
from node.storage import AgencyStore, Database
from tests.node.cluster import Cluster, cluster_of
from tests.node.test_cluster import enrol_maker, weapons
from tests.node.test_epochs import enact, settled
from tests.world import GENESIS, build_genesis, key_named

LONE = build_genesis("interior")
LEAVER = "neighbour"


async def fill(cluster: Cluster, folder: Path, *, changes_members: bool = True) -> None:
    """Blocks of several sizes, tiles of two levels, tokens, questions; with several members, one leaves, if wanted."""
    await enrol_maker(cluster)
    await cluster.level()
    await cluster.final(0, *weapons(cluster, 0, 270))
    for n in range(4):
        await cluster.final(n % len(cluster.parties), *weapons(cluster, 300 + 3 * n, 3))
    await cluster.level()
    if len(cluster.parties) > 1 and changes_members:
        await enact(cluster, ValidatorRemove(party=LEAVER))
        await cluster.final(0, *weapons(cluster, 400, 2))
        await settled(cluster)
    for party in cluster.parties:
        store = AgencyStore(Database(folder / party / "agency.db"))
        for label in ("first", "second", "third"):
            issued = prepare_token(party=party, role="holder", label=label, now_ms=1_000, expires_ms=9_000)
            store.add_token(issued.stored)
            if label == "third":
                store.revoke_token(issued.stored.id, now_ms=2_000)
        store.append_queries([b"question %d" % n for n in range(6)])
        store.close()


def made(folder: Path, parties: tuple[str, ...]) -> Path:
    """Data directories of a network of these parties, its nodes stopped, each with something in every column, but for the
    one that left. (A node that was stopped just after it forgot what lies below the last block keeps no vote or no block:
    then one more is made.)"""

    async def scenario(attempt: int) -> None:
        async with cluster_of(folder, build_genesis(*parties)) as cluster:
            if attempt == 0:
                await fill(cluster, folder)
            else:
                cluster.world.time_ms = cluster.clock.wall_ms()
                cluster.world.keys["maker"] = key_named("maker record")
                await cluster.final(0, *weapons(cluster, 600 + attempt, 1))
                await cluster.level()

    for attempt in range(20):
        asyncio.run(scenario(attempt))
        if all(_has_votes_and_blocks(path) for path in folder.glob("*/votes.db") if path.parent.name != LEAVER):
            return folder
    raise AssertionError("some node keeps no votes, or no block")


def _has_votes_and_blocks(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        kinds = {kind for (kind,) in connection.execute("SELECT kind FROM consensus")}
    return "block" in kinds and not kinds.isdisjoint({"notarize", "nullify", "finalize"})


def copy_of(folder: Path, target: Path) -> Path:
    """A copy to be damaged."""
    shutil.copytree(folder, target)
    return target


def subject(data_dir: Path, party: str, *, lone: bool = False) -> Subject:
    """What `tracemark fsck` is told of a node of the tests' world."""
    return Subject(genesis=LONE if lone else GENESIS, party=party, scratch=data_dir / "fsck")


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def fsck(
    data_dir: Path, party: str, *, repair: bool = False, lone: bool = False, progress: Callable[..., object] = silent
) -> tuple[Findings, Mended | None]:
    """Check one node, and mend it if asked."""
    with Fsck(subject(data_dir, party, lone=lone), data_dir, repair=repair, progress=progress) as check:
        findings = check.check()
        return findings, check.mend() if repair and findings.count else None
