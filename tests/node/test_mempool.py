"""The pool is bounded in every direction, keeps order, and remembers what it refused."""

from contextlib import suppress

import msgspec
import pytest

from ledger.errors import OverloadError, RuleError
from ledger.limits import (
    MEMPOOL_ASIDE_CHECKS,
    MEMPOOL_CHECK_DOCUMENTS,
    MEMPOOL_PROMPT_DOCUMENTS,
    MEMPOOL_WAIT_MS,
    RECORD_MAX_AGE_MS,
)
from ledger.records.envelope import SignedRecord
from ledger.state.model import StateKey
from node.mempool import TURN_DOCUMENTS, Mempool, Pending, PoolLimits
from tests.world import START_MS, World, key_named

SMALL = PoolLimits(
    records=10, total_bytes=20_000, weapons=40, issuer_records=6, source_records=4, aside_records=3, remembered=5
)
ERROR = RuleError("no", code="some_rule")


class Pool:
    """A pool and records to put into it."""

    def __init__(self, limits: PoolLimits = SMALL) -> None:
        self.pool = Mempool(limits)
        self.world = World()

    def pending(
        self, issuer: str = "interior", source: str = "a", *, weapons: int = 1, was_valid: bool = True
    ) -> Pending:
        record = self.world.register(issuer, *(f"S{self.world.fresh()}" for _ in range(weapons)))
        _, signed = self.world.sign(record)
        keys = tuple(StateKey("weapon", f"{signed.id} {n}") for n in range(weapons))
        return Pending(signed=signed, source=source, touches=keys, was_valid=was_valid, since_ms=self.world.fresh())

    def touching(self, documents: int, *, was_valid: bool = True) -> Pending:
        """A record that touches so many documents."""
        pending = self.pending(was_valid=was_valid)
        keys = tuple(StateKey("weapon", f"{pending.signed.id} {n}") for n in range(documents))
        return msgspec.structs.replace(pending, touches=keys)

    def add(self, *args: str, weapons: int = 1) -> SignedRecord:
        pending = self.pending(*args, weapons=weapons)
        issuer, size = pending.signed.record.issuer, len(pending.signed.entry)
        self.pool.require_room(issuer, pending.source, size, weapons)
        self.pool.add(pending)
        return pending.signed

    def refused(self, *args: str, weapons: int = 1) -> str:
        before = (len(self.pool), self.pool.total_bytes)
        with pytest.raises(OverloadError) as caught:
            self.add(*args, weapons=weapons)
        assert (len(self.pool), self.pool.total_bytes) == before
        return caught.value.code


def test_order_is_that_of_admission() -> None:
    pool = Pool()
    added = [pool.add().id for _ in range(4)]
    assert [pending.signed.id for pending in pool.pool.active()] == added
    assert len(pool.pool) == 4
    assert [pending.signed.id for pending in pool.pool.oldest(2, before_ms=10**9)] == added[:2]
    assert pool.pool.oldest(9, before_ms=0) == []


def test_room_is_shared_by_what_is_left_of_it() -> None:
    pool = Pool()
    for _ in range(4):
        pool.add("interior", "a")
    assert pool.refused("interior", "b") == "issuer_share_full"
    assert pool.refused("customs", "a") == "source_share_full"
    pool.add("customs", "b")
    pool.add("customs", "b")
    assert pool.refused("customs", "c") == "issuer_share_full"
    pool.add("police", "c")
    pool.add("police", "c")
    assert pool.refused("police", "d") == "issuer_share_full"
    pool.add("neighbour", "d")  # who has nothing in it finds room
    assert pool.refused("neighbour", "e") == "issuer_share_full"


def test_a_source_that_sends_without_end_leaves_half_of_the_pool_to_others_and_two_a_third() -> None:
    issuers = ("customs", "interior", "neighbour", "police")
    for sources, most in (("a", 12), ("ab", 16)):
        pool = Pool(PoolLimits(records=24, issuer_records=24, source_records=24))
        for _ in range(24):
            for source in sources:
                for issuer in issuers:
                    with suppress(OverloadError):
                        pool.add(issuer, source)
        assert len(pool.pool) == most, sources
        pool.world.keys["modest"] = key_named("modest")
        pool.add("modest", "modest")


def test_a_full_pool_is_full_for_all() -> None:
    pool = Pool(PoolLimits(records=4))
    for issuer in ("customs", "interior", "neighbour", "police"):
        pool.add(issuer, issuer)
    assert pool.refused("police", "police") == "mempool_full"


def test_blocks_are_filled_from_all_issuers_in_turn() -> None:
    """By what they touch: single records pass many at a time, a large lot when its turns have come together."""
    pool = Pool(PoolLimits())
    large = [pool.add("interior", "a", weapons=TURN_DOCUMENTS + 1).id for _ in range(3)]
    single = [pool.add("police", "a").id for _ in range(TURN_DOCUMENTS + 10)]
    middling = [pool.add("customs", "a", weapons=TURN_DOCUMENTS).id for _ in range(2)]
    assert [pending.signed.id for pending in pool.pool.active()] == [
        *single[:TURN_DOCUMENTS], middling[0], large[0], *single[TURN_DOCUMENTS:], middling[1], large[1], large[2],
    ]  # fmt: skip


def test_records_that_stand_elsewhere_already_are_left_out_of_a_block() -> None:
    pool = Pool(PoolLimits())
    ids = [pool.add("interior", "a").id for _ in range(3)]
    pool.add("police", "a")
    left = [pending.signed.id for pending in pool.pool.active({ids[0], ids[2], "0" * 64})]
    assert len(left) == 2
    assert set(left) & set(ids) == {ids[1]}
    assert list(pool.pool.active({pending.signed.id for pending in pool.pool.active()})) == []


def test_an_issuer_whose_records_wait_long_is_put_off_only_if_it_has_many() -> None:
    pool = Pool(PoolLimits())
    first = pool.touching(MEMPOOL_PROMPT_DOCUMENTS // 2)
    second = pool.touching(MEMPOOL_PROMPT_DOCUMENTS // 2)
    single = pool.pending("interior")
    late_ms = first.since_ms + MEMPOOL_WAIT_MS + 1
    pool.pool.add(first)
    pool.pool.add(second)
    pool.pool.require_pace("interior", now_ms=late_ms)
    pool.pool.add(single)
    with pytest.raises(OverloadError) as refused:
        pool.pool.require_pace("interior", now_ms=late_ms)
    assert refused.value.code == "issuer_behind"
    pool.pool.require_pace("interior", now_ms=late_ms - 1)
    pool.pool.require_pace("customs", now_ms=late_ms)
    pool.pool.made_final([first.signed.id])
    pool.pool.require_pace("interior", now_ms=late_ms)
    pool.pool.made_final([second.signed.id, single.signed.id])
    pool.pool.require_pace("interior", now_ms=late_ms)


def test_large_records_are_held_against_the_state_again_a_few_at_a_time() -> None:
    pool = Pool(PoolLimits())
    for was_valid in (True, False):
        for _ in range(6):
            pending = pool.touching(MEMPOOL_CHECK_DOCUMENTS // 3, was_valid=was_valid)
            pool.pool.add(pending) if was_valid else pool.pool.put_aside(pending, ERROR)
    waiting, aside = pool.pool.review(64)
    assert (len(waiting), len(aside)) == (3, 3)
    assert {*map(id, aside)}.isdisjoint(map(id, pool.pool.retry(64))), "the others have their turn"
    huge = Pool(PoolLimits())
    huge.pool.add(huge.touching(MEMPOOL_CHECK_DOCUMENTS + 1))
    assert len(huge.pool.review(64)[0]) == 1


def test_bytes_and_weapons_are_bounded() -> None:
    by_weapons, by_bytes = Pool(), Pool(PoolLimits(total_bytes=2_000))
    by_weapons.add(weapons=30)
    assert by_weapons.refused("customs", "b", weapons=11) == "mempool_full"
    assert by_weapons.refused("customs", "a", weapons=1) == "source_share_full"
    by_weapons.add("customs", "b", weapons=5)
    by_bytes.add()
    by_bytes.add("customs", "b")
    assert by_bytes.refused("police", "c", weapons=40) == "mempool_full"
    assert by_bytes.refused("police", "a") == "source_share_full"


def test_everything_is_given_back() -> None:
    pool = Pool()
    records = [pool.add("interior", "a") for _ in range(3)]
    pool.pool.set_aside(records[0].id, ERROR)
    pool.pool.made_final([records[1].id, "0" * 64])
    pool.pool.refuse(records[0].id, ERROR, height=1)
    pool.pool.refuse(records[2].id, ERROR, height=1)
    assert (len(pool.pool), pool.pool.aside_count, pool.pool.total_bytes) == (0, 0, 0)
    for _ in range(4):
        pool.add("interior", "a")  # the whole share is free again


def test_what_is_set_aside_is_not_pending_and_comes_back_in_a_later_block() -> None:
    pool = Pool()
    first, second = pool.add(), pool.add()
    pool.pool.set_aside(first.id, ERROR)
    assert (len(pool.pool), pool.pool.aside_count) == (1, 1)
    assert first.id in pool.pool
    assert [pending.signed.id for pending in pool.pool.retry(10)] == [first.id]
    pool.pool.restore(first.id)
    assert [pending.signed.id for pending in pool.pool.active()] == [second.id, first.id]
    pool.pool.set_aside(second.id, ERROR)
    pool.pool.still_invalid(second.id, ERROR, height=9)  # it was valid before: now it is refused for good
    fate = pool.pool.fate(second.id)
    assert fate is not None
    assert (fate.status, fate.height, fate.error) == ("refused", 9, ERROR)


def test_a_peers_record_that_never_becomes_valid_is_tried_a_bounded_number_of_times() -> None:
    pool = Pool()
    pending = pool.pending(was_valid=False)
    pool.pool.put_aside(pending, ERROR)
    for _ in range(MEMPOOL_ASIDE_CHECKS):
        assert pending.signed.id in pool.pool
        assert [tried.signed.id for tried in pool.pool.retry(5)] == [pending.signed.id]
        pool.pool.still_invalid(pending.signed.id, ERROR, height=1)
    assert pending.signed.id not in pool.pool
    assert pool.pool.total_bytes == 0


def test_records_set_aside_are_bounded_and_tried_in_turn() -> None:
    pool = Pool()
    aside = [pool.pending(was_valid=False) for _ in range(5)]
    for pending in aside:
        pool.pool.put_aside(pending, ERROR)
    assert pool.pool.aside_count == 3
    kept = [pending.signed.id for pending in aside[2:]]
    assert [pending.signed.id for pending in pool.pool.retry(2)] == kept[:2]
    assert [pending.signed.id for pending in pool.pool.retry(2)] == [kept[2], kept[0]]


def test_what_was_valid_here_does_not_give_way_to_what_a_peer_sends() -> None:
    """It waits for a block that is not final yet: its submitter would be told that it is refused."""
    pool = Pool()
    ours = pool.add("interior")
    pool.pool.set_aside(ours.id, ERROR)
    for _ in range(10):
        pool.pool.put_aside(pool.pending("customs", "peer customs", was_valid=False), ERROR)
    assert pool.pool.aside_count == 3
    assert ours.id in pool.pool
    assert pool.pool.fate(ours.id) is None


def test_active_records_make_those_set_aside_give_way() -> None:
    pool = Pool(PoolLimits(total_bytes=2_000))
    aside = pool.pending(was_valid=False)
    pool.pool.put_aside(aside, ERROR)
    pool.add("interior", "a")
    pool.add("interior", "b")
    pool.add("interior", "c")
    assert aside.signed.id not in pool.pool


def test_active_records_make_those_set_aside_give_way_to_their_weapons_too() -> None:
    pool = Pool(PoolLimits(weapons=40))
    aside = [pool.pending("customs", "peer customs", weapons=15, was_valid=False) for _ in range(2)]
    for pending in aside:
        pool.pool.put_aside(pending, ERROR)
    pool.add("interior", weapons=20)
    assert [pending.signed.id in pool.pool for pending in aside] == [False, True]
    assert len(pool.pool) == 1


def test_fates_are_remembered_up_to_a_bound_and_told_once() -> None:
    pool = Pool()
    ids = [f"{n:064x}" for n in range(7)]
    for record_id in ids:
        pool.pool.remember_refusal(record_id, ERROR, height=2)
    assert [pool.pool.fate(record_id) is not None for record_id in ids] == [False] * 2 + [True] * 5
    assert [record_id for record_id, _ in pool.pool.take_news()] == ids[2:]
    assert pool.pool.take_news() == []
    for n in range(1_000):
        pool.pool.remember_refusal(f"{n:064x}", ERROR, height=2)
    assert len(pool.pool._news) == 5
    again = pool.pending()
    pool.pool.remember_refusal(again.signed.id, ERROR, height=2)
    pool.pool.add(again)
    assert pool.pool.fate(again.signed.id) is None  # it is pending: the refusal is history


def test_records_too_old_for_any_block_expire() -> None:
    pool = Pool()
    old = pool.add()
    pool.world.wait(1_000_000)
    new = pool.add()
    assert pool.pool.expire(time_ms=START_MS + RECORD_MAX_AGE_MS, height=4) == []
    assert pool.pool.expire(time_ms=START_MS + RECORD_MAX_AGE_MS + 500_000, height=4) == [old.id]
    fate = pool.pool.fate(old.id)
    assert fate is not None
    assert fate.status == "expired"
    assert new.id in pool.pool


def test_records_that_a_block_affects_are_found_by_what_they_touch() -> None:
    pool = Pool()
    first, second = pool.add(), pool.add()
    assert [p.signed.id for p in pool.pool.affected({StateKey("weapon", f"{second.id} 0"): None})] == [second.id]
    assert pool.pool.affected({StateKey("party", first.id): None}) == []
