"""While catching up, a few blocks share a transaction: all of them or none, the same rows, and none waits for ever."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.engine import Connection

from ledger.block import Block
from ledger.consensus.effects import Check, Commit, Floor
from ledger.consensus.inputs import AnyInput, Committed
from ledger.consensus.messages import Certificate, Proposal
from ledger.consensus.parameters import Parameters
from ledger.limits import COMMIT_GROUP_BLOCKS
from node.application import Application, Consensus
from node.cosigning import Cosigning
from node.counters import NodeCounters
from node.execution.executor import Executor, InvalidBlockError
from node.membership import Members
from node.storage import BlockCommit, Database, LedgerStore
from node.worker import Worker
from tests.node.cluster import PATIENCE_S, Cluster, cluster_of, keys_of
from tests.node.execution.engine import Engine
from tests.node.reverify import reverify
from tests.node.test_cluster import enrol_maker, weapons
from tests.node.test_driver import BugError, until
from tests.world import GENESIS, build_genesis

LATE = 3
BLOCKS = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The files of four nodes, one of which is far behind the others; and the height of these."""
    folder = tmp_path_factory.mktemp("files")

    async def scenario() -> int:
        async with cluster_of(folder, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.crash(LATE)
            for number in range(BLOCKS):
                await cluster.final(0, *weapons(cluster, number, 1))
            return cluster.node(0).status().height

    return folder, asyncio.run(scenario())


@pytest.fixture
def cluster(files: tuple[Path, int], tmp_path: Path) -> Cluster:
    """Four nodes on a copy of those files."""
    shutil.copytree(files[0], tmp_path / "nodes")
    return Cluster(tmp_path / "nodes", GENESIS)


@pytest.fixture
def behind(files: tuple[Path, int]) -> int:
    """The height that the late node has to reach."""
    return files[1]


def run(cluster: Cluster, scenario: Callable[[], Awaitable[None]]) -> None:
    """Start all but the late node, do it, and stop."""

    async def bounded() -> None:
        async with asyncio.timeout(3 * PATIENCE_S):
            await cluster.start(*(index for index in range(len(cluster.parties)) if index != LATE))
            try:
                await scenario()
            finally:
                await cluster.stop()

    asyncio.run(bounded())


def contents(path: Path) -> dict[str, list[Any]]:
    """All rows of a database, but for when the node wrote them."""
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(database.execute(f'SELECT * FROM "{name}"')) for name in names}


def heights_stored(folder: Path) -> list[int]:
    """The blocks of a ledger that nobody has open, each read whole."""
    store = LedgerStore(Database(folder / "ledger.db"))
    try:
        with store.read() as reader:
            head = reader.head()
            assert head is not None
            found = []
            for height in range(1, head.height + 1):
                stored = reader.block(height)
                assert stored is not None
                found.append(stored.block.header.height)
            assert reader.block(head.height + 1) is None
            return found
    finally:
        store.close()


def test_several_blocks_write_the_rows_that_they_write_one_by_one(tmp_path: Path) -> None:
    together, single = Engine(tmp_path / "together"), Engine(tmp_path / "single")
    for engine in (together, single):
        engine.trade()
    rows: list[BlockCommit] = []
    parent: Block | None = None
    for number in range(5):  # across the end of a tile, the same party's documents in each
        world = together.world
        together.admit(*(world.register("maker", f"N{number}S{serial}") for serial in range(60)))
        together.admit(world.enrol("interior", f"shop{number}", "dealer"))
        block = together.build(parent)
        single.executor.check(block)
        single.commit(block)
        rows.append(
            together.executor.prepare(
                block,
                epoch=block.header.epoch,
                view=block.header.view,
                certificate=msgspec.msgpack.encode(None),
                cosign=lambda size, root: b"cosigned",
                oldest_height=0,
            )
        )
        parent = block
    together.store.commit(*rows)
    for commit in rows:
        together.executor.advance(commit.digest)
    together.commit(together.build(allow_empty=True))  # its tiles go on from the group's
    last = together.executor.documents.base
    with together.store.read() as reader:
        head = reader.head()
        assert head is not None
        assert head.log_root == last.frontier.root
    for engine in (together, single):
        engine.close()
    ours, theirs = (contents(tmp_path / name / "ledger.db") for name in ("together", "single"))
    height = max(row[0] for row in ours["blocks"])
    assert [row for row in ours["blocks"] if row[0] < height] == theirs["blocks"]
    for table in ("records", "documents", "history", "serials", "keys"):
        assert ours[table] == theirs[table]


def test_a_node_far_behind_commits_in_groups_and_cosigns_their_last_blocks(cluster: Cluster, behind: int) -> None:
    async def scenario() -> None:
        groups: list[list[BlockCommit]] = []
        commit = LedgerStore.commit

        def noting(self: LedgerStore, *blocks: BlockCommit) -> None:
            groups.append(list(blocks))
            commit(self, *blocks)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LedgerStore, "commit", noting)
            await cluster.start(LATE)
            await cluster.level()
        late = [group for group in groups if any(block.height <= behind for block in group)]
        assert max(len(group) for group in late) > 1
        assert all(len(group) <= COMMIT_GROUP_BLOCKS for group in late)
        assert all(block.cosignature is None for group in late for block in group[:-1])
        assert all(group[-1].cosignature is not None for group in late)

    run(cluster, scenario)


@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
def test_a_crash_at_a_groups_commit_leaves_a_prefix_of_whole_blocks(
    cluster: Cluster, behind: int, is_written: bool
) -> None:
    async def scenario() -> None:
        commit, end = LedgerStore.commit, Database.commit
        groups: list[tuple[int, ...]] = []

        def noting(self: LedgerStore, *blocks: BlockCommit) -> None:
            groups.append(tuple(block.height for block in blocks))
            commit(self, *blocks)

        def failing(self: Database, connection: Connection) -> None:
            is_hit = self.path.parent.name == cluster.parties[LATE] and self.path.name == "ledger.db"
            if not (is_hit and groups and len(groups[-1]) > 1):
                end(self, connection)
                return
            if is_written:
                end(self, connection)
            raise BugError("the power fails")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LedgerStore, "commit", noting)
            patch.setattr(Database, "commit", failing)
            await cluster.start(LATE)
            late = cluster.node(LATE)
            await until(lambda: any("stopped voting" in reason for reason in late.status().reasons))
            await cluster.crash(LATE)
        last = groups[-1][-1] if is_written else groups[-1][0] - 1
        assert heights_stored(cluster.folder / cluster.parties[LATE]) == list(range(1, last + 1))
        await cluster.start(LATE)
        await cluster.level()
        await cluster.crash(LATE)
        stands = reverify(cluster.folder / cluster.parties[LATE], GENESIS, cluster.parties[LATE])
        assert stands.height >= behind

    run(cluster, scenario)


def test_blocks_below_one_that_does_not_execute_are_committed_and_wait_no_longer(cluster: Cluster, behind: int) -> None:
    async def scenario() -> None:
        wrong, check = behind - 5, Executor.check

        def refusing(self: Executor, block: Block) -> None:
            if block.header.height == wrong:
                raise InvalidBlockError("a fault of this node's program")
            check(self, block)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Executor, "check", refusing)
            await cluster.start(LATE)
            await until(lambda: cluster.node(LATE).status().height == wrong - 1)
        await cluster.crash(LATE)
        await cluster.start(LATE)
        await cluster.level()

    run(cluster, scenario)


def test_a_stop_in_the_middle_of_catching_up_finishes_what_waits(cluster: Cluster, behind: int) -> None:
    async def scenario() -> None:
        await cluster.start(LATE)
        late = cluster.node(LATE)
        await until(lambda: late.counters.blocks_checked > 4)
        cluster.nodes[LATE] = None
        async with asyncio.timeout(20):
            await late.stop()
        stored = heights_stored(cluster.folder / cluster.parties[LATE])
        assert stored == list(range(1, len(stored) + 1))
        await cluster.start(LATE)
        await cluster.level()
        assert cluster.node(LATE).status().height >= behind

    run(cluster, scenario)


class Behind:
    """An application without a replica, on an engine that holds blocks as the others made them; what it answers is noted."""

    def __init__(self, folder: Path) -> None:
        self.genesis = build_genesis("interior")
        self.others, self.engine = (Engine(folder / name, self.genesis) for name in ("others", "own"))
        self.worker = Worker("executor")
        self.answers: list[AnyInput] = []
        self.errors: list[Exception] = []
        members = Members.of_genesis(self.genesis)
        self.application = Application(
            executor=self.engine.executor,
            admission=self.engine.admission,
            mempool=self.engine.pool,
            worker=self.worker,
            store=self.engine.store,
            cosigning=Cosigning(self.genesis.origin, keys_of("interior"), self.engine.clock, members),
            clock=self.engine.clock,
            counters=NodeCounters(),
            parameters=Parameters(),
            consensus=Consensus(
                step=self.answers.append,
                fail=self.errors.append,
                opened=lambda members: None,
                applied=lambda applied: None,
                pending_changed=lambda: None,
            ),
        )

    def blocks(self, count: int) -> list[Block]:
        found: list[Block] = []
        for _ in range(count):
            found.append(self.others.build(found[-1] if found else None, allow_empty=True))
        return found

    def commit(self, block: Block) -> None:
        header = block.header
        proposal = Proposal(epoch=header.epoch, view=header.view, parent_view=header.parent_view, digest=block.digest)
        floor = Floor(
            epoch=header.epoch,
            view=header.view,
            height=header.height,
            digest=block.digest,
            seal_hash=block.seal_hash,
            time_ms=header.time,
        )
        certificate = Certificate(
            kind="finalization", epoch=header.epoch, view=header.view, proposal=proposal, signatures=()
        )
        self.application.commit(Commit(block=block, certificate=certificate, floor=floor))

    def committed(self) -> list[int]:
        assert not self.errors
        return [answer.height for answer in self.answers if isinstance(answer, Committed)]

    def cosigned(self) -> list[int]:
        """The heights of stored blocks with an own cosignature, but for the genesis block."""
        with self.engine.store.read() as reader:
            places = [reader.place_at_height(height) for height in self.committed()]
        return [place.height for place in places if place is not None and place.cosignature is not None]

    async def close(self) -> None:
        await self.application.finish()
        await self.worker.close()
        self.others.close()
        self.engine.close()


def test_a_check_that_ends_without_another_commit_lets_those_go_that_waited_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Behind(tmp_path)
        first, second = node.blocks(2)
        await node.application.check(Check(first))
        node.application.expect(second.header.height)
        goes_on, check = threading.Event(), node.engine.executor.check

        def slowly(block: Block) -> None:
            goes_on.wait(PATIENCE_S)
            check(block)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(node.engine.executor, "check", slowly)
            checking = asyncio.create_task(node.application.check(Check(second)))
            await asyncio.sleep(0)
            node.commit(first)
            for _ in range(10):
                await asyncio.sleep(0)
            goes_on.set()
            await checking  # nobody has finalized the second one yet
        await until(lambda: node.committed() == [first.header.height])
        await node.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("fetched", [0, 2, 4], ids=["none", "some", "all"])
def test_only_blocks_that_were_fetched_go_uncosigned(tmp_path: Path, fetched: int) -> None:
    """Others, whose groups are different ones, would otherwise find no size that a quorum cosigns (DESIGN 6)."""

    async def scenario() -> None:
        node = Behind(tmp_path)
        blocks = node.blocks(4)
        for block in blocks:
            await node.application.check(Check(block))
        heights = [block.header.height for block in blocks]
        if fetched:
            node.application.expect(heights[fetched - 1])
        for block in blocks:
            node.commit(block)
        await until(lambda: node.committed() == heights)
        assert node.cosigned() == sorted({*heights[fetched:], heights[-1]})
        await node.close()

    asyncio.run(scenario())


def test_what_is_asked_to_be_committed_after_the_end_is_left_to_the_next_start(tmp_path: Path) -> None:
    """The votes that a commit waits for may become durable only when the votes' store is closed."""

    async def scenario() -> None:
        node = Behind(tmp_path)
        [block] = node.blocks(1)
        await node.application.check(Check(block))
        await node.application.finish()
        node.commit(block)
        await node.worker.close()
        for _ in range(10):
            await asyncio.sleep(0)
        assert node.committed() == []
        node.others.close()
        node.engine.close()

    asyncio.run(scenario())
