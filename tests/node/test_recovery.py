"""A node whose votes' database was lost, or replaced by an older copy, comes back and contradicts nothing (P7.5)."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ledger.consensus.messages import (
    EntryAnswer,
    Finalize,
    Notarize,
    Nullify,
    Page,
    ProposalMessage,
    Vote,
    VoteMessage,
    conflict,
)
from ledger.errors import StoreError
from node.peers.wire import PeerMessage, decode_frame
from node.storage import Database, VoteStore
from tests.node.cluster import Cluster, Link, cluster_of, within
from tests.node.test_cluster import enrol_maker, weapons
from tests.world import GENESIS, build_genesis

VICTIM = 0


class Wire:
    """Every vote that any node ever put on a link."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.votes: dict[int, set[Vote]] = {}
        deliver = Link._deliver

        async def overheard(link: Link, queue: "asyncio.Queue[bytes]", other: Link) -> None:
            heard: asyncio.Queue[bytes] = asyncio.Queue()
            forwarding = asyncio.get_running_loop().create_task(deliver(link, heard, other))
            try:
                while True:
                    frame = await queue.get()
                    self._note(frame)
                    heard.put_nowait(frame)
            finally:
                forwarding.cancel()

        monkeypatch.setattr(Link, "_deliver", overheard)

    def _note(self, frame: bytes) -> None:
        message = decode_frame(frame)
        votes: tuple[Vote, ...] = ()
        if isinstance(message, VoteMessage):
            votes = (message.vote,)
        elif isinstance(message, ProposalMessage):
            votes = (message.notarize,)
        elif isinstance(message, Page):
            votes = message.votes
        for vote in votes:
            self.votes.setdefault(vote.signer, set()).add(vote)

    def conflicts(self) -> list[tuple[Vote, Vote]]:
        """Pairs that no honest validator signs both."""
        return [pair for votes in self.votes.values() for pair in itertools.combinations(votes, 2) if conflict(*pair)]


@asynccontextmanager
async def under_load(cluster: Cluster, first: int) -> AsyncIterator[None]:
    """Registrations at another node, one after the other, for as long as this lasts."""

    async def load() -> None:
        for number in itertools.count(first):
            await cluster.final(VICTIM + 1, *weapons(cluster, number, 1))

    task = asyncio.get_running_loop().create_task(load())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def votes_again(cluster: Cluster) -> None:
    """Wait until the victim has nothing to say against itself, and has voted since."""
    node = cluster.node(VICTIM)
    async with within("the victim is trusted again"):
        while node._driver.replica.recovery is not None:
            await cluster.next_commit()
    before = own_votes(cluster)
    async with within("the victim votes"):
        while own_votes(cluster) <= before:
            await cluster.next_commit()


def own_votes(cluster: Cluster) -> set[Vote]:
    store = cluster.node(VICTIM)._stores.votes
    return {v for v in store.load() if isinstance(v, Notarize | Nullify | Finalize) and v.signer == VICTIM}


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / GENESIS.agencies[VICTIM].party).glob("votes.db*"))


@pytest.mark.parametrize("loss", ["gone", "empty", "older copy", "marked"])
def test_a_node_that_lost_votes_comes_back_under_load_and_never_contradicts_itself(
    tmp_path: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch)

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.stop()
            kept = tmp_path / "kept"
            kept.mkdir()
            for path in files_of(tmp_path):
                shutil.copy(path, kept)
            await cluster.start()
            await cluster.final(1, *weapons(cluster, 0, 20))
            await cluster.level()
            async with under_load(cluster, 1_000):
                await cluster.next_commit()
                await cluster.crash(VICTIM)
                lose(tmp_path, kept, loss)
                with capture_logs() as lines:
                    await cluster.start(VICTIM)
                alarms = [line["code"] for line in lines if line["log_level"] == "critical"]
                assert alarms == ["votes_suspect" if loss == "marked" else "votes_lost"]
                [reason] = [reason for reason in cluster.node(VICTIM).reasons() if "votes nothing" in reason]
                assert "votes again by itself" in reason
                await votes_again(cluster)
            assert cluster.node(VICTIM).reasons() == ()
            await cluster.level()
            await cluster.crash(VICTIM)
            with capture_logs() as lines:
                await cluster.start(VICTIM)
            assert [line["code"] for line in lines if line["log_level"] == "critical"] == [], "it is over for good"

    asyncio.run(scenario())
    assert wire.votes[VICTIM]
    assert wire.conflicts() == []


def lose(folder: Path, kept: Path, loss: str) -> None:
    """What happens to the votes of the victim, which does not run."""
    data_dir = folder / GENESIS.agencies[VICTIM].party
    if loss == "marked":
        store = VoteStore(Database(data_dir / "votes.db"))
        store.set_votes_suspect(True)
        store.close()
        return
    for path in files_of(folder):
        path.unlink()
    if loss == "empty":
        (data_dir / "votes.db").touch()
    elif loss == "older copy":
        for path in kept.iterdir():
            shutil.copy(path, data_dir)


def test_a_crash_meanwhile_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finalizations that it has stored since must not make its votes look whole."""
    send = Link.send

    def without_answers(link: Link, party: str, message: PeerMessage) -> None:
        if not isinstance(message, EntryAnswer):
            send(link, party, message)

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.crash(VICTIM)
            for path in files_of(tmp_path):
                path.unlink()
            monkeypatch.setattr(Link, "send", without_answers)
            await cluster.start(VICTIM)
            await cluster.final(1, *weapons(cluster, 0, 5))
            await cluster.level()
            await cluster.crash(VICTIM)
            with capture_logs() as lines:
                await cluster.start(VICTIM)
            assert [line["code"] for line in lines if line["log_level"] == "critical"] == ["votes_suspect"]
            await cluster.final(1, *weapons(cluster, 10, 5))
            assert own_votes(cluster) == set()
            monkeypatch.setattr(Link, "send", send)
            async with under_load(cluster, 100):
                await votes_again(cluster)

    asyncio.run(scenario())


def test_votes_lost_before_the_first_block_are_noticed_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await cluster.crash(VICTIM)
            for path in files_of(tmp_path):
                path.unlink()
            with capture_logs() as lines:
                await cluster.start(VICTIM)
            assert [line["code"] for line in lines if line["log_level"] == "critical"] == ["votes_suspect"]

    asyncio.run(scenario())


def test_where_nobody_else_could_vouch_for_it_no_way_back_is_promised(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, build_genesis("interior")) as cluster:
            await enrol_maker(cluster)
            await cluster.stop()
            for path in (tmp_path / "interior").glob("votes.db*"):
                path.unlink()
            await cluster.start()
            [reason] = cluster.node(0).reasons()
            assert "nor vote for a new key: the ledger can be read and proven, and goes on only in a new one" in reason
            with pytest.raises(StoreError):  # nobody would ever make it final
                await cluster.node(0).submit(weapons(cluster, 1, 1), source="test")
            assert own_votes(cluster) == set()

    asyncio.run(scenario())
