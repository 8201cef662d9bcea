"""Cases of the rules for registration, custody, incidents and corrections."""

import msgspec
import pytest

from ledger.errors import EncodingError, RuleError
from ledger.limits import MAX_OFFER_LIFE_MS
from ledger.marks import check_serial, weapon_id
from ledger.records.fields import format_time
from ledger.records.incidents import UnregisteredWeapon
from ledger.records.items import Attributes, LotRow, RowAttributes
from ledger.state.model import StateKey
from tests.ledger.state.cases import refusal
from tests.world import DAY_MS, World


def registered(world: World, serial: str = "A1", by: str = "maker") -> str:
    """A fresh weapon of `by`."""
    lot = world.register(by, serial)
    world.submit(lot)
    return lot.identities[0].id


def row(serial: str, **differs: object) -> LotRow:
    """A row of a lot."""
    return LotRow(serial=serial, differs=RowAttributes(**differs))  # type: ignore[arg-type]


@refusal("make_missing")
def lot_without_make(world: World) -> None:
    world.refused("make_missing", world.lot("maker", Attributes(), row("A1")))
    world.refused("make_missing", world.lot("importer", Attributes(model="X"), row("A1", make="GLC"), row("A2")))
    world.submit(world.lot("maker", Attributes(), row("A1", make="GLC"), row("A2", make="SW")))


@refusal("make_not_entitled")
def make_of_another(world: World) -> None:
    world.refused("make_not_entitled", world.register("maker", "A1", make="BER"))
    world.refused("make_not_entitled", world.register("dealer", "A1", make="GLC"))
    world.refused("make_not_entitled", world.register("police", "A1", make="GLC"))
    world.refused("make_not_entitled", world.lot("maker", Attributes(make="GLC"), row("A1"), row("A2", make="BER")))
    world.submit(world.register("importer", "A1", make="BER"))
    world.submit(world.register("interior", "A2", make="UNK"))


@refusal("serial_size")
def serial_of_no_or_too_many_characters(world: World) -> None:
    for serial in ("", "A" * 33):
        # In a record the schema refuses it first; who calls the rule alone gets this.
        with pytest.raises(EncodingError):
            world.sign(world.register("maker", serial))
        with pytest.raises(RuleError) as caught:
            check_serial(serial)
        assert caught.value.code == "serial_size"
    world.submit(world.register("maker", "A" * 32))


@refusal("serial_character")
def serial_with_other_characters(world: World) -> None:
    for serial in ("a1", "A 1", "A-1", "A_1", "Ñ1", "A1\n", "１", "A*1"):
        error = world.refused("serial_character", world.register("maker", serial))
        assert "U+" in error.message
    world.submit(world.register("maker", "A1/2.3", "ΩΨ12", "ЖЯ12", "0012"))


@refusal("serial_mixed_scripts")
def serial_of_two_scripts(world: World) -> None:
    error = world.refused("serial_mixed_scripts", world.register("maker", "АBC123"))
    assert "U+0410 CYRILLIC CAPITAL LETTER A" in error.message
    error = world.refused("serial_mixed_scripts", world.register("maker", "ЖЯA1"))
    assert "U+0041 LATIN CAPITAL LETTER A" in error.message
    world.refused("serial_mixed_scripts", world.register("maker", "ΩЖ1"))
    found = world.report("station", "found", unregistered=(UnregisteredWeapon(make="GLC", serial="АBC123"),))
    world.refused("serial_mixed_scripts", found)


@refusal("unmarked_serial")
def unmarked_weapons(world: World) -> None:
    world.refused("unmarked_serial", world.register("maker", "UNMARKED1"))
    world.refused("unmarked_serial", world.register("maker", "A1", unmarked="never-marked"))
    for serial in ("UNMARKED", "UNMARKED01", "UNMARKED0", "UNMARKED1A"):
        world.refused("unmarked_serial", world.register("maker", serial, unmarked="obliterated"))
    ghost = UnregisteredWeapon(make="UNK", serial="UNMARKED1")
    world.refused("unmarked_serial", world.report("station", "seized", unregistered=(ghost,)))
    lot = world.register("maker", "UNMARKED1", unmarked="never-marked")
    world.submit(lot)
    assert lot.identities[0].discriminator == "maker"
    ghost = UnregisteredWeapon(make="UNK", serial="UNMARKED1", unmarked="obliterated")
    report = world.report("station", "seized", unregistered=(ghost,))
    world.submit(report)
    assert world.weapon(report.identities[0].id).discriminator == "station"
    world.submit(world.report("police", "seized", unregistered=(ghost,)))


@refusal("duplicate_identity")
def registered_twice(world: World) -> None:
    registered(world)
    world.refused("duplicate_identity", world.register("maker", "A1"))
    world.refused("duplicate_identity", world.register("importer", "A1"))
    world.refused("duplicate_identity", world.register("maker", "A2", "A3", "A2"))
    world.submit(world.register("maker", "A1", make="SW"))


@refusal("duplicate_identity")
def reported_as_unregistered_twice(world: World) -> None:
    registered(world)
    for incident in ("seized", "found"):
        known = UnregisteredWeapon(make="GLC", serial="A1")
        world.refused("duplicate_identity", world.report("station", incident, unregistered=(known,)))
        new = UnregisteredWeapon(make="GLC", serial="B1")
        world.refused("duplicate_identity", world.report("station", incident, unregistered=(new, new)))
    world.submit(world.report("station", "seized", unregistered=(new,)))
    world.refused("duplicate_identity", world.report("station", "seized", unregistered=(new,)))


@refusal("distinct_from_wrong")
def another_weapon_of_the_same_number(world: World) -> None:
    first, other = registered(world), registered(world, "B1")
    second, third = weapon_id("GLC", "A1", "1"), weapon_id("GLC", "A1", "2")
    for listed in ((other,), (second,), (first, second), (first, other), (first, first)):
        world.refused("distinct_from_wrong", world.register("maker", "A1", distinct_from=listed))
    world.refused("distinct_from_wrong", world.register("maker", "C1", distinct_from=(weapon_id("GLC", "C1", ""),)))
    unmarked = world.register("maker", "UNMARKED1", unmarked="obliterated", distinct_from=(first,))
    world.refused("distinct_from_wrong", unmarked)
    world.submit(world.register("maker", "A1", distinct_from=(first,)))
    assert world.weapon(second).discriminator == "1"
    world.refused("duplicate_identity", world.register("maker", "A1", distinct_from=(first,)))
    world.refused("distinct_from_wrong", world.register("maker", "A1", distinct_from=(second, first)))
    world.submit(world.register("maker", "A1", distinct_from=(first, second)))
    assert world.weapon(third).discriminator == "2"


@refusal("unknown_weapon")
def weapon_that_is_nowhere(world: World) -> None:
    nowhere = weapon_id("GLC", "NOWHERE", "")
    world.refused("unknown_weapon", world.offer("maker", "dealer", nowhere))
    world.refused("unknown_weapon", world.offer("maker", "dealer", registered(world), nowhere))
    world.refused("unknown_weapon", world.report("maker", "lost", nowhere))
    world.refused("unknown_weapon", world.report("station", "seized", nowhere))
    world.refused("unknown_weapon", world.correct("maker", "0" * 64, nowhere))


@refusal("weapon_void")
def weapon_that_never_was(world: World) -> None:
    lot = world.register("maker", "A1")
    weapon = lot.identities[0].id
    world.submit(world.correct("maker", world.submit(lot), weapon))
    world.refused("weapon_void", world.offer("maker", "dealer", weapon))
    world.refused("weapon_void", world.report("maker", "stolen", weapon))
    world.refused("weapon_void", world.report("station", "seized", weapon))
    world.submit(world.register("importer", "A1"))
    world.submit(world.offer("importer", "dealer", weapon))


@refusal("weapon_not_movable")
def weapon_that_nobody_holds(world: World) -> None:
    for incident in ("lost", "stolen"):
        weapon = registered(world, f"A{incident}".upper())
        world.submit(world.report("maker", incident, weapon))
        world.refused("weapon_not_movable", world.offer("maker", "dealer", weapon, moves="title"))
        world.submit(world.report("station", "recovered", weapon))
        world.submit(world.offer("maker", "dealer", weapon, moves="title"))


@refusal("weapon_superseded")
def weapon_under_another_identity(world: World) -> None:
    old, new = registered(world), registered(world, "A2")
    key = StateKey("weapon", old)
    world.state[key] = msgspec.structs.replace(world.weapon(old), superseded_by=new)
    world.refused("weapon_superseded", world.offer("maker", "dealer", old))
    world.submit(world.offer("maker", "dealer", new))


@refusal("not_owner")
def title_of_another(world: World) -> None:
    weapon = registered(world)
    world.refused("not_owner", world.offer("dealer", "importer", weapon, moves="title"))
    transfer = world.submit(world.offer("maker", "dealer", weapon, moves="custody"))
    world.submit(world.accept("dealer", transfer, weapon))
    world.refused("not_owner", world.offer("dealer", "importer", weapon, moves="title"))
    world.refused("not_owner", world.offer("dealer", "importer", weapon, moves="both"))
    world.submit(world.offer("dealer", "importer", weapon, moves="custody"))


@refusal("not_possessor")
def custody_of_another(world: World) -> None:
    weapon = registered(world)
    transfer = world.submit(world.offer("maker", "dealer", weapon, moves="title"))
    world.submit(world.accept("dealer", transfer, weapon))
    world.refused("not_possessor", world.offer("dealer", "importer", weapon, moves="custody"))
    world.refused("not_possessor", world.offer("dealer", "importer", weapon, moves="both"))
    world.submit(world.offer("dealer", "importer", weapon, moves="title"))


@refusal("offer_to_self")
def offer_to_oneself(world: World) -> None:
    world.refused("offer_to_self", world.offer("maker", "maker", registered(world)))


@refusal("recipient_not_active")
def offer_to_a_suspended_party(world: World) -> None:
    weapon = registered(world)
    for status in ("suspended", "ended"):
        world.submit(world.update("interior", "dealer", status=status))
        world.refused("recipient_not_active", world.offer("maker", "dealer", weapon))
    until = format_time(world.time_ms + DAY_MS)
    world.submit(world.update("interior", "importer", valid_until=until))
    world.wait(2 * DAY_MS)
    world.refused("recipient_not_active", world.offer("maker", "importer", weapon))


@refusal("offer_expiry")
def offer_without_end(world: World) -> None:
    weapon = registered(world)
    world.time_ms = world.time_ms // 1000 * 1000
    for expires_ms in (world.time_ms, world.time_ms + MAX_OFFER_LIFE_MS + 1_000):
        offer = world.offer("maker", "dealer", weapon, expires_at=format_time(expires_ms))
        world.refused("offer_expiry", offer)
    longest = format_time(world.time_ms + MAX_OFFER_LIFE_MS)
    world.submit(world.offer("maker", "dealer", weapon, expires_at=longest))


@refusal("offer_pending")
def two_offers(world: World) -> None:
    weapon = registered(world)
    transfer = world.submit(world.offer("maker", "dealer", weapon, moves="custody"))
    for moves in ("custody", "both"):
        world.refused("offer_pending", world.offer("maker", "importer", weapon, moves=moves))
    world.submit(world.offer("maker", "importer", weapon, moves="title"))
    world.refused("offer_pending", world.offer("maker", "importer", weapon, moves="title"))
    world.submit(world.cancel("maker", transfer, weapon))
    world.refused("offer_pending", world.offer("maker", "importer", weapon, moves="both"))
    world.submit(world.offer("maker", "importer", weapon, moves="custody"))


@refusal("unknown_transfer")
def answer_to_nothing(world: World) -> None:
    weapon = registered(world)
    for answer in (world.accept("dealer", "0" * 64, weapon), world.decline("dealer", "0" * 64, weapon)):
        world.refused("unknown_transfer", answer)
    world.refused("unknown_transfer", world.cancel("maker", "0" * 64, weapon))


@refusal("not_recipient")
def answer_by_another(world: World) -> None:
    weapon = registered(world)
    transfer = world.submit(world.offer("maker", "dealer", weapon))
    for party in ("maker", "importer", "interior"):
        world.refused("not_recipient", world.accept(party, transfer, weapon))
        world.refused("not_recipient", world.decline(party, transfer, weapon))
    world.submit(world.decline("dealer", transfer, weapon))


@refusal("not_offeror")
def cancelled_by_another(world: World) -> None:
    weapon = registered(world)
    transfer = world.submit(world.offer("maker", "dealer", weapon))
    for party in ("dealer", "importer", "interior"):
        world.refused("not_offeror", world.cancel(party, transfer, weapon))
    world.submit(world.cancel("maker", transfer, weapon))


@refusal("offer_not_pending")
def answered_before(world: World) -> None:
    for number, end in enumerate(("accept", "decline", "cancel", "stolen")):
        weapon, other = registered(world, f"A{number}"), registered(world, f"B{number}")
        transfer = world.submit(world.offer("maker", "dealer", weapon, other))
        if end == "accept":
            world.submit(world.accept("dealer", transfer, weapon, other))
        elif end == "decline":
            world.submit(world.decline("dealer", transfer, weapon, other))
        elif end == "cancel":
            world.submit(world.cancel("maker", transfer, weapon, other))
        else:
            world.submit(world.report("maker", "stolen", weapon))
            world.submit(world.offer("maker", "dealer", other))
        world.refused("offer_not_pending", world.accept("dealer", transfer, weapon, other))
        world.refused("offer_not_pending", world.decline("dealer", transfer, weapon, other))
        world.refused("offer_not_pending", world.cancel("maker", transfer, weapon, other))


@refusal("offer_expired")
def answered_too_late(world: World) -> None:
    early, late = registered(world, "A1"), registered(world, "A2")
    expires_ms = world.time_ms // 1000 * 1000 + DAY_MS
    transfers = {
        weapon: world.submit(world.offer("maker", "dealer", weapon, expires_at=format_time(expires_ms)))
        for weapon in (early, late)
    }
    world.time_ms = expires_ms - 1
    world.submit(world.accept("dealer", transfers[early], early))
    world.time_ms = expires_ms
    world.refused("offer_expired", world.accept("dealer", transfers[late], late))
    world.refused("offer_expired", world.decline("dealer", transfers[late], late))
    world.refused("offer_expired", world.cancel("maker", transfers[late], late))
    world.submit(world.offer("maker", "importer", late))


@refusal("weapons_differ")
def part_of_an_offer(world: World) -> None:
    first, second, third = (registered(world, serial) for serial in ("A1", "A2", "A3"))
    transfer = world.submit(world.offer("maker", "dealer", first, second))
    for weapons in ((first,), (first, third), (first, second, third)):
        world.refused("weapons_differ", world.accept("dealer", transfer, *weapons))
        world.refused("weapons_differ", world.decline("dealer", transfer, *weapons))
        world.refused("weapons_differ", world.cancel("maker", transfer, *weapons))
    world.submit(world.accept("dealer", transfer, first, second))


@refusal("offer_gone")
def weapon_no_longer_under_the_offer(world: World) -> None:
    # No sequence of records leads here: what takes a weapon from an offer cancels the offer. The guard is for replay.
    weapon = registered(world)
    transfer = world.submit(world.offer("maker", "dealer", weapon))
    key = StateKey("weapon", weapon)
    world.state[key] = msgspec.structs.replace(world.weapon(weapon), offer_custody=None)
    world.refused("offer_gone", world.accept("dealer", transfer, weapon))
    world.refused("offer_gone", world.decline("dealer", transfer, weapon))
    world.refused("offer_gone", world.cancel("maker", transfer, weapon))


@refusal("no_weapons")
def report_of_nothing(world: World) -> None:
    world.refused("no_weapons", world.report("station", "seized"))


@refusal("not_entitled_to_report")
def loss_reported_by_others(world: World) -> None:
    weapon = registered(world)
    transfer = world.submit(world.offer("maker", "far-dealer", weapon, moves="custody"))
    world.submit(world.accept("far-dealer", transfer, weapon))
    for incident in ("lost", "stolen"):
        for party in ("dealer", "station", "police", "customs"):
            world.refused("not_entitled_to_report", world.report(party, incident, weapon))
    for party in ("maker", "far-dealer", "interior", "neighbour"):
        _, signed = world.sign(world.report(party, "stolen", weapon))
        before = dict(world.state)
        world.submit(signed.record)
        world.state = before


@refusal("not_entitled_to_report")
def exhibit_reported_gone_by_its_owner(world: World) -> None:
    weapon = registered(world)
    world.submit(world.report("station", "seized", weapon))
    for incident in ("lost", "stolen"):
        for party in ("maker", "interior"):
            world.refused("not_entitled_to_report", world.report(party, incident, weapon))
    world.submit(world.report("station", "lost", weapon))


@refusal("not_an_authority")
def seized_by_a_party(world: World) -> None:
    weapon = registered(world)
    for incident in ("found", "seized", "recovered"):
        for party in ("maker", "dealer", "interior"):
            world.refused("not_an_authority", world.report(party, incident, weapon))
    world.submit(world.report("customs", "seized", weapon))


@refusal("unregistered_not_possible")
def loss_of_an_unregistered_weapon(world: World) -> None:
    item = UnregisteredWeapon(make="GLC", serial="A1")
    world.refused("unregistered_not_possible", world.report("station", "recovered", unregistered=(item,)))
    world.refused("unregistered_not_possible", world.report("station", "lost", unregistered=(item,)))
    world.submit(world.report("station", "found", unregistered=(item,)))


@refusal("already_seized")
def seized_twice(world: World) -> None:
    weapon = registered(world)
    world.submit(world.report("station", "seized", weapon))
    world.refused("already_seized", world.report("customs", "seized", weapon))
    transfer = world.submit(world.offer("station", "customs", weapon, moves="custody"))
    world.submit(world.accept("customs", transfer, weapon))
    world.submit(world.report("police", "seized", weapon))


@refusal("status_conflict")
def incidents_out_of_turn(world: World) -> None:
    weapon = registered(world)
    world.refused("status_conflict", world.report("station", "found", weapon))
    world.refused("status_conflict", world.report("station", "recovered", weapon))
    world.submit(world.report("maker", "lost", weapon))
    world.refused("status_conflict", world.report("maker", "lost", weapon))
    world.submit(world.report("maker", "stolen", weapon))
    world.refused("status_conflict", world.report("maker", "stolen", weapon))
    world.refused("status_conflict", world.report("maker", "lost", weapon))
    world.refused("status_conflict", world.report("station", "found", weapon))
    world.submit(world.report("station", "recovered", weapon))


@refusal("not_correctable")
def correction_of_a_transfer(world: World) -> None:
    weapon = registered(world)
    transfer = world.submit(world.offer("maker", "dealer", weapon))
    world.refused("not_correctable", world.correct("maker", transfer, weapon))
    accepted = world.submit(world.accept("dealer", transfer, weapon))
    world.refused("not_correctable", world.correct("dealer", accepted, weapon))
    report = world.submit(world.report("dealer", "lost", weapon))
    correction = world.submit(world.correct("dealer", report, weapon))
    world.refused("not_correctable", world.correct("dealer", correction, weapon))


@refusal("not_last_record")
def correction_of_an_earlier_record(world: World) -> None:
    lot = world.register("maker", "A1", "A2")
    registration = world.submit(lot)
    first, second = (identity.id for identity in lot.identities)
    report = world.submit(world.report("maker", "lost", first))
    world.refused("not_last_record", world.correct("maker", registration, first, second))
    world.refused("not_last_record", world.correct("maker", registration, first))
    world.refused("not_last_record", world.correct("maker", report, first, second))
    world.submit(world.correct("maker", report, first))
    world.refused("not_last_record", world.correct("maker", registration, first, second))


@refusal("not_issuer")
def correction_by_another(world: World) -> None:
    lot = world.register("maker", "A1")
    registration = world.submit(lot)
    for party in ("interior", "importer"):
        world.refused("not_issuer", world.correct(party, registration, lot.identities[0].id))
    world.submit(world.correct("maker", registration, lot.identities[0].id))


@refusal("correction_incomplete")
def correction_of_a_part(world: World) -> None:
    lot = world.register("maker", "A1", "A2")
    registration = world.submit(lot)
    first, second = (identity.id for identity in lot.identities)
    world.refused("correction_incomplete", world.correct("maker", registration, first))
    world.submit(world.correct("maker", registration, first, second))
