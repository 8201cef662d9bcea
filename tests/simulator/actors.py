"""Byzantine actors (PROTOCOL P11), by the names that a plan uses: voters, those who hide or repeat, and the leaders."""

import random
from typing import Final

import msgspec

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
    ProposalMessage,
    Status,
    VoteMessage,
)
from tests.simulator.actor import Actor, Outgoing
from tests.simulator.leaders import BadBlockLeader, EquivocatingLeader, WrongGapLeader, WrongParentLeader
from tests.simulator.machine import Machine


class Silent(Actor):
    """Says nothing, ever."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        return iter(())


class ConflictingVoter(Actor):
    """Votes for another digest as well, towards others."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            if isinstance(message, VoteMessage) and isinstance(message.vote, Notarize | Finalize):
                proposal = msgspec.structs.replace(message.vote.proposal, digest=self.rng.randbytes(32))
                kind: Kind = "notarize" if isinstance(message.vote, Notarize) else "finalize"
                if self.rng.random() < 0.5:
                    yield target, VoteMessage(vote=self.sign(kind, proposal.view, proposal))
            yield target, message


class NullifyAndFinalize(Actor):
    """Votes everything at once in every view."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            yield target, message
            if isinstance(message, VoteMessage) and isinstance(message.vote, Notarize):
                proposal = message.vote.proposal
                yield target, VoteMessage(vote=self.sign("finalize", proposal.view, proposal))
                yield target, VoteMessage(vote=self.sign("nullify", proposal.view, None))


class NullifyOnly(Actor):
    """Has but one vote, for every view, early."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            if isinstance(message, VoteMessage | ProposalMessage):
                view = message.vote.view if isinstance(message, VoteMessage) else message.notarize.view
                for ahead in range(3):
                    yield target, VoteMessage(vote=self.sign("nullify", view + ahead, None))
            else:
                yield target, message


class Forger(Actor):
    """Votes in others' names, certificates of nothing."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        size, rng = self.replica.epoch.size, self.rng
        for target in targets:
            yield target, message
            if isinstance(message, VoteMessage):
                vote = msgspec.structs.replace(message.vote, signer=rng.randrange(size), signature=rng.randbytes(64))
                yield target, VoteMessage(vote=vote)
                if isinstance(vote, Nullify):
                    yield target, CertificateMessage(certificate=self._forged(vote))

    def _forged(self, vote: Nullify) -> Certificate:
        signatures = tuple((signer, self.rng.randbytes(64)) for signer in range(self.replica.epoch.quorum))
        return Certificate(kind="nullification", epoch=vote.epoch, view=vote.view, proposal=None, signatures=signatures)


class Replayer(Actor):
    """Repeats whatever it ever heard or said, of old views, too, to anybody, at any time."""

    def __init__(self, machine: Machine, rng: random.Random, unlawful: tuple[bytes, ...]) -> None:
        super().__init__(machine, rng, unlawful)
        self.heard: list[Message] = []

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            yield target, message
            if self.heard and self.rng.random() < 0.3:
                yield target, self.rng.choice(self.heard)

    def incoming(self, message: Message) -> None:
        if len(self.heard) < 500:
            self.heard.append(message)


class BlockWithholder(Actor):
    """Shows its blocks to one machine only, its votes and certificates to all."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for number, target in enumerate(targets):
            if (isinstance(message, ProposalMessage) and number > 0) or isinstance(message, BlockResponse):
                yield target, msgspec.structs.replace(message, block=None)
            else:
                yield target, message


class CertificateWithholder(Actor):
    """Shows its blocks and votes to all, its certificates to nobody, not even with its proposals."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        if isinstance(message, CertificateMessage):
            return
        if isinstance(message, ProposalMessage):
            message = msgspec.structs.replace(message, parent=None, nullifications=())
        elif isinstance(message, Page):
            message = msgspec.structs.replace(message, certificates=())
        elif isinstance(message, Status):
            message = msgspec.structs.replace(message, entry=None)
        yield from super().outgoing(message, targets)


class WrongEpoch(Actor):
    """Signs for other epochs and other ledgers."""

    def outgoing(self, message: Message, targets: list[Machine]) -> Outgoing:
        for target in targets:
            if isinstance(message, VoteMessage):
                view, epoch = message.vote.view, self.replica.epoch.number
                yield target, VoteMessage(vote=self.sign("nullify", view, None, epoch=epoch + 1))
                yield target, VoteMessage(vote=self.sign("nullify", view, None, chain=b"another".ljust(32)))
            else:
                yield target, message


class Twins(Actor):
    """Two honest machines of one key, each believing it is the only one."""


class Amnesiac(Actor):
    """Follows the protocol, but for forgetting its votes at every crash, of which it has many, and voting on."""


ACTORS: Final[dict[str, type[Actor]]] = {
    "silent": Silent,
    "equivocating_leader": EquivocatingLeader,
    "wrong_parent_leader": WrongParentLeader,
    "wrong_gap_leader": WrongGapLeader,
    "bad_block_leader": BadBlockLeader,
    "conflicting_voter": ConflictingVoter,
    "nullify_and_finalize": NullifyAndFinalize,
    "nullify_only": NullifyOnly,
    "replayer": Replayer,
    "wrong_epoch": WrongEpoch,
    "forger": Forger,
    "block_withholder": BlockWithholder,
    "certificate_withholder": CertificateWithholder,
    "twins": Twins,
    "amnesiac": Amnesiac,
}
"""By the names that a plan uses."""
