"""Quorum arithmetic and leaders against dumb twins, for every size there is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.consensus.epoch import Epoch
from ledger.consensus.leader import leader, leader_offset
from ledger.errors import ConfigurationError
from ledger.limits import MAX_VALIDATORS
from ledger.quorum import faults_tolerated, one_honest, quorum


@pytest.mark.parametrize("size", range(1, MAX_VALIDATORS + 1))
def test_quorum_is_what_counting_finds(size: int) -> None:
    tolerated = max(f for f in range(size + 1) if 3 * f + 1 <= size)
    assert faults_tolerated(size) == tolerated
    assert quorum(size) == size - tolerated
    assert one_honest(size) == tolerated + 1
    assert 2 * quorum(size) - size > tolerated, "two quorums share an honest validator"
    assert size - tolerated >= quorum(size), "the honest alone are a quorum"


@pytest.mark.parametrize("size", range(1, 8))
def test_any_two_quorums_share_an_honest_validator(size: int) -> None:
    for first in itertools.combinations(range(size), quorum(size)):
        for second in itertools.combinations(range(size), quorum(size)):
            assert len(set(first) & set(second)) > faults_tolerated(size)


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (7, 5), (10, 7)])
def test_small_sizes(size: int, expected: int) -> None:
    assert quorum(size) == expected


@given(size=st.integers(1, MAX_VALIDATORS), opening=st.binary(min_size=32, max_size=32), view=st.integers(1, 10**9))
def test_leaders_go_round(size: int, opening: bytes, view: int) -> None:
    offset = leader_offset(opening)
    assert offset == int(opening[:8].hex(), 16)
    turn = [leader(size, offset, view + step) for step in range(size)]
    assert sorted(turn) == list(range(size))
    assert turn[0] == (view + offset) % size


def test_an_epoch_refuses_doubled_and_misshapen_keys() -> None:
    for keys in ((), (bytes(32), bytes(32)), (bytes(31),), tuple(bytes([n]) * 32 for n in range(MAX_VALIDATORS + 1))):
        with pytest.raises(ConfigurationError):
            Epoch(number=0, validators=keys, opening_digest=bytes(32))
