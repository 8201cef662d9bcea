"""The documents of weapons after each kind of record, field by field, where the model of custody does not look."""

from ledger.marks import weapon_id
from ledger.records.fields import format_time
from ledger.records.incidents import UnregisteredWeapon
from ledger.records.items import Attributes, Component, LotRow, RowAttributes
from ledger.state.model import Before
from tests.world import DAY_MS, trading_world


def test_a_lot_merges_rows_over_defaults() -> None:
    world = trading_world()
    barrel = Component(component="barrel", serial="A1-B")
    lot = world.lot(
        "maker",
        Attributes(make="GLC", make_name="Glock", model="19", type="PI", calibre="9", country="AT", year=2024),
        LotRow(serial="A1", differs=RowAttributes()),
        LotRow(
            serial="A2", differs=RowAttributes(make="SW", model="686", year=2025, marked="a-2", components=(barrel,))
        ),
    )
    record = world.submit(lot)
    first, second = (world.weapon(identity.id) for identity in lot.identities)
    assert (first.make, first.model, first.year, first.marked, first.components) == ("GLC", "19", 2024, None, None)
    assert (second.make, second.model, second.year, second.marked) == ("SW", "686", 2025, "a-2")
    assert second.components == (barrel,)
    assert (second.make_name, second.type, second.calibre, second.country) == ("Glock", "PI", "9", "AT")
    assert (first.registrar, first.owner, first.possessor, first.status) == ("maker", "maker", "maker", "held")
    assert (first.last.record, first.last.kind, first.last.issuer, first.last.count) == (
        record, "weapon.register", "maker", 2,
    )  # fmt: skip
    assert lot.identities[1].id == weapon_id("SW", "A2", "")


def test_a_later_registration_fills_in_and_moves_nothing() -> None:
    world = trading_world()
    item = UnregisteredWeapon(make="GLC", serial="A1", model="as read", calibre="9")
    report = world.report("station", "seized", unregistered=(item,))
    world.submit(report)
    weapon = report.identities[0].id
    seized = world.weapon(weapon)
    assert (seized.registered, seized.owner, seized.possessor, seized.registrar) == (False, None, "station", None)
    lot = world.lot("maker", Attributes(make="GLC", model="19"), LotRow(serial="A1", differs=RowAttributes(year=2020)))
    registration = world.submit(lot)
    known = world.weapon(weapon)
    assert (known.registered, known.registrar, known.status) == (True, "maker", "seized")
    assert (known.owner, known.possessor) == (None, "station")
    assert (known.model, known.calibre, known.year) == ("19", "9", 2020)
    assert known.history_count == 2
    world.submit(world.correct("maker", registration, weapon))
    back = world.weapon(weapon)
    assert (back.registered, back.registrar, back.status, back.possessor) == (False, None, "seized", "station")
    assert (back.model, back.calibre, back.year) == ("as read", "9", None)


def test_the_sole_record_corrected_leaves_a_void() -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    weapon = lot.identities[0].id
    world.submit(world.correct("maker", world.submit(lot), weapon))
    void = world.weapon(weapon)
    assert (void.status, void.owner, void.possessor, void.registered, void.registrar) == (
        "void", None, None, False, None,
    )  # fmt: skip
    world.submit(world.report("station", "found", unregistered=(UnregisteredWeapon(make="GLC", serial="A1"),)))
    found = world.weapon(weapon)
    assert (found.status, found.history_count, found.possessor) == ("found", 3, "station")
    assert found.model is None, "what was said of a weapon that never was is not said of this one"


def test_an_incident_remembers_what_it_overwrote() -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    transfer = world.submit(world.offer("maker", "dealer", weapon))
    report = world.submit(world.report("station", "seized", weapon))
    assert world.weapon(weapon).before == Before(status="held", possessor="maker")
    assert world.transfer(transfer).status == "cancelled"
    world.submit(world.correct("station", report, weapon))
    document = world.weapon(weapon)
    assert (document.status, document.owner, document.possessor) == ("held", "maker", "maker")
    assert (document.before, document.offer_title, document.offer_custody) == (None, None, None)
    assert world.transfer(transfer).status == "cancelled", "a cancelled offer stays cancelled"


def test_an_incident_cancels_both_slots_and_leaves_other_weapons_a_dead_reference() -> None:
    world = trading_world()
    lot = world.register("maker", "A1", "A2")
    world.submit(lot)
    first, second = (identity.id for identity in lot.identities)
    title = world.submit(world.offer("maker", "dealer", first, second, moves="title"))
    custody = world.submit(world.offer("maker", "importer", first, second, moves="custody"))
    assert (world.weapon(first).offer_title, world.weapon(first).offer_custody) == (title, custody)
    world.submit(world.report("maker", "lost", first))
    assert {world.transfer(title).status, world.transfer(custody).status} == {"cancelled"}
    assert (world.weapon(first).offer_title, world.weapon(first).offer_custody) == (None, None)
    assert (world.weapon(second).offer_title, world.weapon(second).offer_custody) == (title, custody)
    assert world.weapon(second).history_count == 3, "the other weapon is not written"
    world.refused("offer_not_pending", world.accept("dealer", title, first, second))
    world.submit(world.offer("maker", "dealer", second))


def test_an_offer_takes_the_place_of_an_expired_one() -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    soon = format_time(world.time_ms + DAY_MS)
    old = world.submit(world.offer("maker", "dealer", weapon, expires_at=soon))
    world.wait(2 * DAY_MS)
    new = world.submit(world.offer("maker", "importer", weapon, moves="custody"))
    assert (world.weapon(weapon).offer_title, world.weapon(weapon).offer_custody) == (old, new)
    world.submit(world.accept("importer", new, weapon))
    document = world.weapon(weapon)
    assert (document.owner, document.possessor, document.offer_custody) == ("maker", "importer", None)


def test_title_moves_without_custody_and_leaves_a_seizure_in_place() -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    world.submit(world.report("customs", "seized", weapon))
    transfer = world.submit(world.offer("maker", "dealer", weapon, moves="title"))
    world.submit(world.accept("dealer", transfer, weapon))
    document = world.weapon(weapon)
    assert (document.status, document.owner, document.possessor) == ("seized", "dealer", "customs")
    back = world.submit(world.offer("customs", "dealer", weapon, moves="custody"))
    world.submit(world.accept("dealer", back, weapon))
    assert (world.weapon(weapon).status, world.weapon(weapon).possessor) == ("held", "dealer")


def test_a_declined_and_a_cancelled_offer_leave_nothing_behind() -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    for answer, by, status in ((world.decline, "dealer", "declined"), (world.cancel, "maker", "cancelled")):
        transfer = world.submit(world.offer("maker", "dealer", weapon))
        world.submit(answer(by, transfer, weapon))
        document = world.weapon(weapon)
        assert (document.offer_title, document.offer_custody, document.owner) == (None, None, "maker")
        assert world.transfer(transfer).status == status
