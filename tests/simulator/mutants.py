"""Deliberate faults in the replica, one a clause: the simulator must catch each, or it has no teeth.

A mutant replaces one function of the production code by a wrong one. `python -m tests.simulator.mutants [NAME]` prints the
first seed that catches each.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from ledger.consensus import (
    blocks,
    certifying,
    durable,
    epoch,
    finality,
    pacemaker,
    proposing,
    receiving,
    replica,
    safety,
    tally,
    voting,
)
from ledger.consensus import state as state_module
from ledger.consensus.effects import Persist
from ledger.consensus.messages import Certificate, Notarize, Proposal
from ledger.consensus.state import FinalBlock, State
from tests.simulator.oracle import ViolationError
from tests.simulator.run import run_seed

Patch = tuple[Any, str, Any]


def _nothing(*_: object, **__: object) -> None:
    return None


def _without_persist(kept: type) -> Callable[[Any, Any], None]:
    emit = State.emit

    def emitting(state: State, effect: Any) -> None:
        if not (isinstance(effect, Persist) and isinstance(effect.record, kept)):
            emit(state, effect)

    return emitting


def _cast_without_persist(guard: safety.Guard, vote: Any, effects: Any) -> Any:
    guard._record(vote)
    return vote


def _prune_too_much(image: durable.Image, epoch_number: int, view: int) -> None:
    _PRUNE(image, epoch_number, view + 3)


_PRUNE = durable.Image.prune


def _take_latest_proposal(state: State, vote: Any, sender: int) -> None:
    _TAKE_VOTE(state, vote, sender)
    known = state.proposals.get(vote.view)
    if isinstance(vote, Notarize) and known is not None and known.signer == vote.signer and known != vote:
        state.proposals[vote.view] = vote
        state.guard._votes.get(vote.view, {}).pop("notarize", None)
        state.changes += 1


_TAKE_VOTE = certifying.take_vote


def _forgetting(kind: str, function: Any) -> Any:
    """A guard's method that does not see the own votes of a kind."""

    def method(guard: safety.Guard, *args: Any, **kwargs: Any) -> Any:
        hidden = {view: table.pop(kind, None) for view, table in guard._votes.items()}  # type: ignore[call-overload]
        try:
            return function(guard, *args, **kwargs)
        finally:
            for view, vote in hidden.items():
                if vote is not None:
                    guard._votes[view][kind] = vote  # type: ignore[index]

    return method


def _parent_is_the_floor(state: State) -> Any:
    return state.floor.view, state.floor.digest, None


def _any_certificate(certificate: Certificate | None, digest: bytes) -> bool:
    return certificate is not None


def _justified_with(accepts: Callable[[State, int], bool]) -> Any:
    def justified(state: State, proposal: Proposal, parent_digest: bytes) -> bool:
        at_floor = (proposal.parent_view, parent_digest) == (state.floor.view, state.floor.digest)
        certified = voting._certifies(state.certificates.chosen(proposal.parent_view), parent_digest)
        gaps = range(proposal.parent_view + 1, proposal.view)
        return (at_floor or certified) and all(accepts(state, view) for view in gaps)

    return justified


def _ignore_notarizations(state: State) -> None:
    state.open_notarizations.clear()


def _enter_on_finalizations_only(state: State, certificate: Certificate) -> None:
    if certificate.kind != "nullification":
        _ENTER(state, certificate)


_ENTER = certifying.enter


def _join_blindly(state: State, target: Certificate) -> None:
    assert target.proposal is not None
    digest = target.proposal.digest
    if digest in state.blocks and all(final.digest != digest for final in state.final):
        state.final.append(FinalBlock(digest=digest, certificate=target))


def _always_busy(state: State) -> bool:
    return state.own is not None


def _epoch_never_opens(guard: safety.Guard, opened: Any, floor_view: int) -> None:
    _OPEN(guard, opened, floor_view)
    guard._epoch = 0


_OPEN = safety.Guard.open_epoch


def _smaller_quorum(self: Any) -> int:
    return max(1, len(self.validators) - (len(self.validators) - 1) // 3 - 1)


def _parent_never_closing(held: Any) -> Any:
    return msgspec.structs.replace(_PARENT(held), closing=False)


_PARENT = blocks.parent_of_held

MUTANTS: Final[dict[str, tuple[Patch, ...]]] = {
    "P3.2 votes are not persisted": ((safety.Guard, "_cast", _cast_without_persist),),
    "P3.2 certificates are not persisted": ((State, "emit", _without_persist(Certificate)),),
    "P3.2 blocks are not persisted": ((State, "persist_block", _nothing),),
    "P3.4 own votes are not loaded": ((safety.Guard, "load", _nothing),),
    "P3.4 own stored votes are not counted (trace 6)": ((replica, "count_own", _nothing),),
    "P3.5 pruning reaches above the floor": ((durable.Image, "prune", _prune_too_much),),
    "P4.1 the guard stays in the old epoch": ((safety.Guard, "open_epoch", _epoch_never_opens),),
    "P4.2 a second proposal is notarized": ((receiving, "take_vote", _take_latest_proposal),),
    "P4.3 nullify after finalize": ((safety.Guard, "nullify", _forgetting("finalize", safety.Guard.nullify)),),
    "P4.4 finalize after nullify": ((safety.Guard, "finalize", _forgetting("nullify", safety.Guard.finalize)),),
    "P4.4 finalize another proposal than notarized": (
        (safety.Guard, "finalize", _forgetting("notarize", safety.Guard.finalize)),
    ),
    "P5.2 the leader builds on its floor": ((proposing, "_parent", _parent_is_the_floor),),
    "P5.3 any certificate of the parent's view will do (trace 1)": ((voting, "_certifies", _any_certificate),),
    "P5.3 a notarization passes for a nullification (trace 2)": (
        (voting, "_justified", _justified_with(lambda state, view: bool(state.certificates.of_view(view)))),
    ),
    "P5.3 gaps are not looked at": ((voting, "_justified", _justified_with(lambda state, view: True)),),
    "P5.4 missing blocks are not fetched": ((voting, "want_block", _nothing), (finality, "want_block", _nothing)),
    "P5.4 notarizations lead nowhere": ((replica, "complete_notarizations", _ignore_notarizations),),
    "P5.5 nullifications lead nowhere": ((certifying, "enter", _enter_on_finalizations_only),),
    "P5.6 a finalization is committed without its ancestors": ((finality, "_join", _join_blindly),),
    "P5.7 and P5.8 nothing is repeated": (
        (pacemaker, "send_nullify_again", _nothing),
        (pacemaker, "send_standstill_page", _nothing),
    ),
    "P5.7 timers do nothing": ((pacemaker, "nullify", _nothing),),
    "P5.9 signatures are not verified": ((tally.Tally, "_is_valid", lambda *_: True),),
    "P5.9 a smaller quorum": ((epoch.Epoch, "quorum", property(_smaller_quorum)),),
    "P6.1 pending records are not heard of": ((replica, "_pending_changed", _nothing),),
    "P6.2 always busy": ((pacemaker, "is_busy", _always_busy),),
    "P6.3 empty blocks without waiting (trace 4)": ((proposing, "heartbeat_due", lambda state: True),),
    "P7.1 who is ahead does not say so": ((receiving, "answer_status", _nothing),),
    "P7.2 blocks by height are not taken": ((replica, "take_blocks", _nothing),),
    "P8.1 blocks are built on a closing one": ((state_module, "parent_of_held", _parent_never_closing),),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Run with one mutant in place."""
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in MUTANTS[name]]
    handlers = dict(replica._INPUTS)
    receivers = dict(receiving._HANDLERS)
    try:
        for owner, attribute, wrong in MUTANTS[name]:
            _replace_in(replica._INPUTS, getattr(owner, attribute), wrong)
            _replace_in(receiving._HANDLERS, getattr(owner, attribute), wrong)
            setattr(owner, attribute, wrong)
        yield
    finally:
        for owner, attribute, right in before:
            setattr(owner, attribute, right)
        replica._INPUTS.update(handlers)
        receiving._HANDLERS.update(receivers)


def _replace_in(table: dict[Any, Any], right: Any, wrong: Any) -> None:
    for key, handler in table.items():
        if handler is right:
            table[key] = wrong


def catch(name: str, seeds: Iterable[int]) -> tuple[int, str] | None:
    """The first of these seeds that catches the mutant, and what was seen."""
    with mutated(name):
        for seed in seeds:
            try:
                run_seed(seed)
            except (ViolationError, AssertionError) as seen:
                return seed, f"{type(seen).__name__} {seen}"
    return None


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Find the seeds that catch each mutant.")
    parser.add_argument("name", nargs="?", help="only mutants whose name contains this")
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    missed = 0
    for name in MUTANTS:
        if options.name is None or options.name in name:
            found = catch(name, range(options.seeds))
            missed += found is None
            print(f"{name}: {'NOT CAUGHT' if found is None else f'seed {found[0]}: {found[1][:100]}'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
