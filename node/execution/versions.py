"""What readers need to see one height while blocks go on being committed (DESIGN 7).

The store holds the documents of the newest block only. For each recent block this keeps the state tree after it and the
documents it overwrote, so that a snapshot of the store can be read back to an earlier height. Written by the executor's
thread, read by any: what is published is an immutable tuple.
"""

from collections.abc import Mapping

import msgspec

from ledger.limits import STATE_HISTORY_BLOCKS
from ledger.state.model import Doc, StateKey
from ledger.statetree import StateTree
from node.execution.overlay import Overlay


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """The state after one block. `previous`: what the block overwrote (None: there was nothing)."""

    height: int
    size: int
    time_ms: int
    log_root: bytes
    tree: StateTree
    previous: Mapping[StateKey, Doc | None]


def version_of(overlay: Overlay) -> Version:
    """The version that a committed block makes."""
    return Version(
        height=overlay.height,
        size=overlay.frontier.size,
        time_ms=overlay.time_ms,
        log_root=overlay.frontier.root,
        tree=overlay.tree,
        previous=overlay.previous,
    )


class Versions:
    """The newest versions with rising heights, each the child of the one before."""

    def __init__(self, first: Version) -> None:
        self._published: tuple[Version, ...] = (first,)

    @property
    def newest(self) -> tuple[Version, ...]:
        """All versions kept, by rising height. The last may be of a block that the store is about to hold."""
        return self._published

    def append(self, version: Version, *, oldest_height: int) -> None:
        """Publish one more, before the store can show its block; let go of those below `oldest_height`, and of more than
        `STATE_HISTORY_BLOCKS`."""
        kept = [v for v in self._published if v.height >= oldest_height]
        self._published = (*kept[-(STATE_HISTORY_BLOCKS - 1) :], version)
