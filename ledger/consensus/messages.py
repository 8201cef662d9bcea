"""What replicas say to each other (PROTOCOL P2), as frozen values with one bounded binary form.

`Message` is a closed union of tagged structs: it can stand inside a larger msgpack union of the wire. Decoding checks
shape and bounds only. Whether a signature holds is asked by the replica (P5.9), and whether a block's body is the one that
its header names by whoever decodes it (`ledger.block.check_block`): this module knows neither keys nor records.

One message, one meaning (P1.4): `vote_bytes` is what a vote's signature covers.
"""

from typing import Annotated, Final, Literal

import msgspec

from ledger.block import Block
from ledger.errors import EncodingError
from ledger.limits import (
    ENTRY_NONCE_BYTES,
    MAX_COSIGNATURE_BYTES,
    MAX_FRAME_BYTES,
    MAX_GAP_VIEWS,
    MAX_REQUESTED_VIEWS,
    MAX_VALIDATORS,
    STANDSTILL_PAGE_ITEMS,
)
from ledger.vote import VoteKind, signed_vote

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Signer = Annotated[int, msgspec.Meta(ge=0, lt=MAX_VALIDATORS)]
"""A validator's place in its epoch's ordered list."""
Kind = VoteKind
CertificateKind = Literal["notarization", "nullification", "finalization"]

VOTE_OF: Final[dict[CertificateKind, Kind]] = {
    "notarization": "notarize",
    "nullification": "nullify",
    "finalization": "finalize",
}
"""The kind of vote that a certificate is made of."""


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True, tag=True):
    """Common form: frozen, positional on the wire, tagged with the class's name."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True):
    """What notarize and finalize votes refer to: the block with this digest, in this view, on the parent of that view."""

    epoch: Natural
    view: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    parent_view: Natural
    digest: Digest


class Notarize(_Value, frozen=True, kw_only=True):
    """A vote for a proposal. The one by the view's leader is the signed proposal itself."""

    proposal: Proposal
    signer: Signer
    signature: Signature

    @property
    def epoch(self) -> int:
        return self.proposal.epoch

    @property
    def view(self) -> int:
        return self.proposal.view


class Nullify(_Value, frozen=True, kw_only=True):
    """A vote to leave a view without a decision."""

    epoch: Natural
    view: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    signer: Signer
    signature: Signature


class Finalize(_Value, frozen=True, kw_only=True):
    """A vote that a notarized proposal be final."""

    proposal: Proposal
    signer: Signer
    signature: Signature

    @property
    def epoch(self) -> int:
        return self.proposal.epoch

    @property
    def view(self) -> int:
        return self.proposal.view


Vote = Notarize | Nullify | Finalize


class Certificate(_Value, frozen=True, kw_only=True):
    """Signatures of exactly q distinct validators of `epoch` over one identical vote, sorted by validator.

    `proposal` is absent for a nullification. Attributable: each signature can be checked and counted alone.
    """

    kind: CertificateKind
    epoch: Natural
    view: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    proposal: Proposal | None
    signatures: Annotated[tuple[tuple[Signer, Signature], ...], msgspec.Meta(min_length=1, max_length=MAX_VALIDATORS)]


class Evidence(_Value, frozen=True, kw_only=True):
    """Two votes of one signer and view that no honest validator signs both (P2). The epoch is that of the votes."""

    first: Vote
    second: Vote


class Status(_Value, frozen=True, kw_only=True):
    """Where the sender stands (P7.1). Unsigned: a hint, acted upon only by sending what the other lacks.

    `entry` is the certificate by which it entered its current view. `cosignature` is opaque to consensus.
    """

    epoch: Natural
    view: Natural
    entry: Certificate | None
    finalized_view: Natural
    height: Natural
    digest: Digest
    cosignature: Annotated[bytes, msgspec.Meta(max_length=MAX_COSIGNATURE_BYTES)] = b""


class ProposalMessage(_Value, frozen=True, kw_only=True):
    """A leader's proposal: its notarize vote, the block, the parent's certificate, the nullifications of the gap (P5.2).

    No block comes with a re-proposal of a closing block (P8.1); no parent certificate if the parent is view 0.
    """

    notarize: Notarize
    block: Block | None
    parent: Certificate | None
    nullifications: Annotated[tuple[Certificate, ...], msgspec.Meta(max_length=MAX_GAP_VIEWS)] = ()


class VoteMessage(_Value, frozen=True, kw_only=True):
    """One vote, from its signer or relayed."""

    vote: Vote


class CertificateMessage(_Value, frozen=True, kw_only=True):
    """One certificate."""

    certificate: Certificate


class Page(_Value, frozen=True, kw_only=True):
    """A bounded page of certificates and own votes: a standstill's (P5.8), or the answer to a CertificateRequest."""

    certificates: Annotated[tuple[Certificate, ...], msgspec.Meta(max_length=STANDSTILL_PAGE_ITEMS)] = ()
    votes: Annotated[tuple[Vote, ...], msgspec.Meta(max_length=STANDSTILL_PAGE_ITEMS)] = ()


class EvidenceMessage(_Value, frozen=True, kw_only=True):
    """Evidence, passed on."""

    evidence: Evidence


class CertificateRequest(_Value, frozen=True, kw_only=True):
    """Please send all certificates that you hold of these views (P7.4)."""

    epoch: Natural
    views: Annotated[tuple[Natural, ...], msgspec.Meta(min_length=1, max_length=MAX_REQUESTED_VIEWS)]


class BlockRequest(_Value, frozen=True, kw_only=True):
    """Please send the block with this digest."""

    digest: Digest


class BlockResponse(_Value, frozen=True, kw_only=True):
    """The block asked for, or None if the sender does not hold it."""

    digest: Digest
    block: Block | None


class EntryRequest(_Value, frozen=True, kw_only=True):
    """A validator that may have lost votes asks: which is your entry certificate? (P7.5)

    `nonce` was drawn at the asker's start: an answer to it was given after that.
    """

    epoch: Natural
    nonce: Annotated[bytes, msgspec.Meta(min_length=ENTRY_NONCE_BYTES, max_length=ENTRY_NONCE_BYTES)]


class EntryAnswer(_Value, frozen=True, kw_only=True):
    """The answer: the highest certificate of the epoch that the sender holds, of any kind; None where it holds none (P7.5).

    It proves that the sender may be in the view after it.
    """

    epoch: Natural
    nonce: Annotated[bytes, msgspec.Meta(min_length=ENTRY_NONCE_BYTES, max_length=ENTRY_NONCE_BYTES)]
    entry: Certificate | None


Message = (
    ProposalMessage
    | VoteMessage
    | CertificateMessage
    | Page
    | EvidenceMessage
    | Status
    | CertificateRequest
    | BlockRequest
    | BlockResponse
    | EntryRequest
    | EntryAnswer
)

DurableRecord = Notarize | Nullify | Finalize | Certificate | Block | Evidence
"""What a replica asks its driver to keep (P3.1)."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_MESSAGE_DECODER: Final = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """The msgpack form of a message."""
    return _ENCODER.encode(message)


def decode_message(data: bytes) -> Message:
    """Parse and bound a message. The block in it, if any, is still to be checked by `ledger.block.check_block`.

    Raises:
        EncodingError: code `too_large` or `malformed`.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise EncodingError("the message is too large", code="too_large", expected=MAX_FRAME_BYTES, actual=len(data))
    try:
        message: Message = _MESSAGE_DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EncodingError(f"not a consensus message: {error}", code="malformed") from error
    return message


def block_in(message: Message) -> Block | None:
    """The block that a message carries, if any: what its receiver must check against its header first."""
    return message.block if isinstance(message, ProposalMessage | BlockResponse) else None


def vote_bytes(chain: bytes, kind: Kind, epoch: int, view: int, proposal: Proposal | None) -> bytes:
    """The bytes that a vote's signature covers (P1.4): `ledger.vote.signed_vote`."""
    named = None if proposal is None else (proposal.parent_view, proposal.digest)
    return signed_vote(chain, kind, epoch, view, named)


def kind_of(vote: Vote) -> Kind:
    """The kind of a vote."""
    if isinstance(vote, Notarize):
        return "notarize"
    return "nullify" if isinstance(vote, Nullify) else "finalize"


def proposal_of(vote: Vote) -> Proposal | None:
    """The proposal that a vote refers to; None for a nullify."""
    return None if isinstance(vote, Nullify) else vote.proposal


def signed_bytes(chain: bytes, vote: Vote) -> bytes:
    """`vote_bytes` of a given vote."""
    return vote_bytes(chain, kind_of(vote), vote.epoch, vote.view, proposal_of(vote))


def conflict(first: Vote, second: Vote) -> bool:
    """Whether two votes are such as no honest validator signs both (P2, Evidence). Signatures are not looked at."""
    if first.signer != second.signer or first.epoch != second.epoch or first.view != second.view:
        return False
    a, b = proposal_of(first), proposal_of(second)
    if a is not None and b is not None:
        return a != b
    return {kind_of(first), kind_of(second)} == {"nullify", "finalize"}
