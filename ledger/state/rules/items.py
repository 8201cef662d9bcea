"""Items: who may register what, under which identity (DESIGN 4.5)."""

from msgspec import UNSET

from ledger.errors import RuleError
from ledger.marks import UNMARKED_PREFIX, check_serial, is_unmarked_serial, weapon_id
from ledger.records import WeaponRegister
from ledger.records.envelope import SignedRecord
from ledger.records.items import Identity, RowAttributes
from ledger.state.codes import refuse
from ledger.state.lookup import find_weapon
from ledger.state.model import At, Doc, PartyDoc, State, StateKey
from ledger.state.weapons.registration import describing, guard_registration, registered
from ledger.state.weapons.writing import writer_of


def check_register(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """Every row is a weapon of a make that the issuer may register, under an identity that is free."""
    record = signed.record
    assert isinstance(record, WeaponRegister)
    makes = None if issuer.any_make else frozenset(issuer.makes)
    seen: set[str] = set()
    for identity, row in zip(record.identities, record.body.rows, strict=True):
        if makes is None or identity.make not in makes:
            _check_make(identity.make, makes, record.issuer)
        check_marking(identity.serial, unmarked=row.differs.unmarked is not UNSET)
        if identity.id in seen:
            raise repeated(identity)
        seen.add(identity.id)
        guard_registration(find_weapon(state, identity.id), identity)
        _check_distinct(state, identity, row.differs)


def apply_register(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes one document per row."""
    record = signed.record
    assert isinstance(record, WeaponRegister)
    writer = writer_of(record, signed.id)
    shared = describing(record.body.defaults)
    return {
        StateKey("weapon", identity.id): registered(find_weapon(state, identity.id), record, place, shared, writer)
        for place, identity in enumerate(record.identities)
    }


def check_marking(serial: str, *, unmarked: bool) -> None:
    """A serial is one script's; that of the form UNMARKED and a number, and the reason why there is none to read, go
    together.

    Raises:
        RuleError: as `ledger.marks.check_serial`; also code `unmarked_serial`.
    """
    check_serial(serial)
    if unmarked and not is_unmarked_serial(serial):
        raise refuse(
            "unmarked_serial",
            "a weapon without a readable serial is registered under UNMARKED and a number",
            expected=f"{UNMARKED_PREFIX}<number>",
            actual=serial,
            help="Assign the weapon a number of your own: UNMARKED1, UNMARKED2, and so on.",
        )
    if not unmarked and serial.startswith(UNMARKED_PREFIX):
        raise refuse(
            "unmarked_serial",
            "a serial that starts with UNMARKED stands for a weapon without a readable one",
            expected="`unmarked`: never-marked or obliterated",
            actual=serial,
            help="State why there is no readable serial.",
        )


def _check_make(make: str, makes: frozenset[str] | None, issuer: str) -> None:
    if not make:
        raise refuse(
            "make_missing",
            "a weapon of the lot has no make",
            expected="a make code in the row or in the defaults",
            actual="none",
            help="Use UNK where the make is unknown.",
        )
    if makes is not None:
        raise refuse(
            "make_not_entitled",
            f"{issuer} may not register weapons of make {make}",
            expected=", ".join(sorted(makes)[:10]) or "no make at all",
            actual=make,
            help="The sponsoring agency grants make codes with party.update.",
        )


def repeated(identity: Identity) -> RuleError:
    """The refusal of a record in which an identity stands twice."""
    return refuse(
        "duplicate_identity",
        f"{identity.make} {identity.serial} stands twice in the record",
        expected="each weapon once",
        actual=identity.id,
        help="Remove the repeated line.",
    )


def _check_distinct(state: State, identity: Identity, differs: RowAttributes) -> None:
    """`distinct_from` lists the weapons with the discriminators "", "1" .. "k-1", all on the ledger; this one is "k"."""
    if differs.distinct_from is UNSET:
        return
    check_distinct_list(identity, differs)
    # The list is compared first: only what the record names is in the working set.
    if any(find_weapon(state, weapon) is None for weapon in differs.distinct_from):
        raise _distinct_from_wrong(identity, differs.distinct_from)


def check_distinct_list(identity: Identity, differs: RowAttributes) -> None:
    """`distinct_from`, if given, lists the identities that must come before this one; whether they do is the state's.

    Raises:
        RuleError: code `distinct_from_wrong`.
    """
    if differs.distinct_from is UNSET:
        return
    expected = [
        weapon_id(identity.make, identity.serial, str(number) if number else "")
        for number in range(len(differs.distinct_from))
    ]
    if differs.unmarked is not UNSET or list(differs.distinct_from) != expected:
        raise _distinct_from_wrong(identity, differs.distinct_from)


def _distinct_from_wrong(identity: Identity, listed: tuple[str, ...]) -> RuleError:
    return refuse(
        "distinct_from_wrong",
        f"`distinct_from` does not list exactly the weapons of {identity.make} {identity.serial} on the ledger",
        expected="all of them, in the order in which they were registered",
        actual=", ".join(listed),
        help="Search the ledger for make and serial, and list what it finds. An unmarked weapon needs no list.",
    )
