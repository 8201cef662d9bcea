"""The audit: believe nothing, verify and replay everything from entry 0 (DESIGN 1, 5, 7).

The checkpoint is held against the policy; every entry is hashed and the tree must be the checkpoint's; every envelope's
signatures are verified with the keys that the state has at its place; every rule is checked and applied again; every
seal must chain to the one before and name the state that the records lead to. Where the tiles come from, a node or a
folder saved from one, is `client.audit`'s.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import msgspec

from ledger.block import NEWEST_VERSION, Seal, decode_seal
from ledger.bundle import checking
from ledger.checkpoint import Checkpoint
from ledger.errors import EncodingError, RuleError, SignatureError, VerificationError
from ledger.genesis import decode_genesis
from ledger.limits import (
    MAX_BLOCK_BYTES,
    MAX_BLOCK_RECORDS,
    MAX_BLOCK_WEAPONS,
    RECORD_MAX_AGE_MS,
    RECORD_MAX_AHEAD_MS,
)
from ledger.merkle.hashing import leaf_hash, leaf_hashes
from ledger.merkle.tiles import TILE_WIDTH, Tile, decode_entries, entry_bundles_of_size, parent_hash
from ledger.merkle.tree import Frontier
from ledger.policy import Judge, VerifiedCheckpoint
from ledger.records.envelope import parse_entry, verify_entry
from ledger.snapshot import manifest_of, names_snapshot
from ledger.state.lookup import parameters, validators, version_at
from ledger.state.model import VALIDATORS_KEY, At, Doc, StateKey, encode_document
from ledger.state.transition import apply, check, genesis_state, signers_of
from ledger.state.validators import validators_hash_of
from ledger.statetree import StateTree, key_hash, value_hash

_SEAL_START: Final = b'{"epoch":'
"""How every seal's canonical JSON begins, and no envelope's: its first key."""


class Source(Protocol):
    """Where the log is read from. Nothing of it is believed."""

    def checkpoint(self) -> bytes:
        """The signed checkpoint of which the audit is."""
        ...

    def tile(self, tile: Tile) -> bytes:
        """A hash tile or an entry bundle, at the width it has at the checkpoint's size."""
        ...


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found in order. `root`, `state_root` in hex; `time_ms` of the last block; `epoch` and the parties of its
    `validators` after that block; `seconds` that it took."""

    origin: str
    ledger: str
    size: int
    root: str
    height: int
    time_ms: int
    state_root: str
    records: int
    weapons: int
    parties: int
    epoch: int
    validators: tuple[str, ...]
    cosignatures: tuple[tuple[str, int], ...]
    seconds: float

    @property
    def records_per_s(self) -> float:
        """Records verified and replayed in a second, fetching included."""
        return self.records / self.seconds


def audit(
    source: Source,
    policy: Judge,
    *,
    progress: Callable[[int], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Audited:
    """Audit the whole log of a source against a policy.

    Args:
        source: where the log is read from.
        policy: who must have signed and cosigned its checkpoint.
        progress: called with the number of entries just replayed.
        clock: monotonic seconds.

    Raises:
        VerificationError: the checkpoint's codes (`Policy.verify_checkpoint`); `bad_tile`, `bad_entry_bundle`,
            `root_mismatch` (the tiles are not the log's); `bad_genesis`; `bad_seal`, with the field that is wrong;
            `bad_block` (over a bound, or a record after the one that closes the epoch); `bad_record` (form),
            `bad_record_signature`, `duplicate_record`, `broken_rule`; `unsupported_version`; each with the log index.
    """
    started_s = clock()
    verified = policy.verify_checkpoint(source.checkpoint())
    checkpoint = verified.checkpoint
    log = _Log(source, checkpoint)
    replay = Replay(checkpoint.origin)
    for first, entries in log.bundles():
        for index, entry in enumerate(entries, start=first):
            replay.take(index, entry)
        if progress is not None:
            progress(len(entries))
    log.finish()
    return replay.finish(verified, seconds=clock() - started_s)


class _Log:
    """Reads entries and holds the tree over them against the source's hash tiles and the checkpoint's root."""

    def __init__(self, source: Source, checkpoint: Checkpoint) -> None:
        self._source = source
        self._checkpoint = checkpoint
        self._frontier = Frontier()
        self._levels: list[list[bytes]] = []
        self._counts: list[int] = []

    def bundles(self) -> Iterator[tuple[int, list[bytes]]]:
        """Every bundle's first index and entries, each held against its hash tile first."""
        for bundle in entry_bundles_of_size(self._checkpoint.size):
            data = self._source.tile(bundle)
            with checking("bad_entry_bundle", bundle.path):
                entries = decode_entries(data, bundle.width)
            hashes = leaf_hashes(entries)
            self._frontier = self._frontier.append(hashes)
            self._hold(0, hashes)
            yield bundle.first, entries

    def finish(self) -> None:
        """Hold the right edge's tiles and the root of everything against the source and the checkpoint."""
        for level in range(len(self._levels)):
            if self._levels[level]:
                self._compare(level)
        if self._frontier.root != self._checkpoint.root:
            raise VerificationError(
                "the entries are not those that the checkpoint signs",
                code="root_mismatch",
                expected=self._checkpoint.root.hex(),
                actual=self._frontier.root.hex(),
            )

    def _hold(self, level: int, hashes: list[bytes]) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._counts.append(0)
        self._levels[level] += hashes
        if len(self._levels[level]) == TILE_WIDTH:
            parent = parent_hash(self._compare(level))
            self._levels[level] = []
            self._counts[level] += 1
            self._hold(level + 1, [parent])

    def _compare(self, level: int) -> bytes:
        tile = Tile(level=level, index=self._counts[level], width=len(self._levels[level]))
        data = b"".join(self._levels[level])
        if self._source.tile(tile) != data:
            raise VerificationError(f"{tile.path} is not made of the log's entries", code="bad_tile")
        return data


class _State:
    """The whole state in memory, and what the open block has written."""

    def __init__(self) -> None:
        self.documents: dict[StateKey, Doc] = {}
        self._written: dict[StateKey, Doc] = {}
        self._tree = StateTree.empty()

    def get(self, key: StateKey, /) -> Doc | None:
        return self.documents.get(key)

    def write(self, changes: dict[StateKey, Doc]) -> None:
        self.documents.update(changes)
        self._written.update(changes)

    def is_written(self, key: StateKey) -> bool:
        """Whether the open block has written a document."""
        return key in self._written

    def weapons_written(self) -> int:
        """How many weapons the open block has touched so far."""
        return sum(key.kind == "weapon" for key in self._written)

    def close_block(self) -> str:
        """One pass over the state tree for all that was written; the new root in hex."""
        self._tree = self._tree.update(
            {
                key_hash(key.kind, key.id): value_hash(encode_document(document))
                for key, document in self._written.items()
            }
        )
        self._written = {}
        return self._tree.root.hex()


class Replay:
    """The ledger's rules applied to a log, entry by entry. Whether the entries are the log's is the caller's to prove."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._ledger = ""
        self._state = _State()
        self._pending: list[bytes] = []
        self._seal: Seal | None = None
        self._frontier = Frontier()
        self._previous_hash = b""
        self._genesis_time_ms = 0
        self._records = 0
        self._recent: set[str] = set()
        self._recent_blocks: deque[tuple[int, list[str]]] = deque()

    def take(self, index: int, entry: bytes) -> None:
        """The next entry of the log.

        Raises:
            VerificationError: see `audit`.
        """
        if index == 0:
            self._take_genesis(entry)
        elif entry.startswith(_SEAL_START):
            self._close_block(index, entry)
        elif len(self._pending) >= MAX_BLOCK_RECORDS:
            raise VerificationError(
                f"no seal before entry {index}", code="bad_seal", expected=f"<= {MAX_BLOCK_RECORDS} records in a block"
            )
        else:
            self._pending.append(entry)

    def finish(self, verified: VerifiedCheckpoint, *, seconds: float) -> Audited:
        """The findings, after the last entry.

        Raises:
            VerificationError: code `bad_seal`, where the log does not end with a seal.
        """
        if self._pending or self._seal is None:
            raise VerificationError(
                "the log does not end with a seal",
                code="bad_seal",
                actual=f"{len(self._pending)} records after the last",
            )
        kinds = [key.kind for key in self._state.documents]
        members = validators(self._state)
        return Audited(
            origin=self._origin,
            ledger=self._ledger,
            size=verified.checkpoint.size,
            root=verified.checkpoint.root.hex(),
            height=self._seal.height,
            time_ms=self._seal.time,
            state_root=self._seal.state_root,
            records=self._records,
            weapons=kinds.count("weapon"),
            parties=kinds.count("party"),
            epoch=members.epoch,
            validators=tuple(each.party for each in members.members),
            cosignatures=verified.cosignatures,
            seconds=seconds,
        )

    def _take_genesis(self, entry: bytes) -> None:
        with checking("bad_genesis", "entry 0 is not a genesis document"):
            genesis = decode_genesis(entry)
            if genesis.origin != self._origin:
                raise EncodingError("another log's", expected=self._origin, actual=genesis.origin)
        self._ledger = genesis.ledger_id
        self._frontier = self._frontier.append([leaf_hash(entry)])
        self._previous_hash = genesis.chain_id
        self._genesis_time_ms = genesis.time_ms
        self._state.write(genesis_state(genesis))

    def _close_block(self, index: int, entry: bytes) -> None:
        with checking("bad_seal", f"entry {index} is not a seal"):
            seal = decode_seal(entry)
        self._check_seal(index, seal)
        first = index - len(self._pending)
        ids = []
        for place, record in enumerate(self._pending, start=first):
            self._require_not_closed(place)
            ids.append(self._execute(At(index=place, time_ms=seal.time, height=seal.height), record))
        self._remember(seal.time, ids)
        self._check_bounds(index)
        _require(index, "state_root", self._state.close_block(), seal.state_root)
        self._records += len(ids)
        self._frontier = self._frontier.append(leaf_hashes([*self._pending, entry]))
        self._pending = []
        self._seal = seal
        self._previous_hash = hashlib.sha256(entry).digest()

    def _check_seal(self, index: int, seal: Seal) -> None:
        """Everything that a seal says of what was before its block's records: epoch and validators are the old ones in a
        block that changes them."""
        previous, members = self._seal, validators(self._state)
        _require(index, "height", 0 if previous is None else previous.height + 1, seal.height)
        _require(index, "prev_seal", self._previous_hash.hex(), seal.prev_seal)
        _require(index, "record_count", len(self._pending), seal.record_count)
        self._check_version(index, seal)
        _require(index, "epoch", members.epoch, seal.epoch)
        _require(index, "validators", validators_hash_of(members).hex(), seal.validators)
        _require(index, "snapshot", self._snapshot_hash(seal), seal.snapshot)
        if previous is None:
            _require(index, "view", 0, seal.view)
            _require(index, "time", self._genesis_time_ms, seal.time)
            _require(index, "record_count", 0, seal.record_count)
            return
        last_view = (
            previous.view if seal.epoch == previous.epoch else 0
        )  # view 0 of an epoch is the block that opened it
        if seal.view <= last_view or seal.time <= previous.time:
            raise VerificationError(
                f"the seal at entry {index}: view and time must rise",
                code="bad_seal",
                expected=f"view > {last_view}, time > {previous.time}",
                actual=f"view {seal.view}, time {seal.time}",
            )

    def _check_version(self, index: int, seal: Seal) -> None:
        """The version that the parameters before the block say is in force, if this program knows it."""
        version = version_at(parameters(self._state), seal.height)
        _require(index, "version", version, seal.version)
        if version > NEWEST_VERSION:
            raise VerificationError(
                f"from entry {index} on the log follows rules that this program does not know",
                code="unsupported_version",
                expected=f"version {NEWEST_VERSION} at most",
                actual=f"version {version}",
                help="Audit with a newer version of the program.",
            )

    def _snapshot_hash(self, seal: Seal) -> str | msgspec.UnsetType:
        """What a seal must say of a snapshot: the manifest of the ledger after the block before."""
        if self._seal is None or not names_snapshot(seal.version, seal.height):
            return msgspec.UNSET
        return manifest_of(
            height=self._seal.height,
            size=self._frontier.size,
            log_root=self._frontier.root,
            state_root=bytes.fromhex(self._seal.state_root),
            documents=len(self._state.documents),
            seal_hash=self._previous_hash,
        ).hash

    def _check_bounds(self, index: int) -> None:
        size, weapons = sum(map(len, self._pending)), self._state.weapons_written()
        if size > MAX_BLOCK_BYTES or weapons > MAX_BLOCK_WEAPONS:
            raise VerificationError(
                f"the block that ends with entry {index} is too large",
                code="bad_block",
                expected=f"<= {MAX_BLOCK_BYTES} bytes, {MAX_BLOCK_WEAPONS} weapons",
                actual=f"{size} bytes, {weapons} weapons",
            )

    def _require_not_closed(self, index: int) -> None:
        """The record that changes the validators is its block's last (P8.1)."""
        if self._state.is_written(VALIDATORS_KEY):
            raise VerificationError(
                f"entry {index} follows the record that changed the validators",
                code="bad_block",
                expected="the seal of the block that closes the epoch",
                actual="another record",
            )

    def _execute(self, at: At, entry: bytes) -> str:
        """Verify one record at its place and apply it; its id."""
        try:
            parsed = parse_entry(entry)
            signed = verify_entry(parsed, signers_of(self._state, parsed.record, at.time_ms))
            if parsed.id in self._recent:
                raise VerificationError(
                    f"entry {at.index} is a record that is in the log already",
                    code="duplicate_record",
                    actual=parsed.id,
                )
            check(self._state, signed, at)
        except (EncodingError, SignatureError, RuleError) as error:
            raise _bad_record(at.index, error) from error
        self._recent.add(parsed.id)
        self._state.write(apply(self._state, signed, at))
        return parsed.id

    def _remember(self, time_ms: int, ids: list[str]) -> None:
        """Keep record ids for as long as the same record could come again: its `issued_at` bounds its blocks."""
        self._recent_blocks.append((time_ms, ids))
        while self._recent_blocks[0][0] + RECORD_MAX_AHEAD_MS + RECORD_MAX_AGE_MS < time_ms:
            self._recent.difference_update(self._recent_blocks.popleft()[1])


def _require(index: int, field: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise VerificationError(
            f"the seal at entry {index}: wrong {field}", code="bad_seal", expected=expected, actual=actual
        )


def _bad_record(index: int, error: EncodingError | SignatureError | RuleError) -> VerificationError:
    codes = {EncodingError: "bad_record", SignatureError: "bad_record_signature", RuleError: "broken_rule"}
    code = next(code for kind, code in codes.items() if isinstance(error, kind))
    return VerificationError(
        f"entry {index}: {error.message} [{error.code}]",
        code=code,
        expected=error.expected,
        actual=error.actual,
        help=error.help,
    )
