"""Records of a peer wait by issuer: who sends little is admitted soon, whatever others send, and all of it is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from node.admission import SLICE_BYTES, SLICE_RECORDS
from node.gossip import GossipBacklog
from tests.world import World

WORLD = World()
APART = next(queues for queues in range(2, 100) if hash("interior") % queues != hash("customs") % queues)
"""A number of queues of which these two issuers share none in this process."""


def records(issuer: str, count: int) -> list[bytes]:
    return [WORLD.sign(WORLD.register(issuer, f"S{WORLD.fresh()}"))[1].entry for _ in range(count)]


def test_who_sends_little_does_not_wait_behind_who_sends_much() -> None:
    backlog = GossipBacklog(queues=APART)
    greedy = records("interior", 400)
    backlog.add(greedy)
    [modest] = records("customs", 1)
    backlog.add([modest])
    first = backlog.take()
    assert modest in first
    assert first[0] == greedy[0], "and who sends much goes on, in its own order"


def test_a_large_record_comes_in_its_turn_and_alone_if_it_fills_a_slice() -> None:
    backlog = GossipBacklog(queues=1)
    single = records("interior", 3)
    large = bytes(SLICE_BYTES + 1)
    backlog.add([single[0], large, *single[1:]])
    assert [backlog.take() for _ in range(3)] == [[single[0]], [large], single[1:]]
    assert not backlog


def test_too_much_is_dropped_of_who_has_most_of_it_the_newest_first() -> None:
    greedy, modest = records("interior", 50), records("customs", 2)
    room = sum(map(len, [*greedy[:20], *modest])) + 10
    backlog = GossipBacklog(room_bytes=room, queues=APART)
    assert backlog.add(modest) == 0
    assert backlog.add(greedy) == 30
    assert backlog.held_bytes <= room
    assert sorted(_all(backlog)) == sorted([*greedy[:20], *modest])
    assert backlog.held_bytes == 0


def test_entries_without_bytes_are_bounded_and_drop_nobody_elses() -> None:
    backlog = GossipBacklog(room_records=100, queues=APART)
    modest = records("customs", 2)
    assert backlog.add([*modest, *records("interior", 1)]) == 0
    assert sum(backlog.add([b""] * 1_000) for _ in range(3)) == 3_000 - 97
    taken = _all(backlog)
    assert len(taken) == 100
    assert set(modest) <= set(taken)


@given(st.lists(st.binary(max_size=60), max_size=400), st.integers(1, 5))
def test_whatever_is_added_comes_out_once_in_slices(entries: list[bytes], queues: int) -> None:
    """Bytes that are no entry wait like others: admission says what is wrong with them."""
    backlog = GossipBacklog(queues=queues)
    assert backlog.add(entries) == 0
    assert sorted(_all(backlog)) == sorted(entries)
    assert backlog.held_bytes == 0
    assert backlog.take() == []


def _all(backlog: GossipBacklog) -> list[bytes]:
    taken = []
    while backlog:
        part = backlog.take()
        assert 0 < len(part) <= SLICE_RECORDS
        assert len(part) == 1 or sum(map(len, part)) <= SLICE_BYTES
        taken += part
    return taken
