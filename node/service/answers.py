"""What the node answers: the values that the API encodes as JSON, and from which its OpenAPI schemas are made.

One struct an answer, so that what is documented is what is sent. State answers and bundles, which clients verify, are
`ledger.answer`'s and `ledger.bundle`'s. Bytes are standard padded base64, hashes of roots and
record ids lower-case hex, times milliseconds since 1970 (`_ms`) or the ledger's time strings.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ledger.limits import MAX_BATCH_RECORDS, MAX_PAGE_ITEMS
from ledger.records.evidence import Evidence
from ledger.records.fields import PartyId, RecordId, Time, WeaponId
from ledger.state.model import ProposalStatus

Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]
Count = Annotated[int, Meta(ge=0)]
Status = Literal["pending", "final", "refused", "expired"]
"""Of a record: waiting for a block; in the log; refused (its error says by which rule); too old for any block."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of answers: an absent field is absent, never null."""


class ErrorDetail(Answer, frozen=True, kw_only=True):
    """Why one record was not taken: a stable code, and what was expected and found."""

    code: str
    message: str
    expected: str | UnsetType = UNSET
    actual: str | UnsetType = UNSET
    help: str | UnsetType = UNSET


class RecordResult(Answer, frozen=True, kw_only=True):
    """What became of one submitted envelope, at its place in the batch.

    `id` is absent where the envelope was too malformed to have one. `receipt` is a tlog-proof (C2SP tlog-proof@v1) at a
    quorum-cosigned checkpoint, once there is one that covers the record.
    """

    id: RecordId | UnsetType = UNSET
    status: Status
    index: Count | UnsetType = UNSET
    height: Count | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET
    receipt: str | UnsetType = UNSET


class SubmitAnswer(Answer, frozen=True, kw_only=True):
    """One result for each envelope, in order."""

    results: Annotated[tuple[RecordResult, ...], Meta(max_length=MAX_BATCH_RECORDS)]


class RecordAnswer(Answer, frozen=True, kw_only=True):
    """A record by its id. `kind`, `issuer` and `entry` (the entry bytes) only for those who may read it."""

    id: RecordId
    status: Status
    kind: str | UnsetType = UNSET
    issuer: PartyId | UnsetType = UNSET
    index: Count | UnsetType = UNSET
    height: Count | UnsetType = UNSET
    entry: Base64 | UnsetType = UNSET
    receipt: str | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class WeaponSummary(Answer, frozen=True, kw_only=True):
    """One hit of a search: enough to tell candidates apart. Not proven; ask for the provenance."""

    id: WeaponId
    make: str
    serial: str
    status: str
    registered: bool
    history_count: Count
    marked: str | UnsetType = UNSET
    make_name: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    calibre: str | UnsetType = UNSET
    country: str | UnsetType = UNSET
    year: int | UnsetType = UNSET
    owner: PartyId | UnsetType = UNSET
    possessor: PartyId | UnsetType = UNSET
    superseded_by: WeaponId | UnsetType = UNSET


class WeaponPage(Answer, frozen=True, kw_only=True):
    """All weapons that carry a serial, in the order of their identities; `next` is the cursor of the next page."""

    weapons: Annotated[tuple[WeaponSummary, ...], Meta(max_length=MAX_PAGE_ITEMS)]
    next: str | UnsetType = UNSET


class ProposalSummary(Answer, frozen=True, kw_only=True):
    """One proposal of a list. Not proven; ask for its document. `change`: which change it is about, and `party` whom it
    concerns; `opened` and `decided`: log indices of the opening and of the vote that decided it."""

    id: RecordId
    opened_by: PartyId
    opened: Count
    epoch: Count
    change: str
    party: PartyId | UnsetType = UNSET
    expires_at: Time
    status: ProposalStatus
    votes_for: tuple[PartyId, ...]
    votes_against: tuple[PartyId, ...]
    decided: Count | UnsetType = UNSET


class ProposalPage(Answer, frozen=True, kw_only=True):
    """Proposals in the order of their ids; `next` is the cursor of the next page."""

    proposals: Annotated[tuple[ProposalSummary, ...], Meta(max_length=MAX_PAGE_ITEMS)]
    next: str | UnsetType = UNSET


class ConsistencyAnswer(Answer, frozen=True, kw_only=True, rename={"from_size": "from", "to_size": "to"}):
    """A consistency proof between two sizes of the log (RFC 6962 section 2.1.2): 32-byte hashes."""

    from_size: Count
    to_size: Count
    proof: tuple[Base64, ...]


class PeerAnswer(Answer, frozen=True, kw_only=True):
    """One agency's node, as this node sees it. `height` is the last it told us."""

    party: PartyId
    connected: bool
    height: Count | UnsetType = UNSET


class CosignedStatus(Answer, frozen=True, kw_only=True):
    """The newest checkpoint with a quorum of cosignatures."""

    height: Count
    size: Count


class Finding(Answer, frozen=True, kw_only=True):
    """One thing that an operator should know: a stable code, and words. `blocks`: it is why the node is not ready."""

    code: str
    text: str
    help: str | UnsetType = UNSET
    blocks: bool = False


class ProgressStatus(Answer, frozen=True, kw_only=True):
    """How the node is getting on. `summary` is one line for people, `findings` all that is the matter, the gravest first.

    `reachable` of `validators` are linked (this node included), `needed` are a quorum. `last_block_s`: seconds since a block
    was committed here. `pending_s`: for how long the oldest pending record has waited. `behind`: blocks that others have and
    this node has not; `level_in_s` estimates when it will. `clock_off_s`: this machine's clock less the others'.
    """

    state: Literal["ready", "following", "catching_up", "no_quorum", "standstill", "recovering", "stopped"]
    summary: str
    findings: tuple[Finding, ...]
    validators: Count
    reachable: Count
    needed: Count
    missing: tuple[PartyId, ...]
    last_block_s: Count
    pending_s: Count | UnsetType = UNSET
    behind: Count = 0
    blocks_per_s: float = 0.0
    level_in_s: Count | UnsetType = UNSET
    disk_free_bytes: Count | UnsetType = UNSET
    clock_off_s: float | UnsetType = UNSET


class NetworkAnswer(Answer, frozen=True, kw_only=True):
    """The state of the network as this node sees it. To callers elsewhere without a token: the public part only.

    `validator`: whether this node decides in this epoch; else it follows the ledger and serves it. `validators`: of this
    epoch. `others`: who else has a link with this node, or is let in as an observer.
    """

    ledger: str
    genesis: RecordId
    agency: PartyId
    software: str
    protocol: Annotated[int, Meta(ge=1)]
    epoch: Count
    validator: bool
    height: Count
    size: Count
    root: RecordId
    state_root: RecordId
    ready: bool
    cosigned: CosignedStatus | UnsetType = UNSET
    reasons: tuple[str, ...] | UnsetType = UNSET
    validators: tuple[PeerAnswer, ...] | UnsetType = UNSET
    others: tuple[PeerAnswer, ...] | UnsetType = UNSET
    pending: Count | UnsetType = UNSET
    progress: ProgressStatus | UnsetType = UNSET


class EvidencePage(Answer, frozen=True, kw_only=True):
    """Evidence that this node holds, whole; `next` is there if there is more."""

    evidence: tuple[Evidence, ...]
    next: str | UnsetType = UNSET


class Health(Answer, frozen=True, kw_only=True):
    """The process lives."""

    status: Literal["ok"]


class Readiness(Answer, frozen=True, kw_only=True):
    """The node takes records and votes. Where it does not, the answer is a problem with `reasons`."""

    ready: Literal[True]


class Problem(Answer, frozen=True, kw_only=True):
    """RFC 9457 problem details, the one shape of every error.

    `code` is stable, for programs; `detail` and `help` are for people and may change. `results`: of the submitted
    records. `reasons`: why the node is not ready.
    """

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    code: Annotated[str, Meta(pattern="^[a-z0-9_]+$")]
    expected: str | UnsetType = UNSET
    actual: str | UnsetType = UNSET
    help: str | UnsetType = UNSET
    results: tuple[RecordResult, ...] | UnsetType = UNSET
    reasons: tuple[str, ...] | UnsetType = UNSET
