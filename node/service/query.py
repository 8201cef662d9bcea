"""Questions about records, weapons, and the log itself. Plain functions; who may ask is `node.service.access`'s."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET

from ledger.codec import b64encode
from ledger.errors import InputError, RuleError
from ledger.marks import check_serial, normalise
from ledger.merkle.proof import consistency_proof
from ledger.merkle.tiles import Tile, encode_entries, width_at_size
from ledger.records import KeyAdd, KeyRevoke, PartyEnrol, PartyUpdate, ProposalOpen, ProposalVote, TransferOffer
from ledger.records.envelope import ParsedRecord, parse_entry
from ledger.state.model import WeaponDoc
from ledger.state.transition import kind_of, weapons_of
from node.service.access import ENTRY_READERS, Caller
from node.service.answers import ConsistencyAnswer, RecordAnswer, WeaponPage, WeaponSummary
from node.service.errors import NotFoundError
from node.service.ports import Outcome, View
from node.service.refusals import tells_of_weapons, withheld
from node.service.services import Services
from node.service.submit import error_detail, error_of
from node.service.trace import receipts, visible_weapons

DEFAULT_PAGE_ITEMS: Final = 50
_WEAPON_ID: Final = re.compile("w[a-z2-7]{32}")


async def record(services: Services, record_id: str, caller: Caller) -> RecordAnswer:
    """What became of a record: to anybody status and receipt, to those who may see it also what it is.

    A refused record is not kept, so whose weapons it named is not known: what its refusal found of them is told only to who
    may see all (others submit it again, and are told what they may see).

    Raises:
        NotFoundError: code `unknown_record`.
    """
    outcome = await services.node.outcome(record_id)
    if outcome is None:
        raise NotFoundError(
            "this node has never seen the record",
            code="unknown_record",
            actual=record_id,
            help="Submit it: its id makes that safe to repeat.",
        )
    if outcome.index is None:
        is_open = caller.sees_all or caller.role in ENTRY_READERS
        if outcome.error is not None and tells_of_weapons(outcome.error) and not is_open:
            outcome = msgspec.structs.replace(outcome, error=withheld(outcome.error))
        return _record_answer(record_id, outcome, None, None)
    return await services.read(partial(_final_record, record_id=record_id, outcome=outcome, caller=caller))


def _final_record(view: View, *, record_id: str, outcome: Outcome, caller: Caller) -> RecordAnswer:
    index = outcome.index
    if index is None or index >= view.size:
        return _record_answer(record_id, outcome, None, None)
    parsed = parse_entry(view.entries([index])[0])
    shown = parsed if sees_record(view, parsed, caller) else None
    return _record_answer(record_id, outcome, shown, receipts(view, [index])[index])


def _record_answer(
    record_id: str, outcome: Outcome, shown: ParsedRecord | None, receipt_text: str | None
) -> RecordAnswer:
    error = error_of(outcome)
    return RecordAnswer(
        id=record_id,
        status=outcome.status,
        kind=UNSET if shown is None else kind_of(shown.record),
        issuer=UNSET if shown is None else shown.record.issuer,
        index=UNSET if outcome.index is None else outcome.index,
        height=UNSET if outcome.height is None else outcome.height,
        entry=UNSET if shown is None else b64encode(shown.entry),
        receipt=UNSET if receipt_text is None else receipt_text,
        error=UNSET if error is None else error_detail(error),
    )


def sees_record(view: View, parsed: ParsedRecord, caller: Caller) -> bool:
    """Whether the caller may see what a record says: its issuer, a party it names, who may see one of its weapons, and who
    may read the log. What the validators decide is no secret."""
    record = parsed.record
    if caller.sees_all or caller.role in ENTRY_READERS or record.issuer == caller.party:
        return True
    match record:
        case PartyEnrol() | PartyUpdate() | KeyAdd() | KeyRevoke():
            return record.body.party == caller.party
        case ProposalOpen() | ProposalVote():
            return True
        case TransferOffer() if record.body.to == caller.party:
            return True
        case _:
            return bool(visible_weapons(view, weapons_of(record), caller))


def search(view: View, *, serial: str, make: str | None, cursor: str | None, limit: int, caller: Caller) -> WeaponPage:
    """All weapons with a serial, that of several makes or of several weapons of one make, page by page.

    The order is that of (make, weapon id), which never changes, so a cursor stays good while weapons are added.

    Args:
        serial: as typed; normalised here.
        make: a make code, or None for all.
        cursor: `next` of the page before.
        limit: weapons of a page, 1 to `MAX_PAGE_ITEMS`.

    Raises:
        InputError: a serial that no weapon can have (`serial_character`, `serial_mixed_scripts`, `serial_size`), or a
            `bad_cursor`.
    """
    normal = normalise(serial)
    try:
        check_serial(normal)
    except RuleError as error:  # of a question, not of a record
        raise InputError(
            error.message, code=error.code, expected=error.expected, actual=error.actual, help=error.help
        ) from error
    after = ("", "") if cursor is None else _read_cursor(cursor)
    shown: list[WeaponSummary] = []
    while True:
        places = view.weapons_by_serial(normal, make=make, after=after, limit=limit + 1)
        visible = visible_weapons(view, [weapon for _, weapon in places], caller)
        for place in places:
            if place[1] in visible:
                if len(shown) == limit:
                    return WeaponPage(weapons=tuple(shown), next=_write_cursor(after))
                shown.append(summary(place[1], visible[place[1]]))
            after = place
        if len(places) <= limit:
            return WeaponPage(weapons=tuple(shown))


def summary(weapon_id: str, weapon: WeaponDoc) -> WeaponSummary:
    """A weapon as a search shows it."""
    described = {name: getattr(weapon, name) for name in _SHOWN if getattr(weapon, name) is not None}
    return WeaponSummary(
        id=weapon_id,
        make=weapon.make,
        serial=weapon.serial,
        status=weapon.status,
        registered=weapon.registered,
        history_count=weapon.history_count,
        **described,
    )


def consistency(view: View, from_size: int, to_size: int | None) -> ConsistencyAnswer:
    """The proof that the log of `to_size` entries begins with that of `from_size`. Without `to_size`, to the view's size.

    Raises:
        InputError: code `out_of_range` unless 0 < from_size <= to_size <= the view's size.
    """
    end = view.size if to_size is None else to_size
    if not 0 < from_size <= end <= view.size:
        raise InputError(
            "no such pair of sizes",
            code="out_of_range",
            expected=f"0 < from <= to <= {view.size}",
            actual=f"from {from_size}, to {end}",
        )
    proof = consistency_proof(from_size, end, view.node)
    return ConsistencyAnswer(from_size=from_size, to_size=end, proof=tuple(map(b64encode, proof)))


def read_tile(view: View, tile: Tile) -> bytes:
    """The bytes of a hash tile or an entry bundle that the view's size has reached (C2SP tlog-tiles).

    Raises:
        NotFoundError: code `no_such_tile`.
    """
    if tile.width > width_at_size(view.size, tile.level or 0, tile.index):
        raise NotFoundError("the log has no such tile", code="no_such_tile", expected=f"a tile of {view.size} entries")
    if tile.level is None:
        return encode_entries(view.entries(range(tile.first, tile.first + tile.width)))
    return view.tile(tile.level, tile.index, tile.width)


_SHOWN: Final = (
    "marked",
    "make_name",
    "model",
    "type",
    "calibre",
    "country",
    "year",
    "owner",
    "possessor",
    "superseded_by",
)


def _write_cursor(place: tuple[str, str]) -> str:
    return urlsafe_b64encode("/".join(place).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str, str]:
    """The (make, weapon id) after which a page begins.

    Raises:
        InputError: code `bad_cursor`.
    """
    try:
        make, slash, weapon = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").partition("/")
    except ValueError:
        make = slash = weapon = ""
    if not slash or not make or _WEAPON_ID.fullmatch(weapon) is None:
        raise InputError(
            "not a cursor", code="bad_cursor", expected="`next` of the page before", actual=repr(cursor[:80])
        )
    return make, weapon
