"""Nodes together: finality, one state, crashes and restarts, catching up, gossip. Real stores and consensus."""

import asyncio
from pathlib import Path

from ledger.consensus.messages import Nullify, VoteMessage
from ledger.limits import MAX_FORGERIES, VIEW_RETENTION
from ledger.records.envelope import sign_record
from ledger.state.model import StateKey
from node.peers.transport import FORGERIES
from tests.node.cluster import Cluster, cluster_of, within
from tests.world import GENESIS, build_genesis


def entry(cluster: Cluster, record: object) -> bytes:
    """A record of the cluster's world, signed by its issuer."""
    return sign_record(record, cluster.world.keys[record.issuer])  # type: ignore[arg-type, attr-defined]


async def enrol_maker(cluster: Cluster, index: int = 0) -> None:
    """A maker of GLC is final everywhere it needs to be."""
    cluster.world.time_ms = cluster.clock.wall_ms()
    record = cluster.world.enrol("interior", "maker", "maker", makes=("GLC",))
    await cluster.final(index, entry(cluster, record))


def weapons(cluster: Cluster, first: int, count: int) -> list[bytes]:
    """Registrations of one weapon each."""
    return [entry(cluster, cluster.world.register("maker", f"A{n:05d}")) for n in range(first, first + count)]


def test_one_node_alone_is_a_complete_registry(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, build_genesis("interior")) as cluster:
            await enrol_maker(cluster)
            outcomes = await cluster.final(0, *weapons(cluster, 0, 20))
            assert len({outcome.index for outcome in outcomes}) == 20
            with cluster.node(0).views.view() as view:
                [(make, weapon)] = view.weapons_by_serial("A00007", make=None, after=("", ""), limit=10)
                assert make == "GLC"
                assert view.history(weapon) == [outcomes[7].index]
                assert StateKey("weapon", weapon) in view.documents([StateKey("weapon", weapon)])

    asyncio.run(scenario())


def test_four_nodes_make_records_of_all_of_them_final_and_end_with_one_root(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            parts = [weapons(cluster, 25 * index, 25) for index in range(4)]
            await asyncio.gather(*(cluster.final(index, *part) for index, part in enumerate(parts)))
            await cluster.level()
            # genesis document, enrolment, weapons, and one seal for each height
            status = cluster.node(0).status()
            assert status.size == 1 + 1 + 100 + (status.height + 1)
            assert status.pending == 0

    asyncio.run(scenario())


def test_a_peer_that_forges_votes_without_end_loses_its_link_and_nobody_else_does(tmp_path: Path) -> None:
    """Not the one in whose name it forges, nor the victim at the others."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            victim, framed, _, liar = cluster.parties
            for number in range(MAX_FORGERIES + 1):
                vote = Nullify(epoch=0, view=VIEW_RETENTION, signer=1, signature=number.to_bytes(64))
                cluster.link_of(liar).send(victim, VoteMessage(vote=vote))
            async with within("the link is cut"):
                while liar in cluster.link_of(victim).connected():
                    await asyncio.sleep(0.001)
            assert cluster.link_of(victim).dropped == [(liar, FORGERIES)]
            await cluster.final(0, *weapons(cluster, 0, 3))
            assert framed in cluster.link_of(victim).connected()
            assert [cluster.link_of(party).dropped for party in cluster.parties[1:]] == [[], [], []]

    asyncio.run(scenario())


def test_the_same_record_again_is_answered_with_its_first_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            [weapon] = weapons(cluster, 0, 1)
            [first] = await cluster.final(0, weapon)
            await cluster.level()
            size = cluster.node(3).status().size
            for index in range(4):
                [again] = await cluster.node(index).submit([weapon], source="again")
                assert (again.id, again.status, again.index, again.height) == (
                    first.id,
                    "final",
                    first.index,
                    first.height,
                )
            assert cluster.node(3).status().size == size

    asyncio.run(scenario())


def test_a_crashed_node_restarts_on_its_files_and_no_final_record_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            acknowledged = []
            for index in range(4):
                loaded = [n for n in range(4) if n != index]
                work = [
                    asyncio.create_task(cluster.final(n, *weapons(cluster, 100 * index + 10 * n, 10))) for n in loaded
                ]
                await cluster.next_commit()  # in the middle of it
                await cluster.crash(index)
                for outcomes in await asyncio.gather(*work):
                    acknowledged += [outcome.id for outcome in outcomes if outcome.id is not None]
                await cluster.start(index)
                await cluster.level()
            assert len(acknowledged) == 120
            for node in cluster.running:
                found = await node.outcomes(acknowledged)
                assert [found[record_id].status for record_id in acknowledged] == ["final"] * 120

    asyncio.run(scenario())


def test_all_nodes_crash_at_once_and_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            lost = asyncio.create_task(cluster.final(0, *weapons(cluster, 0, 50)))
            await cluster.next_commit()
            for index in range(4):
                await cluster.crash(index)
            lost.cancel()
            await cluster.start()
            await cluster.final(1, *weapons(cluster, 50, 50))
            await cluster.level()

    asyncio.run(scenario())


def test_a_node_far_behind_catches_up_by_blocks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.crash(3)
            for n in range(30):
                await cluster.final(0, *weapons(cluster, n, 1))
            behind = cluster.node(0).status().height
            assert behind >= 30
            await cluster.start(3)
            await cluster.level()
            assert cluster.node(3).status().height >= behind
            assert cluster.node(3).counters.blocks_checked >= 29

    asyncio.run(scenario())


def test_a_record_that_reached_one_node_only_is_gossiped_when_links_return(tmp_path: Path) -> None:
    """P13.5: nobody else is busy over it, so only repeating it can make it final."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            cluster.cut(2)
            node = cluster.node(2)
            [outcome] = await node.submit(weapons(cluster, 0, 1), source="test")
            assert outcome.status == "pending"
            assert outcome.id is not None
            assert "no quorum" in node.status().reasons[0]
            cluster.heal()
            [final] = await cluster.decided(2, outcome.id)
            assert final.status == "final"
            await cluster.level()

    asyncio.run(scenario())


def test_gossip_that_was_lost_is_repeated_while_the_links_stay(tmp_path: Path) -> None:
    """P6.1: the others are idle and the record's node does not lead."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            cluster.loses_gossip = True
            leader = cluster.node(0)._driver.replica.leader
            follower = (leader + 1) % 4
            node = cluster.node(follower)
            [outcome] = await node.submit(weapons(cluster, 0, 1), source="test")
            assert outcome.id is not None
            assert [len(other.mempool) for other in cluster.running if other is not node] == [0, 0, 0]
            cluster.loses_gossip = False
            [final] = await cluster.decided(follower, outcome.id)
            assert final.status == "final"

    asyncio.run(scenario())


def test_of_two_conflicting_records_one_is_final_and_the_other_refused_by_its_rule(tmp_path: Path) -> None:
    """The loser was admitted elsewhere: it must not keep anybody busy (P6.1)."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            pair = [entry(cluster, cluster.world.register("maker", "SAME", model=name)) for name in ("One", "Two")]
            taken = [await cluster.node(index).submit([pair[index]], source="test") for index in (0, 1)]
            ids = [outcomes[0].id or "" for outcomes in taken]
            decided = [(await cluster.decided(index, ids[index]))[0] for index in (0, 1)]
            assert sorted(outcome.status for outcome in decided) == ["final", "refused"]
            [error] = [outcome.error for outcome in decided if outcome.error is not None]
            assert error.code == "duplicate_identity"
            await cluster.level()
            assert [node.status().pending for node in cluster.running] == [0, 0, 0, 0]

    asyncio.run(scenario())


def test_a_clean_stop_and_start_goes_on_where_it_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.final(0, *weapons(cluster, 0, 10))
            await cluster.level()
            before = cluster.node(0).status()
            await cluster.stop()
            await cluster.start()
            after = cluster.node(0).status()
            assert (after.height, after.log_root, after.cosigned) == (before.height, before.log_root, before.cosigned)
            await cluster.final(2, *weapons(cluster, 10, 10))

    asyncio.run(scenario())
