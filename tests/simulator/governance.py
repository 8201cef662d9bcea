"""What the validators of a production run decide: who joins and who leaves, one proposal after the other (PROTOCOL P8)."""

from functools import cache
from typing import Literal

import msgspec

from ledger.quorum import quorum
from ledger.records import ProposalOpen, ProposalVote
from ledger.records.base import RecordBase
from ledger.records.envelope import parse_entry, sign_record
from ledger.records.fields import format_time
from ledger.records.governance import ValidatorAdd, ValidatorRemove
from tests.simulator.genesis import CLOCK_MS, agency_named, genesis_of
from tests.simulator.workload import Story
from tests.world import DAY_MS, World, key_named


class Change(msgspec.Struct, frozen=True):
    """An agency that joins or leaves."""

    kind: Literal["add", "remove"]
    party: str


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
        members += 1 if change.kind == "add" else -1
        if change.kind == "add":
            voting.append(change.party)
        else:
            voting.remove(change.party)
    return tuple(stories)


def _story(world: World, change: Change, voters: list[str]) -> Story:
    change_body = (
        ValidatorAdd(agency=agency_named(change.party)) if change.kind == "add" else ValidatorRemove(party=change.party)
    )
    expires_at = format_time(world.time_ms + DAY_MS)
    opening = _signed(world.make(ProposalOpen, voters[0], change=change_body, expires_at=expires_at))
    proposal = parse_entry(opening).id
    votes = (world.make(ProposalVote, voter, proposal=proposal, vote="for") for voter in voters[1:])
    entries = (opening, *map(_signed, votes))
    return Story(entries=entries, must=entries)


def _signed(record: RecordBase) -> bytes:
    return sign_record(record, key_named(f"{record.issuer} governance"))  # type: ignore[arg-type]
