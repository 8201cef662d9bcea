"""What the validators of a production run decide, one proposal after the other (PROTOCOL P8): who joins, leaves, takes
another's place or goes on with a new key, the timers, and a suspension."""

import random
from collections import Counter
from functools import cache
from typing import Final, Literal, Protocol

import msgspec

from ledger.quorum import quorum
from ledger.records import ProposalOpen, ProposalVote
from ledger.records.base import RecordBase
from ledger.records.envelope import parse_entry, sign_record
from ledger.records.fields import format_time
from ledger.records.governance import Change as AnyChange
from ledger.records.governance import (
    ParametersSet,
    PartySuspend,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
)
from tests.simulator.genesis import CLOCK_MS, PARAMETERS, agency_named, genesis_of, party_names
from tests.simulator.workload import Story
from tests.world import DAY_MS, World, key_named, node_key_proof

SUSPENDED: Final = "importer"
"""Of what it does, no story needs anything: another may do it."""


class Decided(Protocol):
    """What a plan says of decisions."""

    @property
    def seed(self) -> int: ...

    @property
    def liars(self) -> tuple[tuple[int, str], ...]: ...

    @property
    def epoch_changes(self) -> int: ...

    @property
    def decisions(self) -> tuple[str, ...]: ...


class Change(msgspec.Struct, frozen=True):
    """What is decided about an agency, or a party; for new timers, how often they were set before."""

    kind: Literal["add", "remove", "replace", "rotate", "parameters", "suspend"]
    party: str = ""
    arrival: str = ""
    """Who takes the party's place."""
    generation: int = 0
    """Of the party's consensus key, the first being 0; or of the timers."""


@cache
def decided(size: int, changes: tuple[Change, ...], voters: tuple[str, ...]) -> tuple[Story, ...]:
    """For each change a proposal and just the votes that it needs, by agencies that do not lie.

    A proposal lives in one epoch: each story can begin only when the one before is told.

    Args:
        size: of the first epoch.
        changes: in their order.
        voters: the members of the first epoch that do not lie. Whoever joins votes, too.
    """
    world = World(genesis_of(size))
    world.time_ms = CLOCK_MS - 10_000
    members, voting = size, list(voters)
    stories = []
    for change in changes:
        needed = quorum(members)
        willing = voting[:needed]
        assert len(willing) == needed, "too few who vote"
        stories.append(_story(world, change, willing))
        members += {"add": 1, "remove": -1}.get(change.kind, 0)
        if change.kind in ("remove", "replace") and change.party in voting:
            voting.remove(change.party)
        if change.kind in ("add", "replace"):
            voting.append(change.arrival or change.party)
    return tuple(stories)


def order_of(size: int, outsiders: list[str], plan: "Decided") -> tuple[Change, ...]:
    """What a run decides: as far as the plan goes, outsiders join one by one and leave in the same order; in between, places
    and keys change hands, timers are set, and a party that clients can do without is suspended."""
    rng = random.Random(f"decisions {plan.seed}")
    joining = [Change("add", name) for name in outsiders]
    order = (joining + [Change("remove", change.party) for change in joining])[: plan.epoch_changes]
    dishonest = {number for number, _ in plan.liars}
    steady = [name for at, name in enumerate(party_names(size)) if at not in dishonest]
    free = outsiders[plan.epoch_changes :]
    generations: Counter[str] = Counter()
    places = sorted(rng.choices(range(len(order) + 1), k=len(plan.decisions)))
    for done, (place, kind) in enumerate(zip(places, plan.decisions, strict=True)):
        if kind == "replace" and free:
            leaving, arriving = rng.choice(steady), free.pop()
            steady[steady.index(leaving)] = arriving
            change = Change("replace", leaving, arrival=arriving)
        elif kind in ("replace", "rotate"):
            party = rng.choice(steady)
            generations[party] += 1
            change = Change("rotate", party, generation=generations[party])
        elif kind == "parameters":
            generations["parameters"] += 1
            change = Change("parameters", generation=generations["parameters"])
        else:
            change = Change("suspend", SUSPENDED)
        order.insert(place + done, change)
    return tuple(order)


def _story(world: World, change: Change, voters: list[str]) -> Story:
    expires_at = format_time(world.time_ms + DAY_MS)
    opening = _signed(world.make(ProposalOpen, voters[0], change=_body(change), expires_at=expires_at))
    proposal = parse_entry(opening).id
    votes = (world.make(ProposalVote, voter, proposal=proposal, vote="for") for voter in voters[1:])
    entries = (opening, *map(_signed, votes))
    return Story(entries=entries, must=entries)


def _body(change: Change) -> AnyChange:
    match change.kind:
        case "add":
            return ValidatorAdd(agency=agency_named(change.party))
        case "remove":
            return ValidatorRemove(party=change.party)
        case "replace":
            return ValidatorReplace(party=change.party, agency=agency_named(change.arrival))
        case "rotate":
            proof = node_key_proof(change.party, "consensus", change.generation)
            return ValidatorRotate(party=change.party, keys=RotatedKeys(consensus=proof))
        case "parameters":
            longer_ms = 50 * change.generation
            return ParametersSet(
                lead_timeout_ms=PARAMETERS.lead_timeout_ms + longer_ms,
                advance_timeout_ms=PARAMETERS.advance_timeout_ms + longer_ms,
            )
        case "suspend":
            return PartySuspend(party=change.party)


def _signed(record: RecordBase) -> bytes:
    return sign_record(record, key_named(f"{record.issuer} governance"))  # type: ignore[arg-type]
