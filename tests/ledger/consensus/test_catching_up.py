"""A replica that is far behind while the others go on (P7.2, P5.10), and one whose votes were lost (P7.5)."""

import msgspec
import pytest

from ledger.block import Block
from ledger.consensus.durable import Durable
from ledger.consensus.effects import Check, Commit, Drop, Effect, FetchBlocks, Send, Timer
from ledger.consensus.inputs import BlocksFetched, Committed
from ledger.consensus.messages import BlockRequest, BlockResponse, ProposalMessage, Status, VoteMessage
from ledger.limits import CATCH_UP_AHEAD_BLOCKS, MAX_BLOCKS_PER_REQUEST, VIEW_RETENTION, VIEW_WINDOW
from tests.ledger.consensus.kit import (
    CLOCK_MS,
    GENESIS,
    Bench,
    block_on,
    finalization,
    finalize,
    notarization,
    notarize,
    nullify,
    proposal_for,
    proposal_message,
)

LENGTH = 420
"""Blocks of the chain; the replica hears of it when it has 300."""
BEHIND = 300

X = block_on(GENESIS, 1, name="X")


def chain_of(length: int) -> list[Block]:
    chain = [block_on(GENESIS, 1)]
    for view in range(2, length + 1):
        chain.append(block_on(chain[-1], view))
    return chain


CHAIN_OF_BLOCKS = chain_of(LENGTH)
BY_DIGEST = {block.digest: block for block in CHAIN_OF_BLOCKS}


class Follower:
    """A bench whose peers answer every request for a block, and whose driver answers pages and commits when told to."""

    def __init__(self) -> None:
        self.bench = Bench(0, check=False, commit=False)
        self.requests = 0
        self.commits: list[Commit] = []
        self.fetches: list[FetchBlocks] = []
        self.held: set[bytes] = set()
        self.most_held = 0

    def take(self, effects: list[Effect]) -> None:
        queue = list(effects)
        while queue:
            effect = queue.pop(0)
            if isinstance(effect, Send) and isinstance(effect.message, BlockRequest):
                self.requests += 1
                digest = effect.message.digest
                answer = BlockResponse(digest=digest, block=BY_DIGEST.get(digest))
                queue += self.bench.receive(effect.to, answer)
            elif isinstance(effect, Check):
                queue += self.bench.checked(effect.block)
            elif isinstance(effect, Commit):
                self.commits.append(effect)
            elif isinstance(effect, FetchBlocks):
                self.fetches.append(effect)
        self.most_held = max(self.most_held, len(self.bench.replica._state.blocks))

    def others_finish(self, view: int) -> None:
        """The others decide a view, and we hear all of it."""
        block = CHAIN_OF_BLOCKS[view - 1]
        if view % 4:
            parent = notarization(CHAIN_OF_BLOCKS[view - 2]) if view > 1 else None
            self.take(self.bench.receive(view % 4, proposal_message(block, parent=parent)))
        for certificate in (notarization(block), finalization(block)):
            self.take(self.bench.show(certificate))

    def page(self) -> None:
        """The others answer the last fetch with what they had committed."""
        fetch = self.fetches.pop()
        first = fetch.first_height
        last = min(first + MAX_BLOCKS_PER_REQUEST - 1, self.bench.view - 1)
        blocks = tuple((block, finalization(block)) for block in CHAIN_OF_BLOCKS[first - 1 : last])
        self.take(
            self.bench.tell(
                BlocksFetched(now_ms=self.bench.now_ms, clock_ms=CLOCK_MS, sender=1, first_height=first, blocks=blocks)
            )
        )

    def commit(self) -> None:
        floor = self.commits.pop(0).floor
        self.bench.floor = floor
        self.take(
            self.bench.tell(
                Committed(now_ms=self.bench.now_ms, clock_ms=CLOCK_MS, height=floor.height, digest=floor.digest)
            )
        )


def far_behind() -> Follower:
    follower = Follower()
    tip = CHAIN_OF_BLOCKS[BEHIND - 1]
    for peer in (1, 2, 3):
        status = Status(epoch=0, view=BEHIND + 1, entry=None, finalized_view=BEHIND, height=BEHIND, digest=tip.digest)
        follower.take(follower.bench.receive(peer, status))
    follower.take(follower.bench.show(finalization(tip)))
    assert follower.bench.view == BEHIND + 1
    return follower


def test_p7_2_p5_10_far_behind_under_load_blocks_come_from_below_and_memory_is_bounded() -> None:
    follower = far_behind()
    for view in range(BEHIND + 1, BEHIND + 101):
        follower.others_finish(view)
    assert follower.requests == 25, (
        "those that we should have proposed ourselves; the way down from the newest block is not walked block by block"
    )
    assert [fetch.first_height for fetch in follower.fetches] == [1]
    assert follower.most_held <= CATCH_UP_AHEAD_BLOCKS + 16

    view = BEHIND + 101
    while follower.fetches or follower.commits:
        if follower.fetches:
            follower.page()
        for _ in range(min(40, len(follower.commits))):
            follower.commit()
        if view <= LENGTH:
            follower.others_finish(view)
            view += 1
    assert follower.bench.floor.height == LENGTH, "and it does catch up while the others go on"
    assert follower.most_held <= 2 * CATCH_UP_AHEAD_BLOCKS + MAX_BLOCKS_PER_REQUEST + 16
    assert follower.bench.alarms == []


@pytest.mark.parametrize("liar", [1, 2, 3])
def test_p7_2_one_signers_claim_of_a_height_does_not_send_a_node_that_lacks_one_block_to_fetch_by_height(
    liar: int,
) -> None:
    bench = Bench(0)
    for peer in (1, 2, 3):
        height = 1_000_000 if peer == liar else 1
        bench.receive(peer, Status(epoch=0, view=2, entry=None, finalized_view=1, height=height, digest=X.digest))
    bench.show(finalization(X))
    assert [request.digest for request in bench.sent(BlockRequest)] == [X.digest]
    assert not [effect for effect in bench.effects if isinstance(effect, FetchBlocks)]
    bench.receive(1, BlockResponse(digest=X.digest, block=X))
    assert bench.floor.height == 1


@pytest.mark.parametrize("liar", [1, 2, 3])
def test_p7_2_one_signers_claim_of_none_does_not_make_a_node_far_behind_fetch_the_newest_block_first(liar: int) -> None:
    bench = Bench(0)
    tip = CHAIN_OF_BLOCKS[BEHIND - 1]
    for peer in (1, 2, 3):
        height = 0 if peer == liar else BEHIND
        bench.receive(
            peer,
            Status(epoch=0, view=BEHIND + 1, entry=None, finalized_view=BEHIND, height=height, digest=tip.digest),
        )
    bench.show(finalization(tip))
    assert bench.sent(BlockRequest) == []
    assert [effect.first_height for effect in bench.effects if isinstance(effect, FetchBlocks)] == [1]


def test_p5_10_votes_of_views_that_others_have_settled_do_not_pile_up_while_the_floor_is_far_below() -> None:
    bench = far_behind().bench
    for view in range(BEHIND + 1, BEHIND + 101):
        proposal = proposal_for(CHAIN_OF_BLOCKS[view - 1])
        for cast in (notarize, finalize):
            for signer in (1, 2, 3):
                bench.vote(cast(signer, proposal))
    assert bench.floor == GENESIS
    assert bench.view == BEHIND + 101
    assert len(bench.replica._state.tally._views) <= VIEW_RETENTION + VIEW_WINDOW + 1
    for view in (BEHIND, 5):
        bench.vote(nullify(1, view))
    assert len(bench.replica._state.tally._views) <= VIEW_RETENTION + VIEW_WINDOW + 1
    bench.receive(1, VoteMessage(vote=msgspec.structs.replace(nullify(0, 5), signature=bytes(64))))
    assert bench.alarms == []
    bench.receive(1, VoteMessage(vote=nullify(0, 5)))
    assert bench.alarms == ["unknown_own_vote"], "P7.5: above the floor, however old"


def test_p5_10_commits_that_are_slower_than_the_others_do_not_fill_the_memory() -> None:
    follower = Follower()
    for view in range(1, 201):
        follower.others_finish(view)
    checks = [effect for effect in follower.bench.effects if isinstance(effect, Check)]
    assert len(checks) <= CATCH_UP_AHEAD_BLOCKS + 8, "nothing is executed far ahead of what is committed"
    assert follower.most_held <= 2 * CATCH_UP_AHEAD_BLOCKS + 16
    while follower.commits or follower.fetches:
        if follower.commits:
            follower.commit()
        if follower.fetches:
            follower.page()
    assert follower.bench.floor.height == 200
    dropped = {digest for effect in follower.bench.effects if isinstance(effect, Drop) for digest in effect.digests}
    committed = [effect.block for effect in follower.bench.effects if isinstance(effect, Commit)]
    assert [block.header.height for block in committed] == list(range(1, 201))
    executed: set[bytes] = {GENESIS.digest}
    for effect in follower.bench.effects:  # a block is checked on a parent whose overlay is there
        if isinstance(effect, Check):
            assert effect.block.header.parent_digest in executed
            executed.add(effect.block.digest)
        elif isinstance(effect, Drop):
            gone = set(effect.digests) & executed
            executed -= gone
            orphans = [b for b in CHAIN_OF_BLOCKS if b.digest in executed and b.header.parent_digest in gone]
            assert not orphans, "an overlay is never left without the one that it lies on"
    assert dropped, "the case was met"


def test_p7_5_a_floor_without_its_finalization_shows_that_the_votes_are_lost() -> None:
    bench = Bench(0)
    bench.pending(1)
    bench.receive(1, proposal_message(X))
    bench.vote(notarize(2, proposal_for(X)))
    bench.vote(finalize(1, proposal_for(X)))
    bench.vote(finalize(2, proposal_for(X)))
    assert bench.floor.view == 1
    assert bench.restart().alarms == []
    lost = Bench(0, durable=Durable(floor=bench.floor))
    assert lost.alarms == ["votes_lost"]
    cut_back = Bench(0, durable=Durable(floor=GENESIS, signing_floor=(0, 1)))
    assert cut_back.alarms == ["votes_lost"]
    lost.pending(1)
    lost.fire(Timer.LEAD)
    assert lost.votes() == []
    assert Bench(None, durable=Durable(floor=bench.floor)).alarms == [], "an observer has none to lose"
    pruned = bench.image
    pruned.prune(0, 1)
    assert Bench(0, durable=Durable(floor=bench.floor, records=pruned.records())).alarms == []


def test_p7_5_an_own_vote_of_a_view_far_ahead_is_looked_at() -> None:
    far = VIEW_WINDOW + 100
    bench = Bench(0)
    forged = msgspec.structs.replace(nullify(0, far), signature=bytes(64))
    bench.receive(1, VoteMessage(vote=forged))
    assert bench.alarms == []
    bench.receive(1, VoteMessage(vote=nullify(0, far)))
    assert bench.alarms == ["unknown_own_vote"]


def test_p5_2_a_proposal_on_the_floor_brings_the_floors_finalization() -> None:
    child = block_on(X, 2, name="Y")
    bench = Bench(2, build=child)
    bench.receive(1, proposal_message(X))
    bench.show(finalization(X, (0, 1, 3)))
    bench.pending(1)
    [message] = bench.sent(ProposalMessage)
    assert message.parent == finalization(X, (0, 1, 3))


def test_p7_5_own_votes_that_were_pruned_before_the_ledger_was_cut_back_are_no_alarm() -> None:
    """Below what was settled once, the table is allowed to lack them; above it, it is not."""
    final = block_on(GENESIS, 5, name="final")
    durable = Durable(floor=GENESIS, records=(finalization(final),), signing_floor=(0, 5))
    bench = Bench(0, durable=durable)
    bench.receive(1, VoteMessage(vote=notarize(0, proposal_for(block_on(GENESIS, 3, name="pruned")))))
    assert bench.alarms == []
    bench.receive(1, VoteMessage(vote=notarize(0, proposal_for(block_on(final, 7, name="unknown")))))
    assert bench.alarms == ["unknown_own_vote"]
