"""The documents of the state: what the log implies, as small frozen values (DESIGN 7).

A document is stored under a `StateKey` and hashed as the canonical JSON that `encode_document` makes of it; a field that
does not apply is absent. Keys of documents are never removed: a party ends, a key is revoked, a weapon becomes void.

What a record does to documents is `ledger.state.transition`'s; how documents are kept is the node's.
"""

from typing import Annotated, Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from ledger.codec import MAX_SAFE_INTEGER, decode, encode
from ledger.errors import EncodingError
from ledger.limits import MAX_DOCUMENT_BYTES
from ledger.records.evidence import EvidenceKind
from ledger.records.fields import IncidentKind, PartyRole
from ledger.records.governance import Change
from ledger.records.items import Component
from ledger.signing import Role

KindOfDocument: TypeAlias = Literal[
    "party", "key", "weapon", "transfer", "parameters", "validators", "proposal", "evidence"
]
PartyStatus: TypeAlias = Literal["active", "suspended", "ended"]
WeaponStatus: TypeAlias = Literal["held", "void"] | IncidentKind
TransferStatus: TypeAlias = Literal["pending", "accepted", "declined", "cancelled"]
ProposalStatus: TypeAlias = Literal["open", "enacted", "rejected"]
Moves: TypeAlias = Literal["title", "custody", "both"]
WhyUnmarked: TypeAlias = Literal["never-marked", "obliterated"]
Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class StateKey(NamedTuple):
    """Where a document stands: its kind, and its id within the kind.

    Ids: party id; public key in hex; weapon id; the record id of the offer; `ledger`; `current`; the record id of
    the opening; what the evidence is about (`ledger.evidence.subject_of`).
    """

    kind: KindOfDocument
    id: str


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of documents. `None` means that a field is absent; null is never written.

    Frozen trees of strings and numbers make no cycles, so the garbage collector need not walk 100,000 of them.
    """


class Recovery(Document, frozen=True):
    """A record key that a sponsor added. `active_from`: block time in ms since 1970 from which it is the active one."""

    public: str
    active_from: Count


class PartyDoc(Document, frozen=True):
    """A party or an agency.

    An agency has `grants` (the roles it may grant) and no `sponsor`; any other party has a sponsor and no grants.
    `record_key` is the one active key, absent after a revocation. `valid_until` in ms since 1970: from then on the party
    may issue nothing. `suspended_by` is there while the validators' suspension stands, which its sponsor cannot lift.
    `updated`: index of the last record that changed what the party is or may.
    """

    name: str
    roles: tuple[PartyRole, ...]
    jurisdiction: str
    status: PartyStatus
    updated: Count
    sponsor: str | None = None
    grants: tuple[PartyRole, ...] | None = None
    makes: tuple[str, ...] = ()
    any_make: bool = False
    valid_until: Count | None = None
    suspended_by: Literal["validators"] | None = None
    record_key: str | None = None
    recovery: Recovery | None = None


class KeyDoc(Document, frozen=True):
    """A key that was ever named in the log: one party, one role, for good.

    A record at index i may be signed by it only if added < i < revoked (each where present; genesis keys lack `added`),
    so `revoked` is the index after a record that ends it. `active_from` (ms since 1970) marks a key added by the sponsor
    as a recovery; `suspected_from` (ms since 1970) flags records since and undoes nothing.
    """

    party: str
    role: Role
    added: Count | None = None
    revoked: Count | None = None
    active_from: Count | None = None
    reason: Literal["compromised", "lost", "retired"] | None = None
    suspected_from: Count | None = None


class LastRecord(Document, frozen=True):
    """The last record that wrote a weapon's document. `count`: how many weapons that record touched."""

    record: str
    kind: str
    issuer: str
    count: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]


class Description(Document, frozen=True):
    """What describes a weapon and does not identify it."""

    marked: str | None = None
    make_name: str | None = None
    model: str | None = None
    type: str | None = None
    calibre: str | None = None
    country: str | None = None
    year: int | None = None
    components: tuple[Component, ...] | None = None


class Before(Document, frozen=True):
    """What the last record overwrote, for a correction that declares that it did not occur.

    The owner is not among it: neither a registration of a weapon that was there nor an incident changes whose it is.
    `description` is there only where a registration replaced that of a weapon nobody had registered.
    """

    status: WeaponStatus
    possessor: str | None = None
    description: Description | None = None


class WeaponDoc(Document, frozen=True):
    """One weapon: identity, description, title and custody, and the seal of its history.

    It depends on nothing but the records of its own history, so that whoever has these can derive it again.
    `history_count` is how many records wrote it; `history_head` = hex SHA-256(previous head || record id), both as raw
    bytes, the previous head being empty for the first. `offer_title` and `offer_custody` name the last offer in that
    slot; it stands only while its transfer is pending and not expired. `last` and `before` serve corrections.
    """

    make: str
    serial: str
    discriminator: str
    registered: bool
    status: WeaponStatus
    history_count: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
    history_head: str
    last: LastRecord
    marked: str | None = None
    make_name: str | None = None
    model: str | None = None
    type: str | None = None
    calibre: str | None = None
    country: str | None = None
    year: int | None = None
    components: tuple[Component, ...] | None = None
    unmarked: WhyUnmarked | None = None
    registrar: str | None = None
    owner: str | None = None
    possessor: str | None = None
    offer_title: str | None = None
    offer_custody: str | None = None
    superseded_by: str | None = None
    before: Before | None = None


class TransferDoc(Document, frozen=True):
    """One offer and what became of it. `weapons` = hex SHA-256 of the canonical JSON of the list of weapon ids.

    `expires_at` in ms since 1970; a pending offer counts as absent from then on.
    """

    offered_by: str
    to: str
    moves: Moves
    weapons: str
    count: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
    expires_at: Count
    status: TransferStatus


class NextVersion(Document, frozen=True):
    """A version of the protocol's rules that is in force from a height on."""

    version: Count
    height: Count


class ParametersDoc(Document, frozen=True):
    """The parameters in force. `ledger` is what every record must name.

    `next_version` takes the place of `version` at its height; that moment has no record, so `version_at` says what holds.
    """

    ledger: str
    version: Count
    heartbeat_s: Count
    lead_timeout_ms: Count
    advance_timeout_ms: Count
    next_version: NextVersion | None = None


class Validator(Document, frozen=True):
    """One agency's node in the epoch: its public keys in hex, and its CA certificate (base64 of DER)."""

    party: str
    consensus: str
    cosigner: str
    governance: str
    log: str
    transport: str
    ca: str


class ValidatorsDoc(Document, frozen=True):
    """The epoch's validators in their order: sorted by party."""

    epoch: Count
    members: tuple[Validator, ...]


class ProposalDoc(Document, frozen=True):
    """A proposal and its votes so far. `votes_for` and `votes_against`: the parties, sorted; the opener is among the former.
    `opened`: log index of its opening.

    It can be decided only in the epoch in which it was opened and before `expires_at` (ms since 1970). `decided`: log index
    of the record that enacted or rejected it.
    """

    opened_by: str
    opened: Count
    epoch: Count
    change: Change
    expires_at: Count
    status: ProposalStatus
    votes_for: tuple[str, ...]
    votes_against: tuple[str, ...] = ()
    decided: Count | None = None


class EvidenceDoc(Document, frozen=True):
    """That an agency's node lied: what was proved, of which key, and who reported it first.

    `epoch` and `view` are there for votes, `size` for checkpoints. `record`: the id of the report, which holds the proof.
    """

    party: str
    public: str
    proves: EvidenceKind
    reported_by: str
    record: str
    reported: Count
    epoch: Count | None = None
    view: Count | None = None
    size: Count | None = None


Doc: TypeAlias = PartyDoc | KeyDoc | WeaponDoc | TransferDoc | ParametersDoc | ValidatorsDoc | ProposalDoc | EvidenceDoc

DOCUMENT_TYPES: Final[dict[str, type[Doc]]] = {
    "party": PartyDoc,
    "key": KeyDoc,
    "weapon": WeaponDoc,
    "transfer": TransferDoc,
    "parameters": ParametersDoc,
    "validators": ValidatorsDoc,
    "proposal": ProposalDoc,
    "evidence": EvidenceDoc,
}

PARAMETERS_KEY: Final = StateKey("parameters", "ledger")
VALIDATORS_KEY: Final = StateKey("validators", "current")


class At(msgspec.Struct, frozen=True, kw_only=True):
    """A record's place: its log index, its block's time in ms since 1970 and height."""

    index: int
    time_ms: int
    height: int


class State(Protocol):
    """What rules read: the documents as of just before a record."""

    def get(self, key: StateKey, /) -> Doc | None:
        """The document under `key`, or None where there has never been one."""
        ...


def encode_document(document: Doc) -> bytes:
    """The canonical JSON of a document: what the state tree hashes."""
    return encode(document)


def decode_document(kind: str, data: bytes) -> Doc:
    """Parse a document strictly.

    Args:
        kind: the kind in its state key.
        data: canonical JSON.

    Raises:
        EncodingError: unknown kind, not canonical, or not of the kind's shape.
    """
    if kind not in DOCUMENT_TYPES:
        raise EncodingError("unknown kind of document", code="malformed", actual=repr(kind[:40]))
    document: Doc = decode(data, DOCUMENT_TYPES[kind], limit=MAX_DOCUMENT_BYTES)
    return document
