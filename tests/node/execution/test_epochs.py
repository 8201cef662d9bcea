"""Blocks that close an epoch (P8.1): the record that does it is the last, and what follows stands in the next epoch."""

from pathlib import Path

import msgspec
import pytest

from ledger.block import Block, decode_seal
from ledger.errors import InternalError
from ledger.records import Record
from ledger.records.governance import (
    Change,
    ParametersSet,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorRotate,
    VersionActivate,
)
from ledger.state.lookup import parameters, validators
from ledger.state.model import NextVersion
from ledger.state.validators import validators_hash_of
from node.execution.executor import InvalidBlockError
from node.execution.opening import open_state
from tests.node.execution.engine import Engine
from tests.node.execution.test_executor import engine, follow, naive_state, other, rebuilt, root_of_state
from tests.world import GENESIS, build_agency, node_key, node_key_proof

__all__ = ["engine", "other"]

FIVE = ("coast", "customs", "interior", "neighbour", "police")


def opened(engine: Engine, change: Change) -> str:
    """A proposal with two of the three votes that it needs; its id."""
    opening = engine.world.propose("customs", change)
    engine.make_final(opening)
    proposal = engine.world.sign(opening)[0].id
    engine.make_final(engine.world.vote("interior", proposal))
    return proposal


def seal_of(block: Block) -> tuple[int, str, int]:
    """Epoch, validators and version that a block's seal names."""
    seal = decode_seal(block.seal)
    return seal.epoch, seal.validators, seal.version


def test_the_record_that_changes_the_validators_is_the_last_of_its_block(engine: Engine, other: Engine) -> None:
    world = engine.world
    first = validators_hash_of(validators(engine.state())).hex()
    proposal = opened(engine, ValidatorAdd(agency=build_agency("coast")))
    before, after = world.register("maker", "ONE"), world.register("importer", "TWO", make="SW")
    closing_vote = world.vote("police", proposal)
    engine.admit(before, closing_vote, after)
    block = engine.build()
    assert block.entries == (engine.sign(before), engine.sign(closing_vote))
    assert engine.executor.is_closing(block.digest)
    members = engine.executor.closing_members(block.digest)
    assert members is not None
    assert (members.epoch, tuple(each.party for each in members.members)) == (1, FIVE)
    assert seal_of(block)[:2] == (0, first), "the closing block is of the epoch that it closes"
    follow(other, engine)
    other.executor.check(block)
    engine.commit(block)
    assert len(engine.pool) == 1, "what could not follow waits for the next epoch"
    child = engine.build()
    assert child.entries == (engine.sign(after),)
    assert seal_of(child)[:2] == (1, validators_hash_of(members).hex())
    assert not engine.executor.is_closing(child.digest)
    assert engine.executor.closing_members(child.digest) is None
    other.commit(block)
    other.executor.check(child)


def test_a_block_with_a_record_after_the_closing_one_is_invalid(engine: Engine, other: Engine) -> None:
    proposal = opened(engine, ValidatorRemove(party="police"))
    follow(other, engine)
    closing, following = engine.world.vote("police", proposal), engine.world.register("maker", "ONE")
    engine.admit(closing)
    block = engine.build()
    longer = rebuilt(block, entries=(engine.sign(closing), engine.sign(following)))
    with pytest.raises(InvalidBlockError, match="no record follows"):
        other.executor.check(longer)
    other.executor.check(block)


def test_a_block_of_another_epoch_than_its_parents_state_is_invalid(engine: Engine, other: Engine) -> None:
    proposal = opened(engine, ValidatorRemove(party="police"))
    engine.admit(engine.world.vote("neighbour", proposal))
    closing = engine.build()
    follow(other, engine)
    other.executor.check(closing)
    engine.admit(engine.world.register("maker", "ONE"))
    child = engine.build(closing)
    for epoch in (0, 2):
        with pytest.raises(InvalidBlockError, match="another epoch"):
            other.executor.check(rebuilt(child, epoch=epoch))
    other.executor.check(child)
    plan = engine.plan(closing)
    with pytest.raises(InternalError) as caught:
        engine.executor.build(msgspec.structs.replace(plan, epoch=0))
    assert caught.value.code == "wrong_epoch"


def test_a_block_signed_for_in_the_old_epoch_counts_with_the_old_governance_key(engine: Engine) -> None:
    new = node_key_proof("police", "governance", 1)
    opened_before: Record = engine.world.propose("police", ParametersSet(heartbeat_s=60))
    proposal = opened(engine, ValidatorRotate(party="police", keys=RotatedKeys(governance=new)))
    engine.admit(opened_before, engine.world.vote("neighbour", proposal))
    block = engine.build()
    assert len(block.entries) == 2
    engine.commit(block)
    late = engine.world.propose("police", ParametersSet(heartbeat_s=90))
    assert engine.admit(late)[0].status == "refused"
    engine.world.governance["police"] = node_key("police", "governance", 1)
    assert engine.admit(late)[0].status == "pending"


def test_a_pending_vote_of_an_old_epoch_is_refused_when_the_epoch_ends(engine: Engine) -> None:
    lapsing = opened(engine, ParametersSet(heartbeat_s=60))
    closing = opened(engine, ValidatorRemove(party="neighbour"))
    engine.admit(engine.world.vote("police", closing), engine.world.vote("police", lapsing))
    late = engine.sign(engine.world.vote("neighbour", lapsing))
    block = engine.build()
    assert len(block.entries) == 1
    engine.commit(block)
    assert len(engine.pool) == 0
    assert engine.admission.admit([late], source="test", from_peer=False)[0][0].status == "refused"


def test_a_version_is_in_force_from_its_height_on(tmp_path: Path) -> None:
    genesis = msgspec.structs.replace(GENESIS, parameters=msgspec.structs.replace(GENESIS.parameters, version=1))
    engine = Engine(tmp_path / "first", genesis)
    height = engine.documents.base.height + 5
    proposal = opened(engine, VersionActivate(version=2, height=height))
    engine.make_final(engine.world.vote("police", proposal))
    versions = {}
    while engine.documents.base.height < height + 1:
        block = engine.build(allow_empty=True)
        engine.commit(block)
        versions[block.header.height] = seal_of(block)[2]
    assert versions == {height - 1: 1, height: 2, height + 1: 2}
    document = parameters(engine.state())
    assert (document.version, document.next_version) == (1, NextVersion(version=2, height=height))
    change = opened(engine, ParametersSet(heartbeat_s=60))
    engine.make_final(engine.world.vote("police", change))
    document = parameters(engine.state())
    assert (document.version, document.next_version, document.heartbeat_s) == (2, None, 60), "written down on the way"
    engine.close()


def test_a_node_takes_up_an_epoch_where_it_was(engine: Engine, tmp_path: Path) -> None:
    proposal = opened(engine, ValidatorAdd(agency=build_agency("coast")))
    engine.make_final(engine.world.vote("police", proposal))
    engine.make_final(engine.world.register("maker", "ONE"))
    _, base = open_state(GENESIS, engine.store, lambda size, root: b"")
    assert base.tree.root == engine.documents.base.tree.root
    resumed = Engine(tmp_path / "engine")
    resumed.world = engine.world
    assert validators(resumed.state()).epoch == 1
    resumed.make_final(resumed.world.register("maker", "TWO"))
    resumed.close()


def test_the_state_of_several_epochs_is_that_of_direct_application(engine: Engine) -> None:
    steps: tuple[tuple[Change, tuple[str, ...]], ...] = (
        (ValidatorAdd(agency=build_agency("coast")), ("neighbour",)),
        (
            ValidatorRotate(party="customs", keys=RotatedKeys(consensus=node_key_proof("customs", "consensus", 1))),
            ("neighbour", "police"),
        ),
        (ValidatorRemove(party="police"), ("neighbour", "police")),
    )
    for change, voters in steps:
        proposal = opened(engine, change)
        for voter in voters:
            engine.make_final(engine.world.vote(voter, proposal))
    assert validators(engine.state()).epoch == 3
    assert root_of_state(naive_state(engine)) == engine.documents.base.tree.root
