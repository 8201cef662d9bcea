"""Evidence that an agency's node lied, and the record that reports it (PROTOCOL P2, P5.9; DESIGN 6).

A piece of evidence is two statements under one key that no honest holder of the key signs both, and nothing else: it
is a file that anybody verifies, and the body of a record. What it must fulfil to prove anything is
`ledger.evidence`'s.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from ledger.codec import MAX_SAFE_INTEGER
from ledger.limits import MAX_CHECKPOINT_TEXT_CHARS
from ledger.records.base import Body, RecordBase
from ledger.records.fields import LedgerId, PartyId, PublicKey, Signature

EVIDENCE_FORMAT: Final = "tracemark-evidence/1"

EvidenceKind: TypeAlias = Literal["equivocation", "cosigned-fork", "signed-fork"]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""32 bytes in hex."""
Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class SignedProposal(Body, frozen=True):
    """What a notarize or finalize vote is for: the block with this digest, on the parent of that view."""

    parent_view: Count
    digest: Hash


class SignedVote(Body, frozen=True):
    """A consensus vote; its epoch and view are those of the evidence. `proposal` is absent exactly for a nullify."""

    vote: Literal["notarize", "nullify", "finalize"]
    signature: Signature
    proposal: SignedProposal | UnsetType = UNSET


class SignedText(Body, frozen=True):
    """A signature over a checkpoint's text. `time_s` (since 1970) is part of a cosignature, absent from a log's own
    signature."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_CHECKPOINT_TEXT_CHARS)]
    signature: Signature
    time_s: Count | UnsetType = UNSET


class _Evidence(Body, frozen=True, tag_field="kind"):
    """What all kinds say. `public`: the key that signed both, in hex; `party`: whose it is, which the signatures do
    not show."""

    format: Literal["tracemark-evidence/1"]
    ledger: LedgerId
    party: PartyId
    public: PublicKey


class Equivocation(_Evidence, frozen=True, tag="equivocation"):
    """Two votes of one epoch and view that no honest validator signs both. `chain`: the genesis document's hash."""

    chain: Hash
    epoch: Count
    view: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
    first: SignedVote
    second: SignedVote


class CosignedFork(_Evidence, frozen=True, tag="cosigned-fork"):
    """Two checkpoints of one size and different roots, cosigned by one agency's cosigner key (cosignature/v1)."""

    size: Count
    first: SignedText
    second: SignedText


class SignedFork(_Evidence, frozen=True, tag="signed-fork"):
    """Two checkpoints of one size and different roots, signed by the log key of one agency's node."""

    size: Count
    first: SignedText
    second: SignedText


Evidence: TypeAlias = Equivocation | CosignedFork | SignedFork
"""Any evidence; decoding picks the kind by its `kind` field."""


class EquivocationReportBody(Body, frozen=True):
    """The evidence, whole."""

    evidence: Evidence


class EquivocationReport(RecordBase, frozen=True, tag="equivocation.report"):
    """Puts evidence against an agency on the ledger, for good. Issued by any agency."""

    body: EquivocationReportBody
