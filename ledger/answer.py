"""What a node answers about one document of the state, and the receipt of one record: both verifiable offline.

A state answer proves that a document is there, or that none is, as of the height of the checkpoint it carries. Unlike an
evidence bundle (`ledger.bundle`) it makes no statement about history, and its checkpoint may carry more cosignatures
than the quorum needs.
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ledger.bundle import AsOf, ProvenEntry, as_of, checking, verify_seal
from ledger.codec import b64decode, b64encode, encode
from ledger.errors import VerificationError
from ledger.merkle.hashing import leaf_hash
from ledger.policy import Judge, VerifiedCheckpoint
from ledger.proof import LogProof
from ledger.state.model import Doc, KindOfDocument, decode_document
from ledger.statetree import StateProof, verify_state


class StateAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One document, or its absence, with everything that proves it. Canonical JSON.

    `document`: base64 of the canonical bytes; absent if there is no such document. `proof`: under the seal's state root.
    `seal`: the entry at checkpoint size - 1.
    """

    id: Annotated[str, Meta(min_length=1, max_length=100)]
    document: str | UnsetType = UNSET
    proof: StateProof
    seal: ProvenEntry
    checkpoint: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return encode(self)


_DECODER: Final = msgspec.json.Decoder(StateAnswer)


class VerifiedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a state answer proved: the document under (kind, id), or with None that there is none, and as of when."""

    kind: KindOfDocument
    id: str
    document: Doc | None
    as_of: AsOf


class VerifiedReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a receipt proved: the entry's log index, under which checkpoint."""

    index: int
    checkpoint: VerifiedCheckpoint


def build_state_answer(
    *,
    id: str,  # noqa: A002 - the field's public name
    document: bytes | None,
    proof: StateProof,
    seal: tuple[bytes, str],
    checkpoint: str,
) -> StateAnswer:
    """Put an answer together from raw parts, all as of one height; see `build_bundle` for their forms."""
    return StateAnswer(
        id=id,
        document=UNSET if document is None else b64encode(document),
        proof=proof,
        seal=ProvenEntry(entry=b64encode(seal[0]), proof=seal[1]),
        checkpoint=checkpoint,
    )


def verify_state_answer(
    data: bytes,
    *,
    kind: KindOfDocument,
    id: str,  # noqa: A002 - the state key's own name
    policy: Judge,
) -> VerifiedDocument:
    """Verify the answer to the question what stands under (kind, id).

    Raises:
        VerificationError: `answer_form`, and those of `verify_answer`.
    """
    return verify_answer(_decode_answer(data), kind=kind, id=id, policy=policy)


def verify_answer(
    answer: StateAnswer,
    *,
    kind: KindOfDocument,
    id: str,  # noqa: A002 - the state key's own name
    policy: Judge,
    strict: bool = False,
) -> VerifiedDocument:
    """`verify_state_answer` on the parsed answer; with `strict` its checkpoint must have the one form of evidence.

    Raises:
        VerificationError: `wrong_answer` (about another id); the checkpoint's (`Policy.verify_checkpoint`);
            the seal's (`ledger.bundle.verify_seal`); `document_proof`, `document_form`.
    """
    if answer.id != id:
        raise VerificationError(
            "the answer is about something else", code="wrong_answer", expected=id, actual=answer.id
        )
    verified = policy.verify_checkpoint(answer.checkpoint.encode(), strict=strict)
    seal = verify_seal(answer.seal, verified.checkpoint)
    with checking("document_form", f"the document of {kind} {id} is not of its one form"):
        raw = None if answer.document is UNSET else b64decode(answer.document, what="document")
    with checking("document_proof", f"what the answer says of {kind} {id} is not proven"):
        verify_state(bytes.fromhex(seal.state_root), kind, id, raw, answer.proof)
    with checking("document_form", f"the document of {kind} {id} is not of its one form"):
        document = None if raw is None else decode_document(kind, raw)
    return VerifiedDocument(kind=kind, id=id, document=document, as_of=as_of(verified, seal))


def _decode_answer(data: bytes) -> StateAnswer:
    """Any JSON of the shape will do: an answer is a carrier of proofs, and no evidence itself."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise VerificationError(f"the answer is not of its form: {error}", code="answer_form") from error


def verify_receipt(proof: bytes, entry: bytes, policy: Judge) -> VerifiedReceipt:
    """Verify a receipt: the tlog-proof that `entry` stands in the log under a quorum-cosigned checkpoint.

    Raises:
        VerificationError: the codes of `ledger.proof`, `ledger.merkle.verify` and `Policy.verify_checkpoint`.
    """
    parsed = LogProof.parse(proof)
    return VerifiedReceipt(index=parsed.head.index, checkpoint=parsed.verify(leaf_hash(entry), policy))
