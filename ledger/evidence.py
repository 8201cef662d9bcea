"""Evidence that an agency's node lied, as a file that proves itself (PROTOCOL P2, P5.9; DESIGN 6).

A file holds two statements under one key that contradict each other. Whether the key signed both, and whether both
together are such as no honest holder ever signs, follows from the file alone (`verify_evidence`). Whose key it is,
does not: that is shown by the genesis document, a succession of validators, a policy, or the ledger's state, and
asked for by whoever verifies (`attribute`).

What evidence proves is that the *key* signed both: its agency lied, or its key is in other hands or in use twice. Each
is the agency's to answer for. What is not of one key and one view or size proves nothing here: that two keys disagree
shows that one of them is wrong, not which.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import UNSET

from ledger.checkpoint import COSIGNATURE_BYTES, Checkpoint, SignedCheckpoint, cosigned_message, verify_cosignature
from ledger.codec import b64decode, b64encode, decode, encode
from ledger.errors import InputError, VerificationError
from ledger.limits import MAX_EVIDENCE_BYTES
from ledger.notes import COSIGNATURE_V1, ED25519, NoteSignature, NoteVerifier, verify_line
from ledger.records.evidence import (
    EVIDENCE_FORMAT,
    CosignedFork,
    Equivocation,
    Evidence,
    EvidenceKind,
    SignedFork,
    SignedProposal,
    SignedText,
    SignedVote,
)
from ledger.signing import SIGNATURE_BYTES, Role, public_from_hex, verify
from ledger.vote import VoteKind, signed_vote

_ROLES: Final[dict[type[Evidence], Role]] = {Equivocation: "consensus", CosignedFork: "cosigner", SignedFork: "log"}


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A node key that somebody trustworthy says is a party's: `source` says who, in words."""

    party: str
    role: Role
    public: str
    source: str


def decode_evidence(data: bytes) -> Evidence:
    """Parse an evidence file: canonical JSON of at most `MAX_EVIDENCE_BYTES`. Nothing in it is verified yet.

    Raises:
        VerificationError: code `evidence_form`.
    """
    try:
        evidence: Evidence = decode(data, Evidence, limit=MAX_EVIDENCE_BYTES)
    except InputError as error:
        raise VerificationError(
            f"not a file of evidence: {error.message}",
            code="evidence_form",
            expected=error.expected,
            actual=error.actual,
        ) from error
    return evidence


def encode_evidence(evidence: Evidence) -> bytes:
    """The file: canonical JSON."""
    return encode(evidence)


def kind_of_evidence(evidence: Evidence) -> EvidenceKind:
    """What it says it proves, as its field `kind` has it."""
    match evidence:
        case Equivocation():
            return "equivocation"
        case CosignedFork():
            return "cosigned-fork"
        case SignedFork():
            return "signed-fork"


def role_of(evidence: Evidence) -> Role:
    """The role of the key that signed."""
    return _ROLES[type(evidence)]


def subject_of(evidence: Evidence) -> str:
    """What is contradicted, apart from any wording: an agency's votes of an epoch, or its signatures of a size.

    More evidence of the same subject says nothing new. `<party>:<epoch>`, `<party>:fork:<size>`, `<party>:log:<size>`.
    """
    match evidence:
        case Equivocation():
            return f"{evidence.party}:{evidence.epoch}"
        case CosignedFork():
            return f"{evidence.party}:fork:{evidence.size}"
        case SignedFork():
            return f"{evidence.party}:log:{evidence.size}"


def verify_evidence(evidence: Evidence) -> None:
    """Verify that one key signed both statements, of this ledger, and that they contradict each other.

    Raises:
        VerificationError: `evidence_ledger`: a statement is of another ledger; `evidence_lawful`: an honest holder of
        the key
            may sign both, or they are one; `evidence_signature`: the key did not sign one of them.
    """
    if isinstance(evidence, Equivocation):
        _verify_votes(evidence)
    else:
        _verify_fork(evidence)


def attribute(evidence: Evidence, keys: Iterable[KnownKey]) -> KnownKey:
    """Find the key among those that are known to be agencies'. Requires that the evidence is verified.

    Raises:
        VerificationError: `evidence_signer`: it is not the named party's key of that role, as far as is known.
    """
    role, known = role_of(evidence), tuple(keys)
    for key in known:
        if (key.party, key.role, key.public) == (evidence.party, role, evidence.public):
            return key
    theirs = sorted({key.public for key in known if (key.party, key.role) == (evidence.party, role)})
    raise VerificationError(
        f"nothing shows that the key which signed both is the {role} key of {evidence.party}",
        code="evidence_signer",
        expected=", ".join(theirs) or f"a {role} key of {evidence.party}",
        actual=evidence.public,
        help="Give the genesis document of the ledger, and the succession if the agency's keys changed since.",
    )


def equivocation(
    *,
    ledger: str,
    chain: bytes,
    party: str,
    public: bytes,
    epoch: int,
    view: int,
    votes: tuple[tuple[VoteKind, tuple[int, bytes] | None, bytes], tuple[VoteKind, tuple[int, bytes] | None, bytes]],
) -> Equivocation:
    """Evidence of two votes, each a kind, (parent view, digest) unless it is a nullify, and a signature. Unverified.

    One pair of votes gives one file, in whichever order they came.
    """
    first, second = sorted((_vote(*vote) for vote in votes), key=encode)
    return Equivocation(
        format=EVIDENCE_FORMAT,
        ledger=ledger,
        chain=chain.hex(),
        party=party,
        public=public.hex(),
        epoch=epoch,
        view=view,
        first=first,
        second=second,
    )


def cosigned_fork(
    *,
    ledger: str,
    party: str,
    public: bytes,
    size: int,
    cosignatures: tuple[tuple[bytes, int, bytes], tuple[bytes, int, bytes]],
) -> CosignedFork:
    """Evidence of two cosignatures, each a checkpoint text, a time in seconds since 1970, a signature. Unverified."""
    texts = (
        SignedText(text=text.decode(), time_s=time_s, signature=b64encode(signature))
        for text, time_s, signature in cosignatures
    )
    first, second = sorted(texts, key=encode)
    return CosignedFork(
        format=EVIDENCE_FORMAT,
        ledger=ledger,
        party=party,
        public=public.hex(),
        size=size,
        first=first,
        second=second,
    )


def forks_between(
    ledger: str, one: SignedCheckpoint, other: SignedCheckpoint, keys: Iterable[KnownKey]
) -> Iterator[CosignedFork | SignedFork]:
    """Evidence out of two signed checkpoints of one size and different roots: one for each key whose lines stand
    under both.

    Lines that do not verify are passed over. Checkpoints of different sizes prove nothing by themselves, nor do those
    that no key signed both, nor those of another ledger's log.
    """
    origin = ledger.partition("#")[0]
    if not one.checkpoint.origin == other.checkpoint.origin == origin or one.checkpoint.size != other.checkpoint.size:
        return
    if one.checkpoint.root == other.checkpoint.root:
        return
    for key in keys:
        if key.role in ("cosigner", "log"):
            texts = [_line_of(signed, key) for signed in (one, other)]
            if texts[0] is not None and texts[1] is not None:
                first, second = sorted((texts[0], texts[1]), key=encode)
                shape = CosignedFork if key.role == "cosigner" else SignedFork
                yield shape(
                    format=EVIDENCE_FORMAT,
                    ledger=ledger,
                    party=key.party,
                    public=key.public,
                    size=one.checkpoint.size,
                    first=first,
                    second=second,
                )


def _vote(kind: VoteKind, proposal: tuple[int, bytes] | None, signature: bytes) -> SignedVote:
    named = UNSET if proposal is None else SignedProposal(parent_view=proposal[0], digest=proposal[1].hex())
    return SignedVote(vote=kind, proposal=named, signature=b64encode(signature))


def _verify_votes(evidence: Equivocation) -> None:
    _require_chain(evidence)
    first, second = evidence.first, evidence.second
    for vote in (first, second):
        if (vote.proposal is UNSET) != (vote.vote == "nullify"):
            raise VerificationError(
                "a vote of this kind has another form",
                code="evidence_form",
                expected="a proposal in notarize and finalize, none in nullify",
                actual=vote.vote,
            )
    if first.proposal is not UNSET and second.proposal is not UNSET:
        if first.proposal == second.proposal:
            raise _lawful("votes for different proposals", f"{first.vote} and {second.vote} of one proposal")
    elif {first.vote, second.vote} != {"nullify", "finalize"}:
        raise _lawful("nullify with finalize, or two proposals", f"{first.vote} and {second.vote}")
    for vote in (first, second):
        proposal = None
        if vote.proposal is not UNSET:
            proposal = (vote.proposal.parent_view, bytes.fromhex(vote.proposal.digest))
        chain = bytes.fromhex(evidence.chain)
        message = signed_vote(chain, vote.vote, evidence.epoch, evidence.view, proposal)
        _verify_signature(evidence, message, vote.signature)


def _require_chain(evidence: Equivocation) -> None:
    _, _, prefix = evidence.ledger.partition("#")
    if not evidence.chain.startswith(prefix):
        raise VerificationError(
            "the votes are of another ledger than the file names",
            code="evidence_ledger",
            expected=f"a chain id that begins with {prefix}",
            actual=evidence.chain,
        )


def _verify_fork(evidence: CosignedFork | SignedFork) -> None:
    origin, _, _ = evidence.ledger.partition("#")
    roots = []
    for signed in (evidence.first, evidence.second):
        checkpoint = Checkpoint.parse(signed.text.encode())
        if checkpoint.origin != origin:
            raise VerificationError(
                "a checkpoint is of another log", code="evidence_ledger", expected=origin, actual=checkpoint.origin
            )
        if checkpoint.size != evidence.size:
            raise _lawful(f"two checkpoints of size {evidence.size}", f"one of size {checkpoint.size}")
        roots.append(checkpoint.root)
    if roots[0] == roots[1]:
        raise _lawful("two roots", f"root {roots[0].hex()} twice")
    for signed in (evidence.first, evidence.second):
        text = signed.text.encode()
        if (signed.time_s is UNSET) != isinstance(evidence, SignedFork):
            raise VerificationError(
                "a cosignature states a time, a log's own signature none",
                code="evidence_form",
                expected="a time in both cosignatures" if isinstance(evidence, CosignedFork) else "no time",
                actual="none" if signed.time_s is UNSET else signed.time_s,
            )
        message = text if signed.time_s is UNSET else cosigned_message(text, signed.time_s)
        _verify_signature(evidence, message, signed.signature)


def _verify_signature(evidence: Evidence, message: bytes, signature: str) -> None:
    try:
        verify(public_from_hex(evidence.public), message, b64decode(signature, size=SIGNATURE_BYTES, what="signature"))
    except InputError as error:
        raise VerificationError(
            "the key did not sign one of the two statements",
            code="evidence_signature",
            expected=f"a signature by {evidence.public}",
            actual=error.message,
        ) from error


def _line_of(signed: SignedCheckpoint, key: KnownKey) -> SignedText | None:
    """The key's own line under a checkpoint, if it has one that verifies."""
    text, origin = signed.note.text, signed.checkpoint.origin
    is_cosigner = key.role == "cosigner"
    verifier = NoteVerifier(
        name=f"{origin}/{key.party}" if is_cosigner else origin,
        key_type=COSIGNATURE_V1 if is_cosigner else ED25519,
        public=bytes.fromhex(key.public),
    )
    for line in signed.note.signatures:
        if verifier.matches(line):
            try:
                return _signed_text(text, line, verifier, is_cosigner=is_cosigner)
            except VerificationError:
                continue
    return None


def _signed_text(text: bytes, line: NoteSignature, verifier: NoteVerifier, *, is_cosigner: bool) -> SignedText:
    if not is_cosigner:
        verify_line(text, line, verifier)
        return SignedText(text=text.decode(), signature=b64encode(line.signature))
    time_s = verify_cosignature(text, line, verifier)
    return SignedText(
        text=text.decode(), time_s=time_s, signature=b64encode(line.signature[COSIGNATURE_BYTES - SIGNATURE_BYTES :])
    )


def _lawful(expected: str, actual: str) -> VerificationError:
    return VerificationError(
        "the two statements do not contradict each other: they prove nothing",
        code="evidence_lawful",
        expected=expected,
        actual=actual,
        help="An agency that signed both has done nothing that it must not.",
    )
