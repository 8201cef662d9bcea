"""Submitting records: a batch of envelopes becomes entries, entries become outcomes, final ones get receipts.

Admission (form, signatures, rules on the tip, the mempool's bounds) is the node's; this module only reads the batch, waits
as long as asked, and puts the answer together.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta

from ledger.codec import Envelope, encode
from ledger.errors import EncodingError, InputError, OverloadError, RuleError, TracemarkError
from ledger.limits import MAX_BATCH_RECORDS, MAX_ENTRY_BYTES, RECORD_MAX_AGE_MS
from ledger.records.envelope import parse_entry
from node.service.access import Caller
from node.service.answers import ErrorDetail, RecordResult
from node.service.errors import NotReadyError
from node.service.ports import Outcome
from node.service.refusals import may_be_told, tells_of_weapons, withheld
from node.service.services import Services
from node.service.trace import receipts

WAIT_FINAL_S: Final = 30.0
"""How long a submission waits for its receipts: many views at their slowest, and below proxies' usual 60 s."""


DAY_MS: Final = 24 * 3600 * 1000


class _Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    envelopes: Annotated[tuple[msgspec.Raw, ...], Meta(min_length=1, max_length=MAX_BATCH_RECORDS)]


_BATCH: Final = msgspec.json.Decoder(_Batch)
_ENVELOPE: Final = msgspec.json.Decoder(Envelope)


def envelopes_of(body: bytes) -> tuple[msgspec.Raw, ...]:
    """The envelopes of a submission, in order, as they stand: nothing of them is read yet.

    Args:
        body: JSON `{"envelopes": [<envelope>, ...]}` of 1 to `MAX_BATCH_RECORDS`.

    Raises:
        EncodingError: code `malformed`, where the body as a whole is not that.
    """
    try:
        return _BATCH.decode(body).envelopes
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EncodingError(
            f"the body is not a batch of envelopes: {error}",
            code="malformed",
            expected=f'{{"envelopes": [1 to {MAX_BATCH_RECORDS} envelopes]}}',
        ) from error


def read_batch(envelopes: Iterable[msgspec.Raw]) -> list[bytes | EncodingError]:
    """The entries of envelopes, in order; an error in the place of each that is none.

    Whitespace and the order of keys between client and node do not matter: an envelope is written again in its canonical
    form, which is what the log holds. Nothing is dropped: an unknown or repeated key is an error.
    """
    return [_read_entry(bytes(raw)) for raw in envelopes]


def _read_entry(raw: bytes) -> bytes | EncodingError:
    try:
        entry = encode(_ENVELOPE.decode(raw))
        if entry != raw:
            _refuse_repeated_keys(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return EncodingError(
            f"not an envelope: {error}", code="malformed", expected="payload, payloadType and signatures (DSSE v1)"
        )
    except EncodingError as error:
        return error
    if len(entry) > MAX_ENTRY_BYTES:
        return EncodingError(
            "the envelope is too large", code="too_large", expected=f"<= {MAX_ENTRY_BYTES} bytes", actual=len(entry)
        )
    return entry


def _refuse_repeated_keys(raw: bytes) -> None:
    def unique(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise EncodingError(
                "an object of the envelope has a key twice", code="non_canonical", actual=[key for key, _ in pairs][:10]
            )
        return members

    json.loads(raw, object_pairs_hook=unique)


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """The results in the order of the batch; the error that decides the status of the whole, if any was refused; and
    whether all that was asked for is there: every record final, and its receipt if that was waited for."""

    results: tuple[RecordResult, ...]
    worst: TracemarkError | None
    is_complete: bool


_SEVERITY: Final[tuple[type[TracemarkError], ...]] = (InputError, RuleError, OverloadError, NotReadyError)
"""Worst first: malformed, refused by a rule, no room, not ready."""


async def submit(
    services: Services, body: bytes, caller: Caller, *, wait_for_final: bool, sees_all: bool = False
) -> Submission:
    """Submit a batch (see `envelopes_of`) and put together what became of each record.

    Args:
        services: the node's.
        body: see `envelopes_of`.
        caller: who submits.
        wait_for_final: until the records are final, or `WAIT_FINAL_S` have passed.
        sees_all: refusals are told whole, whatever the weapons (an inquirer's that stated its purpose); else only as far as
            the caller's party may see the weapons (`node.service.refusals`).

    Raises:
        EncodingError: the body is no batch.
        OverloadError: code `quota_exceeded` or `admission_behind`; nothing was taken.
        NotReadyError, StoreError: the node takes no records now.
    """
    services.node.require_turn(caller.party)
    envelopes = envelopes_of(body)
    services.record_quota.charge(caller, len(envelopes))
    batch = read_batch(envelopes)
    entries = [item for item in batch if isinstance(item, bytes)]
    outcomes = list(await services.node.submit(entries, source=caller.party)) if entries else []
    if wait_for_final:
        outcomes = await _when_final(services, outcomes)
    indices = {outcome.index for outcome in outcomes if outcome.status == "final" and outcome.index is not None}
    found = await services.read(partial(receipts, indices=indices)) if indices else {}
    admitted = iter(outcomes)
    placed = [
        next(admitted) if isinstance(item, bytes) else Outcome(id=None, status="refused", error=item) for item in batch
    ]
    if not sees_all:
        placed = await _as_told(services, batch, placed, caller)
    results = tuple(result_of(outcome, found) for outcome in placed)
    return Submission(
        results=results,
        worst=_worst([error for outcome in placed if (error := error_of(outcome)) is not None]),
        is_complete=all(
            result.status == "final" and (result.receipt is not UNSET or not wait_for_final) for result in results
        ),
    )


async def _when_final(services: Services, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes again, once those that were taken are decided and covered, or the wait is over."""
    waiting = [outcome.id for outcome in outcomes if outcome.status in ("pending", "final") and outcome.id is not None]
    if not waiting:
        return list(outcomes)
    waited = asyncio.create_task(services.node.wait_final(waiting, timeout_s=WAIT_FINAL_S))
    closing = asyncio.create_task(services.closing.wait())
    try:
        await asyncio.wait((waited, closing), return_when=asyncio.FIRST_COMPLETED)
        by_id = {outcome.id: outcome for outcome in waited.result()} if waited.done() else {}
    finally:
        waited.cancel()
        closing.cancel()
    return [by_id.get(outcome.id, outcome) for outcome in outcomes]


async def _as_told(
    services: Services, batch: Sequence[bytes | EncodingError], outcomes: Sequence[Outcome], caller: Caller
) -> list[Outcome]:
    """The outcomes without what refusals found of weapons that the caller's party may not see. (A role that sees all does so
    against a purpose, which a submission need not have.)"""
    telling = {
        place: parse_entry(entry).record
        for place, (entry, outcome) in enumerate(zip(batch, outcomes, strict=True))
        if isinstance(entry, bytes) and outcome.error is not None and tells_of_weapons(outcome.error)
    }
    told = list(outcomes)
    if not telling:
        return told
    party = msgspec.structs.replace(caller, role="holder")
    try:
        seen = await services.read(
            lambda view: {place for place, record in telling.items() if may_be_told(view, record, party)}
        )
    except (NotReadyError, OverloadError):  # the records are decided; only whether to tell more is not
        seen = set()
    for place in telling.keys() - seen:
        outcome = told[place]
        assert outcome.error is not None
        told[place] = msgspec.structs.replace(outcome, error=withheld(outcome.error))
    return told


def _worst(errors: Sequence[TracemarkError]) -> TracemarkError | None:
    for kind in _SEVERITY:
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0] if errors else None


def error_of(outcome: Outcome) -> TracemarkError | None:
    """Why a record is in no block, and will be in none; None where it is, or may be."""
    if outcome.status == "expired" and outcome.error is None:
        return RuleError(
            "the record grew too old before a block could take it",
            code="expired",
            expected=f"a block within {RECORD_MAX_AGE_MS // DAY_MS} days of issued_at",
            help="Issue it anew, with a new time and nonce.",
        )
    return outcome.error


def error_detail(error: TracemarkError) -> ErrorDetail:
    """An error as a member of an answer."""
    return ErrorDetail(
        code=error.code,
        message=error.message,
        expected=UNSET if error.expected is None else error.expected,
        actual=UNSET if error.actual is None else error.actual,
        help=UNSET if error.help is None else error.help,
    )


def result_of(outcome: Outcome, found: Mapping[int, str]) -> RecordResult:
    """An outcome as the API tells it, with the receipt that was found for its index, if any."""
    error = error_of(outcome)
    final = outcome.status == "final"
    receipt = found.get(outcome.index) if final and outcome.index is not None else None
    return RecordResult(
        id=UNSET if outcome.id is None else outcome.id,
        status=outcome.status,
        index=UNSET if outcome.index is None else outcome.index,
        height=UNSET if outcome.height is None else outcome.height,
        error=UNSET if error is None else error_detail(error),
        receipt=UNSET if receipt is None else receipt,
    )
