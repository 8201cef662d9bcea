"""What replay refuses: histories that the ledger could not have admitted."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ledger.errors import VerificationError
from ledger.records import IncidentReport
from ledger.records.envelope import ParsedRecord
from ledger.records.incidents import UnregisteredWeapon
from ledger.state.transition import replay_weapon
from tests.world import World, trading_world

History = list[tuple[int, ParsedRecord]]


def _traded() -> tuple[World, str, History]:
    """Registered, offered, accepted, stolen, seized."""
    world = trading_world()
    lot = world.register("maker", "A1", "A2")
    world.submit(lot)
    weapon, other = (identity.id for identity in lot.identities)
    transfer = world.submit(world.offer("maker", "dealer", weapon, other))
    world.submit(world.accept("dealer", transfer, weapon, other))
    world.submit(world.report("dealer", "stolen", weapon))
    world.submit(world.report("station", "seized", weapon))
    return world, weapon, world.history[weapon]


def test_the_history_gives_the_document() -> None:
    world, weapon, history = _traded()
    document = replay_weapon(weapon, history)
    assert document == world.weapon(weapon)
    assert (document.status, document.owner, document.possessor) == ("seized", "dealer", "station")
    head = b""
    for _, parsed in history:
        head = hashlib.sha256(head + bytes.fromhex(parsed.id)).digest()
    assert (document.history_head, document.history_count) == (head.hex(), len(history))


@pytest.mark.parametrize("gone", range(5))
def test_no_record_can_be_left_out_unseen(gone: int) -> None:
    world, weapon, history = _traded()
    shorter = history[:gone] + history[gone + 1 :]
    try:
        document = replay_weapon(weapon, shorter)
    except VerificationError as error:
        assert error.code == "impossible_history"
    else:
        # Where the rest is possible by itself, the head and the count betray the gap.
        assert document.history_head != world.weapon(weapon).history_head
        assert document.history_count == world.weapon(weapon).history_count - 1


def test_order_is_the_logs() -> None:
    _, weapon, history = _traded()
    late_start = [(10_000, history[0][1]), *history[1:]]
    for wrong in (late_start, [*history, history[-1]], [(5, history[0][1]), (5, history[1][1])]):
        with pytest.raises(VerificationError) as caught:
            replay_weapon(weapon, wrong)
        assert caught.value.code == "history_order"


def test_an_empty_history_derives_nothing() -> None:
    with pytest.raises(VerificationError) as caught:
        replay_weapon("w" + "a" * 32, [])
    assert caught.value.code == "empty_history"


def test_records_of_other_weapons_do_not_belong() -> None:
    world, weapon, history = _traded()
    stranger = world.register("maker", "B1")
    parsed, _ = world.sign(stranger)
    enrolment, _ = world.sign(world.enrol("interior", "shop", "dealer"))
    for foreign in (parsed, enrolment):
        with pytest.raises(VerificationError) as caught:
            replay_weapon(weapon, [*history, (10_000, foreign)])
        assert caught.value.code == "foreign_record"


Forge = Callable[[World, str, str], object]


def unsorted(world: World, incident: str, weapon: str) -> IncidentReport:
    """A report whose weapons are in the wrong order."""
    report = world.report("station", incident, weapon, "w" + "2" * 32)
    body = msgspec.structs.replace(report.body, weapons=tuple(reversed(report.body.weapons)))
    return msgspec.structs.replace(report, body=body)


FORGERIES: dict[str, Forge] = {
    "accept by another than the recipient": lambda world, weapon, offer: world.accept("importer", offer, weapon),
    "decline by another than the recipient": lambda world, weapon, offer: world.decline("maker", offer, weapon),
    "cancel by another than the offeror": lambda world, weapon, offer: world.cancel("dealer", offer, weapon),
    "accept of no offer": lambda world, weapon, offer: world.accept("dealer", "0" * 64, weapon),
    "accept of more than was offered": lambda world, weapon, offer: world.accept(
        "dealer", offer, weapon, "w" + "a" * 32
    ),
    "offer by another than the owner": lambda world, weapon, offer: world.offer("dealer", "importer", weapon),
    "second registration": lambda world, weapon, offer: world.register("maker", "A1"),
    "found without a loss": lambda world, weapon, offer: world.report("station", "found", weapon),
    "reported as unregistered": lambda world, weapon, offer: world.report(
        "station", "seized", unregistered=(UnregisteredWeapon(make="GLC", serial="A1"),)
    ),
    "offer to oneself": lambda world, weapon, offer: world.offer("maker", "maker", weapon),
    "seizure of an unsorted list": lambda world, weapon, offer: unsorted(world, "seized", weapon),
    "seizure of a list with a weapon twice": lambda world, weapon, offer: world.report(
        "station", "seized", weapon, "w" + "2" * 32, "w" + "2" * 32
    ),
    "correction of the offer": lambda world, weapon, offer: world.correct("maker", offer, weapon),
    "correction of nothing": lambda world, weapon, offer: world.correct("maker", "0" * 64, weapon),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_steps_are_refused(name: str) -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    offer = world.submit(world.offer("maker", "dealer", weapon))
    record = FORGERIES[name](world, weapon, offer)
    parsed, _ = world.sign(record)  # type: ignore[arg-type]
    with pytest.raises(VerificationError) as caught:
        replay_weapon(weapon, [*world.history[weapon], (10_000, parsed)])
    assert caught.value.code == "impossible_history"


@pytest.mark.parametrize(
    ("serials", "differs"),
    [
        (("A1", "A2", "A2"), {}),
        (("A1\u0411",), {}),
        (("A\u202e1",), {}),
        (("UNMARKED1",), {}),
        (("A1",), {"unmarked": "obliterated"}),
        (("A1",), {"distinct_from": ("w" + "a" * 32,)}),
    ],
)
def test_no_lot_begins_a_history_that_the_rules_refuse_by_itself(
    serials: tuple[str, ...], differs: dict[str, Any]
) -> None:
    """What needs no state to be seen is seen offline too, whoever put it into the log."""
    world = trading_world()
    lot = world.register("maker", *serials, **differs)
    parsed, _ = world.sign(lot)
    with pytest.raises(VerificationError) as caught:
        replay_weapon(lot.identities[0].id, [(5, parsed)])
    assert caught.value.code == "impossible_history"


@pytest.mark.parametrize(
    ("incident", "serials"),
    [("stolen", ("A1",)), ("seized", ("A1", "A2", "A2")), ("seized", ("a1",)), ("found", ("UNMARKED1",))],
)
def test_no_report_begins_a_history_that_the_rules_refuse_by_itself(incident: str, serials: tuple[str, ...]) -> None:
    world = trading_world()
    found = tuple(UnregisteredWeapon(make="GLC", serial=serial) for serial in serials)
    report = world.report("station", incident, unregistered=found)
    parsed, _ = world.sign(report)
    with pytest.raises(VerificationError) as caught:
        replay_weapon(report.identities[0].id, [(5, parsed)])
    assert caught.value.code == "impossible_history"


def test_an_accept_twice_is_refused() -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    offer = world.submit(world.offer("maker", "dealer", weapon))
    world.submit(world.accept("dealer", offer, weapon))
    again, _ = world.sign(world.accept("dealer", offer, weapon))
    with pytest.raises(VerificationError) as caught:
        replay_weapon(weapon, [*world.history[weapon], (10_000, again)])
    assert caught.value.code == "impossible_history"
