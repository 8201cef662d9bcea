"""A bench for one replica: four validators' keys, blocks, votes and certificates at will, a driver that can be read."""

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

from ledger.block import Block, BlockHeader, payload_root
from ledger.consensus.durable import Durable, Image
from ledger.consensus.effects import (
    Alarm,
    Broadcast,
    Build,
    CancelTimer,
    Check,
    Commit,
    Effect,
    Floor,
    Persist,
    Send,
    SetTimer,
    Timer,
    VotesSuspected,
    VotesTrusted,
)
from ledger.consensus.epoch import Epoch
from ledger.consensus.inputs import (
    AnyInput,
    Built,
    Checked,
    Committed,
    PendingChanged,
    Received,
    Started,
    TimerFired,
)
from ledger.consensus.messages import (
    VOTE_OF,
    Certificate,
    CertificateKind,
    CertificateMessage,
    DurableRecord,
    Finalize,
    Message,
    Notarize,
    Nullify,
    Proposal,
    ProposalMessage,
    Vote,
    VoteMessage,
    vote_bytes,
)
from ledger.consensus.parameters import Parameters
from ledger.consensus.replica import Replica
from ledger.limits import ENTRY_NONCE_BYTES
from ledger.merkle.hashing import leaf_hash
from ledger.signing import SigningKey

CHAIN: Final = bytes(32)
"""Its first 8 bytes are 0: view v is led by validator v mod 4."""
KEYS: Final = tuple(SigningKey(hashlib.sha256(b"bench %d" % number).digest()) for number in range(4))
EPOCH: Final = Epoch(number=0, validators=tuple(key.public for key in KEYS), opening_digest=CHAIN)
GENESIS: Final = Floor(
    epoch=0,
    view=0,
    height=0,
    digest=hashlib.sha256(b"genesis").digest(),
    seal_hash=hashlib.sha256(b"genesis seal").digest(),
    time_ms=1_000,
)
CLOCK_MS: Final = 1_700_000_000_000
NONCE: Final = bytes(ENTRY_NONCE_BYTES)
MessageT = TypeVar("MessageT", bound=Message)


def block_on(
    parent: Block | Floor, view: int, *, name: str = "", parent_view: int | None = None, time_ms: int = 0
) -> Block:
    """A valid block of `view` on a parent; `name` makes it another one."""
    seal = f"seal {view} {name}".encode()
    entries = (name.encode(),) if name else ()
    if isinstance(parent, Floor):
        height, seal_hash, before_ms, above = parent.height, parent.seal_hash, parent.time_ms, parent.view
    else:
        header = parent.header
        height, seal_hash, before_ms, above = header.height, parent.seal_hash, header.time, header.view
    return Block(
        header=BlockHeader(
            chain=CHAIN,
            epoch=0,
            view=view,
            height=height + 1,
            parent_view=above if parent_view is None else parent_view,
            parent_digest=parent.digest,
            parent_seal=seal_hash,
            payload_root=payload_root((*map(leaf_hash, entries), leaf_hash(seal))),
            proposer=view % 4,
            time=time_ms or before_ms + 1,
        ),
        entries=entries,
        seal=seal,
    )


def proposal_for(block: Block, *, view: int | None = None, parent_view: int | None = None) -> Proposal:
    """The proposal of a block, or a re-proposal of it."""
    header = block.header
    return Proposal(
        epoch=0,
        view=header.view if view is None else view,
        parent_view=header.parent_view if parent_view is None else parent_view,
        digest=block.digest,
    )


def notarize(signer: int, proposal: Proposal) -> Notarize:
    signature = KEYS[signer].sign(vote_bytes(CHAIN, "notarize", 0, proposal.view, proposal))
    return Notarize(proposal=proposal, signer=signer, signature=signature)


def finalize(signer: int, proposal: Proposal) -> Finalize:
    signature = KEYS[signer].sign(vote_bytes(CHAIN, "finalize", 0, proposal.view, proposal))
    return Finalize(proposal=proposal, signer=signer, signature=signature)


def nullify(signer: int, view: int) -> Nullify:
    return Nullify(
        epoch=0, view=view, signer=signer, signature=KEYS[signer].sign(vote_bytes(CHAIN, "nullify", 0, view, None))
    )


def certificate(
    kind: CertificateKind, view: int, proposal: Proposal | None = None, signers: Sequence[int] = (1, 2, 3)
) -> Certificate:
    """A valid certificate by these validators."""
    message = vote_bytes(CHAIN, VOTE_OF[kind], 0, view, proposal)
    return Certificate(
        kind=kind,
        epoch=0,
        view=view,
        proposal=proposal,
        signatures=tuple((signer, KEYS[signer].sign(message)) for signer in signers),
    )


def notarization(block: Block, signers: Sequence[int] = (1, 2, 3)) -> Certificate:
    return certificate("notarization", block.header.view, proposal_for(block), signers)


def finalization(block: Block, signers: Sequence[int] = (1, 2, 3)) -> Certificate:
    return certificate("finalization", block.header.view, proposal_for(block), signers)


def nullification(view: int, signers: Sequence[int] = (1, 2, 3)) -> Certificate:
    return certificate("nullification", view, None, signers)


def proposal_message(
    block: Block, *, parent: Certificate | None = None, nullifications: tuple[Certificate, ...] = ()
) -> ProposalMessage:
    """The proposal of a block by the leader of its view."""
    vote = notarize(block.header.view % 4, proposal_for(block))
    return ProposalMessage(notarize=vote, block=block, parent=parent, nullifications=nullifications)


class Bench:
    """One replica, by default validator 0 of four, with a driver that records everything and answers if told to."""

    def __init__(
        self,
        own: int | None = 0,
        *,
        durable: Durable | None = None,
        check: bool = True,
        commit: bool = True,
        build: Block | None = None,
        start: bool = True,
        votes_suspect: bool = False,
        votes_unasked: bool = False,
        nonce: bytes = NONCE,
    ) -> None:
        self.now_ms = 10_000
        self.check = check
        self.commit = commit
        self.build = build
        self.invalid: set[bytes] = set()
        self.effects: list[Effect] = []
        self.timers: dict[Timer, int] = {}
        self.image = Image()
        self.floor = GENESIS if durable is None else durable.floor
        self.votes_suspect = votes_suspect or votes_unasked
        self.starts = nonce[0]
        for record in () if durable is None else durable.records:
            self.image.fold(record)
        self.replica = Replica.restore(
            chain=CHAIN,
            key=None if own is None else KEYS[own],
            epoch=EPOCH,
            parameters=Parameters(),
            durable=durable or Durable(floor=GENESIS),
            nonce=nonce,
            votes_suspect=votes_suspect,
            votes_unasked=votes_unasked,
        )
        if start:
            self.tell(Started(now_ms=self.now_ms, clock_ms=CLOCK_MS))

    def tell(self, event: AnyInput) -> list[Effect]:
        """One input; returns the effects of it and of the driver's answers."""
        effects = self.replica.step(event)
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Persist):
                self.image.fold(effect.record)
            elif isinstance(effect, VotesSuspected | VotesTrusted):
                self.votes_suspect = isinstance(effect, VotesSuspected)
            elif isinstance(effect, SetTimer):
                self.timers[effect.name] = effect.at_ms
            elif isinstance(effect, CancelTimer):
                del self.timers[effect.name]
        for effect in list(effects):
            if isinstance(effect, Check) and self.check:
                effects += self.checked(effect.block)
            elif isinstance(effect, Commit) and self.commit:
                self.floor = effect.floor
                effects += self.tell(
                    Committed(
                        now_ms=self.now_ms, clock_ms=CLOCK_MS, height=effect.floor.height, digest=effect.floor.digest
                    )
                )
            elif isinstance(effect, Build) and self.build is not None:
                effects += self.built(effect, self.build)
        return effects

    def checked(self, block: Block, *, closing: bool = False) -> list[Effect]:
        verdict = "invalid" if block.digest in self.invalid else "valid"
        return self.tell(
            Checked(
                now_ms=self.now_ms,
                clock_ms=CLOCK_MS,
                digest=block.digest,
                verdict=verdict,  # type: ignore[arg-type]
                closing=closing,
            )
        )

    def built(self, wanted: Build, block: Block) -> list[Effect]:
        return self.tell(
            Built(
                now_ms=self.now_ms,
                clock_ms=CLOCK_MS,
                epoch=wanted.epoch,
                view=wanted.view,
                outcome="built",
                block=block,
            )
        )

    def receive(self, sender: int, message: Message) -> list[Effect]:
        return self.tell(Received(now_ms=self.now_ms, clock_ms=CLOCK_MS, sender=sender, message=message))

    def vote(self, vote: Vote) -> list[Effect]:
        """A vote over its signer's own link."""
        return self.receive(vote.signer, VoteMessage(vote=vote))

    def show(self, shown: Certificate, sender: int = 1) -> list[Effect]:
        return self.receive(sender, CertificateMessage(certificate=shown))

    def pending(self, count: int) -> list[Effect]:
        return self.tell(PendingChanged(now_ms=self.now_ms, clock_ms=CLOCK_MS, count=count))

    def fire(self, name: Timer) -> list[Effect]:
        """Let the time of a timer that is set come."""
        self.now_ms = max(self.now_ms, self.timers.pop(name))
        return self.tell(TimerFired(now_ms=self.now_ms, clock_ms=CLOCK_MS, name=name))

    def timer_is_set(self, name: Timer) -> bool:
        return name in self.timers

    def restart(self) -> "Bench":
        """The same validator after a crash: from the durable records alone."""
        return Bench(
            self.replica.own,
            durable=Durable(floor=self.floor, records=self.image.records()),
            votes_suspect=self.votes_suspect,
            nonce=bytes([self.starts + 1]) * ENTRY_NONCE_BYTES,
        )

    @property
    def view(self) -> int:
        return self.replica.status().view

    @property
    def alarms(self) -> list[str]:
        return [effect.code for effect in self.effects if isinstance(effect, Alarm)]

    def persisted(self) -> list[DurableRecord]:
        return [effect.record for effect in self.effects if isinstance(effect, Persist)]

    def votes(self) -> list[tuple[str, int]]:
        """The kinds and views of all votes signed since the bench was made, in order."""
        shapes = (Notarize, Nullify, Finalize)
        return [
            (type(record).__name__.lower(), record.view) for record in self.persisted() if isinstance(record, shapes)
        ]

    def voted(self, shape: type[Notarize] | type[Nullify] | type[Finalize]) -> list[Vote]:
        return [record for record in self.persisted() if isinstance(record, shape)]

    def committed(self) -> list[bytes]:
        return [effect.block.digest for effect in self.effects if isinstance(effect, Commit)]

    def sent(self, shape: type[MessageT]) -> list[MessageT]:
        """Messages of a type that were sent or broadcast."""
        return [
            effect.message
            for effect in self.effects
            if isinstance(effect, Send | Broadcast) and isinstance(effect.message, shape)
        ]

    def forget(self) -> None:
        """Forget the effects recorded so far."""
        self.effects.clear()
