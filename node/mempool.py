"""Pending records (P6.1): which wait for a block, which are set aside, and what became of those that will not be in one.

The pool decides room and order; whether a record is well-formed, signed and lawful was decided before it came here, and is
asked again by whoever builds a block. Everything is bounded: in all, by issuer, and by where it came from.

Room is shared by what is left of it (dynamic thresholds, Choudhury and Hahne 1998): a source may hold as much as is free, an
issuer half as much. So one that sends without end takes half of the pool or a third of it, several take less each, and
whoever has little in it always finds room. Blocks are filled from all issuers in turn: who sends little waits for little.
An issuer whose oldest records wait for seconds while it has many sends more than the blocks' share of it, and is put off
until they are through (the wait in a queue, and not its length, is what shows that it is too long: Nichols and Jacobson
2012): so what was admitted is final soon, and the pool is soon empty when the flood ends.

A record is *active* while it is valid as far as this node knows: it counts as pending and arms timers. It is *aside* where
it fails on the state as this node has it, but may yet become valid (a peer that is ahead sent it) or invalid for good (it
fails on a block that is not final). It is *remembered* as refused or expired for those who ask.

Belongs to the executor's thread; `status` and the counts may be read from any.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, Literal, TypeVar

import msgspec

from ledger.errors import OverloadError, RuleError, TracemarkError
from ledger.limits import (
    MEMPOOL_ASIDE_CHECKS,
    MEMPOOL_ASIDE_RECORDS,
    MEMPOOL_BYTES,
    MEMPOOL_CHECK_DOCUMENTS,
    MEMPOOL_ISSUER_RECORDS,
    MEMPOOL_PEER_RECORDS,
    MEMPOOL_PROMPT_DOCUMENTS,
    MEMPOOL_RECORDS,
    MEMPOOL_REMEMBERED,
    MEMPOOL_WAIT_MS,
    MEMPOOL_WEAPONS,
    RECORD_MAX_AGE_MS,
)
from ledger.records.envelope import SignedRecord
from ledger.state.model import StateKey

T = TypeVar("T")

TURN_DOCUMENTS: Final = 64
"""Documents that an issuer's records may touch in one turn of filling a block (deficit round robin, Shreedhar and Varghese
1996): so that who sends lots of 500 weapons takes no more of a block than who sends single ones."""


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The pool's bounds; the defaults are the ledger's limits."""

    records: int = MEMPOOL_RECORDS
    total_bytes: int = MEMPOOL_BYTES
    weapons: int = MEMPOOL_WEAPONS
    issuer_records: int = MEMPOOL_ISSUER_RECORDS
    source_records: int = MEMPOOL_PEER_RECORDS
    aside_records: int = MEMPOOL_ASIDE_RECORDS
    remembered: int = MEMPOOL_REMEMBERED


class Pending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record in the pool. `source`: who is charged for its room. `touches`: what it reads and writes. `was_valid`: it
    was valid on a final state here; `since_ms`: monotonic time of its admission."""

    signed: SignedRecord
    source: str
    touches: tuple[StateKey, ...]
    was_valid: bool
    since_ms: int


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """Why a record is in no block. `height`: the newest final block then."""

    status: Literal["refused", "expired"]
    height: int
    error: TracemarkError | None = None


class _Aside(msgspec.Struct, kw_only=True):
    pending: Pending
    error: RuleError
    checks_left: int = MEMPOOL_ASIDE_CHECKS


class _Held:
    """What a source has in the pool."""

    __slots__ = ("bytes", "records", "weapons")

    def __init__(self) -> None:
        self.records = self.bytes = self.weapons = 0


_NOTHING: Final = _Held()


class Mempool:
    """The pool."""

    def __init__(self, limits: PoolLimits = PoolLimits()) -> None:  # noqa: B008 - a frozen value
        self._limits: Final = limits
        self._active: OrderedDict[str, Pending] = OrderedDict()
        self._aside: OrderedDict[str, _Aside] = OrderedDict()
        self._fates: OrderedDict[str, Fate] = OrderedDict()
        self._by_issuer: dict[str, OrderedDict[str, Pending]] = {}
        self._issuers: Counter[str] = Counter()
        self._documents: Counter[str] = Counter()
        self._sources: dict[str, _Held] = {}
        self._news: deque[str] = deque(maxlen=limits.remembered)  # nobody may ask for long, while much is refused
        self._bytes = 0
        self._weapons = 0
        self.oldest_ms: int | None = None
        """When the first of the active records was admitted (monotonic). May be read from any thread."""

    def __len__(self) -> int:
        """The number of pending records (P6.1): active ones only."""
        return len(self._active)

    @property
    def total_bytes(self) -> int:
        """Entry bytes of all records, active and aside."""
        return self._bytes

    @property
    def aside_count(self) -> int:
        """Records set aside."""
        return len(self._aside)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._active or record_id in self._aside

    def fate(self, record_id: str) -> Fate | None:
        """Why a record will be in no block, if that is remembered."""
        return self._fates.get(record_id)

    def take_news(self) -> list[tuple[str, Fate]]:
        """Fates decided since the last call, for those who wait. May be called in any one thread."""
        news = []
        while self._news:
            record_id = self._news.popleft()
            fate = self._fates.get(record_id)
            if fate is not None:
                news.append((record_id, fate))
        return news

    def require_room(self, issuer: str, source: str, size: int, weapons: int) -> None:
        """Refuse a record for which there is no room. (Records set aside make room, the oldest first.)

        Raises:
            OverloadError: code `mempool_full`, `issuer_share_full` or `source_share_full`.
        """
        self._make_room(size, weapons)
        self.require_place(issuer, source)
        limits = self._limits
        free_bytes, free_weapons = limits.total_bytes - self._bytes, limits.weapons - self._weapons
        if size > free_bytes or (self._weapons and weapons > free_weapons):
            raise self._full()
        held = self._sources.get(source, _NOTHING)
        if (held.bytes and held.bytes + size > free_bytes) or (held.weapons and held.weapons + weapons > free_weapons):
            raise _share_full("source", source, f"{free_bytes} bytes and {free_weapons} weapons")

    def require_place(self, issuer: str, source: str) -> None:
        """As `require_room`, by the number of records alone: what can be asked of a record that is not verified yet, for
        nothing gives way.

        Raises:
            OverloadError: as `require_room`.
        """
        limits = self._limits
        free = limits.records - len(self._active)
        if free <= 0:
            raise self._full()
        if self._issuers[issuer] >= (most := min(limits.issuer_records, (free + 1) // 2)):
            raise _share_full("issuer", issuer, f"{most} records")
        if self._sources.get(source, _NOTHING).records >= (most := min(limits.source_records, free)):
            raise _share_full("source", source, f"{most} records")

    def require_pace(self, issuer: str, *, now_ms: int) -> None:
        """Refuse a record of an issuer whose records come faster than blocks take them. Asked of records that are submitted
        here: those of a peer were asked there.

        Args:
            issuer: of the record, which need not be verified.
            now_ms: monotonic.

        Raises:
            OverloadError: code `issuer_behind`.
        """
        if self._documents[issuer] <= MEMPOOL_PROMPT_DOCUMENTS or issuer not in self._by_issuer:
            return
        waited_ms = now_ms - next(iter(self._by_issuer[issuer].values())).since_ms
        if waited_ms > MEMPOOL_WAIT_MS:
            raise _behind(issuer, waited_ms)

    def _full(self) -> OverloadError:
        limits = self._limits
        return OverloadError(
            "too many records are waiting for a block",
            code="mempool_full",
            expected=f"<= {limits.records} records, {limits.total_bytes} bytes, {limits.weapons} weapons",
            actual=f"{len(self._active)} records, {self._bytes} bytes, {self._weapons} weapons",
            help="Send it again in a moment: its id makes that safe.",
        )

    def add(self, pending: Pending) -> None:
        """Make a record active. Requires that it is not in the pool and that there is room."""
        self._fates.pop(pending.signed.id, None)
        self._charge(pending, 1)
        self._activate(pending)
        self._note_oldest()

    def put_aside(self, pending: Pending, error: RuleError) -> None:
        """Keep a record that fails on the state as it is here; the oldest of them gives way if there are too many."""
        self._fates.pop(pending.signed.id, None)
        self._charge(pending, 1)
        self._hold_aside(_Aside(pending=pending, error=error))

    def set_aside(self, record_id: str, error: RuleError) -> None:
        """An active record failed on a block that is not final: it waits until that is decided."""
        pending = self._deactivate(record_id)
        if pending is not None:
            self._note_oldest()
            self._hold_aside(_Aside(pending=pending, error=error))

    def refuse(self, record_id: str, error: RuleError, *, height: int) -> None:
        """An active or aside record is invalid on the final state."""
        self._take(record_id)
        self._remember(record_id, Fate(status="refused", height=height, error=error))

    def remember_refusal(self, record_id: str, error: TracemarkError, *, height: int) -> None:
        """A record was refused before it came into the pool."""
        self._remember(record_id, Fate(status="refused", height=height, error=error))

    def made_final(self, record_ids: Iterable[str]) -> list[int]:
        """These records stand in a final block. Returns when those that were here were admitted (monotonic ms)."""
        admitted_ms = []
        for record_id in record_ids:
            pending = self._take(record_id)
            if pending is not None:
                admitted_ms.append(pending.since_ms)
            self._fates.pop(record_id, None)
        return admitted_ms

    def active(self, without: Container[str] = ()) -> Iterator[Pending]:
        """Active records of all issuers in turn, each one's oldest first: in each turn as many as touch `TURN_DOCUMENTS`
        together, a large lot after as many turns as it takes. The pool must not change meanwhile.

        Args:
            without: ids of records to leave out.
        """
        queues = [
            (pending for pending in queue.values() if pending.signed.id not in without)
            for queue in self._by_issuer.values()
        ]
        heads = [(queue, 0, head) for queue in queues if (head := next(queue, None)) is not None]
        while heads:
            waiting = []
            for queue, credit, head in heads:
                left = credit + TURN_DOCUMENTS
                item: Pending | None = head
                while item is not None and len(item.touches) <= left:
                    left -= len(item.touches)
                    yield item
                    item = next(queue, None)
                if item is not None:
                    waiting.append((queue, left, item))
            heads = waiting

    def first(self, without: Container[str] = ()) -> Pending | None:
        """The active record that was admitted first, of those whose ids are not among some."""
        return next((item for item in self._active.values() if item.signed.id not in without), None)

    def oldest(self, count: int, *, before_ms: int) -> list[Pending]:
        """Active records admitted before a monotonic time, oldest first."""
        return [pending for pending in islice(self._active.values(), count) if pending.since_ms <= before_ms]

    def affected(self, keys: Mapping[StateKey, object]) -> list[Pending]:
        """Active records that read or write one of these documents."""
        changed = keys.keys()
        return [pending for pending in self._active.values() if not changed.isdisjoint(pending.touches)]

    def retry(self, count: int) -> list[Pending]:
        """The next records set aside to be tried again, as many as `MEMPOOL_CHECK_DOCUMENTS` allow; each call counts as one
        try of each."""
        tried = self._first_aside(count)
        for item in tried:
            item.checks_left -= 1
            self._aside.move_to_end(item.pending.signed.id)
        return [item.pending for item in tried]

    def review(self, count: int) -> tuple[list[Pending], list[Pending]]:
        """The oldest active records and the next of those set aside, to be looked at without a new block: no try. Of each
        sort as many as `MEMPOOL_CHECK_DOCUMENTS` allow."""
        aside = self._first_aside(count)
        for item in aside:
            self._aside.move_to_end(item.pending.signed.id)
        waiting = _within_documents(islice(self._active.values(), count), lambda pending: len(pending.touches))
        return waiting, [item.pending for item in aside]

    def _first_aside(self, count: int) -> list[_Aside]:
        return _within_documents(islice(self._aside.values(), count), lambda item: len(item.pending.touches))

    def restore(self, record_id: str) -> None:
        """A record set aside is valid on the final state: it is active."""
        item = self._aside.pop(record_id, None)
        if item is not None:
            self._activate(msgspec.structs.replace(item.pending, was_valid=True))
            self._note_oldest()

    def still_invalid(self, record_id: str, error: RuleError, *, height: int) -> None:
        """A record set aside failed again on the final state. One that was valid before is refused, as is one that has
        been tried often enough."""
        item = self._aside.get(record_id)
        if item is not None and (item.pending.was_valid or item.checks_left <= 0):
            self.refuse(record_id, error, height=height)

    def expire(self, *, time_ms: int, height: int) -> list[str]:
        """Drop records too old for a block of this time (DESIGN 4.2); return their ids."""
        oldest_ms = time_ms - RECORD_MAX_AGE_MS
        every = [*self._active.values(), *(item.pending for item in self._aside.values())]
        expired = [pending.signed.id for pending in every if pending.signed.issued_ms < oldest_ms]
        for record_id in expired:
            self._take(record_id)
            self._remember(record_id, Fate(status="expired", height=height))
        return expired

    def _take(self, record_id: str) -> Pending | None:
        pending = self._deactivate(record_id)
        if pending is None:
            item = self._aside.pop(record_id, None)
            pending = None if item is None else item.pending
        if pending is not None:
            self._note_oldest()
            self._charge(pending, -1)
        return pending

    def _note_oldest(self) -> None:
        first = next(iter(self._active.values()), None)
        self.oldest_ms = None if first is None else first.since_ms

    def _activate(self, pending: Pending) -> None:
        record_id = pending.signed.id
        self._active[record_id] = pending
        self._by_issuer.setdefault(pending.signed.record.issuer, OrderedDict())[record_id] = pending

    def _deactivate(self, record_id: str) -> Pending | None:
        pending = self._active.pop(record_id, None)
        if pending is not None:
            issuer = pending.signed.record.issuer
            del self._by_issuer[issuer][record_id]
            if not self._by_issuer[issuer]:
                del self._by_issuer[issuer]
        return pending

    def _charge(self, pending: Pending, sign: int) -> None:
        size, weapons, issuer = len(pending.signed.entry), len(pending.touches), pending.signed.record.issuer
        self._bytes += sign * size
        self._weapons += sign * weapons
        self._issuers[issuer] += sign
        if self._issuers[issuer] <= 0:
            del self._issuers[issuer]
        self._documents[issuer] += sign * weapons
        if self._documents[issuer] <= 0:
            del self._documents[issuer]
        held = self._sources.setdefault(pending.source, _Held())
        held.records += sign
        held.bytes += sign * size
        held.weapons += sign * weapons
        if held.records <= 0:
            del self._sources[pending.source]

    def _hold_aside(self, item: _Aside) -> None:
        self._aside[item.pending.signed.id] = item
        while len(self._aside) > self._limits.aside_records:
            self._evict_aside()

    def _make_room(self, size: int, weapons: int) -> None:
        limits = self._limits
        while self._aside and (
            self._bytes + size > limits.total_bytes or (self._weapons and self._weapons + weapons > limits.weapons)
        ):
            self._evict_aside()

    def _evict_aside(self) -> None:
        """The oldest that never was valid here gives way: what was is soon decided, and a peer must not hurry that."""
        never_valid = (pair for pair in self._aside.items() if not pair[1].pending.was_valid)
        record_id, item = next(never_valid, None) or next(iter(self._aside.items()))
        self._take(record_id)
        self._remember(record_id, Fate(status="refused", height=0, error=item.error))

    def _remember(self, record_id: str, fate: Fate) -> None:
        self._fates[record_id] = fate
        self._news.append(record_id)
        self._fates.move_to_end(record_id)
        while len(self._fates) > self._limits.remembered:
            self._fates.popitem(last=False)


def _within_documents(items: Iterable[T], documents_of: Callable[[T], int]) -> list[T]:
    """The first of some, as long as they touch few documents together; the very first in any case."""
    taken: list[T] = []
    left = MEMPOOL_CHECK_DOCUMENTS
    for item in items:
        left -= documents_of(item)
        if taken and left < 0:
            break
        taken.append(item)
    return taken


def _behind(issuer: str, waited_ms: int) -> OverloadError:
    return OverloadError(
        "this issuer's records come faster than blocks take them",
        code="issuer_behind",
        expected=f"<= {MEMPOOL_WAIT_MS} ms that its oldest record waits",
        actual=f"{waited_ms} ms, of {issuer}",
        help="Send it again when some of them are final.",
    )


def _share_full(what: str, name: str, share: str) -> OverloadError:
    return OverloadError(
        f"this {what} has too many records waiting for a block",
        code=f"{what}_share_full",
        expected=f"<= {share} of {name}, as long as so much room is left",
        help="Send it again when some of them are final.",
    )
