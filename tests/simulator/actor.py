"""What all Byzantine actors have: an ordinary machine of the liar's key, its key, and chance.

An actor stands between its machine and the network: it sees what the machine would send and what reaches it, and sends what
it likes.
"""

import random
from collections.abc import Iterator

import msgspec

from ledger.block import Block
from ledger.consensus.effects import Build
from ledger.consensus.messages import (
    Finalize,
    Kind,
    Message,
    Notarize,
    Nullify,
    Proposal,
    ProposalMessage,
    Vote,
    vote_bytes,
)
from ledger.consensus.replica import Replica
from tests.simulator.machine import Machine

Outgoing = Iterator[tuple[Machine, Message]]


class Actor:
    """One that says what its machine says. `unlawful` are records that no honest machine accepts in a block."""

    def __init__(self, machine: Machine, rng: random.Random, unlawful: tuple[bytes, ...]) -> None:
        self.machine = machine
        self.rng = rng
        self.unlawful = unlawful

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        """What is sent instead of this message, and to whom."""
        yield from ((target, message) for target in targets)

    def incoming(self, message: Message) -> None:
        """A message that reaches the machine."""

    @property
    def replica(self) -> Replica:
        """The machine's replica; it is up whenever it sends."""
        assert self.machine.replica is not None
        return self.machine.replica

    def sign(
        self, kind: Kind, view: int, proposal: Proposal | None, *, epoch: int | None = None, chain: bytes | None = None
    ) -> Vote:
        """A vote of our own, whatever it says."""
        at = self.replica.epoch.number if epoch is None else epoch
        signature = self.machine.key.sign(vote_bytes(chain or self.machine.chain, kind, at, view, proposal))
        signer = self.replica.own or 0
        if kind == "nullify" or proposal is None:
            return Nullify(epoch=at, view=view, signer=signer, signature=signature)
        shape = Notarize if kind == "notarize" else Finalize
        return shape(proposal=proposal, signer=signer, signature=signature)

    def proposed(self, message: ProposalMessage, block: Block) -> ProposalMessage:
        """The same proposal message for another block."""
        header = block.header
        proposal = Proposal(epoch=header.epoch, view=header.view, parent_view=header.parent_view, digest=block.digest)
        vote = self.sign("notarize", header.view, proposal)
        assert isinstance(vote, Notarize)
        return msgspec.structs.replace(message, notarize=vote, block=block)

    def rebuilt(self, block: Block, *, later_ms: int) -> Block | None:
        """A valid block in the place of another, of a later time. None if the application has moved on."""
        header = block.header
        return self._built(
            block,
            height=header.height,
            parent_view=header.parent_view,
            parent_digest=header.parent_digest,
            parent_seal=header.parent_seal,
            later_ms=later_ms,
        )

    def built_on_floor(self, block: Block, *, parent_view: int | None = None) -> Block | None:
        """A block of the same view on the machine's floor, said to be of `parent_view` (the floor's unless given). None if
        that would be no lie."""
        floor, header = self.machine.disk.load().floor, block.header
        stands = self.machine.application.stands_on(floor.digest)
        if header.parent_digest == floor.digest or not stands or floor.epoch != header.epoch:
            return None
        return self._built(
            block,
            height=floor.height + 1,
            parent_view=floor.view if parent_view is None else parent_view,
            parent_digest=floor.digest,
            parent_seal=floor.seal_hash,
            later_ms=0,
        )

    def _built(
        self, block: Block, *, height: int, parent_view: int, parent_digest: bytes, parent_seal: bytes, later_ms: int
    ) -> Block | None:
        header = block.header
        wanted = Build(
            epoch=header.epoch,
            view=header.view,
            height=height,
            parent_view=parent_view,
            parent_digest=parent_digest,
            parent_seal=parent_seal,
            proposer=header.proposer,
            time_ms=header.time + later_ms,
            allow_empty=True,
        )
        return self.machine.application.build(wanted).block
