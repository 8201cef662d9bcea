"""Rotation, recovery and revocation of record keys, at their edges (DESIGN 12)."""

from ledger.errors import RuleError
from ledger.limits import KEY_RECOVERY_DELAY_MS
from ledger.records.fields import format_time, parse_time
from ledger.signing import SigningKey
from ledger.state.transition import active_key, signers_of
from tests.world import World, key_named, trading_world


def _valid_at(world: World, key: SigningKey, index: int) -> bool:
    """Whether the key's document lets it sign at a log index, as an offline verifier reads it."""
    document = world.key(key)
    added = -1 if document.added is None else document.added
    return added < index and (document.revoked is None or index < document.revoked)


def test_rotation_takes_effect_with_the_next_record() -> None:
    world = trading_world()
    old, new = world.keys["maker"], key_named("maker 2")
    index = world.index
    world.submit(world.add_key("maker", "maker", new))
    assert world.key(old).revoked == index + 1
    assert world.key(new).added == index
    assert (_valid_at(world, old, index), _valid_at(world, new, index)) == (True, False)
    assert (_valid_at(world, old, index + 1), _valid_at(world, new, index + 1)) == (False, True)
    world.refused("revoked_key", world.register("maker", "A1"))
    world.submit(world.register("maker", "A1"), new)


def test_an_agency_rotates_its_key() -> None:
    world = trading_world()
    new = key_named("interior 2")
    world.submit(world.add_key("interior", "interior", new))
    world.refused("revoked_key", world.enrol("interior", "shop", "dealer"))
    world.submit(world.enrol("interior", "shop", "dealer"), new)
    assert world.key(world.keys["interior"]).added is None


def test_revocation_ends_the_key_with_the_next_record() -> None:
    world = trading_world()
    key, index = world.keys["maker"], world.index
    since = format_time(world.time_ms - 1_000)
    world.submit(world.revoke_key("maker", "maker", key, reason="lost", suspected_from=since))
    document = world.key(key)
    assert document.revoked == index + 1
    assert (document.reason, document.suspected_from) == ("lost", parse_time(since))
    assert _valid_at(world, key, index)
    assert world.party("maker").record_key is None
    world.refused("no_active_key", world.register("maker", "A1"))
    world.refused("no_active_key", world.add_key("maker", "maker", key_named("new")))


def test_recovery_becomes_active_after_its_delay_and_not_before() -> None:
    world = trading_world()
    old, new = world.keys["maker"], key_named("recovery")
    started_ms = world.time_ms
    world.submit(world.add_key("interior", "maker", new))
    active_from = started_ms + KEY_RECOVERY_DELAY_MS
    assert world.key(new).active_from == active_from
    world.time_ms = active_from - 1
    world.refused("revoked_key", world.register("maker", "A1"), new)
    world.submit(world.register("maker", "A1"), old)
    world.time_ms = active_from
    assert active_key(world.party("maker"), active_from) == new.public.hex()
    world.refused("revoked_key", world.register("maker", "A2"), old)
    assert world.key(old).revoked is None, "nothing is written before somebody signs"
    index = world.index
    world.submit(world.register("maker", "A2"), new)
    party = world.party("maker")
    assert (party.record_key, party.recovery, party.updated) == (new.public.hex(), None, index)
    assert world.key(old).revoked == index, "the old key could not have signed this record"
    assert _valid_at(world, new, index)


def test_recovery_of_a_party_without_a_key() -> None:
    world = trading_world()
    old, new = world.keys["maker"], key_named("recovery")
    index = world.index
    world.submit(world.revoke_key("interior", "maker", old))
    world.submit(world.add_key("interior", "maker", new))
    error = world.refused("no_active_key", world.register("maker", "A1"))
    assert error.actual is not None
    world.wait(KEY_RECOVERY_DELAY_MS)
    world.submit(world.register("maker", "A1"), new)
    assert world.key(old).revoked == index + 1, "its end is not moved"


def test_the_party_objects_to_a_recovery_by_revoking_it() -> None:
    world = trading_world()
    pending = key_named("recovery")
    world.submit(world.add_key("interior", "maker", pending))
    index = world.index
    world.submit(world.revoke_key("maker", "maker", pending))
    assert world.key(pending).revoked == index + 1
    assert world.party("maker").recovery is None
    world.wait(2 * KEY_RECOVERY_DELAY_MS)
    world.submit(world.register("maker", "A1"))


def test_the_party_objects_to_a_recovery_by_a_key_of_its_own() -> None:
    world = trading_world()
    pending, own = key_named("recovery"), key_named("own")
    world.submit(world.add_key("interior", "maker", pending))
    index = world.index
    world.submit(world.add_key("maker", "maker", own))
    assert world.key(pending).revoked == index + 1
    world.wait(2 * KEY_RECOVERY_DELAY_MS)
    world.refused("revoked_key", world.register("maker", "A1"), pending)
    world.submit(world.register("maker", "A1"), own)


def test_it_is_too_late_to_object_once_the_recovery_is_due() -> None:
    world = trading_world()
    due, own = key_named("recovery"), key_named("own")
    world.submit(world.add_key("interior", "maker", due))
    world.wait(KEY_RECOVERY_DELAY_MS)
    world.refused("revoked_key", world.revoke_key("maker", "maker", due))
    world.refused("revoked_key", world.add_key("maker", "maker", own))
    old, index = world.keys["maker"], world.index
    world.submit(world.add_key("maker", "maker", own), due)
    assert world.key(old).revoked == index
    assert world.key(due).revoked == index + 1
    assert world.party("maker").record_key == own.public.hex()


def test_a_second_recovery_replaces_a_pending_one() -> None:
    world = trading_world()
    first, second = key_named("first"), key_named("second")
    world.submit(world.add_key("interior", "maker", first))
    world.wait(KEY_RECOVERY_DELAY_MS // 2)
    index, started_ms = world.index, world.time_ms
    world.submit(world.add_key("interior", "maker", second))
    assert world.key(first).revoked == index + 1
    world.time_ms = started_ms + KEY_RECOVERY_DELAY_MS - 1
    world.refused("revoked_key", world.register("maker", "A1"), second)
    world.time_ms += 1
    world.submit(world.register("maker", "A1"), second)


def test_a_second_recovery_after_a_due_one_leaves_that_active() -> None:
    world = trading_world()
    old, first, second = world.keys["maker"], key_named("first"), key_named("second")
    world.submit(world.add_key("interior", "maker", first))
    world.wait(KEY_RECOVERY_DELAY_MS)
    index = world.index
    world.submit(world.add_key("interior", "maker", second))
    assert world.key(old).revoked == index
    assert world.key(first).revoked is None
    world.submit(world.register("maker", "A1"), first)
    world.wait(KEY_RECOVERY_DELAY_MS)
    world.submit(world.register("maker", "A2"), second)


def test_the_sponsor_revokes_what_is_due_or_what_it_replaced() -> None:
    world = trading_world()
    old, new = world.keys["maker"], key_named("recovery")
    world.submit(world.add_key("interior", "maker", new))
    world.wait(KEY_RECOVERY_DELAY_MS)
    world.refused("key_not_active", world.revoke_key("interior", "maker", old))
    index = world.index
    world.submit(world.revoke_key("interior", "maker", new))
    assert (world.key(old).revoked, world.key(new).revoked) == (index, index + 1)
    assert world.party("maker").record_key is None


def test_a_pending_recovery_survives_the_revocation_of_the_active_key() -> None:
    world = trading_world()
    pending = key_named("recovery")
    world.submit(world.add_key("interior", "maker", pending))
    world.submit(world.revoke_key("maker", "maker", world.keys["maker"]))
    assert world.party("maker").recovery is not None
    world.wait(KEY_RECOVERY_DELAY_MS)
    world.submit(world.register("maker", "A1"), pending)


def test_signers_are_named_before_anything_is_verified() -> None:
    world = trading_world()
    record = world.register("maker", "A1")
    assert signers_of(world.state, record, world.time_ms) == (world.keys["maker"].public.hex(),)
    world.keys["nobody"] = key_named("nobody")
    try:
        signers_of(world.state, world.register("nobody", "A1"), world.time_ms)
    except RuleError as error:
        assert error.code == "unknown_party"
    else:
        raise AssertionError("an unknown party has signers")
