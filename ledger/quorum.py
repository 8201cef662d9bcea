"""Quorum arithmetic (P1.1), for consensus, state and clients alike; alone so that it can be checked against a dumb twin.

Integers only.
"""

from ledger.limits import MAX_VALIDATORS


def faults_tolerated(size: int) -> int:
    """f = (n - 1) // 3: how many of `size` validators may lie. Requires 1 <= size <= MAX_VALIDATORS."""
    assert 1 <= size <= MAX_VALIDATORS, size
    return (size - 1) // 3


def quorum(size: int) -> int:
    """q = n - f: two quorums share at least one honest validator. Requires 1 <= size <= MAX_VALIDATORS."""
    return size - faults_tolerated(size)


def one_honest(size: int) -> int:
    """f + 1: so many validators include an honest one. Requires 1 <= size <= MAX_VALIDATORS."""
    return faults_tolerated(size) + 1
