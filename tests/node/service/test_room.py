"""Room for requests: bounded in all and for each party, and given back whatever happens."""

import pytest

from ledger.errors import OverloadError
from node.service.room import ByteRoom


def test_a_party_takes_its_share_only_and_all_together_no_more_than_there_is() -> None:
    room = ByteRoom(total_bytes=100, party_bytes=40)
    with room.hold("greedy") as first, room.hold("greedy") as second, room.hold("modest") as other:
        first.take(30)
        with pytest.raises(OverloadError) as refused:
            second.take(11)
        assert refused.value.code == "requests_full"
        second.take(10)
        other.take(40)
        with room.hold("third") as third:
            third.take(20)
            with pytest.raises(OverloadError):
                third.take(1)
        assert room.held_bytes == 80
    assert room.held_bytes == 0


def test_what_a_failed_request_held_is_given_back() -> None:
    room = ByteRoom(total_bytes=10, party_bytes=10)

    def fail() -> None:
        with room.hold("a") as holding:
            holding.take(10)
            raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):
            fail()
    assert room.held_bytes == 0
