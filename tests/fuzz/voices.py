"""What a validator may say to the others, meant well or not: certificates, evidence, cosignatures, and whole conversations
with a replica, of which a quarter of the messages is bent and the rest what honest validators would send."""

from functools import cache, partial
from random import Random
from typing import Final, Literal, TypeVar

import msgspec

from ledger.block import Block
from ledger.consensus.certificates import verify_certificate, verify_evidence
from ledger.consensus.durable import Durable
from ledger.consensus.effects import Build, Check, Commit, Effect, FetchBlocks
from ledger.consensus.inputs import (
    AnyInput,
    BlocksFetched,
    Built,
    Checked,
    Committed,
    PendingChanged,
    Received,
    Started,
)
from ledger.consensus.messages import (
    BlockRequest,
    BlockResponse,
    Certificate,
    CertificateMessage,
    CertificateRequest,
    Evidence,
    EvidenceMessage,
    Message,
    Page,
    ProposalMessage,
    Status,
    Vote,
    VoteMessage,
    block_in,
    decode_message,
    encode_message,
    signed_bytes,
)
from ledger.consensus.parameters import Parameters
from ledger.consensus.replica import Replica
from ledger.errors import EncodingError
from node.cosigning import Cosigning, decode_cosignature, encode_cosignature
from node.membership import Members
from node.peers.wire import Cosignature, check_peer_block
from tests.fuzz.harness import Target, accepts
from tests.fuzz.mutate import mutate_bytes, mutate_msgpack
from tests.fuzz.parsers import target_of
from tests.ledger.consensus import kit
from tests.node.cluster import keys_of
from tests.node.execution.engine import HandClock
from tests.node.test_cosigning import PARTIES, ROOT, cosignature
from tests.world import GENESIS

Shape = TypeVar("Shape")

_VIEWS: Final = 6
_STEPS: Final = 16
_LIAR: Final = 3
"""The validator whose key the bent messages are signed with."""


# --- certificates, evidence, cosignatures ---------------------------------------------------------------------------------


@cache
def _chain() -> tuple[Block, ...]:
    """Blocks of the first views, each on the one before."""
    blocks = [kit.block_on(kit.GENESIS, 1)]
    while len(blocks) < _VIEWS:
        blocks.append(kit.block_on(blocks[-1], len(blocks) + 1, name="a" * len(blocks)))
    return tuple(blocks)


def _certificates() -> list[bytes]:
    return [msgspec.msgpack.encode(certificate) for certificate in _lawful_certificates()]


@cache
def _lawful_certificates() -> tuple[Certificate, ...]:
    proposals = [kit.proposal_for(block) for block in _chain()]
    return (
        *(kit.certificate("notarization", proposal.view, proposal) for proposal in proposals),
        *(kit.certificate("finalization", proposal.view, proposal, (0, 1, 2)) for proposal in proposals[:3]),
        *(kit.certificate("nullification", view) for view in (_VIEWS + 1, _VIEWS + 2)),
    )


def _certificate(data: bytes) -> None:
    """Whatever verifies says what a quorum signed."""
    certificate = _decoded(data, Certificate)
    verify_certificate(kit.CHAIN, kit.EPOCH, certificate)
    said = [(lawful.kind, lawful.view, lawful.proposal) for lawful in _lawful_certificates()]
    assert (certificate.kind, certificate.view, certificate.proposal) in said


@cache
def _two_faced() -> Evidence:
    other = kit.proposal_for(kit.block_on(kit.GENESIS, 1, name="other"))
    return Evidence(first=kit.notarize(_LIAR, kit.proposal_for(_chain()[0])), second=kit.notarize(_LIAR, other))


def _evidence(data: bytes) -> None:
    evidence = _decoded(data, Evidence)
    verify_evidence(kit.CHAIN, kit.EPOCH, evidence)
    assert {signed_bytes(kit.CHAIN, vote) for vote in (evidence.first, evidence.second)} == {
        signed_bytes(kit.CHAIN, vote) for vote in (_two_faced().first, _two_faced().second)
    }, "evidence against who signed nothing"


def _decoded(data: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.msgpack.decode(data, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EncodingError(str(error)) from error


@cache
def _cosigning() -> Cosigning:
    node = Cosigning(GENESIS.origin, keys_of(PARTIES[0]), HandClock(), Members.of_genesis(GENESIS))
    for size in (4, 6):
        node.committed(height=size, size=size, root=ROOT, own=node.cosign(size, ROOT))
    return node


@cache
def _lawful_cosignatures() -> tuple[Cosignature, ...]:
    return tuple(cosignature(signer, size) for signer in (1, 2, 3) for size in (4, 6, 8))


def _cosignature(data: bytes) -> None:
    """What counts was signed by who is said to have signed it."""
    given = decode_cosignature(data)
    if _cosigning().receive(given) == "counted":
        assert given in _lawful_cosignatures()


# --- a replica among others -----------------------------------------------------------------------------------------------


@cache
def _said() -> tuple[bytes, ...]:
    """What honest validators say on the way through the first views."""
    messages: list[Message] = []
    proposals = [kit.proposal_for(block) for block in _chain()]
    lawful = _lawful_certificates()
    for at, (block, proposal) in enumerate(zip(_chain(), proposals, strict=True)):
        leader = proposal.view % 4
        parent = None if at == 0 else lawful[at - 1]
        messages.append(ProposalMessage(notarize=kit.notarize(leader, proposal), block=block, parent=parent))
        messages += [VoteMessage(vote=kit.notarize(signer, proposal)) for signer in (1, 2, 3)]
        messages += [VoteMessage(vote=kit.finalize(signer, proposal)) for signer in (1, 2, 3) if at < 3]
        messages.append(BlockResponse(digest=block.digest, block=block))
        messages.append(BlockRequest(digest=block.digest))
    messages += [CertificateMessage(certificate=certificate) for certificate in lawful]
    messages += [VoteMessage(vote=kit.nullify(signer, _VIEWS + 1)) for signer in (1, 2, 3)]
    messages += [
        Page(certificates=lawful[:4], votes=(kit.nullify(2, 2),)),
        CertificateRequest(epoch=0, views=(1, 2, 3)),
        EvidenceMessage(evidence=_two_faced()),
        Status(epoch=0, view=5, entry=lawful[3], finalized_view=2, height=3, digest=_chain()[2].digest),
    ]
    return tuple(map(encode_message, messages))


def _draw(dice: Random) -> list[tuple[int, bytes, int]]:
    """(sender, message, what the driver does besides)."""
    steps = []
    at = 0
    for _ in range(dice.randrange(1, _STEPS)):
        at = dice.randrange(len(_said())) if dice.random() < 0.5 else (at + 1) % len(_said())
        data = _said()[at]
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            data = dice.choice((mutate_msgpack, mutate_bytes))(data, dice, _said())
        steps.append((dice.choice((1, 2, 3, 3, 3, 7)), data, dice.randrange(12)))
    return steps


class _Bench:
    """A replica and a driver that does everything at once."""

    def __init__(self) -> None:
        self.replica = Replica.restore(
            chain=kit.CHAIN,
            key=kit.KEYS[0],
            epoch=kit.EPOCH,
            parameters=Parameters(),
            durable=Durable(floor=kit.GENESIS),
            nonce=kit.NONCE,
        )
        self.now_ms = 1_000
        self.chain: list[Block] = []
        self.tell(Started(**self.times))

    @property
    def times(self) -> dict[str, int]:
        return {"now_ms": self.now_ms, "clock_ms": kit.CLOCK_MS + self.now_ms}

    def tell(self, event: AnyInput) -> None:
        waiting = list(self.replica.step(event))
        for _ in range(1_000):
            if not waiting:
                return
            answer = self._answer(waiting.pop(0))
            if answer is not None:
                waiting += self.replica.step(answer)
        raise AssertionError("the replica goes round in circles")

    def _answer(self, effect: Effect) -> AnyInput | None:
        if isinstance(effect, Build):
            return Built(epoch=effect.epoch, view=effect.view, outcome="empty", block=None, closing=False, **self.times)
        if isinstance(effect, Check):
            verdict: Literal["valid", "invalid"] = "valid" if effect.block in _chain() else "invalid"
            return Checked(digest=effect.block.digest, verdict=verdict, closing=False, reason="", **self.times)
        if isinstance(effect, FetchBlocks):
            return BlocksFetched(sender=1, first_height=effect.first_height, blocks=(), **self.times)
        if isinstance(effect, Commit):
            before = self.chain[-1].digest if self.chain else kit.GENESIS.digest
            assert effect.block.header.parent_digest == before, "committed out of order"
            assert effect.block in _chain(), "committed what no quorum made final"
            self.chain.append(effect.block)
            height = effect.block.header.height
            now_ms, clock_ms = self.times["now_ms"], self.times["clock_ms"]
            return Committed(height=height, digest=effect.block.digest, now_ms=now_ms, clock_ms=clock_ms)
        return None


def _converse(steps: list[tuple[int, bytes, int]]) -> bool:
    bench = _Bench()
    heard = 0
    for sender, data, besides in steps:
        bench.now_ms += besides * 100
        if besides == 11:
            bench.tell(PendingChanged(count=1, **bench.times))
        heard += accepts(partial(_hear, bench, sender, data))
    return heard == len(steps)


def _hear(bench: _Bench, sender: int, data: bytes) -> None:
    """As a link does it."""
    message = decode_message(data)
    block = block_in(message)
    if block is not None:
        check_peer_block(block)
    bench.tell(Received(sender=sender, message=_resigned(message), **bench.times))


def _resigned(message: Message) -> Message:
    """The liar's own votes with its signature, whatever they say."""
    if not isinstance(message, VoteMessage) or message.vote.signer != _LIAR:
        return message
    vote: Vote = message.vote
    signature = kit.KEYS[_LIAR].sign(signed_bytes(kit.CHAIN, vote))
    return VoteMessage(vote=msgspec.structs.replace(vote, signature=signature))


VOICES: Final = (
    target_of("certificate", _certificates, (mutate_msgpack, mutate_bytes), _certificate),
    target_of(
        "vote-evidence", lambda: [msgspec.msgpack.encode(_two_faced())], (mutate_msgpack, mutate_bytes), _evidence
    ),
    target_of(
        "cosignature",
        lambda: list(map(encode_cosignature, _lawful_cosignatures())),
        (mutate_msgpack, mutate_bytes),
        _cosignature,
    ),
    Target(name="replica", draw=_draw, feed=_converse, few=100),
)
"""What is said between validators, and must move none of them to what no quorum wants."""
