"""A toy application and its disk: records are opaque bytes, the state root is a hash chain, a record may be invalid.

It finds faults of the consensus several times faster than the production node, and it can do what that one does not do at
will: change the validators by a record. It keeps an overlay a block, as the production executor does, and asserts the
driver's contract: a block is checked only on an overlay that exists.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ledger.block import Block, BlockHeader, payload_root
from ledger.consensus.durable import Durable, Image
from ledger.consensus.effects import Build, Commit, Floor
from ledger.consensus.messages import Certificate, DurableRecord
from ledger.consensus.parameters import Parameters
from ledger.merkle.hashing import leaf_hash
from tests.simulator.application import BuildAnswer, CheckAnswer, Group, Prepared
from tests.simulator.genesis import PARAMETERS

MAX_RECORDS: Final = 4
CLOSING: Final = b"validators:"
"""A record that begins so changes the validators: `validators:` and their numbers, comma-separated."""
BAD: Final = b"bad:"
"""A record that no honest machine accepts in a block."""
NextEpoch = Callable[[tuple[int, ...], Floor], tuple[bytes, ...]]
"""From the numbers that a closing block names and its floor: the next validators' keys."""


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """The state after a block: its root, the log's, and what the block added to its parent's."""

    root: bytes
    log_root: bytes
    parent: bytes
    records: frozenset[bytes]
    closing: tuple[int, ...] | None


class ToyDisk:
    """Two stores in memory. A journal that is torn keeps a prefix of what was being written."""

    def __init__(self, genesis: Floor, rng: random.Random) -> None:
        self._genesis = self.floor = genesis
        self.chain: list[tuple[Block, Certificate]] = []
        self._rng = rng
        self._heights: dict[bytes, int] = {}
        self._votes = Image()
        self._copy: tuple[DurableRecord, ...] = ()
        self._signing_floor = (0, 0)
        self.votes_suspect = False

    def load(self) -> Durable:
        return Durable(floor=self.floor, records=self._votes.records(), signing_floor=self._signing_floor)

    def append(self, group: Group) -> None:
        for record in group.records:
            self._votes.fold(record)
        if group.prune is not None:
            self._votes.prune(*group.prune)
            self._signing_floor = max(self._signing_floor, group.prune)
        if group.suspect is not None:
            self.votes_suspect = group.suspect

    def commit(self, *blocks: Prepared) -> None:
        for prepared in blocks:
            commit = prepared.commit
            assert commit.floor.height == self.floor.height + 1
            self.chain.append((commit.block, commit.certificate))
            self._heights[commit.block.digest] = commit.floor.height
            floor, closing = commit.floor, prepared.validators is not None
            self.floor = msgspec.structs.replace(floor, epoch=floor.epoch + 1, view=0) if closing else floor

    def crash(self, votes: Group | None, blocks: tuple[Prepared, ...]) -> tuple[str, str]:
        of_votes = "" if votes is None else self._rng.choice(("lost", "torn", "whole"))
        if votes is not None and of_votes == "whole":
            self.append(votes)
        elif votes is not None and of_votes == "torn":
            self.append(Group(records=votes.records[: self._rng.randint(0, len(votes.records))]))
        of_ledger = self._rng.choice(("lost", "whole")) if blocks else ""
        if of_ledger == "whole":
            self.commit(*blocks)
        return of_votes, of_ledger

    def keep_copy(self) -> None:
        self._copy = self._votes.records()

    def lose_votes(self, *, older: bool, noticed: bool) -> bool:
        self._votes = Image(self._copy if older else ())
        self._signing_floor = (0, 0)
        self.votes_suspect = noticed
        return True

    def lose_all(self) -> bool:
        self.floor, self.chain, self._heights, self._copy = self._genesis, [], {}, ()
        return self.lose_votes(older=False, noticed=True)

    def find_block(self, digest: bytes) -> Block | None:
        height = self._heights.get(digest)
        return None if height is None else self.chain[height - 1][0]

    def certified_blocks(self, first_height: int, count: int) -> tuple[tuple[Block, Certificate], ...]:
        return tuple(self.chain[first_height - 1 : first_height - 1 + count])

    def close(self) -> None:
        return


class ToyApplication:
    """The state of one machine; overlays and pending records are in memory, the rest is rebuilt from the committed chain."""

    def __init__(self, chain: bytes, genesis: Floor, disk: ToyDisk, next_epoch: NextEpoch) -> None:
        self.chain = chain
        self.root = hashlib.sha256(chain).digest()
        self.log_root = b""
        self.tip = genesis.digest
        self.included: set[bytes] = set()
        self.overlays: dict[bytes, Overlay] = {}
        self._pending: dict[bytes, None] = {}
        self._next_epoch = next_epoch
        for block, _ in disk.chain:
            self._execute_checked(block)
            self._move_to(block)

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def waiting(self) -> int:
        return len(self._pending)

    @property
    def parameters(self) -> Parameters:
        return PARAMETERS

    def admit(self, entries: Sequence[bytes], *, source: str, from_peer: bool) -> tuple[bytes, ...]:
        new = tuple(entry for entry in entries if entry not in self._pending and entry not in self.included)
        self._pending.update(dict.fromkeys(new))
        return new

    def repeated(self, *, waited_ms: int) -> tuple[bytes, ...]:
        return tuple(self._pending)

    def review(self) -> bool:
        return False

    def build(self, wanted: Build) -> BuildAnswer:
        if not self._knows(wanted.parent_digest):
            return BuildAnswer(outcome="failed")  # the parent was dropped meanwhile: the view is over
        seen = self._included_at(wanted.parent_digest)
        records = tuple(record for record in self._pending if record not in seen)[:MAX_RECORDS]
        closing = [record for record in records if record.startswith(CLOSING)]
        if closing:
            records = (closing[0],)
        if not records and not wanted.allow_empty:
            return BuildAnswer(outcome="empty")
        seal = _seal(wanted.height, _next_root(self._root_at(wanted.parent_digest), records))
        block = _make_block(wanted, self.chain, records, seal)
        self._execute_checked(block)
        return BuildAnswer(outcome="built", block=block, closing=bool(closing))

    def check(self, block: Block) -> CheckAnswer:
        parent = block.header.parent_digest
        if not self._knows(parent):
            return CheckAnswer(verdict="failed")
        reason = self._defect(block, parent)
        if reason:
            return CheckAnswer(verdict="invalid", reason=reason)
        self._execute_checked(block)
        return CheckAnswer(verdict="valid", closing=self.is_closing(block.digest))

    def is_closing(self, digest: bytes) -> bool:
        return self.overlays[digest].closing is not None

    def prepare(self, commit: Commit, *, newest: bool) -> Prepared:
        overlay = self.overlays[commit.block.digest]
        members = None if overlay.closing is None else self._next_epoch(overlay.closing, commit.floor)
        return Prepared(commit=commit, state_root=overlay.root, log_root=overlay.log_root, validators=members)

    def advance(self, prepared: Prepared) -> None:  # it sets no times
        self._move_to(prepared.commit.block)

    def drop(self, digests: tuple[bytes, ...]) -> None:
        for digest in digests:
            self.overlays.pop(digest, None)

    def is_pending(self, entry: bytes) -> bool:
        return entry in self._pending

    def is_final(self, entry: bytes) -> bool:
        return entry in self.included

    def stands_on(self, digest: bytes) -> bool:
        return digest == self.tip

    def close(self) -> None:
        return

    def _defect(self, block: Block, parent: bytes) -> str:
        if any(record.startswith(BAD) for record in block.entries):
            return "a bad record"
        if not self._included_at(parent).isdisjoint(block.entries) or len(set(block.entries)) != len(block.entries):
            return "a duplicate record"
        if block.seal != _seal(block.header.height, _next_root(self._root_at(parent), block.entries)):
            return "another state root"
        return ""

    def _move_to(self, block: Block) -> None:
        overlay = self.overlays.pop(block.digest)
        assert overlay.parent == self.tip, "committed out of order"
        self.root, self.log_root, self.tip = overlay.root, overlay.log_root, block.digest
        self.included |= overlay.records
        for record in overlay.records:
            self._pending.pop(record, None)

    def _execute_checked(self, block: Block) -> None:
        closing = [record for record in block.entries if record.startswith(CLOSING)]
        parent = block.header.parent_digest
        log_root = self.log_root if parent == self.tip else self.overlays[parent].log_root
        self.overlays[block.digest] = Overlay(
            root=_next_root(self._root_at(parent), block.entries),
            log_root=hashlib.sha256(log_root + b"".join(block.leaf_hashes)).digest(),
            parent=parent,
            records=frozenset(block.entries),
            closing=tuple(map(int, closing[0].removeprefix(CLOSING).split(b","))) if closing else None,
        )

    def _knows(self, digest: bytes) -> bool:
        return digest == self.tip or digest in self.overlays

    def _root_at(self, digest: bytes) -> bytes:
        return self.root if digest == self.tip else self.overlays[digest].root

    def _included_at(self, digest: bytes) -> set[bytes]:
        seen = set(self.included)
        while digest != self.tip:
            overlay = self.overlays[digest]
            seen |= overlay.records
            digest = overlay.parent
        return seen


def _make_block(wanted: Build, chain: bytes, records: tuple[bytes, ...], seal: bytes) -> Block:
    header = BlockHeader(
        chain=chain,
        epoch=wanted.epoch,
        view=wanted.view,
        height=wanted.height,
        parent_view=wanted.parent_view,
        parent_digest=wanted.parent_digest,
        parent_seal=wanted.parent_seal,
        payload_root=payload_root((*map(leaf_hash, records), leaf_hash(seal))),
        proposer=wanted.proposer,
        time=wanted.time_ms,
    )
    return Block(header=header, entries=records, seal=seal)


def _next_root(root: bytes, records: tuple[bytes, ...]) -> bytes:
    digest = hashlib.sha256(root)
    for record in records:
        digest.update(hashlib.sha256(record).digest())
    return digest.digest()


def _seal(height: int, root: bytes) -> bytes:
    return b"%d %s" % (height, root.hex().encode())
