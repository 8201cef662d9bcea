"""Which committed blocks share a transaction while this node catches up (`node.application`): decided without a thread or
a clock, so that simulated nodes decide it in the same way."""

from collections import deque
from collections.abc import Callable, Sequence

from ledger.consensus.effects import Commit
from ledger.limits import COMMIT_GROUP_BLOCKS, COMMIT_GROUP_BYTES


def may_grow(waiting: Sequence[Commit], *, checking: int, expected_height: int) -> bool:
    """Whether the commits that wait are worth waiting with: fetched blocks above them are being executed just now.

    Requires at least one that waits. `checking`: blocks that are being executed. `expected_height`: the highest one fetched.
    """
    return (
        checking > 0
        and waiting[-1].block.header.height < expected_height
        and len(waiting) < COMMIT_GROUP_BLOCKS
        and sum(effect.block.body_bytes for effect in waiting) < COMMIT_GROUP_BYTES
    )


def take_group(waiting: deque[Commit], is_closing: Callable[[bytes], bool]) -> list[Commit]:
    """Take the next blocks for one transaction; one that `is_closing`, by its digest, is the last."""
    group: list[Commit] = []
    size = 0
    while waiting and len(group) < COMMIT_GROUP_BLOCKS:
        size += waiting[0].block.body_bytes
        if group and size > COMMIT_GROUP_BYTES:
            break
        group.append(waiting.popleft())
        if is_closing(group[-1].block.digest):
            break
    return group
