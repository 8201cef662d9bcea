"""Members that change while nodes run (P8): under load, with crashes, for those who missed it, for those who must leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ledger.answer import verify_receipt, verify_state_answer
from ledger.policy import Policy
from ledger.quorum import quorum
from ledger.records import ProposalOpen, ProposalVote
from ledger.records.envelope import parse_entry, sign_record
from ledger.records.governance import (
    Change,
    ParametersSet,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    VersionActivate,
)
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc
from ledger.succession import follow, founding_policy, policy_of
from node.node import Node
from node.service.query import consistency
from node.service.trace import receipts, state_answer
from tests.node.cluster import Cluster, cluster_of, within
from tests.node.test_cluster import enrol_maker, weapons
from tests.world import GENESIS, NODE_ROLES, build_agency, node_key_proof

FOUNDERS = ("customs", "interior", "neighbour", "police")
FOUNDING = founding_policy(GENESIS)
"""What a court pinned on the first day."""


def signed(cluster: Cluster, record: ProposalOpen | ProposalVote) -> bytes:
    """By the governance key of its issuer."""
    return sign_record(record, cluster.world.governance[record.issuer])


async def enact(cluster: Cluster, change: Change, *voters: str) -> None:
    """A proposal that the first of the voters opens at its node and the others vote for at theirs, until it is final; by
    default, the first running members that make a quorum."""
    newest = max(cluster.running, key=lambda node: node.status().epoch)  # others may not know yet who decides
    epoch, members = newest.status().epoch, newest.members.parties
    up = [party for party in members if cluster.nodes[cluster.parties.index(party)] is not None]
    opener, *others = voters or up[: quorum(len(members))]
    await in_epoch(cluster, epoch, *(cluster.node(cluster.parties.index(party)) for party in (opener, *others)))
    opening = signed(cluster, cluster.world.propose(opener, change))
    await cluster.final(cluster.parties.index(opener), opening)
    for party in others:
        vote = signed(cluster, cluster.world.vote(party, parse_entry(opening).id))
        await cluster.final(cluster.parties.index(party), vote)


async def in_epoch(cluster: Cluster, epoch: int, *nodes: Node) -> None:
    """Wait until these nodes (all that run, if none is named) are in an epoch."""
    async with within(f"epoch {epoch} everywhere"):
        while any(node.status().epoch != epoch for node in nodes or cluster.running):
            await asyncio.sleep(0.01)


async def join(cluster: Cluster, party: str) -> int:
    """An agency's node starts, and the validators take it in."""
    index = cluster.add(party)
    await cluster.start(index)
    await enact(cluster, ValidatorAdd(agency=cluster.identities[party]))
    return index


@asynccontextmanager
async def loaded(cluster: Cluster, *indices: int) -> AsyncIterator[list[str]]:
    """Records are made final at these nodes, one after the other, all the while; their ids."""
    done: list[str] = []
    stopping = asyncio.Event()

    async def load(index: int) -> None:
        while not stopping.is_set():
            outcomes = await cluster.final(index, *weapons(cluster, cluster.world.fresh(), 1))
            done.extend(outcome.id for outcome in outcomes if outcome.id is not None)

    tasks = [asyncio.create_task(load(index)) for index in indices]
    yield done
    stopping.set()
    await asyncio.gather(*tasks)


async def settled(cluster: Cluster) -> None:
    """All running nodes are level, and show the same newest cosigned checkpoint."""
    await cluster.level()
    async with within("the newest block is cosigned everywhere"):
        while {node.status().cosigned for node in cluster.running} != {(s := cluster.running[0].status()).cosigned} or (
            s.cosigned != (s.height, s.size)
        ):
            await asyncio.sleep(0.01)


async def proves_everything(cluster: Cluster, policy: Policy, record_ids: list[str]) -> None:
    """Whoever pinned `policy` at the beginning believes what every running node shows."""
    for node in cluster.running:
        async with within("what proves every epoch has been asked for and got"):
            while len((steps := await node.succession.current()).steps) < node.status().epoch:
                await asyncio.sleep(0.01)
        followed = follow(policy, steps)
        assert followed.eras[-1].epoch == (node.status().epoch or None)
        found = await node.outcomes(record_ids)
        assert [found[record_id].status for record_id in record_ids] == ["final"] * len(record_ids)
        indices = [index for record_id in record_ids if (index := found[record_id].index) is not None]
        with node.views.view() as view:
            answer = state_answer(view, VALIDATORS_KEY)
            shown = receipts(view, indices)
            entries = view.entries(indices)
            assert consistency(view, from_size=2, to_size=None) is not None
        proven = verify_state_answer(answer.to_bytes(), kind=VALIDATORS_KEY.kind, id=VALIDATORS_KEY.id, policy=followed)
        assert isinstance(proven.document, ValidatorsDoc)
        assert proven.document.epoch == node.status().epoch
        for index, data in zip(indices, entries, strict=True):
            assert verify_receipt(shown[index].encode(), data, followed).index == index


def test_members_change_under_load_and_everything_stays_provable(tmp_path: Path) -> None:
    """4 -> 5 -> 7 -> 4, with a crash and a restart in every part; one state and one log at the end."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            async with loaded(cluster, 0, 1) as done:
                await join(cluster, "coast")
                await cluster.crash(3)
                await join(cluster, "agency")
                await cluster.start(3)
                await join(cluster, "zeta")
                await in_epoch(cluster, 3)
                assert cluster.running[0].members.parties == (
                    "agency",
                    "coast",
                    "customs",
                    "interior",
                    "neighbour",
                    "police",
                    "zeta",
                )
                await cluster.crash(2)
                for leaving in ("coast", "zeta", "agency"):
                    await enact(cluster, ValidatorRemove(party=leaving))
                await cluster.start(2)
                await in_epoch(cluster, 6)
            await settled(cluster)
            assert all(node.members.parties == FOUNDERS for node in cluster.running)
            assert [node.status().is_validator for node in cluster.running] == [True] * 4 + [False] * 3
            await proves_everything(cluster, FOUNDING, done)
            await cluster.stop()
            await cluster.start()  # every node takes up the sixth epoch from its files
            await cluster.final(3, *weapons(cluster, cluster.world.fresh(), 3))
            await settled(cluster)
            await proves_everything(cluster, FOUNDING, done)
            assert all(node.reasons() == () for node in cluster.running)

    asyncio.run(scenario())


def test_a_straggler_that_missed_two_epochs_gets_there_by_blocks(tmp_path: Path) -> None:
    """It is shown the finalization that closed each epoch, and fetches blocks up to it, then the top (P7.2, P8.3)."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.crash(0)
            await join(cluster, "coast")
            for n in range(12):
                await cluster.final(1, *weapons(cluster, n, 1))
            await enact(
                cluster, ValidatorRotate(party="police", keys=RotatedKeys(log=node_key_proof("police", "log", 1)))
            )
            for n in range(12, 24):
                await cluster.final(2, *weapons(cluster, n, 1))
            await cluster.start(0)
            await in_epoch(cluster, 2)
            await settled(cluster)
            straggler = cluster.node(0)
            assert straggler.reasons() == ()
            before = straggler.counters.cosignatures.total()
            await cluster.final(0, *weapons(cluster, 30, 1))
            assert straggler.counters.cosignatures.total() > before
            await proves_everything(cluster, FOUNDING, [])

    asyncio.run(scenario())


def test_a_newcomer_that_is_not_there_yet_does_not_keep_the_others_from_going_on(tmp_path: Path) -> None:
    """n = 5 needs 4: those that were there already."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            newcomer = cluster.add("coast")
            await enact(cluster, ValidatorAdd(agency=cluster.identities["coast"]))
            await in_epoch(cluster, 1)
            for n in range(10):
                await cluster.final(n % 4, *weapons(cluster, n, 1))
            await cluster.start(newcomer)  # from an empty directory, while the others work
            async with loaded(cluster, 0):
                await in_epoch(cluster, 1)
                await cluster.final(newcomer, *weapons(cluster, 50, 1))
            await settled(cluster)
            assert cluster.node(newcomer).status().is_validator
            await cluster.crash(0)  # so that the quorum needs the newcomer
            await cluster.final(newcomer, *weapons(cluster, 60, 1))
            await proves_everything(cluster, FOUNDING, [])

    asyncio.run(scenario())


def test_a_change_enacted_while_a_validator_is_down_reaches_it_when_it_is_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.crash(3)
            await enact(cluster, ValidatorReplace(party="police", agency=build_agency("coast")), *FOUNDERS[:3])
            await cluster.start(cluster.add("coast"))
            await in_epoch(cluster, 1)
            await cluster.start(3)
            await in_epoch(cluster, 1)
            await settled(cluster)
            police = cluster.node(3)
            assert not police.status().is_validator
            assert police.reasons() == ()
            await cluster.final(3, *weapons(cluster, 1, 1))  # it passes records on, though it decides nothing
            await settled(cluster)
            votes = [vote for vote in police._stores.votes.load() if getattr(vote, "epoch", 0) == 1]
            assert [vote for vote in votes if hasattr(vote, "signer")] == []
            await proves_everything(cluster, FOUNDING, [])

    asyncio.run(scenario())


def test_a_validator_goes_on_under_new_keys(tmp_path: Path) -> None:
    """The old ones sign nothing from the closing block on; started with the new ones, it decides again."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            keys = {role: node_key_proof("police", role, 1) for role in NODE_ROLES}
            await enact(cluster, ValidatorRotate(party="police", keys=RotatedKeys(**keys)))
            await in_epoch(cluster, 1)
            assert not cluster.node(3).status().is_validator
            await cluster.crash(3)
            cluster.rotate("police", 1)
            await cluster.start(3)
            assert cluster.node(3).status().is_validator
            await cluster.crash(0)  # so that the quorum needs it
            await cluster.final(1, *weapons(cluster, 1, 3))
            await settled(cluster)
            await proves_everything(cluster, FOUNDING, [])

    asyncio.run(scenario())


def test_the_times_that_are_agreed_on_are_the_replicas_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await enact(cluster, ParametersSet(heartbeat_s=77, lead_timeout_ms=450))
            await cluster.level()
            for node in cluster.running:
                times = node._driver.replica._state.parameters
                assert (times.heartbeat_s, times.lead_timeout_ms) == (77, 450)
                assert times.status_ms == cluster.parameters.status_ms
            assert {node.status().epoch for node in cluster.running} == {0}

    asyncio.run(scenario())


def test_the_version_in_force_is_shown_before_and_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            height = cluster.node(0).status().height + 10
            await enact(cluster, VersionActivate(version=2, height=height))
            assert cluster.node(0).status().version == 1
            while cluster.node(0).status().height < height:
                await cluster.final(0, *weapons(cluster, cluster.world.fresh(), 1))
            assert cluster.node(0).status().version == 2
            await cluster.crash(0)
            await cluster.start(0)
            assert cluster.node(0).status().version == 2

    asyncio.run(scenario())


async def _unlinked(cluster: Cluster, party: str) -> None:
    """Wait until every running node shows this observer as not linked: it is listed all the same."""
    while any(other.connected for node in cluster.running for other in node.status().others if other.party == party):
        await asyncio.sleep(0.01)
    assert all([other.party for other in node.status().others] == [party] for node in cluster.running)


@pytest.mark.parametrize("height", ["at once", "later"])
def test_an_observer_that_is_no_validator_at_all_follows_and_shows_what_policies_believe(
    tmp_path: Path, height: str
) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            observer = cluster.add("watcher")
            if height == "later":
                for n in range(12):
                    await cluster.final(0, *weapons(cluster, n, 1))
            for index in range(4):  # their operators list it, and start their nodes anew
                await cluster.crash(index)
                await cluster.start(index)
            await cluster.start(observer)
            await cluster.level()
            await cluster.final(observer, *weapons(cluster, 90, 1))
            await settled(cluster)
            status = cluster.node(observer).status()
            assert (status.is_validator, status.reasons) == (False, ())
            assert status.others == ()
            for index in range(4):
                [watcher] = cluster.node(index).status().others
                assert (watcher.party, watcher.connected, watcher.height is None) == ("watcher", True, False)
            await cluster.crash(observer)
            async with within("the watcher is not linked any more"):
                await _unlinked(cluster, "watcher")
            await cluster.start(observer)
            await cluster.level()
            assert policy_of(GENESIS.origin, _doc(cluster)) == FOUNDING
            await proves_everything(cluster, FOUNDING, [])

    asyncio.run(scenario())


def _doc(cluster: Cluster) -> ValidatorsDoc:
    members = cluster.running[0].members
    return ValidatorsDoc(epoch=members.epoch, members=members.validators)
