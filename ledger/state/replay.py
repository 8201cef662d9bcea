"""A weapon's document derived again from its history alone, for those who have no state: offline verification, audits.

The same guards and transitions as in the ledger's rules, on one weapon, and the rules that a record keeps or breaks by
itself. What they cannot see here are the other documents of the time: roles, keys, expiry of offers. These were checked by
the agencies that signed the checkpoint; and the proof of the document, whose `history_head` seals the history, shows that
it is complete.
"""

from collections.abc import Iterable, Iterator

from msgspec import UNSET

from ledger.errors import RuleError, VerificationError
from ledger.records import (
    CorrectionDeclare,
    IncidentReport,
    Record,
    TransferAccept,
    TransferCancel,
    TransferDecline,
    TransferOffer,
    WeaponRegister,
)
from ledger.records.envelope import ParsedRecord
from ledger.records.items import Identity
from ledger.state.codes import refuse
from ledger.state.model import TransferDoc, WeaponDoc
from ledger.state.rules.custody import require_somebody_else
from ledger.state.rules.incidents import require_seized_or_found
from ledger.state.rules.items import check_distinct_list, check_marking, repeated
from ledger.state.rules.lists import require_sorted
from ledger.state.weapons.corrections import corrected, guard_correction
from ledger.state.weapons.custody import (
    accepted,
    guard_accept,
    guard_answer,
    guard_offer,
    guard_terms,
    offered,
    released,
    transfer_of,
)
from ledger.state.weapons.incidents import guard_incident, guard_unregistered, reported, reported_unregistered
from ledger.state.weapons.registration import describing, guard_registration, registered
from ledger.state.weapons.writing import Writer, kind_of, weapons_of, writer_of


def replay_weapon(weapon: str, history: Iterable[tuple[int, ParsedRecord]]) -> WeaponDoc:
    """Derive the weapon's document from all the records that wrote it.

    Args:
        weapon: the weapon id.
        history: log index and record, in log order.

    Raises:
        VerificationError: code `empty_history`, `history_order` (indices do not rise), `foreign_record` (one does not
        touch the weapon) or `impossible_history` (the ledger's rules could not have let it pass at its place).
    """
    document: WeaponDoc | None = None
    for document in replay_weapon_steps(weapon, history):  # noqa: B007 - the last one is what is wanted
        pass
    if document is None:
        raise VerificationError("the weapon has no history", code="empty_history", expected="at least one record")
    return document


def replay_weapon_steps(weapon: str, history: Iterable[tuple[int, ParsedRecord]]) -> Iterator[WeaponDoc]:
    """`replay_weapon` step by step: the weapon's document after each of its records.

    Raises:
        VerificationError: as `replay_weapon`, but for `empty_history`.
    """
    document: WeaponDoc | None = None
    offers: dict[str, TransferDoc] = {}
    previous = -1
    for index, parsed in history:
        if index <= previous:
            raise VerificationError(
                "the history is not in log order", code="history_order", expected=f"> {previous}", actual=index
            )
        previous = index
        record = parsed.record
        if weapons_of(record).count(weapon) != 1:
            raise VerificationError(
                f"the record at index {index} does not write the weapon once",
                code="foreign_record",
                expected=weapon,
                actual=f"{kind_of(record)} {parsed.id}",
            )
        try:
            _guard_alone(record, weapon)
            document = _step(document, weapon, record, parsed.id, offers)
        except RuleError as error:
            raise VerificationError(
                f"the record at index {index} could not follow on those before it: {error.message}",
                code="impossible_history",
                expected=error.expected,
                actual=error.actual,
            ) from error
        yield document


def _guard_alone(record: Record, weapon: str) -> None:
    """The rules that the record alone keeps or breaks, as far as they are about this weapon or the record's list."""
    match record:
        case WeaponRegister():
            _require_distinct(record.identities)
            for identity, row in zip(record.identities, record.body.rows, strict=True):
                if identity.id == weapon:
                    check_marking(identity.serial, unmarked=row.differs.unmarked is not UNSET)
                    check_distinct_list(identity, row.differs)
        case IncidentReport():
            require_sorted(record.body.weapons, "weapons")
            _require_distinct(record.identities)
            if record.identities:
                require_seized_or_found(record.body.incident)
            for identity, item in zip(record.identities, record.body.unregistered, strict=True):
                if identity.id == weapon:
                    check_marking(item.serial, unmarked=item.unmarked is not UNSET)
        case _:
            require_sorted(weapons_of(record), "weapons")
            if isinstance(record, TransferOffer):
                require_somebody_else(record.issuer, record.body.to)


def _require_distinct(identities: tuple[Identity, ...]) -> None:
    ids = [identity.id for identity in identities]
    if len(set(ids)) != len(ids):
        raise repeated(next(identity for place, identity in enumerate(identities) if identity.id in ids[:place]))


def _step(
    document: WeaponDoc | None, weapon: str, record: Record, record_id: str, offers: dict[str, TransferDoc]
) -> WeaponDoc:
    """The document after one more record. `offers` collects the offers of the weapon."""
    writer = writer_of(record, record_id)
    match record:
        case WeaponRegister():
            place = next(place for place, identity in enumerate(record.identities) if identity.id == weapon)
            guard_registration(document, record.identities[place])
            return registered(document, record, place, describing(record.body.defaults), writer)
        case TransferOffer():
            document = guard_offer(document, weapon, record.issuer, record.body.moves)
            offers[record_id] = transfer_of(record)
            return offered(document, record_id, record.body.moves, writer)
        case TransferAccept() | TransferDecline() | TransferCancel():
            return _answer(document, weapon, record, offers.get(record.body.transfer), writer)
        case IncidentReport():
            return _incident(document, weapon, record, writer)
        case CorrectionDeclare():
            return corrected(guard_correction(document, weapon, record.body, record.issuer), writer)
        case _:
            raise VerificationError("the record writes no weapon", code="foreign_record", actual=kind_of(record))


def _answer(
    document: WeaponDoc | None,
    weapon: str,
    record: TransferAccept | TransferDecline | TransferCancel,
    offer: TransferDoc | None,
    writer: Writer,
) -> WeaponDoc:
    if offer is None:
        raise refuse("unknown_transfer", "no such offer of the weapon came before", expected="its offer", actual="none")
    guard_terms(record, offer)
    if isinstance(record, TransferAccept):
        return accepted(guard_accept(document, weapon, record.body.transfer, offer), offer, writer)
    return released(guard_answer(document, weapon, record.body.transfer, offer.moves), offer.moves, writer)


def _incident(document: WeaponDoc | None, weapon: str, record: IncidentReport, writer: Writer) -> WeaponDoc:
    incident = record.body.incident
    if weapon in record.body.weapons:
        return reported(guard_incident(document, weapon, incident), incident, writer)
    place = next(place for place, identity in enumerate(record.identities) if identity.id == weapon)
    identity = record.identities[place]
    guard_unregistered(document, identity)
    return reported_unregistered(document, identity, record.body.unregistered[place], incident, writer)
