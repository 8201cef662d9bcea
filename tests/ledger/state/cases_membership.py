"""Cases of the rules for any record, parties and keys."""

import msgspec

from ledger.limits import RECORD_MAX_AGE_MS, RECORD_MAX_AHEAD_MS
from ledger.records.fields import format_time, parse_time
from tests.ledger.state.cases import refusal
from tests.world import DAY_MS, START_MS, World, key_named


@refusal("wrong_ledger")
def another_ledger(world: World) -> None:
    record = world.register("maker", "A1")
    world.refused("wrong_ledger", msgspec.structs.replace(record, ledger="tracemark.test/log#0123456789abcdef"))
    world.submit(record)


@refusal("issued_too_old")
def older_than_thirty_days(world: World) -> None:
    record = world.register("maker", "A1")
    world.time_ms = parse_time(record.issued_at) + RECORD_MAX_AGE_MS + 1
    world.refused("issued_too_old", record)
    world.time_ms -= 1
    world.submit(record)


@refusal("issued_in_future")
def more_than_ten_seconds_ahead(world: World) -> None:
    record = world.register("maker", "A1")
    world.time_ms = parse_time(record.issued_at) - RECORD_MAX_AHEAD_MS - 1
    world.refused("issued_in_future", record)
    world.time_ms += 1
    world.submit(record)


@refusal("unknown_party")
def issuer_is_not_enrolled(world: World) -> None:
    world.keys["nobody"] = key_named("nobody")
    world.refused("unknown_party", world.register("nobody", "A1"))


@refusal("unknown_party")
def recipient_is_not_enrolled(world: World) -> None:
    lot = world.register("maker", "A1")
    world.submit(lot)
    world.refused("unknown_party", world.offer("maker", "nobody", lot.identities[0].id))


@refusal("unknown_party")
def party_to_change_is_not_enrolled(world: World) -> None:
    world.refused("unknown_party", world.update("interior", "nobody", name="Somebody"))
    world.refused("unknown_party", world.add_key("interior", "nobody", key_named("new")))
    world.refused("unknown_party", world.revoke_key("interior", "nobody", key_named("new")))


@refusal("party_suspended")
def suspended_issuer(world: World) -> None:
    world.submit(world.update("interior", "maker", status="suspended"))
    world.refused("party_suspended", world.register("maker", "A1"))
    world.refused("party_suspended", world.add_key("maker", "maker", key_named("new")))
    world.submit(world.update("interior", "maker", status="active"))
    world.submit(world.register("maker", "A1"))


@refusal("party_ended")
def ended_party(world: World) -> None:
    world.submit(world.update("interior", "maker", status="ended"))
    world.refused("party_ended", world.register("maker", "A1"))
    world.refused("party_ended", world.update("interior", "maker", status="active"))
    world.refused("party_ended", world.add_key("interior", "maker", key_named("new")))
    world.refused(
        "duplicate_party", world.enrol("interior", "maker", "maker", key=world.proof("maker", key_named("k")))
    )


@refusal("party_expired")
def expired_issuer(world: World) -> None:
    until = world.time_ms // 1000 * 1000 + DAY_MS
    world.submit(world.update("interior", "maker", valid_until=format_time(until)))
    world.time_ms = until - 1
    world.submit(world.register("maker", "A1"))
    world.time_ms = until
    world.refused("party_expired", world.register("maker", "A2"))
    world.submit(world.update("interior", "maker", valid_until=format_time(until + DAY_MS)))
    world.submit(world.register("maker", "A2"))


@refusal("no_active_key")
def no_key_left(world: World) -> None:
    world.submit(world.revoke_key("interior", "maker", world.keys["maker"]))
    world.refused("no_active_key", world.register("maker", "A1"))


@refusal("revoked_key")
def replaced_key(world: World) -> None:
    new = key_named("new")
    world.submit(world.add_key("maker", "maker", new))
    world.refused("revoked_key", world.register("maker", "A1"))
    world.keys["maker"] = new
    world.submit(world.register("maker", "A1"))


@refusal("wrong_signers")
def one_signer_too_many(world: World) -> None:
    record = world.register("maker", "A1")
    world.refused("wrong_signers", record, world.keys["maker"], world.keys["interior"])
    world.submit(record)


@refusal("not_sorted")
def lists_out_of_order(world: World) -> None:
    world.refused("not_sorted", world.enrol("interior", "shop", "importer", "dealer"))
    world.refused("not_sorted", world.enrol("interior", "shop", "dealer", "dealer"))
    world.refused("not_sorted", world.enrol("interior", "shop", "maker", makes=("SW", "GLC")))
    world.refused("not_sorted", world.update("interior", "maker", makes=("SW", "GLC")))
    lot = world.register("maker", "A1", "A2")
    registration = world.submit(lot)
    ids = tuple(sorted(identity.id for identity in lot.identities))
    for wrong in (ids[::-1], (ids[0], ids[0])):
        offer = world.offer("maker", "dealer", *ids)
        body = msgspec.structs.replace(offer.body, weapons=wrong)
        world.refused("not_sorted", msgspec.structs.replace(offer, body=body))
        report = world.report("maker", "stolen", *ids)
        report_body = msgspec.structs.replace(report.body, weapons=wrong)
        world.refused("not_sorted", msgspec.structs.replace(report, body=report_body))
        correction = world.correct("maker", registration, *ids)
        correction_body = msgspec.structs.replace(correction.body, weapons=wrong)
        world.refused("not_sorted", msgspec.structs.replace(correction, body=correction_body))


@refusal("time_in_future")
def event_after_its_record(world: World) -> None:
    lot = world.register("maker", "A1")
    world.submit(lot)
    late = format_time(world.time_ms + RECORD_MAX_AHEAD_MS + 1_000)
    world.refused("time_in_future", world.report("maker", "lost", lot.identities[0].id, occurred_at=late))
    revocation = world.revoke_key("interior", "maker", world.keys["maker"], suspected_from=late)
    world.refused("time_in_future", revocation)
    in_time = format_time(world.time_ms + RECORD_MAX_AHEAD_MS)
    world.submit(world.report("maker", "lost", lot.identities[0].id, occurred_at=in_time))


@refusal("not_an_agency")
def party_enrols_another(world: World) -> None:
    record = world.enrol("interior", "friend", "dealer")
    world.refused("not_an_agency", msgspec.structs.replace(record, issuer="maker"))
    world.submit(record)


@refusal("duplicate_party")
def taken_id(world: World) -> None:
    new = world.proof("dealer", key_named("new"))
    world.refused("duplicate_party", world.enrol("interior", "dealer", "dealer", key=new))
    agency = world.proof("police", key_named("new"))
    world.refused("duplicate_party", world.enrol("interior", "police", "dealer", key=agency))


@refusal("duplicate_key")
def known_key(world: World) -> None:
    for owner in ("maker record", "interior record", "police cosigner", "customs transport"):
        key = world.proof("shop", key_named(owner))
        world.refused("duplicate_key", world.enrol("interior", "shop", "dealer", key=key))
        world.refused("duplicate_key", world.add_key("dealer", "dealer", key_named(owner)))
    old = world.keys["dealer"]
    world.keys["dealer"] = key_named("dealer 2")
    world.submit(world.add_key("dealer", "dealer", world.keys["dealer"]), old)
    world.refused("duplicate_key", world.add_key("dealer", "dealer", old))
    world.refused("duplicate_key", world.add_key("interior", "dealer", old))


@refusal("role_not_granted")
def role_of_another_agency(world: World) -> None:
    world.refused("role_not_granted", world.enrol("interior", "squad", "police"))
    world.refused("role_not_granted", world.update("interior", "dealer", roles=("dealer", "police")))
    world.submit(world.update("interior", "dealer", roles=("dealer", "museum")))


@refusal("wrong_jurisdiction")
def party_abroad(world: World) -> None:
    world.refused("wrong_jurisdiction", world.enrol("interior", "shop", "dealer", jurisdiction="BB"))
    world.submit(world.enrol("neighbour", "shop", "dealer"))


@refusal("makes_without_role")
def dealer_with_makes(world: World) -> None:
    world.refused("makes_without_role", world.enrol("interior", "shop", "dealer", makes=("GLC",)))
    world.refused("makes_without_role", world.update("interior", "dealer", makes=("GLC",)))
    world.refused("makes_without_role", world.update("interior", "maker", roles=("dealer",)))
    world.submit(world.update("interior", "maker", roles=("dealer",), makes=()))
    world.submit(world.enrol("interior", "shop", "importer", makes=("GLC",)))


@refusal("any_make_without_role")
def maker_of_anything(world: World) -> None:
    world.refused("any_make_without_role", world.enrol("interior", "shop", "maker", any_make=True))
    world.refused("any_make_without_role", world.update("interior", "maker", any_make=True))
    world.submit(world.enrol("interior", "shop", "importer", any_make=True))


@refusal("validity_in_past")
def ended_before_it_began(world: World) -> None:
    world.time_ms = START_MS + DAY_MS
    now, soon = format_time(world.time_ms), format_time(world.time_ms + 1_000)
    world.refused("validity_in_past", world.enrol("interior", "shop", "dealer", valid_until=now))
    world.refused("validity_in_past", world.update("interior", "dealer", valid_until=now))
    world.submit(world.enrol("interior", "shop", "dealer", valid_until=soon))


@refusal("empty_update")
def nothing_changes(world: World) -> None:
    world.refused("empty_update", world.update("interior", "dealer"))


@refusal("not_sponsor")
def update_by_others(world: World) -> None:
    world.refused("not_sponsor", world.update("neighbour", "dealer", name="Mine"))
    world.refused("not_sponsor", world.update("dealer", "dealer", name="Mine"))
    world.refused("not_sponsor", world.update("interior", "interior", name="Mine"))
    world.refused("not_sponsor", world.update("police", "interior", status="ended"))


@refusal("not_key_authority")
def key_by_others(world: World) -> None:
    world.refused("not_key_authority", world.add_key("neighbour", "dealer", key_named("new")))
    world.refused("not_key_authority", world.add_key("maker", "dealer", key_named("new")))
    world.refused("not_key_authority", world.revoke_key("police", "dealer", world.keys["dealer"]))
    world.refused("not_key_authority", world.add_key("police", "interior", key_named("new")))


@refusal("unknown_key")
def key_of_nobody_or_another(world: World) -> None:
    world.refused("unknown_key", world.revoke_key("interior", "dealer", key_named("never seen")))
    world.refused("unknown_key", world.revoke_key("interior", "dealer", world.keys["maker"]))
    world.refused("unknown_key", world.revoke_key("interior", "interior", key_named("interior consensus")))


@refusal("key_not_active")
def key_that_ended(world: World) -> None:
    old, new = world.keys["dealer"], key_named("new")
    world.submit(world.add_key("dealer", "dealer", new))
    world.refused("key_not_active", world.revoke_key("interior", "dealer", old))
    world.submit(world.revoke_key("interior", "dealer", new))
    world.refused("key_not_active", world.revoke_key("interior", "dealer", new))


@refusal("agency_without_key")
def agency_revokes_its_only_key(world: World) -> None:
    world.refused("agency_without_key", world.revoke_key("interior", "interior", world.keys["interior"]))
    world.submit(world.add_key("interior", "interior", key_named("new")))
