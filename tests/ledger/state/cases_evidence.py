"""Cases of the rules for reports of evidence."""

import msgspec

from ledger.records.evidence import EquivocationReport
from ledger.records.governance import RotatedKeys, ValidatorRemove, ValidatorRotate
from ledger.state.model import EvidenceDoc, StateKey
from tests.ledger.liars import double_root, double_vote
from tests.ledger.state.cases import refusal
from tests.world import World, build_genesis, node_key, node_key_proof


@refusal("not_an_agency")
def a_report_by_a_party(world: World) -> None:
    world.refused("not_an_agency", world.make(EquivocationReport, "maker", evidence=double_vote()))
    report = world.submit(world.make(EquivocationReport, "police", evidence=double_vote()))
    document = world.state[StateKey("evidence", "customs:0")]
    assert document == EvidenceDoc(
        party="customs",
        public=node_key("customs", "consensus").public.hex(),
        proves="equivocation",
        reported_by="police",
        record=report,
        reported=world.at.index - 1,
        epoch=0,
        view=7,
    )


@refusal("evidence_false")
def evidence_that_proves_nothing(world: World) -> None:
    lawful = double_vote(said=(("notarize", (0, b"x" * 32)), ("nullify", None)))
    unsigned = msgspec.structs.replace(double_vote(), view=8)
    for evidence in (lawful, unsigned, double_root(names=("r", "r"))):
        world.refused("evidence_false", world.make(EquivocationReport, "police", evidence=evidence))
    world.submit(world.make(EquivocationReport, "police", evidence=double_root()))


@refusal("evidence_other_ledger")
def evidence_of_another_ledger(world: World) -> None:
    other = double_vote(genesis=build_genesis("customs", "police"))
    world.refused("evidence_other_ledger", world.make(EquivocationReport, "police", evidence=other))


@refusal("evidence_unknown_key")
def evidence_under_a_key_that_is_not_the_agencys(world: World) -> None:
    for key in (world.keys["customs"], node_key("customs", "cosigner"), node_key("police", "consensus")):
        world.refused("evidence_unknown_key", world.make(EquivocationReport, "police", evidence=double_vote(key=key)))
    strange = double_vote(key=node_key("customs", "consensus", 5))
    world.refused("evidence_unknown_key", world.make(EquivocationReport, "police", evidence=strange))


@refusal("evidence_from_future")
def votes_of_an_epoch_to_come(world: World) -> None:
    world.refused("evidence_from_future", world.make(EquivocationReport, "police", evidence=double_vote(epoch=1)))
    rotated = RotatedKeys(consensus=node_key_proof("customs", "consensus", 1))
    world.decide(ValidatorRotate(party="customs", keys=rotated))
    new = double_vote(epoch=1, key=node_key("customs", "consensus", 1))
    world.submit(world.make(EquivocationReport, "police", evidence=new))
    world.submit(world.make(EquivocationReport, "police", evidence=double_vote()))  # the old key, in the old epoch


@refusal("already_reported")
def more_of_the_same(world: World) -> None:
    world.submit(world.make(EquivocationReport, "police", evidence=double_vote()))
    world.submit(world.make(EquivocationReport, "interior", evidence=double_root()))
    for evidence in (double_vote(), double_vote(view=9), double_root(names=("r", "t"))):
        world.refused("already_reported", world.make(EquivocationReport, "interior", evidence=evidence))
    world.submit(world.make(EquivocationReport, "interior", evidence=double_root(size=6)))
    world.decide(ValidatorRemove(party="police"))
    world.submit(world.make(EquivocationReport, "customs", evidence=double_vote("police")))  # it has left
    world.submit(world.make(EquivocationReport, "customs", evidence=double_root("customs", size=7)))  # against itself
