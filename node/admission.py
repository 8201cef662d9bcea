"""Who gets into the mempool, and who stays in it (P6.1, DESIGN 4).

The order keeps what is refused cheap: size, form, room, known already, who must have signed, signatures, the rules on the
tip. A refused record leaves nothing but a bounded memory of why. After every commit, pending records that the block
touched are held against the new final state, so that no node stays busy over a record that can no longer be valid.

Belongs to the executor's thread.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ledger.errors import EncodingError, InputError, OverloadError, RuleError, SignatureError, TracemarkError
from ledger.limits import MAX_ENTRY_BYTES, MEMPOOL_ASIDE_CHECKS
from ledger.records.envelope import ParsedRecord, SignedRecord, parse_entry
from ledger.signing import key_id
from ledger.state.model import At, KeyDoc, StateKey
from ledger.state.transition import check, signers_of, touches, weapons_of
from node.clock import Clock
from node.execution.executor import Executor
from node.execution.overlay import Overlay
from node.execution.run import WorkingState
from node.execution.signatures import Signatures
from node.mempool import Mempool, Pending
from node.service.ports import Outcome
from node.storage import LedgerStore

_RETRIES_PER_BLOCK: Final = MEMPOOL_ASIDE_CHECKS
"""Records set aside that are tried again after a block."""


SLICE_RECORDS: Final = 48
SLICE_BYTES: Final = 16 * 1024
"""What is admitted at a stretch, beyond one record: some 5 ms, so that a block's check never waits longer for the executor,
nor a single record longer than that for each of the others who send much. By bytes, too: a lot of 500 weapons costs as much
as 30 single records, and is as long."""


def slices(entries: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut entries into pieces that are admitted at a stretch, in order; none is empty."""
    first = size = 0
    for at, entry in enumerate(entries):
        if at > first and (at - first == SLICE_RECORDS or size + len(entry) > SLICE_BYTES):
            yield entries[first:at]
            first, size = at, 0
        size += len(entry)
    if first < len(entries):
        yield entries[first:]


class Candidate(msgspec.Struct, kw_only=True):
    """One entry on its way into the pool: parsed, then verified; or with an outcome already. `first`: the same record
    earlier in the batch."""

    entry: bytes
    first: "Candidate | None" = None
    parsed: ParsedRecord | None = None
    touches: tuple[StateKey, ...] = ()
    signed: SignedRecord | None = None
    outcome: Outcome | None = None


class Admission:
    """Decides on entries, and keeps the pool in step with the final state."""

    def __init__(
        self, *, executor: Executor, mempool: Mempool, signatures: Signatures, store: LedgerStore, clock: Clock
    ) -> None:
        self._executor = executor
        self._mempool = mempool
        self._signatures = signatures
        self._store = store
        self._clock = clock

    def admit(self, entries: Sequence[bytes], *, source: str, from_peer: bool) -> tuple[list[Outcome], list[bytes]]:
        """Take entries into the pool: one outcome for each, in order; and those entries that are pending from now on.

        A record of a peer that fails by the state here is set aside: the peer may be ahead. A submitted one is refused.

        Raises:
            StoreError: the store could not be read.
        """
        candidates = [Candidate(entry=entry) for entry in entries]
        for candidate in candidates:
            self._parse(candidate)
        self._find_known(candidates)
        self._refuse_without_place(candidates, source, from_peer=from_peer)
        base = self._executor.documents.base
        state = WorkingState(self._executor.documents, base)
        fresh = [item for item in candidates if item.outcome is None and item.first is None]
        for item in fresh:
            if item.parsed is not None:
                item.touches = touches(item.parsed.record, item.parsed.id)
        state.gather(key for item in fresh for key in item.touches)
        at = self._place_after(base)
        self._verify(fresh, state, at)
        for candidate in fresh:
            if candidate.signed is not None:
                candidate.outcome = self._place(
                    candidate.signed, candidate.touches, state, at, source=source, from_peer=from_peer
                )
        admitted = [item.entry for item in fresh if item.outcome is not None and item.outcome.status == "pending"]
        return [_outcome_of(item) for item in candidates], admitted

    def _parse(self, candidate: Candidate) -> None:
        if len(candidate.entry) > MAX_ENTRY_BYTES:
            error = EncodingError(
                "the entry is too large",
                code="too_large",
                expected=f"<= {MAX_ENTRY_BYTES}",
                actual=len(candidate.entry),
            )
            candidate.outcome = _refused(None, error)
            return
        try:
            candidate.parsed = parse_entry(candidate.entry)
        except InputError as error:
            candidate.outcome = _refused(None, error)

    def _find_known(self, candidates: Sequence[Candidate]) -> None:
        """The same record again gets the first one's outcome: pending, or final with its place."""
        new: dict[str, Candidate] = {}
        for candidate in candidates:
            parsed = candidate.parsed
            if parsed is None:
                continue
            if parsed.id in self._mempool:
                candidate.outcome = Outcome(id=parsed.id, status="pending")
            elif parsed.id in new:
                candidate.first = new[parsed.id]
            else:
                new[parsed.id] = candidate
        if not new:
            return
        with self._store.read() as reader:
            known = reader.known_ids(bytes.fromhex(record_id) for record_id in new)
            for id_bytes, index in known.items():
                place = reader.place_of_index(index)
                record_id = id_bytes.hex()
                height = None if place is None else place.height
                new[record_id].outcome = Outcome(id=record_id, status="final", index=index, height=height)

    def _refuse_without_place(self, candidates: Sequence[Candidate], source: str, *, from_peer: bool) -> None:
        """While there is no room at all, a record must not cost a verification. Nothing is remembered of it."""
        now_ms = self._clock.monotonic_ms()
        for candidate in candidates:
            parsed = candidate.parsed
            if candidate.outcome is not None or candidate.first is not None or parsed is None:
                continue
            try:
                self._mempool.require_place(parsed.record.issuer, source)
                if not from_peer:
                    self._mempool.require_pace(parsed.record.issuer, now_ms=now_ms)
            except OverloadError as full:
                candidate.outcome = _refused(parsed.id, full)

    def _verify(self, candidates: Sequence[Candidate], state: WorkingState, at: At) -> None:
        """Verify by the keys that must have signed. A record is remembered as refused only once its signatures hold:
        its id does not cover them, and nobody shall spoil another's record by sending it with a wrong signature."""
        claims: list[tuple[Candidate, ParsedRecord, tuple[str, ...]]] = []
        for candidate in candidates:
            candidate.signed = self._signatures.recall(candidate.entry)
            if candidate.signed is not None or candidate.parsed is None:
                continue
            try:
                claims.append((candidate, candidate.parsed, self._signers(candidate.parsed, state, at)))
            except RuleError as error:
                candidate.outcome = _refused(candidate.parsed.id, self._name_key(candidate.parsed, error, state))
        outcomes = self._signatures.verify([(parsed, signers) for _, parsed, signers in claims])
        for (candidate, parsed, signers), outcome in zip(claims, outcomes, strict=True):
            decided = outcome
            if not isinstance(decided, SignedRecord):
                decided = self._verify_on_tip(parsed, signers, decided)
            if isinstance(decided, SignedRecord):
                candidate.signed = decided
            else:
                candidate.outcome = _refused(parsed.id, self._name_key(parsed, decided, state))

    def _name_key(
        self, parsed: ParsedRecord, error: InputError | RuleError, state: WorkingState
    ) -> InputError | RuleError:
        """The error said better, where the key ids show what is wrong: a key that no state knows, or one that has ended.

        An envelope names keys by id only, and the rules know them by what they are, so this is asked of the store.
        """
        if error.code not in ("wrong_signers", "no_active_key"):
            return error
        named = [signature.keyid for signature in parsed.envelope.signatures]
        with self._store.read() as reader:
            publics = reader.publics(named)
        unknown = [keyid for keyid in named if keyid not in publics]
        if unknown:
            return SignatureError(
                "the record is signed by a key that this ledger does not know",
                code="unknown_key",
                expected=error.expected,
                actual=", ".join(unknown),
                help="Sign with the issuer's active record key; a new key must be added first (key.add).",
            )
        keys = [StateKey("key", public) for found in publics.values() for public in found]
        state.gather(keys)
        for key in keys:
            document = state.get(key)
            if isinstance(document, KeyDoc) and document.party == parsed.record.issuer and document.revoked is not None:
                return SignatureError(
                    f"the record is signed by a key of {document.party} that has been revoked or replaced",
                    code="revoked_key",
                    expected=error.expected,
                    actual=f"{key_id(bytes.fromhex(key.id))}, which ended before log index {document.revoked}",
                    help="Sign with the issuer's active record key.",
                )
        return error

    def _signers(self, parsed: ParsedRecord, state: WorkingState, at: At) -> tuple[str, ...]:
        """The keys that must have signed, by the final state, or by the newest executed block (its issuer may be new)."""
        try:
            return signers_of(state, parsed.record, at.time_ms)
        except RuleError:
            tip = self._executor.tip()
            if tip is None:
                raise
            return signers_of(WorkingState(self._executor.documents, tip), parsed.record, at.time_ms)

    def _verify_on_tip(
        self, parsed: ParsedRecord, signers: tuple[str, ...], error: InputError
    ) -> SignedRecord | InputError:
        """Once more, where a block that is about to become final names another key for the issuer."""
        tip = self._executor.tip()
        if tip is None:
            return error
        try:
            newer = signers_of(
                WorkingState(self._executor.documents, tip), parsed.record, self._place_after(tip).time_ms
            )
        except RuleError:
            return error
        return error if newer == signers else self._signatures.verify([(parsed, newer)])[0]

    def _place(
        self,
        signed: SignedRecord,
        touched: tuple[StateKey, ...],
        state: WorkingState,
        at: At,
        *,
        source: str,
        from_peer: bool,
    ) -> Outcome:
        """Check a verified record and give it its place in the pool."""
        weapons = len(weapons_of(signed.record))
        try:
            self._mempool.require_room(signed.record.issuer, source, len(signed.entry), weapons)
        except OverloadError as full:
            return _refused(signed.id, full)
        error = self._failure(signed, state, at)
        pending = Pending(
            signed=signed,
            source=source,
            touches=touched,
            was_valid=error is None,
            since_ms=self._clock.monotonic_ms(),
        )
        if error is None or self._is_valid_on_tip(pending):
            self._mempool.add(pending)
            return Outcome(id=signed.id, status="pending")
        if from_peer:
            self._mempool.put_aside(pending, error)
            return Outcome(id=signed.id, status="pending")
        self._mempool.remember_refusal(signed.id, error, height=self._executor.documents.base.height)
        return _refused(signed.id, error)

    def refresh(self, committed: Overlay) -> None:
        """After a commit: hold the records that the block touched, and some of those set aside, against the final state.

        Raises:
            StoreError: the store could not be read.
        """
        height = committed.height
        affected = self._mempool.affected(committed.documents)
        retried = self._mempool.retry(_RETRIES_PER_BLOCK)
        if not affected and not retried:
            return
        state = WorkingState(self._executor.documents, committed)
        state.gather(key for item in (*affected, *retried) for key in item.touches)
        at = self._place_after(committed)
        for item in affected:
            error = self._failure(item.signed, state, at)
            if error is not None and not self._may_follow(item):
                self._mempool.refuse(item.signed.id, error, height=height)
        for item in retried:
            error = self._failure(item.signed, state, at)
            if error is None:
                self._mempool.restore(item.signed.id)
            else:
                self._mempool.still_invalid(item.signed.id, error, height=height)

    def review(self) -> bool:
        """What time alone has changed, while no block came: whether the pool did.

        Drops what has become too old for any block. Of what waits, some of each sort: a record that is no longer lawful (an
        offer has expired) would keep this node busy alone, for ever; one set aside may have become lawful (it was issued
        by a clock ahead of ours), and others may wait for this node to be busy over it, too (P6.1).

        Raises:
            StoreError: the store could not be read.
        """
        base, pool = self._executor.documents.base, self._mempool
        has_changed = bool(pool.expire(time_ms=self._clock.wall_ms(), height=base.height))
        waiting, aside = pool.review(_RETRIES_PER_BLOCK)
        state = WorkingState(self._executor.documents, base)
        state.gather(key for item in (*waiting, *aside) for key in item.touches)
        at = self._place_after(base)
        for item in waiting:
            error = self._failure(item.signed, state, at)
            if error is not None and not self._may_follow(item):
                pool.refuse(item.signed.id, error, height=base.height)
                has_changed = True
        for item in aside:
            if self._failure(item.signed, state, at) is None:
                pool.restore(item.signed.id)
                has_changed = True
        return has_changed

    def _place_after(self, overlay: Overlay) -> At:
        """Where a record would stand if a block were built on `overlay` now."""
        time_ms = max(self._clock.wall_ms(), overlay.time_ms + 1)
        return At(index=overlay.frontier.size, time_ms=time_ms, height=overlay.height + 1)

    def _failure(self, signed: SignedRecord, state: WorkingState, at: At) -> RuleError | None:
        try:
            check(state, signed, at)
        except RuleError as error:
            return error
        return None

    def _may_follow(self, pending: Pending) -> bool:
        """Whether a record that fails on the final state stands in a block that is not final yet, or may follow one."""
        in_flight = any(pending.signed.id in overlay.record_ids for overlay in self._executor.overlays)
        return in_flight or self._is_valid_on_tip(pending)

    def _is_valid_on_tip(self, pending: Pending) -> bool:
        """A record may build on one that is about to become final."""
        tip = self._executor.tip()
        if tip is None:
            return False
        state = WorkingState(self._executor.documents, tip)
        state.gather(pending.touches)
        return self._failure(pending.signed, state, self._place_after(tip)) is None


def _outcome_of(candidate: Candidate) -> Outcome:
    outcome = candidate.outcome if candidate.first is None else candidate.first.outcome
    assert outcome is not None
    return outcome


def _refused(record_id: str | None, error: TracemarkError) -> Outcome:
    return Outcome(id=record_id, status="refused", error=error)
