"""The rules of governance against a naive model under random proposals, votes and waits, compared after every record."""

import random
from collections import Counter
from typing import Any, cast

import pytest

from ledger.errors import RuleError
from ledger.records import Record
from ledger.records.fields import parse_time
from ledger.records.governance import (
    Change,
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
from ledger.signing import Role
from ledger.state.lookup import standing_of, version_at
from ledger.state.model import VALIDATORS_KEY, NextVersion, StateKey, ValidatorsDoc
from ledger.state.transition import check
from ledger.state.validators import agency_party, validator_of
from tests.reference.governance import ROLES, Governance
from tests.world import DAY_MS, WorkingSet, World, build_agency, node_key, node_key_proof, trading_world

AGENCIES = ("customs", "interior", "neighbour", "police")
NEWCOMERS = ("coast", "harbour", "west", "yonder")
PARTIES = (*AGENCIES, "maker", "importer", "dealer", "far-dealer", "station")


def change_of(plain: tuple[Any, ...]) -> Change:
    """The ledger's value of the model's tuple."""
    match plain:
        case ("add", party, generation):
            return ValidatorAdd(agency=build_agency(party, generation))
        case ("remove", party):
            return ValidatorRemove(party=party)
        case ("replace", party, newcomer, generation):
            return ValidatorReplace(party=party, agency=build_agency(newcomer, generation))
        case ("rotate", party, role, generation):
            return ValidatorRotate(party=party, keys=RotatedKeys(**{role: node_key_proof(party, role, generation)}))
        case ("heartbeat", seconds):
            return ParametersSet(heartbeat_s=seconds)
        case ("version", number, height):
            return VersionActivate(version=number, height=height)
        case ("suspend", party):
            return PartySuspend(party=party)
        case ("resume", party):
            return PartyResume(party=party)
    raise AssertionError(plain)


class Run:
    """One random sequence on a world and on the model."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = trading_world()
        standing = self.world.parameters()
        self.model = Governance(
            list(AGENCIES), list(PARTIES), heartbeat_s=standing.heartbeat_s, version=standing.version
        )
        self.outcomes: Counter[tuple[str, bool]] = Counter()
        self.sizes: set[int] = set()

    def step(self) -> None:
        """One random record, given to both; then everything is compared."""
        if self.dice.random() < 0.06:
            self.world.wait(self.dice.choice((1_000, DAY_MS, 20 * DAY_MS, 60 * DAY_MS)))
        if self.model.proposals and self.dice.random() < 0.75:
            self._vote()
        else:
            self._open()
        self._compare()
        self.sizes.add(len(self.model.members))

    def _voter(self) -> str:
        members = sorted(self.model.members)
        return self.dice.choice(members if self.dice.random() < 0.95 else [*AGENCIES, *NEWCOMERS])

    def _change(self) -> tuple[Any, ...]:
        dice, members = self.dice, sorted(self.model.members)
        party, newcomer = dice.choice([*members, *AGENCIES]), dice.choice((*AGENCIES, *NEWCOMERS, *NEWCOMERS))
        generation = dice.randint(1 if newcomer in AGENCIES else 0, 40)
        options: list[tuple[Any, ...]] = [
            ("add", newcomer, generation),
            ("remove", party),
            ("replace", party, newcomer, generation),
            ("rotate", party, dice.choice(ROLES), dice.randint(0, 40)),
            ("heartbeat", dice.choice((60, 600, 3_600))),
            ("version", self.model.current_version(self.world.height) + dice.choice((0, 1, 1, 1, 2)), self._height()),
            ("suspend", dice.choice(PARTIES)),
            (
                "resume",
                dice.choice([*PARTIES, *([party for party, is_so in self.model.suspended.items() if is_so] * 5)]),
            ),
        ]
        return dice.choice(options)

    def _height(self) -> int:
        return max(1, self.world.height + self.dice.randint(-2, 40))

    def _open(self) -> None:
        by, change = self._voter(), self._change()
        record = self.world.propose(by, change_of(change), days=self.dice.choice((0, 1, 30, 89.99, 91)))
        self._give(
            change[0],
            record,
            by,
            lambda name: self.model.open(
                name,
                by,
                change,
                now_ms=self.world.time_ms,
                height=self.world.height,
                expires_ms=parse_time(record.body.expires_at),
            ),
        )

    def _vote(self) -> None:
        proposals, dice = self.model.proposals, self.dice
        names = [
            name for name, each in proposals.items() if each["status"] == "open" and each["epoch"] == self.model.epoch
        ]
        name = dice.choice(names[-3:] if names and dice.random() < 0.9 else list(proposals))
        silent = sorted(self.model.members.keys() - proposals[name]["votes"].keys())
        by = dice.choice(silent) if silent and dice.random() < 0.9 else self._voter()
        is_for = dice.random() < 0.8
        self._give(
            "vote",
            self.world.vote(by, name, "for" if is_for else "against"),
            by,
            lambda _: self.model.vote(name, by, is_for, now_ms=self.world.time_ms, height=self.world.height),
        )

    def _give(self, what: str, record: Record, by: str, model: Any) -> None:
        generation = self.model.members.get(by, {}).get("governance", 0)
        key = node_key(by, "governance", generation)
        _, signed = self.world.sign(record, key)
        expected = model(signed.id)
        self.outcomes[what, expected] += 1
        if expected:
            self.world.submit(record, key)
            return
        with pytest.raises(RuleError):
            check(WorkingSet(self.world.state, record, signed.id), signed, self.world.at)

    def _compare(self) -> None:
        world, model = self.world, self.model
        document = world.validators()
        assert document.epoch == model.epoch
        assert [each.party for each in document.members] == sorted(model.members)
        for member in document.members:
            for role in ROLES:
                key = node_key(member.party, cast(Role, role), model.members[member.party][role])
                assert getattr(member, role) == key.public.hex()
                assert world.key(key).revoked is None
        for party, role, generation in model.ended:
            assert world.key(node_key(party, cast(Role, role), generation)).revoked is not None
        for name, proposal in model.proposals.items():
            found = world.proposal(name)
            assert found.status == proposal["status"]
            assert set(found.votes_for) == {party for party, is_for in proposal["votes"].items() if is_for}
            assert set(found.votes_against) == {party for party, is_for in proposal["votes"].items() if not is_for}
            standing = standing_of(found, epoch=model.epoch, time_ms=world.time_ms)
            if standing in ("lapsed", "expired"):
                assert found.status == "open"
        for party, is_suspended in model.suspended.items():
            assert (world.party(party).status == "suspended") is is_suspended
        parameters = world.parameters()
        assert parameters.heartbeat_s == model.heartbeat_s
        assert version_at(parameters, world.height) == model.current_version(world.height)
        coming = None if model.coming is None else NextVersion(version=model.coming[0], height=model.coming[1])
        assert parameters.next_version == coming


def test_random_decisions_are_those_of_a_naive_model() -> None:
    outcomes: Counter[tuple[str, bool]] = Counter()
    statuses: Counter[str] = Counter()
    sizes: set[int] = set()
    epochs = 0
    for seed in range(16):
        run = Run(seed)
        for _ in range(160):
            run.step()
        outcomes += run.outcomes
        sizes |= run.sizes
        statuses.update(proposal["status"] for proposal in run.model.proposals.values())
        epochs += run.model.epoch
    kinds = ("add", "remove", "replace", "rotate", "heartbeat", "version", "suspend", "resume", "vote")
    assert all(outcomes[kind, lawful] >= 5 for kind in kinds for lawful in (True, False)), outcomes
    assert set(statuses) == {"open", "enacted", "rejected"}, statuses
    assert len(sizes) >= 5, sizes
    assert epochs >= 50, epochs


def governed_by(*parties: str) -> World:
    """A world with these validators."""
    world = trading_world()
    agencies = [build_agency(party) for party in parties]
    world.state[VALIDATORS_KEY] = ValidatorsDoc(epoch=0, members=tuple(map(validator_of, agencies)))
    for agency in agencies:
        world.state.setdefault(StateKey("party", agency.party), agency_party(agency, 0))
        world.governance[agency.party] = node_key(agency.party, "governance")
    return world


def test_every_count_of_members_has_its_quorum() -> None:
    """From 1 to 10 members: one vote less than the quorum enacts nothing; one refusal more than may be faulty rejects."""
    for size in range(1, 11):
        names = sorted((*AGENCIES, *NEWCOMERS, "x-one", "x-two")[:size])
        world = governed_by(*names)
        needed, bearable = size - (size - 1) // 3, (size - 1) // 3
        change = ParametersSet(heartbeat_s=77)
        proposal = world.submit(world.propose(names[0], change))
        for count, name in enumerate(names[1:], start=1):
            assert world.proposal(proposal).status == ("enacted" if count >= needed else "open")
            if count < needed:
                world.submit(world.vote(name, proposal))
        assert world.proposal(proposal).status == "enacted"
        assert len(world.proposal(proposal).votes_for) == needed
        if size > 1:
            other = world.submit(world.propose(names[0], ParametersSet(heartbeat_s=78)))
            for count, name in enumerate(names[1 : bearable + 2], start=1):
                assert world.proposal(other).status == "open"
                world.submit(world.vote(name, other, "against"))
                assert world.proposal(other).status == ("rejected" if count > bearable else "open")
            assert world.proposal(other).decided is not None
