"""The judge (PROTOCOL P10). It sees what honest machines persist, send and commit, and shares no code with the replica.

It knows the messages' shapes, writes out for itself what a signature covers, and counts quorums by its own arithmetic.
"""

import hashlib
from typing import Final, Protocol

import msgspec

from ledger.block import Block
from ledger.consensus.durable import Durable
from ledger.consensus.effects import Floor
from ledger.consensus.messages import (
    Certificate,
    CertificateMessage,
    DurableRecord,
    Evidence,
    Finalize,
    Message,
    Notarize,
    Nullify,
    Page,
    Proposal,
    ProposalMessage,
    Status,
    VoteMessage,
)
from ledger.signing import is_valid
from tests.simulator.application import Prepared

AnyVote = Notarize | Nullify | Finalize
_NUMBERS: Final = {Notarize: 1, Nullify: 2, Finalize: 3}
PAGE_ITEMS: Final = 8
"""A page of a simulated run: small, so that pages have to rotate (P5.8)."""
_CERTIFIED: Final = {"notarization": 1, "nullification": 2, "finalization": 3}


class _Durable(Protocol):
    """What the oracle asks of a machine's disk."""

    def has_vote(self, vote: AnyVote) -> bool: ...

    def has_certificate(self, certificate: Certificate) -> bool: ...


class ViolationError(Exception):
    """Something of P10 does not hold. The message begins with its number."""


class Members:
    """The validators of one epoch, in order."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self.keys = keys
        tolerated = 0
        while 3 * (tolerated + 1) + 1 <= len(keys):
            tolerated += 1
        self.needed = len(keys) - tolerated


class Ledger:
    """What the oracle remembers of one honest machine, across its restarts. The floor is the one on its disk."""

    def __init__(self, floor: Floor, public: bytes) -> None:
        self.floor = floor
        self.keys = [public]
        """All that it ever had; it has the last."""
        self.votes: dict[tuple[int, int, int], AnyVote] = {}
        """All votes it ever asked to persist, by epoch, view and kind, that a crash did not lose unsent."""
        self.certificates: dict[tuple[int, int, int], Certificate] = {}
        self.blocks: dict[bytes, Block] = {}
        self.view = (0, 0)
        self.forgotten = (0, 0)
        """The highest epoch and view of a vote that it has lost."""


class Oracle:
    """Judges a run. Machines that follow the protocol go by their numbers, whatever key they have."""

    def __init__(self, chain: bytes, genesis: Floor, members: tuple[bytes, ...]) -> None:
        self.chain = chain
        self.members: dict[int, Members] = {0: Members(members)}
        self.genesis = genesis
        self.machines: dict[int, Ledger] = {}
        self.final: dict[int, tuple[bytes, bytes, bytes]] = {}
        """Height -> digest, state root, log root."""
        self.sent_votes: dict[tuple[int, int, int, int], AnyVote] = {}
        self._good: set[bytes] = set()
        self._closing: dict[bytes, bool] = {}

    def watch(self, who: int, public: bytes) -> None:
        """From now on this machine is expected to be honest. It has this key."""
        self.machines[who] = Ledger(self.genesis, public)

    def rotated(self, who: int, public: bytes) -> None:
        """The machine was given another key: it signs with no other from now on."""
        self.machines[who].keys.append(public)

    def restarted(self, who: int, durable: Durable, view: tuple[int, int]) -> None:
        """The machine came back with this on its disk: what was lost unsynced must never have been sent, and the floor is
        the one of its last committed block (P3.3)."""
        machine = self.machines[who]
        found, known = durable.floor, machine.floor
        if (found.epoch, found.view, found.height, found.digest) != (
            known.epoch,
            known.view,
            known.height,
            known.digest,
        ):
            raise ViolationError(f"P3.3 the disk's floor is height {found.height}; committed was height {known.height}")
        machine.votes.clear()
        machine.certificates.clear()
        machine.blocks.clear()
        for record in durable.records:
            self._keep(machine, record)
        left = [known.view] + [
            at for epoch, at, kind in machine.certificates if epoch == known.epoch and kind in (2, 3)
        ]
        if view != (known.epoch, 1 + max(left)):
            raise ViolationError(f"P3.4 the view after a restart is {view}, though view {max(left)} was left")
        machine.view = view

    def forgot(self, who: int) -> None:
        """The machine has lost votes: from now on it may sign nothing where it may have signed before (P7.5)."""
        views = [(epoch, view) for voter, epoch, view, _ in self.sent_votes if voter == who]
        self.machines[who].forgotten = max(views, default=(0, 0))

    def wiped(self, who: int) -> None:
        """The machine has lost its ledger, too: it begins at the genesis again."""
        self.forgot(who)
        self.machines[who].floor = self.genesis

    def executed(self, digest: bytes, *, closing: bool) -> None:
        """An honest machine executed a block: whether it changes the validators, all must agree on (P8.1)."""
        if self._closing.setdefault(digest, closing) != closing:
            raise ViolationError("A1 two machines disagree on whether a block is closing")

    def persisted(self, who: int, record: DurableRecord, clock_ms: int) -> None:
        """The machine asked for a record to be kept. A vote is judged as it is signed: S1-S4, S7, S8, P3.4."""
        machine = self.machines[who]
        if isinstance(record, AnyVote):
            self._judge_vote(machine, record)
            if isinstance(record, Notarize) and self._is_far_ahead(machine, record, clock_ms):
                raise ViolationError(f"P5.3 notarized view {record.view}, whose block is from the future")
        elif isinstance(record, Certificate):
            self._judge_certificate(record)
        self._keep(machine, record)

    def sent(self, who: int, message: Message, durable: "_Durable") -> None:
        """The machine sent a message while this was durable: S6, and S1, S2 over all that ever was sent."""
        votes: tuple[AnyVote, ...] = ()
        certificates: tuple[Certificate, ...] = ()
        if isinstance(message, VoteMessage):
            votes = (message.vote,)
        elif isinstance(message, ProposalMessage):
            votes = (message.notarize,)
            certificates = message.nullifications + (() if message.parent is None else (message.parent,))
        elif isinstance(message, Page):
            votes, certificates = message.votes, message.certificates
            if len(votes) + len(certificates) > PAGE_ITEMS:
                raise ViolationError(f"P5.8 a page of {len(votes) + len(certificates)} certificates and votes")
        elif isinstance(message, CertificateMessage):
            certificates = (message.certificate,)
        elif isinstance(message, Status):
            certificates = () if message.entry is None else (message.entry,)
        for vote in votes:
            if self.members[vote.epoch].keys[vote.signer] in self.machines[who].keys:
                self._judge_sent_vote(who, vote, durable)
        for certificate in certificates:
            if not durable.has_certificate(certificate):
                raise ViolationError(
                    f"S6 a {certificate.kind} of view {certificate.view} was sent before it was durable"
                )

    def stepped(self, who: int, view: tuple[int, int]) -> None:
        """S5: the machine's (epoch, view) after a step."""
        machine = self.machines[who]
        if view == machine.view:
            return
        if view < machine.view:
            raise ViolationError(f"S5 the view went back from {machine.view} to {view}")
        epoch, number = view
        entered_by_floor = (machine.floor.epoch, machine.floor.view) == (epoch, number - 1)
        certified = any((epoch, number - 1, kind) in machine.certificates for kind in (1, 2, 3))
        if not (entered_by_floor or certified):
            raise ViolationError(f"S5 view {view} was entered without a certificate of the view before")
        machine.view = view

    def committed(self, who: int, prepared: Prepared) -> None:
        """A1: one block, state root and log root a height; each shown final by a valid certificate."""
        machine, commit = self.machines[who], prepared.commit
        block, certificate, floor = commit.block, commit.certificate, commit.floor
        height, digest = floor.height, block.digest
        if height != machine.floor.height + 1 or block.header.parent_digest != machine.floor.digest:
            raise ViolationError(f"A1 height {height} does not follow the floor at {machine.floor.height}")
        if certificate.kind != "finalization":
            raise ViolationError(f"A1 height {height} was committed by a {certificate.kind}")
        self._judge_certificate(certificate)
        if (floor.epoch, floor.view) <= (machine.floor.epoch, machine.floor.view):
            raise ViolationError(f"P3.1 the floor did not rise: {floor.view} after {machine.floor.view}")
        reached = (digest, prepared.state_root, prepared.log_root)
        if self.final.setdefault(height, reached) != reached:
            raise ViolationError(f"A1 two blocks, logs or states are final at height {height}")
        machine.floor = floor
        if prepared.validators is not None:
            members = self.members.setdefault(floor.epoch + 1, Members(prepared.validators))
            if members.keys != prepared.validators:
                raise ViolationError(f"A1 epoch {floor.epoch + 1} has two lists of validators")
            machine.floor = msgspec.structs.replace(floor, epoch=floor.epoch + 1, view=0)

    def _judge_vote(self, machine: Ledger, vote: AnyVote) -> None:
        key = (vote.epoch, vote.view, _NUMBERS[type(vote)])
        members = self.members.get(vote.epoch)
        if members is None or vote.signer >= len(members.keys) or members.keys[vote.signer] != machine.keys[-1]:
            raise ViolationError(f"S8 a vote of epoch {vote.epoch} by no member of it")
        if not self._signed(members, key, _named(vote), vote.signer, vote.signature):
            raise ViolationError(f"S8 the signature of a vote in view {vote.view} does not cover what it must")
        self._judge_pair(machine.votes, vote)
        if key in machine.votes:
            raise ViolationError(f"P3.4 a vote of view {vote.view} was signed again")
        if (vote.epoch, vote.view) <= machine.forgotten:
            raise ViolationError(f"P7.5 signed in view {vote.view}, where a lost vote may be")
        if vote.epoch != machine.floor.epoch or vote.view <= machine.floor.view:
            raise ViolationError(f"S7 signed in view {vote.view} of epoch {vote.epoch}, at or below the floor")
        if isinstance(vote, Finalize):
            held = machine.certificates.get((vote.epoch, vote.view, 1))
            if held is None or held.proposal != vote.proposal:
                raise ViolationError(f"S3 finalized view {vote.view} without its notarization")
            if vote.proposal.digest not in machine.blocks:
                raise ViolationError(f"S3 finalized view {vote.view} without its block")
        if isinstance(vote, Notarize):
            if (vote.epoch, vote.view, 2) in machine.votes:
                raise ViolationError(f"P4.2 notarized view {vote.view} after having nullified it")
            self._judge_parent(machine, vote)

    def _is_far_ahead(self, machine: Ledger, vote: Notarize, clock_ms: int) -> bool:
        """Whether the block's time is more than 10 s ahead of the machine's clock; the leader's own is at its clock."""
        block = machine.blocks[vote.proposal.digest]
        return block.header.view == vote.view and block.header.time > clock_ms + 10_000

    def _judge_parent(self, machine: Ledger, vote: Notarize) -> None:
        """S4, by the block that must have been persisted before."""
        proposal = vote.proposal
        block = machine.blocks.get(proposal.digest)
        if block is None:
            raise ViolationError(f"S6 notarized view {proposal.view} before its block was durable")
        header = block.header
        repeated = header.view < proposal.view
        parent_digest = proposal.digest if repeated else header.parent_digest
        if not repeated and (header.view, header.parent_view) != (proposal.view, proposal.parent_view):
            raise ViolationError(f"S4 the proposal of view {proposal.view} is not what its block says")
        if repeated and not self._closing.get(block.digest):
            raise ViolationError(f"S4 an ordinary block was proposed again in view {proposal.view}")
        parent = machine.blocks.get(parent_digest)
        if (
            not repeated
            and parent is not None
            and parent.header.epoch == proposal.epoch
            and self._closing.get(parent.digest)
        ):
            raise ViolationError(f"P8.1 notarized a block on the closing block of view {proposal.parent_view}")
        at_floor = (proposal.parent_view, parent_digest) == (machine.floor.view, machine.floor.digest)
        parents = [machine.certificates.get((proposal.epoch, proposal.parent_view, kind)) for kind in (1, 3)]
        certified = any(
            p is not None and p.proposal is not None and p.proposal.digest == parent_digest for p in parents
        )
        if not (at_floor or certified):
            raise ViolationError(f"S4 notarized view {proposal.view} on a parent that is not certified by its digest")
        for view in range(proposal.parent_view + 1, proposal.view):
            if (proposal.epoch, view, 2) not in machine.certificates:
                raise ViolationError(f"S4 notarized view {proposal.view} though view {view} is not nullified")
        if not repeated:
            self._judge_fields(machine, block)

    def _judge_fields(self, machine: Ledger, block: Block) -> None:
        """P5.3: a block that is notarized fits its parent, which is the floor or was executed before."""
        header, floor = block.header, machine.floor
        parent = machine.blocks.get(header.parent_digest)
        if header.parent_digest == floor.digest:
            below = (floor.height, floor.seal_hash, floor.time_ms)
        elif parent is not None:
            below = (parent.header.height, hashlib.sha256(parent.seal).digest(), parent.header.time)
        else:
            return
        if (header.height - 1, header.parent_seal) != below[:2] or header.time <= below[2]:
            raise ViolationError(f"P5.3 notarized a block of view {header.view} that does not fit its parent")

    def _judge_pair(self, votes: dict[tuple[int, int, int], AnyVote], vote: AnyVote) -> None:
        """S1, S2 and the rest of P2's conflicts, against the signer's other votes of the view."""
        for kind in (1, 2, 3):
            other = votes.get((vote.epoch, vote.view, kind))
            if other is None:
                continue
            if not isinstance(other, Nullify) and not isinstance(vote, Nullify):
                if other.proposal != vote.proposal:
                    raise ViolationError(f"S1 two proposals of view {vote.view} have votes of one signer")
            elif {type(other), type(vote)} == {Nullify, Finalize}:
                raise ViolationError(f"S2 view {vote.view} was nullified and finalized by one signer")

    def _judge_sent_vote(self, who: int, vote: AnyVote, durable: "_Durable") -> None:
        if not durable.has_vote(vote):
            raise ViolationError(f"S6 a {type(vote).__name__} of view {vote.view} was sent before it was durable")
        kind = _NUMBERS[type(vote)]
        sent = {
            (vote.epoch, vote.view, other): self.sent_votes[who, vote.epoch, vote.view, other]
            for other in (1, 2, 3)
            if (who, vote.epoch, vote.view, other) in self.sent_votes
        }
        self._judge_pair(sent, vote)
        self.sent_votes[who, vote.epoch, vote.view, kind] = vote

    def _judge_certificate(self, certificate: Certificate) -> None:
        members = self.members[certificate.epoch]
        signers = {signer for signer, _ in certificate.signatures}
        if len(signers) < members.needed:
            raise ViolationError(f"P2 a {certificate.kind} of view {certificate.view} has only {len(signers)} signers")
        proposal = certificate.proposal
        if (proposal is None) != (certificate.kind == "nullification"):
            raise ViolationError(f"P2 a {certificate.kind} with or without a proposal")
        if proposal is not None and (proposal.epoch, proposal.view) != (certificate.epoch, certificate.view):
            raise ViolationError("P2 a certificate over a proposal of another view")
        key = (certificate.epoch, certificate.view, _CERTIFIED[certificate.kind])
        for signer, signature in certificate.signatures:
            if not self._signed(members, key, proposal, signer, signature):
                raise ViolationError(f"P2 a {certificate.kind} of view {certificate.view} has a bad signature")

    def _signed(
        self,
        members: Members,
        key: tuple[int, int, int],
        proposal: Proposal | None,
        signer: int,
        signature: bytes,
    ) -> bool:
        """P1.4, written out anew: domain, chain, kind, epoch, view, and the proposal's parent view and digest."""
        epoch, view, kind = key
        text = (
            b"tracemark/consensus/1\x00"
            + self.chain
            + bytes([kind])
            + epoch.to_bytes(8, "big")
            + view.to_bytes(8, "big")
        )
        if proposal is not None:
            text += proposal.parent_view.to_bytes(8, "big") + proposal.digest
        seen = hashlib.sha256(members.keys[signer] + signature + text).digest()
        if seen not in self._good and is_valid(members.keys[signer], text, signature):
            self._good.add(seen)
        return seen in self._good

    def _keep(self, machine: Ledger, record: DurableRecord) -> None:
        if isinstance(record, Block):
            machine.blocks[record.digest] = record
        elif isinstance(record, Certificate):
            machine.certificates[record.epoch, record.view, _CERTIFIED[record.kind]] = record
        elif not isinstance(record, Evidence):
            machine.votes[record.epoch, record.view, _NUMBERS[type(record)]] = record


def _named(vote: AnyVote) -> Proposal | None:
    return None if isinstance(vote, Nullify) else vote.proposal
