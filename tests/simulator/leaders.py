"""Leaders that lie (PROTOCOL P11): two proposals, a wrong parent in either form, blocks that something is wrong with."""

import msgspec

from ledger.block import Block, payload_root
from ledger.consensus.messages import Message, Notarize, Proposal, ProposalMessage, VoteMessage
from ledger.merkle.hashing import leaf_hash
from tests.simulator.actor import Actor, Outgoing
from tests.simulator.machine import Machine

HOUR_MS = 3_600_000


class EquivocatingLeader(Actor):
    """Proposes two valid blocks, each to about half, and votes for both, in either kind."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        second = None
        if isinstance(message, ProposalMessage) and message.block is not None:
            second = self.rebuilt(message.block, later_ms=1)
        if not isinstance(message, ProposalMessage) or second is None:
            yield from super().outgoing(message, targets)
            return
        other = self.proposed(message, second)
        for number, target in enumerate(targets):
            yield target, (message if number % 2 else other)
            if self.rng.random() < 0.3:
                yield target, (other if number % 2 else message)
        for offered in (message, other):
            proposal = offered.notarize.proposal
            for vote in (
                self.sign("notarize", proposal.view, proposal),
                self.sign("finalize", proposal.view, proposal),
            ):
                for target in self.rng.sample(targets, len(targets) // 2):
                    yield target, VoteMessage(vote=vote)


class WrongParentLeader(Actor):
    """Names the right parent view and another digest: its floor's (P13, trace 1)."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if isinstance(message, ProposalMessage) and message.block is not None:
            block = self.built_on_floor(message.block, parent_view=message.block.header.parent_view)
            if block is not None:
                message = self.proposed(message, block)
        yield from super().outgoing(message, targets)


class WrongGapLeader(Actor):
    """Builds on its floor over notarized views, passing their notarizations off for nullifications (P13, trace 2)."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if isinstance(message, ProposalMessage) and message.block is not None:
            block = self.built_on_floor(message.block)
            if block is not None:
                shown = () if message.parent is None else (message.parent,)
                lie = msgspec.structs.replace(message, parent=None, nullifications=(*shown, *message.nullifications))
                message = self.proposed(lie, block)
        yield from super().outgoing(message, targets)


class BadBlockLeader(Actor):
    """Proposes blocks that something is wrong with: a record, the seal, a field, the time, or the body's bytes."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if isinstance(message, ProposalMessage) and message.block is not None:
            message = self._lie(message, message.block)
        yield from super().outgoing(message, targets)

    def _lie(self, message: ProposalMessage, block: Block) -> ProposalMessage:
        defect = self.rng.randrange(9)
        if defect == 8 and message.parent is not None and message.parent.proposal is not None:
            return self._repeated(message, message.parent.proposal)
        if defect == 0:
            other = Block(header=block.header, entries=(b"another body",), seal=block.seal)
            return msgspec.structs.replace(message, block=other)
        spoilt = self._spoilt(block, defect)
        return message if spoilt is None else self.proposed(message, spoilt)

    def _repeated(self, message: ProposalMessage, parent: Proposal) -> ProposalMessage:
        """Proposes its parent again, though that is no closing block (P8.1)."""
        view = message.notarize.view
        proposal = Proposal(epoch=parent.epoch, view=view, parent_view=parent.view, digest=parent.digest)
        vote = self.sign("notarize", view, proposal)
        assert isinstance(vote, Notarize)
        return msgspec.structs.replace(message, notarize=vote, block=None)

    def _spoilt(self, block: Block, defect: int) -> Block | None:
        header = block.header
        if defect == 1:
            return _with_body(block, (*block.entries, self.rng.choice(self.unlawful)), block.seal)
        if defect == 2:
            return _with_body(block, (*block.entries, *block.entries, b"no record"), block.seal)
        if defect == 3:
            return _with_body(block, block.entries, b"another state")
        if defect == 4:
            header = msgspec.structs.replace(header, height=header.height + 1)
        elif defect == 5:
            header = msgspec.structs.replace(header, parent_seal=bytes(32))
        elif defect == 6:
            return self.rebuilt(block, later_ms=HOUR_MS)
        else:
            header = msgspec.structs.replace(header, time=1)
        return Block(header=header, entries=block.entries, seal=block.seal)


def _with_body(block: Block, entries: tuple[bytes, ...], seal: bytes) -> Block:
    root = payload_root((*map(leaf_hash, entries), leaf_hash(seal)))
    return Block(header=msgspec.structs.replace(block.header, payload_root=root), entries=entries, seal=seal)
