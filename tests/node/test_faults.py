"""What a failing disk does to a node: every commit of each database, failed, or failed but persisted, then a restart.

The node must stop taking part and say so, and a restart on the same files must find votes and ledger fitting each other,
everything that was acknowledged as final still there, and go on.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from sqlalchemy.engine import Connection

from ledger.consensus.messages import Evidence, Notarize, Proposal, signed_bytes
from ledger.errors import CorruptionError, StoreError
from node.service.ports import Outcome
from node.storage import AgencyStore, Database, LedgerStore, Stores, VoteStore, lock_folder
from tests.node.cluster import Cluster, cluster_of
from tests.node.integrity.support import fsck
from tests.node.test_cluster import enrol_maker, weapons
from tests.world import GENESIS, build_genesis, node_key

PARTY = "customs"
Fault = Literal["failed", "failed but persisted"]


class FaultyDatabase(Database):
    """Fails one commit, counted from when it is armed, and every later one: a disk does not come back by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fault: Fault | None = None
        self.commits_left = 0
        self.failed = 0

    def commit(self, connection: Connection) -> None:
        if self.fault is not None:
            self.commits_left -= 1
            if self.commits_left < 0:
                self.failed += 1
                if self.fault == "failed but persisted" and self.failed == 1:
                    super().commit(connection)
                raise StoreError("the disk failed", code="disk_full")
        super().commit(connection)


class FaultyStores:
    """Opens stores on databases that can be made to fail."""

    def __init__(self) -> None:
        self.databases: dict[str, FaultyDatabase] = {}

    def __call__(self, folder: Path) -> Stores:
        folder.mkdir(parents=True, exist_ok=True)
        self.databases = {name: FaultyDatabase(folder / f"{name}.db") for name in ("ledger", "votes", "agency")}
        return Stores(
            lock=lock_folder(folder),
            ledger=LedgerStore(self.databases["ledger"]),
            votes=VoteStore(self.databases["votes"]),
            agency=AgencyStore(self.databases["agency"]),
        )


async def submit_until_failure(cluster: Cluster, index: int) -> list[Outcome]:
    """Make records final one by one until the node says it cannot; what it acknowledged before."""
    node = cluster.node(index)
    acknowledged: list[Outcome] = []
    try:
        for n in range(100):
            [taken] = await node.submit(weapons(cluster, n, 1), source="test")
            assert taken.id is not None
            waiting = asyncio.create_task(cluster.decided(index, taken.id))
            failure = asyncio.create_task(failed(cluster, index))
            await asyncio.wait({waiting, failure}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                break
            failure.cancel()
            acknowledged += waiting.result()
    except StoreError:
        pass
    return acknowledged


async def failed(cluster: Cluster, index: int) -> None:
    """Wait until the node says that it stopped."""
    driver = cluster.node(index)._driver
    while driver.failure is None:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("fault", ["failed", "failed but persisted"])
@pytest.mark.parametrize("commits", range(6))
@pytest.mark.parametrize("database", ["ledger", "votes"])
def test_a_lone_node_survives_any_failed_commit(tmp_path: Path, database: str, commits: int, fault: Fault) -> None:
    async def scenario() -> None:
        genesis = build_genesis("interior")
        stores = FaultyStores()
        cluster = Cluster(tmp_path, genesis)
        await cluster.start(stores=stores)
        await enrol_maker(cluster)
        stores.databases[database].commits_left = commits
        stores.databases[database].fault = fault
        acknowledged = await submit_until_failure(cluster, 0)
        node = cluster.node(0)
        assert "stopped voting" in node.status().reasons[0]
        with pytest.raises(StoreError):
            await node.submit(weapons(cluster, 900, 1), source="test")
        built = node.counters.blocks_committed
        await cluster.crash(0)
        assert stores.databases[database].failed >= 1

        await cluster.start()
        again = cluster.node(0)
        assert again.status().reasons == ()
        assert again.status().height >= built
        ids = [outcome.id or "" for outcome in acknowledged]
        known = await again.outcomes(ids)
        assert [known[outcome.id or ""].index for outcome in acknowledged] == [o.index for o in acknowledged]
        await cluster.final(0, *weapons(cluster, 500, 5))
        await cluster.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["failed", "failed but persisted"])
@pytest.mark.parametrize("database", ["ledger", "votes"])
def test_the_others_go_on_without_it_and_it_rejoins(tmp_path: Path, database: str, fault: Fault) -> None:
    async def scenario() -> None:
        stores = FaultyStores()
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await cluster.crash(2)
            await cluster.start(2, stores=stores)
            await enrol_maker(cluster)
            await cluster.level()
            stores.databases[database].commits_left = 2
            stores.databases[database].fault = fault
            for n in range(6):
                await cluster.final(0, *weapons(cluster, n, 1))
            await failed(cluster, 2)
            assert "stopped voting" in cluster.node(2).status().reasons[0]
            assert cluster.node(2).status().height < cluster.node(0).status().height
            await cluster.crash(2)
            await cluster.start(2)
            await cluster.level()
            await cluster.final(2, *weapons(cluster, 50, 1))
            await cluster.level()

    asyncio.run(scenario())


def spoil(path: Path, sql: str) -> None:
    """Write to a database behind the node's back."""
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(sql).rowcount >= 1
    connection.close()


@pytest.mark.parametrize(
    "value", ["CAST(replace(value, 'active', 'passiv') AS BLOB)", "replace(value, 'active', 'passiv')", "zeroblob(0)"]
)
def test_a_corrupt_document_is_noticed_when_it_is_read_and_stops_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setattr("node.execution.documents.DOCUMENT_CACHE_BYTES", 0)

    async def scenario() -> None:
        cluster = Cluster(tmp_path, build_genesis("interior"))
        await cluster.start()
        await enrol_maker(cluster)
        spoil(
            tmp_path / "interior" / "ledger.db",
            f"UPDATE documents SET value = {value} WHERE kind = 'party' AND id = 'maker'",
        )
        with pytest.raises(CorruptionError):
            await cluster.node(0).submit(weapons(cluster, 0, 1), source="test")
        assert "stopped voting" in cluster.node(0).status().reasons[0]
        await cluster.crash(0)
        with pytest.raises(CorruptionError):
            await cluster.start()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE floor SET frontier = zeroblob(length(frontier))",
        "UPDATE blocks SET log_root = zeroblob(32) WHERE height = (SELECT max(height) FROM blocks)",
        "DELETE FROM blocks WHERE height = (SELECT max(height) FROM blocks)",
        'DELETE FROM entries WHERE "index" = (SELECT max("index") FROM entries)',
        "DELETE FROM documents WHERE kind = 'weapon'",
    ],
)
def test_a_node_does_not_start_on_a_ledger_that_does_not_fit_together(tmp_path: Path, sql: str) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, build_genesis("interior")) as cluster:
            await enrol_maker(cluster)
            await cluster.final(0, *weapons(cluster, 0, 3))
            await cluster.stop()
            spoil(tmp_path / "interior" / "ledger.db", sql)
            with pytest.raises(CorruptionError):
                await cluster.start()

    asyncio.run(scenario())


def test_a_node_does_not_start_on_a_vote_that_is_not_the_one_it_signed(tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, build_genesis("interior"))
        await cluster.start()
        await enrol_maker(cluster)
        await cluster.stop()
        spoil(
            tmp_path / "interior" / "votes.db",
            "UPDATE consensus SET data = CAST(substr(data, 1, length(data) - 1) "
            "|| iif(substr(data, -1) = x'00', x'01', x'00') AS BLOB) "
            "WHERE kind = 'notarize' AND view = (SELECT max(view) FROM consensus WHERE kind = 'notarize')",
        )
        with pytest.raises(CorruptionError) as caught:
            await cluster.start()
        assert caught.value.code == "damaged_vote"
        assert "notarize of epoch 0" in caught.value.message

    asyncio.run(scenario())


def test_a_node_does_not_start_on_evidence_that_is_not_what_was_proved_and_is_mended(tmp_path: Path) -> None:
    first, second = (Proposal(epoch=0, view=50, parent_view=1, digest=bytes([number]) * 32) for number in range(2))
    unsigned = [Notarize(proposal=each, signer=3, signature=bytes(64)) for each in (first, second)]
    key = node_key("police", "consensus")
    signed = [
        msgspec.structs.replace(vote, signature=key.sign(signed_bytes(GENESIS.chain_id, vote))) for vote in unsigned
    ]

    def put(second: Notarize) -> None:
        with closing(VoteStore(Database(tmp_path / PARTY / "votes.db"))) as votes:
            votes.append([Evidence(first=signed[0], second=second)])

    async def scenario() -> None:
        cluster = Cluster(tmp_path, GENESIS)
        await cluster.start(0)
        await cluster.stop()
        put(unsigned[1])
        shutil.copytree(tmp_path / PARTY, tmp_path / "copy" / PARTY)
        with pytest.raises(CorruptionError) as caught:
            await Cluster(tmp_path / "copy", GENESIS).start(0)
        assert caught.value.code == "damaged_evidence"
        findings, mended = fsck(tmp_path / PARTY, PARTY, repair=True)
        assert [problem.mend for problem in findings.problems] == ["drop"]
        assert mended is not None
        assert not mended.votes_suspect
        put(signed[1])
        await cluster.start(0)
        assert list(cluster.node(0).evidence.all) == ["police:0"]
        await cluster.stop()

    asyncio.run(scenario())


def hold_lock(path: Path) -> Callable[[], None]:
    """Another process that keeps the database's write lock; returns how to let it go."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


@pytest.mark.parametrize("database", ["ledger", "votes"])
def test_a_locked_database_stops_the_node_which_says_so(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.storage.sqlite.BUSY_TIMEOUT_MS", 10)

    async def scenario() -> None:
        cluster = Cluster(tmp_path, build_genesis("interior"))
        await cluster.start()
        await enrol_maker(cluster)
        release = hold_lock(tmp_path / "interior" / f"{database}.db")
        await submit_until_failure(cluster, 0)
        [reason] = cluster.node(0).status().reasons
        assert "database_locked" in reason
        await cluster.crash(0)
        release()
        await cluster.start()
        await cluster.final(0, *weapons(cluster, 10, 1))
        await cluster.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("database", ["ledger", "votes"])
def test_a_full_disk_stops_the_node_which_says_so(tmp_path: Path, database: str) -> None:
    async def scenario() -> None:
        stores = FaultyStores()
        cluster = Cluster(tmp_path, build_genesis("interior"))
        await cluster.start(stores=stores)
        await enrol_maker(cluster)
        with stores.databases[database].write() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        acknowledged = await submit_until_failure(cluster, 0)
        [reason] = cluster.node(0).status().reasons
        assert "disk_full" in reason
        await cluster.crash(0)
        await cluster.start()
        known = await cluster.node(0).outcomes([outcome.id or "" for outcome in acknowledged])
        assert len(known) == len(acknowledged)
        await cluster.final(0, *weapons(cluster, 500, 1))
        await cluster.stop()

    asyncio.run(scenario())
