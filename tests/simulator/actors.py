"""Byzantine actors (PROTOCOL P11): each stands between an ordinary machine of the liar's key and the network.

An actor sees what its machine would send, and what reaches it, and sends what it likes. It holds the key.
"""

import random
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from ledger.block import Block, payload_root
from ledger.consensus.effects import Build
from ledger.consensus.messages import (
    BlockResponse,
    Certificate,
    CertificateMessage,
    Finalize,
    Kind,
    Message,
    Notarize,
    Nullify,
    Page,
    Proposal,
    ProposalMessage,
    Vote,
    VoteMessage,
    vote_bytes,
)
from ledger.consensus.replica import Replica
from ledger.merkle.hashing import leaf_hash
from tests.simulator.application import BAD
from tests.simulator.machine import Machine

Outgoing = Iterator[tuple[Machine, Message]]


class Actor(Protocol):
    """What a liar does with its machine's messages."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing: ...

    def incoming(self, message: Message) -> None: ...


class Liar:
    """What actors share by having it: the machine, its key, a generator of chance."""

    def __init__(self, machine: Machine, rng: random.Random) -> None:
        self.machine = machine
        self.rng = rng

    @property
    def replica(self) -> Replica:
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


class Silent:
    """Says nothing, ever."""

    def __init__(self, liar: Liar) -> None:
        self.liar = liar

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        return iter(())

    def incoming(self, message: Message) -> None:
        return


class EquivocatingLeader(Silent):
    """Proposes two valid blocks, each to about half, and votes for both, in either kind."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if not isinstance(message, ProposalMessage) or message.block is None:
            yield from ((target, message) for target in targets)
            return
        header = msgspec.structs.replace(message.block.header, time=message.block.header.time + 1)
        other = self.liar.proposed(message, msgspec.structs.replace(message.block, header=header))
        for number, target in enumerate(targets):
            yield target, (message if number % 2 else other)
            if self.liar.rng.random() < 0.3:
                yield target, (other if number % 2 else message)
        for offered in (message, other):
            proposal = offered.notarize.proposal
            both = (
                self.liar.sign("notarize", proposal.view, proposal),
                self.liar.sign("finalize", proposal.view, proposal),
            )
            for vote in both:
                for target in self.liar.rng.sample(targets, len(targets) // 2):
                    yield target, VoteMessage(vote=vote)


class ConflictingVoter(Silent):
    """Votes for another digest as well, towards others."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            if isinstance(message, VoteMessage) and isinstance(message.vote, Notarize | Finalize):
                proposal = msgspec.structs.replace(message.vote.proposal, digest=self.liar.rng.randbytes(32))
                kind: Kind = "notarize" if isinstance(message.vote, Notarize) else "finalize"
                if self.liar.rng.random() < 0.5:
                    yield target, VoteMessage(vote=self.liar.sign(kind, proposal.view, proposal))
            yield target, message


class NullifyAndFinalize(Silent):
    """Votes everything at once in every view."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            yield target, message
            if isinstance(message, VoteMessage) and isinstance(message.vote, Notarize):
                proposal = message.vote.proposal
                yield target, VoteMessage(vote=self.liar.sign("finalize", proposal.view, proposal))
                yield target, VoteMessage(vote=self.liar.sign("nullify", proposal.view, None))


class NullifyOnly(Silent):
    """Has but one vote, for every view, early."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            if isinstance(message, VoteMessage | ProposalMessage):
                view = message.vote.view if isinstance(message, VoteMessage) else message.notarize.view
                for ahead in range(3):
                    yield target, VoteMessage(vote=self.liar.sign("nullify", view + ahead, None))
            else:
                yield target, message


class WrongParentLeader(Silent):
    """Names the right parent view and another digest: its floor's (P13, trace 1)."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if isinstance(message, ProposalMessage) and message.block is not None:
            block = _on_the_floor(self.liar.machine, message.block, message.block.header.parent_view)
            if block is not None:
                message = self.liar.proposed(message, block)
        yield from ((target, message) for target in targets)


class WrongGapLeader(Silent):
    """Builds on its floor over notarized views, passing their notarizations off for nullifications (P13, trace 2)."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if isinstance(message, ProposalMessage) and message.block is not None:
            block = _on_the_floor(self.liar.machine, message.block, self.liar.machine.disk.floor.view)
            if block is not None:
                shown = () if message.parent is None else (message.parent,)
                lie = msgspec.structs.replace(message, parent=None, nullifications=(*shown, *message.nullifications))
                message = self.liar.proposed(lie, block)
        yield from ((target, message) for target in targets)


def _on_the_floor(machine: Machine, block: Block, parent_view: int) -> Block | None:
    """A block of the same view on the machine's floor, said to be of `parent_view`; None if that would be no lie."""
    floor, header = machine.disk.floor, block.header
    if header.parent_digest == floor.digest or machine.application.tip != floor.digest or floor.epoch != header.epoch:
        return None
    wanted = Build(
        epoch=header.epoch,
        view=header.view,
        height=floor.height + 1,
        parent_view=parent_view,
        parent_digest=floor.digest,
        parent_seal=floor.seal_hash,
        proposer=header.proposer,
        time_ms=header.time,
        allow_empty=True,
    )
    return machine.application.build(wanted)


class Forger(Silent):
    """Votes in others' names, certificates of nothing."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        size, rng = self.liar.replica.epoch.size, self.liar.rng
        for target in targets:
            yield target, message
            if isinstance(message, VoteMessage):
                vote = msgspec.structs.replace(message.vote, signer=rng.randrange(size), signature=rng.randbytes(64))
                yield target, VoteMessage(vote=vote)
                if isinstance(vote, Nullify):
                    forged = tuple((signer, rng.randbytes(64)) for signer in range(self.liar.replica.epoch.quorum))
                    yield (
                        target,
                        CertificateMessage(
                            certificate=Certificate(
                                kind="nullification", epoch=vote.epoch, view=vote.view, proposal=None, signatures=forged
                            )
                        ),
                    )


class Replayer(Silent):
    """Repeats whatever it ever heard or said, to anybody, at any time."""

    def __init__(self, liar: Liar) -> None:
        super().__init__(liar)
        self.heard: list[Message] = []

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            yield target, message
            if self.heard and self.liar.rng.random() < 0.3:
                yield target, self.liar.rng.choice(self.heard)

    def incoming(self, message: Message) -> None:
        if len(self.heard) < 500:
            self.heard.append(message)


class Withholder(Silent):
    """Shows its block to one machine, its certificates and blocks to nobody, its votes to all."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for number, target in enumerate(targets):
            if isinstance(message, ProposalMessage):
                yield target, message if number == 0 else msgspec.structs.replace(message, block=None)
            elif isinstance(message, BlockResponse):
                yield target, msgspec.structs.replace(message, block=None)
            elif not isinstance(message, CertificateMessage | Page):
                yield target, message


class WrongEpoch(Silent):
    """Signs for other epochs and other ledgers."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            if isinstance(message, VoteMessage):
                view, epoch = message.vote.view, self.liar.replica.epoch.number
                yield target, VoteMessage(vote=self.liar.sign("nullify", view, None, epoch=epoch + 1))
                yield target, VoteMessage(vote=self.liar.sign("nullify", view, None, chain=b"another".ljust(32)))
            else:
                yield target, message


class BadBlockLeader(Silent):
    """Proposes blocks that something is wrong with."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if isinstance(message, ProposalMessage) and message.block is not None:
            message = self.liar.proposed(message, self._spoilt(message.block))
        yield from ((target, message) for target in targets)

    def _spoilt(self, block: Block) -> Block:
        header, defect = block.header, self.liar.rng.randrange(6)
        if defect == 0:
            entries = (*block.entries, BAD + b"record")
            root = payload_root((*map(leaf_hash, entries), leaf_hash(block.seal)))
            header = msgspec.structs.replace(header, payload_root=root)
            return Block(header=header, entries=entries, seal=block.seal)
        if defect == 1:
            seal = b"another state"
            root = payload_root((*map(leaf_hash, block.entries), leaf_hash(seal)))
            return Block(header=msgspec.structs.replace(header, payload_root=root), entries=block.entries, seal=seal)
        if defect == 2:
            header = msgspec.structs.replace(header, height=header.height + 1)
        elif defect == 3:
            header = msgspec.structs.replace(header, parent_seal=bytes(32))
        elif defect == 4:
            header = msgspec.structs.replace(header, time=header.time + 3_600_000)
        else:
            header = msgspec.structs.replace(header, time=1)
        return Block(header=header, entries=block.entries, seal=block.seal)


class Twins(Silent):
    """Two honest machines of one key, each believing it is the only one."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        yield from ((target, message) for target in targets)


ACTORS: Final[dict[str, type[Silent]]] = {
    "silent": Silent,
    "equivocating_leader": EquivocatingLeader,
    "conflicting_voter": ConflictingVoter,
    "nullify_and_finalize": NullifyAndFinalize,
    "nullify_only": NullifyOnly,
    "wrong_parent_leader": WrongParentLeader,
    "wrong_gap_leader": WrongGapLeader,
    "forger": Forger,
    "replayer": Replayer,
    "withholder": Withholder,
    "wrong_epoch": WrongEpoch,
    "bad_block_leader": BadBlockLeader,
    "twins": Twins,
}
"""By the names that a plan uses."""
