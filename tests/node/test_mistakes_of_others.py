"""Mistakes that brought earlier ledgers of this kind down (P12), each as a test that bears its name.

Those of consensus alone are tried on one replica, those of the whole on nodes with real stores.
"""

import asyncio
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ledger.consensus.effects import Broadcast, Send, SetTimer, Timer
from ledger.consensus.messages import (
    BlockRequest,
    BlockResponse,
    Finalize,
    Page,
    Vote,
    conflict,
    encode_message,
)
from ledger.consensus.parameters import Parameters
from ledger.limits import PROPOSAL_BODY_WINDOW, STANDSTILL_PAGE_ITEMS, VIEW_RETENTION, VIEW_WINDOW
from ledger.records.governance import ValidatorRemove
from node.peers.wire import PeerMessage, encode_frame
from tests.ledger.consensus.kit import (
    GENESIS as FLOOR,
)
from tests.ledger.consensus.kit import (
    Bench,
    block_on,
    finalization,
    notarization,
    nullification,
    nullify,
    proposal_message,
)
from tests.ledger.consensus.test_catching_up import (
    test_p7_2_p5_10_far_behind_under_load_blocks_come_from_below_and_memory_is_bounded as far_behind,
)
from tests.node.cluster import cluster_of, within
from tests.node.faults.test_crash import FULL, lone_images, votes_in
from tests.node.reverify import reverify
from tests.node.test_cluster import enrol_maker, weapons
from tests.node.test_epochs import enact, settled
from tests.world import GENESIS

X = block_on(FLOOR, 1, name="X")
OWN = 0


def own_votes(bench: Bench) -> list[Vote]:
    """Own votes in everything that was sent."""
    sent = [effect.message for effect in bench.effects if isinstance(effect, Send | Broadcast)]
    return [vote for message in sent for vote in votes_in(message) if vote.signer == OWN]


def test_a_resend_that_signs_anew() -> None:
    """A helper for re-sending signed finalize votes for views that were nullified already (P3.4, P4)."""
    bench = Bench(OWN)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.fire(Timer.ADVANCE)
    assert bench.votes() == [("notarize", 1), ("nullify", 1)]
    signed = {msgspec.msgpack.encode(vote) for vote in own_votes(bench)}
    bench.show(notarization(X))  # a quorum wants X, we nullified
    bench.show(nullification(1))
    before = len(bench.persisted())
    for timer in (Timer.STANDSTILL, Timer.RETRY, Timer.STATUS, Timer.STANDSTILL):
        if bench.timer_is_set(timer):
            bench.fire(timer)
    again = bench.restart()
    again.pending(1)
    again.show(notarization(X))
    for timer in (Timer.STANDSTILL, Timer.STATUS, Timer.STANDSTILL):
        if again.timer_is_set(timer):
            again.fire(timer)
    assert [record for record in bench.persisted()[before:] if isinstance(record, Finalize)] == []
    assert again.voted(Finalize) == []
    resent = {msgspec.msgpack.encode(v) for v in (*own_votes(bench), *own_votes(again)) if v.view == 1}
    assert resent == signed, "what is sent again are the bytes that were stored"


def test_the_application_ahead_of_the_consensus_journal(tmp_path: Path) -> None:
    """After a crash the state was ahead of the journal, and the node could never start (P3.3)."""
    images, _, _ = lone_images(tmp_path / "run")
    ahead = []
    for number, image in enumerate(images if FULL else images[::6]):
        folder = tmp_path / f"image{number}"
        image.restore(folder)
        with closing(sqlite3.connect(folder / "ledger.db")) as ledger:
            tables = ledger.execute("SELECT count(*) FROM sqlite_master WHERE name = 'floor'").fetchone()
            floor = ledger.execute("SELECT view FROM floor").fetchone() if tables[0] else None
        with closing(sqlite3.connect(folder / "votes.db")) as votes:
            if floor is not None and floor[0] > 0:
                [final] = votes.execute("SELECT max(view) FROM consensus WHERE kind = 'finalization'").fetchone()
                if final is None or final < floor[0]:
                    ahead.append((image.point, image.torn))
    assert len(images) > 200
    assert ahead == [], "a commit is never on the disk before the finalization that led to it"


@pytest.mark.parametrize("restarts", [6])
def test_votes_forgotten_or_doubled_across_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: int
) -> None:
    """(P3.1) Every vote that ever left a node, over crashes at any moment: one for each view and kind."""
    sent: list[Vote] = []

    def watched(message: PeerMessage) -> bytes:
        sent.extend(vote for vote in votes_in(message) if vote.signer == OWN)
        return encode_frame(message)

    monkeypatch.setattr("tests.node.cluster.encode_frame", watched)

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster, 1)
            for n in range(restarts):
                waiting = asyncio.create_task(cluster.final(1, *weapons(cluster, 10 * n, 4)))
                for _ in range(n):
                    await asyncio.sleep(0)
                await cluster.crash(OWN)
                await cluster.start(OWN)
                await waiting
            await cluster.level()

    asyncio.run(scenario())
    cast: dict[object, set[Vote]] = {}
    for vote in sent:
        cast.setdefault((type(vote), vote.epoch, vote.view), set()).add(vote)
    assert len(cast) > restarts
    assert [votes for votes in cast.values() if len(votes) > 1] == []
    assert not [(a, b) for a, b in itertools.combinations(dict.fromkeys(sent), 2) if conflict(a, b)]


def test_heights_used_again_in_the_next_epoch(tmp_path: Path) -> None:
    """Observers halted over two blocks of one height (P8.2)."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.final(0, *weapons(cluster, 0, 2))
            await enact(cluster, ValidatorRemove(party="police"))
            for n in range(1, 4):
                await cluster.final(n % 3, *weapons(cluster, 10 * n, 1))
            await settled(cluster)

    asyncio.run(scenario())
    heights: dict[int, set[bytes]] = {}
    epochs = set()
    for party in ("customs", "interior", "neighbour", "police"):  # the last one follows as an observer
        verified = reverify(tmp_path / party, GENESIS, party)
        epochs.add(verified.floor[0])
        with closing(sqlite3.connect(tmp_path / party / "ledger.db")) as connection:
            for height, digest in connection.execute("SELECT height, digest FROM blocks"):
                heights.setdefault(height, set()).add(digest)
    assert epochs == {1}
    assert sorted(heights) == list(range(len(heights)))
    assert {len(digests) for digests in heights.values()} == {1}


def test_two_honest_groups_complete_a_view_differently_and_reject_each_others_ancestry() -> None:
    """One group holds the nullification of view 1, the other its notarization; each builds, and both are heard (P7.4)."""
    on_x = block_on(X, 2, name="on X")
    nullified = Bench(OWN)
    nullified.pending(1)
    nullified.show(nullification(1))
    assert nullified.view == 2
    nullified.receive(1, proposal_message(X))  # late, and dropped: its view is over
    nullified.receive(2, proposal_message(on_x, parent=notarization(X)))
    assert X.digest in [request.digest for request in nullified.sent(BlockRequest)]
    nullified.receive(1, BlockResponse(digest=X.digest, block=X))
    assert ("notarize", 2) in nullified.votes()

    beside_x = block_on(FLOOR, 2, name="beside X")
    notarized = Bench(OWN)
    notarized.pending(1)
    notarized.receive(1, proposal_message(X))
    notarized.show(notarization(X))
    assert notarized.view == 2
    notarized.receive(2, proposal_message(beside_x, nullifications=(nullification(1),)))
    assert ("notarize", 2) in notarized.votes()


@pytest.mark.parametrize("views", [100, 1_000])
def test_an_unbounded_flood_of_certificates_at_standstill(views: int) -> None:
    """(P5.8) However many views passed undecided, a standstill sends one bounded page, and in time each certificate."""
    bench = Bench(OWN)
    bench.pending(1)
    for view in range(1, views + 1):
        bench.show(nullification(view))
    sizes, seen = [], set[int]()
    for _ in range(-(-2 * views // STANDSTILL_PAGE_ITEMS) + 1):
        bench.forget()
        bench.fire(Timer.STANDSTILL)
        [page] = bench.sent(Page)
        sizes.append(len(encode_message(page)))
        seen |= {shown.view for shown in page.certificates}
    assert max(sizes) < 32 * 1024
    assert seen == set(range(1, views + 1))


def test_a_timeout_that_any_progress_resets() -> None:
    """(P5.1) Timers grow with every view since the last finalization; neither entered views nor notarizations nor blocks
    make them begin anew, only a finalization does."""
    bench = Bench(OWN)
    bench.pending(1)
    waits: list[int] = []
    for view in range(1, 12):
        bench.forget()
        bench.show(nullification(view))
        if view in (3, 6, 9):  # some progress: a notarized block of the view that was just left
            block = block_on(FLOOR, view, name=f"block {view}")
            bench.receive(view % 4, proposal_message(block))
            bench.show(notarization(block))
        waits += advance_waits(bench)[-1:]
    assert waits == sorted(waits), "never shorter before a finalization"
    assert waits[-1] > 5 * waits[0]
    defaults = Parameters()
    assert waits[-1] <= defaults.timeout_cap_ms + defaults.lead_timeout_ms + defaults.advance_timeout_ms
    final = block_on(FLOOR, 12, name="final")
    bench.receive(0, proposal_message(final))
    bench.forget()
    bench.show(finalization(final))
    bench.pending(2)
    assert advance_waits(bench)[-1] < waits[0] * 2


def advance_waits(bench: Bench) -> list[int]:
    """How long each advance timer that was set runs, in ms."""
    timers = [effect for effect in bench.effects if isinstance(effect, SetTimer) and effect.name is Timer.ADVANCE]
    return [timer.at_ms - bench.now_ms for timer in timers]


def test_a_node_out_for_long_after_a_short_disconnect_and_a_slow_catch_up(tmp_path: Path) -> None:
    """45 minutes after 30 s (P7): here the node is level again within seconds of healing, whatever it missed."""

    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            cluster.cut(3)
            for n in range(30):
                await cluster.final(n % 3, *weapons(cluster, 10 * n, 1))
            behind = cluster.node(0).status().height - cluster.node(3).status().height
            assert behind >= 30
            cluster.heal()
            async with within("the node is level", timeout_s=10):
                await cluster.level()
            await cluster.final(3, *weapons(cluster, 5_000, 1))

    asyncio.run(scenario())


def test_memory_that_grows_with_load_until_the_process_dies() -> None:
    """(P5.10) What is held stays bounded: far behind under load, and when a liar votes for views without end."""
    far_behind()
    bench = Bench(OWN)
    bench.pending(1)
    for view in range(2, 3_000):
        bench.vote(nullify(view % 3 + 1, view))
        bench.receive(2, proposal_message(block_on(FLOOR, view, name="far ahead")))
    state = bench.replica._state
    assert len(state.tally._views) <= VIEW_WINDOW + VIEW_RETENTION + 1
    assert len(state.proposals) <= VIEW_WINDOW + 1
    assert len(state.blocks) <= 2 * PROPOSAL_BODY_WINDOW
