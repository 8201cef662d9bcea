"""Cases of the rules for proposals and votes. The world's four agencies are its validators: q = 3, f = 1."""

import msgspec

from ledger.codec import b64encode
from ledger.limits import MAX_PROPOSAL_LIFE_MS, MAX_VALIDATORS
from ledger.records.fields import format_time, parse_time
from ledger.records.governance import (
    ParametersSet,
    PartyResume,
    PartySuspend,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    VersionActivate,
)
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc
from tests.ledger.state.cases import refusal
from tests.world import DAY_MS, World, build_agency, key_named, node_key, node_key_proof

SLOWER = ParametersSet(heartbeat_s=7_200)


@refusal("not_a_validator")
def a_party_that_is_no_validator(world: World) -> None:
    world.governance["maker"] = world.keys["maker"]
    world.refused("not_a_validator", world.propose("maker", SLOWER))
    proposal = world.submit(world.propose("customs", SLOWER))
    world.refused("not_a_validator", world.vote("maker", proposal))
    world.decide(ValidatorRemove(party="police"))
    world.refused("not_a_validator", world.propose("police", SLOWER))


@refusal("not_governance_key")
def another_key_of_the_validator(world: World) -> None:
    for key in (world.keys["customs"], node_key("customs", "consensus"), world.governance["police"]):
        world.refused("not_governance_key", world.propose("customs", SLOWER), key)
    proposal = world.submit(world.propose("police", SLOWER))
    world.refused("not_governance_key", world.vote("customs", proposal), world.keys["customs"])
    world.submit(world.vote("customs", proposal))


@refusal("not_governance_key")
def a_governance_key_that_was_rotated(world: World) -> None:
    new = RotatedKeys(governance=node_key_proof("customs", "governance", 1))
    world.decide(ValidatorRotate(party="customs", keys=new))
    world.refused("not_governance_key", world.propose("customs", SLOWER))
    world.submit(world.propose("customs", SLOWER), node_key("customs", "governance", 1))


@refusal("wrong_signers")
def two_validators_sign_one_vote(world: World) -> None:
    world.refused(
        "wrong_signers", world.propose("customs", SLOWER), world.governance["customs"], world.governance["police"]
    )


@refusal("proposal_expiry")
def expires_at_once_or_in_more_than_ninety_days(world: World) -> None:
    world.time_ms = world.time_ms // 1000 * 1000
    for days in (0, (MAX_PROPOSAL_LIFE_MS + 1_000) / DAY_MS):
        world.refused("proposal_expiry", world.propose("customs", SLOWER, days=days))
    world.submit(world.propose("customs", SLOWER, days=1 / 86_400))
    world.time_ms = world.time_ms // 1000 * 1000
    world.submit(world.propose("customs", SLOWER, days=MAX_PROPOSAL_LIFE_MS / DAY_MS))


@refusal("unknown_proposal")
def no_such_proposal(world: World) -> None:
    other = world.submit(world.register("maker", "A1"))
    world.refused("unknown_proposal", world.vote("customs", other))


@refusal("proposal_decided")
def enacted_or_rejected_before(world: World) -> None:
    enacted = world.decide(SLOWER)
    world.refused("proposal_decided", world.vote("police", enacted))
    rejected = world.submit(world.propose("customs", ParametersSet(heartbeat_s=60)))
    for party in ("interior", "neighbour"):
        world.submit(world.vote(party, rejected, "against"))
    world.refused("proposal_decided", world.vote("police", rejected))


@refusal("proposal_lapsed")
def the_epoch_has_ended(world: World) -> None:
    proposal = world.submit(world.propose("customs", SLOWER))
    world.submit(world.vote("interior", proposal))
    world.decide(ValidatorRemove(party="police"))
    world.refused("proposal_lapsed", world.vote("neighbour", proposal))


@refusal("proposal_expired")
def voted_on_too_late(world: World) -> None:
    opening = world.propose("customs", SLOWER, days=1)
    proposal = world.submit(opening)
    world.time_ms = parse_time(opening.body.expires_at)
    world.refused("proposal_expired", world.vote("interior", proposal))
    world.time_ms -= 1
    world.submit(world.vote("interior", proposal))


@refusal("already_voted")
def votes_twice(world: World) -> None:
    proposal = world.submit(world.propose("customs", SLOWER))
    world.refused("already_voted", world.vote("customs", proposal))
    world.refused("already_voted", world.vote("customs", proposal, "against"))
    world.submit(world.vote("interior", proposal, "against"))
    world.refused("already_voted", world.vote("interior", proposal))


@refusal("empty_change")
def changes_nothing(world: World) -> None:
    standing = ParametersSet(heartbeat_s=world.parameters().heartbeat_s)
    world.refused("empty_change", world.propose("customs", ParametersSet()))
    world.refused("empty_change", world.propose("customs", standing))
    ca = world.validators().members[0].ca
    world.refused("empty_change", world.propose("customs", ValidatorRotate(party="customs", keys=RotatedKeys())))
    world.refused("empty_change", world.propose("customs", ValidatorRotate(party="customs", keys=RotatedKeys(), ca=ca)))


@refusal("empty_change")
def changes_nothing_any_more(world: World) -> None:
    first, second = (world.submit(world.propose("customs", SLOWER)) for _ in range(2))
    for proposal in (first, second):
        world.submit(world.vote("interior", proposal))
    world.submit(world.vote("police", first))
    world.refused("empty_change", world.vote("police", second))
    world.submit(world.vote("police", second, "against"))


@refusal("unknown_validator")
def the_party_is_no_validator(world: World) -> None:
    new = RotatedKeys(log=node_key_proof("maker", "log"))
    for change in (
        ValidatorRemove(party="maker"),
        ValidatorReplace(party="maker", agency=build_agency("coast")),
        ValidatorRotate(party="maker", keys=new),
    ):
        world.refused("unknown_validator", world.propose("customs", change))


@refusal("already_validator")
def the_agency_is_a_validator(world: World) -> None:
    world.refused("already_validator", world.propose("customs", ValidatorAdd(agency=build_agency("police", 1))))
    replacing = ValidatorReplace(party="interior", agency=build_agency("police", 1))
    world.refused("already_validator", world.propose("customs", replacing))
    world.submit(world.propose("customs", ValidatorReplace(party="police", agency=build_agency("police", 1))))


@refusal("duplicate_key")
def a_node_key_that_is_known(world: World) -> None:
    agency = build_agency("coast")
    for known in ("customs consensus", "maker record"):
        proof = world.origin_proof("coast", "log", key_named(known))
        keys = msgspec.structs.replace(agency.node, log=proof)
        taken = msgspec.structs.replace(agency, node=keys)
        world.refused("duplicate_key", world.propose("customs", ValidatorAdd(agency=taken)))
    same = world.origin_proof("coast", "log", node_key("coast", "consensus"))
    twice = msgspec.structs.replace(agency, node=msgspec.structs.replace(agency.node, log=same))
    world.refused("duplicate_key", world.propose("customs", ValidatorAdd(agency=twice)))
    old = RotatedKeys(consensus=node_key_proof("customs", "consensus"))
    world.refused("duplicate_key", world.propose("customs", ValidatorRotate(party="customs", keys=old)))


@refusal("duplicate_key")
def a_removed_validator_comes_back_with_its_old_keys(world: World) -> None:
    world.decide(ValidatorRemove(party="police"))
    world.refused("duplicate_key", world.propose("customs", ValidatorAdd(agency=build_agency("police"))))
    world.submit(world.propose("customs", ValidatorAdd(agency=build_agency("police", 1))))


@refusal("duplicate_party")
def the_newcomers_id_is_a_dealers(world: World) -> None:
    world.refused("duplicate_party", world.propose("customs", ValidatorAdd(agency=build_agency("dealer", 1))))


@refusal("not_sorted")
def roles_of_a_newcomer_are_not_sorted(world: World) -> None:
    agency = build_agency("coast")
    for name in ("roles", "grants"):
        spoilt = msgspec.structs.replace(agency, **{name: ("police", "customs")})
        world.refused("not_sorted", world.propose("customs", ValidatorAdd(agency=spoilt)))


@refusal("agency_differs")
def an_agency_comes_back_as_another(world: World) -> None:
    world.decide(ValidatorRemove(party="police"))
    agency = build_agency("police", 1)
    other_key = world.origin_proof("police", "record", key_named("other"))
    for changed in ({"name": "Others"}, {"roles": ("customs",)}, {"grants": ("police",)}, {"jurisdiction": "CC"}):
        spoilt = msgspec.structs.replace(agency, **changed)
        world.refused("agency_differs", world.propose("customs", ValidatorAdd(agency=spoilt)))
    spoilt = msgspec.structs.replace(agency, record=other_key)
    world.refused("agency_differs", world.propose("customs", ValidatorAdd(agency=spoilt)))
    world.submit(world.propose("customs", ValidatorAdd(agency=agency)))


@refusal("too_many_validators")
def more_than_there_is_room_for(world: World) -> None:
    standing = world.validators()
    many = [msgspec.structs.replace(standing.members[0], party=f"x{number:02}") for number in range(MAX_VALIDATORS)]
    crowd = ValidatorsDoc(epoch=0, members=(*standing.members, *many)[:MAX_VALIDATORS])
    world.state[VALIDATORS_KEY] = crowd
    world.refused("too_many_validators", world.propose("customs", ValidatorAdd(agency=build_agency("coast"))))
    world.state[VALIDATORS_KEY] = msgspec.structs.replace(crowd, members=crowd.members[:-1])
    world.submit(world.propose("customs", ValidatorAdd(agency=build_agency("coast"))))


@refusal("too_many_validators")
def certificates_that_fill_the_document(world: World) -> None:
    large = b64encode(bytes(5_900))
    members = tuple(msgspec.structs.replace(each, ca=large) for each in world.validators().members)
    more = tuple(msgspec.structs.replace(members[0], party=f"x{number}") for number in range(3))
    world.state[VALIDATORS_KEY] = ValidatorsDoc(epoch=0, members=(*members, *more))
    wide = msgspec.structs.replace(build_agency("coast"), ca=large)
    world.refused("too_many_validators", world.propose("customs", ValidatorAdd(agency=wide)))
    world.submit(world.propose("customs", ValidatorAdd(agency=build_agency("coast"))))


@refusal("last_validator")
def the_last_one_is_removed(world: World) -> None:
    alone = ValidatorsDoc(epoch=0, members=world.validators().members[:1])
    world.state[VALIDATORS_KEY] = alone
    world.refused("last_validator", world.propose("customs", ValidatorRemove(party="customs")))
    world.submit(world.propose("customs", ValidatorReplace(party="customs", agency=build_agency("coast"))))
    assert [each.party for each in world.validators().members] == ["coast"]


@refusal("timers_inverted")
def a_view_ends_before_its_leader_is_late(world: World) -> None:
    lead_ms = world.parameters().lead_timeout_ms
    world.refused("timers_inverted", world.propose("customs", ParametersSet(advance_timeout_ms=lead_ms)))
    world.submit(world.propose("customs", ParametersSet(advance_timeout_ms=lead_ms + 1)))


@refusal("version_not_next")
def a_version_is_left_out(world: World) -> None:
    current = world.parameters().version
    for version in (current, current + 2):
        change = VersionActivate(version=version, height=world.height + 100)
        world.refused("version_not_next", world.propose("customs", change))
    world.submit(world.propose("customs", VersionActivate(version=current + 1, height=world.height + 100)))


@refusal("height_passed")
def a_version_for_a_height_that_was(world: World) -> None:
    version = world.parameters().version + 1
    change = VersionActivate(version=version, height=world.height)
    world.refused("height_passed", world.propose("customs", change))
    soon = VersionActivate(version=version, height=world.height + 3)
    proposal = world.submit(world.propose("customs", soon))
    world.submit(world.vote("interior", proposal))
    world.height = soon.height
    world.refused("height_passed", world.vote("police", proposal))
    world.height -= 1
    world.submit(world.vote("police", proposal))


@refusal("unknown_party")
def the_party_to_suspend_is_not_enrolled(world: World) -> None:
    world.refused("unknown_party", world.propose("customs", PartySuspend(party="nobody")))


@refusal("party_ended")
def the_party_to_suspend_has_ended(world: World) -> None:
    world.submit(world.update("interior", "maker", status="ended"))
    world.refused("party_ended", world.propose("customs", PartySuspend(party="maker")))


@refusal("already_suspended")
def the_party_is_suspended(world: World) -> None:
    world.submit(world.update("interior", "maker", status="suspended"))
    world.decide(PartySuspend(party="maker"))
    world.refused("already_suspended", world.propose("customs", PartySuspend(party="maker")))


@refusal("not_suspended")
def the_party_is_not_suspended_by_the_validators(world: World) -> None:
    world.refused("not_suspended", world.propose("customs", PartyResume(party="maker")))
    world.submit(world.update("interior", "maker", status="suspended"))
    world.refused("not_suspended", world.propose("customs", PartyResume(party="maker")))


@refusal("suspended_by_validators")
def its_sponsor_lifts_what_the_validators_decided(world: World) -> None:
    world.decide(PartySuspend(party="maker"))
    error = world.refused("party_suspended", world.register("maker", "A1"))
    assert error.help == "Ask the validators to propose party.resume."
    world.refused("suspended_by_validators", world.update("interior", "maker", status="active"))
    world.submit(world.update("interior", "maker", name="Another name", status="suspended"))
    world.refused("suspended_by_validators", world.update("interior", "maker", status="active"))
    world.decide(PartyResume(party="maker"))
    world.submit(world.register("maker", "A1"))


@refusal("offeror_not_active")
def the_offeror_is_suspended(world: World) -> None:
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    offer = world.submit(world.offer("maker", "dealer", weapon))
    world.decide(PartySuspend(party="maker"))
    world.refused("offeror_not_active", world.accept("dealer", offer, weapon))
    world.decide(PartyResume(party="maker"))
    world.submit(world.accept("dealer", offer, weapon))


@refusal("offeror_not_active")
def the_offeror_has_ended_or_expired(world: World) -> None:
    lot = world.register("maker", "A1")
    world.submit(lot)
    weapon = lot.identities[0].id
    offer = world.submit(world.offer("maker", "dealer", weapon))
    until_ms = world.time_ms // 1000 * 1000 + 1_000
    world.submit(world.update("interior", "maker", valid_until=format_time(until_ms)))
    world.time_ms = until_ms
    world.refused("offeror_not_active", world.accept("dealer", offer, weapon))
    world.submit(world.update("interior", "maker", status="ended"))
    world.refused("offeror_not_active", world.accept("dealer", offer, weapon))
    world.submit(world.decline("dealer", offer, weapon))
