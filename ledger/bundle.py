"""The evidence bundle: one file that proves a weapon's whole history offline, with nothing but a policy (DESIGN 6, 7).

It is canonical JSON of the one shape `Bundle`. Every proof in it stands against the one checkpoint it carries: the seal
at checkpoint size - 1 (any other would hide the last hop) gives the state root; under that root lie the weapon's document,
whose `history_head` shows that no hop is missing, and the documents of the keys that signed the hops.

What the policy's quorum vouches for, and a bundle does not show again: that each record obeyed the rules of its place
where they need more than the weapon's own history (block times, the parties' standing). Rules that need no more are
replayed here.

Pure: the node builds bundles with these types, the client and anybody else verifies them with `verify_bundle`. Fetching
and display are theirs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from ledger.block import Seal, decode_seal
from ledger.checkpoint import Checkpoint
from ledger.codec import b64decode, b64encode, decode, encode
from ledger.errors import InputError, RuleError, VerificationError
from ledger.limits import MAX_BUNDLE_BYTES, MAX_BUNDLE_RECORDS
from ledger.merkle.hashing import leaf_hash
from ledger.policy import Judge, VerifiedCheckpoint
from ledger.proof import ProofHead
from ledger.records.envelope import ParsedRecord, parse_entry, verify_entry
from ledger.records.fields import LedgerId, PublicKey, WeaponId
from ledger.signing import key_id
from ledger.state.model import Doc, KeyDoc, WeaponDoc, decode_document, encode_document
from ledger.state.replay import replay_weapon_steps
from ledger.statetree import StateProof, verify_state

BUNDLE_FORMAT: Final = "tracemark-bundle/1"

D = TypeVar("D", bound=Doc)


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the bundle's parts: immutable, no unknown field."""


class ProvenEntry(_Part, frozen=True):
    """A log entry (base64 of its bytes) and the head of its tlog-proof: the lines before the blank one, newline included.

    `proof` + "\\n" + the bundle's `checkpoint` is a complete `c2sp.org/tlog-proof@v1`.
    """

    entry: str
    proof: str


class ProvenWeapon(_Part, frozen=True):
    """The weapon's document (base64 of its canonical bytes) and its state proof under the seal's state root."""

    id: WeaponId
    document: str
    proof: StateProof


class ProvenKey(_Part, frozen=True):
    """A signing key's document (base64 of its canonical bytes) and its state proof under the seal's state root."""

    public: PublicKey
    document: str
    proof: StateProof


class Bundle(_Part, frozen=True):
    """The file. `records` are in log order, `keys` sorted by public key; `checkpoint` is a signed note in strict minimal
    form: the log's line, then a minimal quorum of cosignatures."""

    format: Literal["tracemark-bundle/1"]
    ledger: LedgerId
    weapon: ProvenWeapon
    records: Annotated[tuple[ProvenEntry, ...], Meta(min_length=1, max_length=MAX_BUNDLE_RECORDS)]
    keys: Annotated[tuple[ProvenKey, ...], Meta(min_length=1, max_length=MAX_BUNDLE_RECORDS)]
    seal: ProvenEntry
    checkpoint: str

    def to_bytes(self) -> bytes:
        """The file's bytes: canonical JSON."""
        return encode(self)


def build_bundle(
    *,
    ledger: str,
    weapon: tuple[str, bytes, StateProof],
    records: list[tuple[bytes, str]],
    keys: list[tuple[str, bytes, StateProof]],
    seal: tuple[bytes, str],
    checkpoint: str,
) -> Bundle:
    """Put a bundle together from raw parts; sorts the keys. Proves nothing: the parts must be as of one height.

    Args:
        ledger: the ledger id.
        weapon: weapon id, document bytes, state proof.
        records: entry bytes and tlog-proof head (`ledger.proof`) of each record of the history, in log order.
        keys: public key in hex, document bytes, state proof of every key that signed one of the records.
        seal: entry bytes and tlog-proof head of the entry at checkpoint size - 1.
        checkpoint: the note in strict minimal form (`ledger.policy`).
    """
    weapon_id, document, proof = weapon
    return Bundle(
        format=BUNDLE_FORMAT,
        ledger=ledger,
        weapon=ProvenWeapon(id=weapon_id, document=b64encode(document), proof=proof),
        records=tuple(ProvenEntry(entry=b64encode(entry), proof=head) for entry, head in records),
        keys=tuple(
            ProvenKey(public=public, document=b64encode(data), proof=key_proof)
            for public, data, key_proof in sorted(keys, key=lambda key: key[0])
        ),
        seal=ProvenEntry(entry=b64encode(seal[0]), proof=seal[1]),
        checkpoint=checkpoint,
    )


class AsOf(msgspec.Struct, frozen=True, kw_only=True):
    """The moment that a proof speaks of: checkpoint, block, and who cosigned it when.

    `root` in hex, `time_ms` the block's time in ms since 1970, `cosignatures` pairs of a witness's name in the policy and
    its time in seconds since 1970.
    """

    origin: str
    size: int
    root: str
    height: int
    time_ms: int
    state_root: str
    cosignatures: tuple[tuple[str, int], ...]


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the history and the weapon's document after it. `index`: its place in the log; `signer`: the public
    key in hex that signed it."""

    index: int
    record: ParsedRecord
    signer: str
    after: WeaponDoc


class VerifiedTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle proved: the weapon, its complete history in log order, and as of when."""

    ledger: str
    weapon: str
    document: WeaponDoc
    hops: tuple[Hop, ...]
    as_of: AsOf


def verify_bundle(data: bytes, policy: Judge) -> VerifiedTrace:
    """Verify an evidence bundle with nothing but a policy, and derive the weapon's ownership chain from its records.

    Any changed, missing or added byte is refused. Every check has its own code, in the order in which they are made.

    Args:
        data: the file's bytes, at most `MAX_BUNDLE_BYTES`.
        policy: who must have signed and cosigned the checkpoint.

    Raises:
        VerificationError: `bundle_form`; the checkpoint's (`Policy.verify_checkpoint`, strict); `ledger_origin`;
            `seal_position`, `seal_inclusion`, `seal_form`; `weapon_proof`, `weapon_form`; `record_form`, `record_order`,
            `record_inclusion`, `record_ledger`; `history_incomplete`, `history_replay`; `key_order`, `key_proof`,
            `key_form`, `key_missing`, `key_not_issuers`, `key_not_in_force`, `record_signature`, `key_unused`.
    """
    with checking("bundle_form", "the bundle is not of its one form"):
        bundle: Bundle = decode(data, Bundle, limit=MAX_BUNDLE_BYTES)
    verified = policy.verify_checkpoint(bundle.checkpoint.encode(), strict=True)
    checkpoint = verified.checkpoint
    if bundle.ledger.partition("#")[0] != checkpoint.origin:
        raise VerificationError(
            "the checkpoint is another ledger's",
            code="ledger_origin",
            expected=bundle.ledger.partition("#")[0],
            actual=checkpoint.origin,
        )
    seal = verify_seal(bundle.seal, checkpoint)
    state_root = bytes.fromhex(seal.state_root)
    weapon = bundle.weapon
    document = _proven_document(
        WeaponDoc, "weapon", weapon.id, text=weapon.document, proof=weapon.proof, root=state_root
    )
    records = _verify_records(bundle, checkpoint)
    states = _verify_history(weapon.id, document, records)
    signers = _verify_signatures(bundle.keys, records, state_root)
    return VerifiedTrace(
        ledger=bundle.ledger,
        weapon=weapon.id,
        document=document,
        hops=tuple(
            Hop(index=index, record=record, signer=signer, after=after)
            for (index, record), signer, after in zip(records, signers, states, strict=True)
        ),
        as_of=as_of(verified, seal),
    )


def as_of(verified: VerifiedCheckpoint, seal: Seal) -> AsOf:
    """The moment that an accepted checkpoint and its verified seal fix."""
    return AsOf(
        origin=verified.checkpoint.origin,
        size=verified.checkpoint.size,
        root=verified.checkpoint.root.hex(),
        height=seal.height,
        time_ms=seal.time,
        state_root=seal.state_root,
        cosignatures=verified.cosignatures,
    )


def verify_seal(proven: ProvenEntry, checkpoint: Checkpoint) -> Seal:
    """Verify that an entry is the seal that ends the checkpoint's tree. An older seal would hide what came after it.

    Raises:
        VerificationError: `seal_position`, `seal_inclusion`, `seal_form`.
    """
    with checking("seal_form", "the seal is not of its one form"):
        entry = b64decode(proven.entry, what="seal")
        seal = decode_seal(entry)
    index = _verify_inclusion(proven, entry, checkpoint, code="seal_inclusion", what="the seal")
    if index != checkpoint.size - 1:
        raise VerificationError(
            "the seal is not the checkpoint's last entry",
            code="seal_position",
            expected=f"index {checkpoint.size - 1}",
            actual=f"index {index}",
        )
    return seal


@contextmanager
def checking(code: str, what: str) -> Iterator[None]:
    """Give whatever fails within the name of the check that it fails."""
    try:
        yield
    except (InputError, RuleError, VerificationError) as error:
        raise VerificationError(
            f"{what}: {error.message}", code=code, expected=error.expected, actual=error.actual, help=error.help
        ) from error


def _verify_inclusion(proven: ProvenEntry, entry: bytes, checkpoint: Checkpoint, *, code: str, what: str) -> int:
    with checking(code, f"{what} is not proven to be in the log"):
        head = ProofHead.parse(proven.proof.encode())
        if head.extra is not None:
            raise VerificationError("extra data is not admitted in evidence", code="bad_proof")
        head.verify(leaf_hash(entry), checkpoint)
    return head.index


def _proven_document(
    shape: type[D],
    kind: Literal["weapon", "key"],
    id: str,  # noqa: A002 - the state key's own name
    *,
    text: str,
    proof: StateProof,
    root: bytes,
) -> D:
    with checking(f"{kind}_form", f"the document of {kind} {id} is not of its one form"):
        data = b64decode(text, what="document")
    with checking(f"{kind}_proof", f"the document of {kind} {id} is not proven"):
        verify_state(root, kind, id, data, proof)
    with checking(f"{kind}_form", f"the document of {kind} {id} is not of its one form"):
        document = decode_document(kind, data)
    assert isinstance(document, shape)  # what decode_document makes of this kind
    return document


def _verify_records(bundle: Bundle, checkpoint: Checkpoint) -> list[tuple[int, ParsedRecord]]:
    """Form, place in the log, order and ledger of the records; their signatures are `_verify_signatures`'."""
    records: list[tuple[int, ParsedRecord]] = []
    last = -1
    for number, proven in enumerate(bundle.records, start=1):
        with checking("record_form", f"record {number} is not of its one form"):
            entry = b64decode(proven.entry, what="entry")
            record = parse_entry(entry)
        index = _verify_inclusion(proven, entry, checkpoint, code="record_inclusion", what=f"record {number}")
        if index <= last:
            raise VerificationError(
                "the records are not in the order of the log",
                code="record_order",
                expected=f"an index above {last}",
                actual=f"index {index} at record {number}",
            )
        if record.record.ledger != bundle.ledger:
            raise VerificationError(
                f"record {number} is another ledger's",
                code="record_ledger",
                expected=bundle.ledger,
                actual=record.record.ledger,
            )
        records.append((index, record))
        last = index
    return records


def _verify_history(weapon: str, document: WeaponDoc, records: list[tuple[int, ParsedRecord]]) -> list[WeaponDoc]:
    """Replay the records; they must lead to exactly the proven document, by as many steps as it counts."""
    if len(records) != document.history_count:
        raise VerificationError(
            "the history is not complete",
            code="history_incomplete",
            expected=f"{document.history_count} records, as the weapon's document counts",
            actual=len(records),
        )
    with checking("history_replay", "the records do not make this history"):
        states = list(replay_weapon_steps(weapon, records))
    if states[-1].history_head != document.history_head:
        raise VerificationError(
            "the records are not those that the weapon's document seals",
            code="history_incomplete",
            expected=document.history_head,
            actual=states[-1].history_head,
        )
    if states[-1] != document:
        raise VerificationError(
            "the records lead to another document than the proven one",
            code="history_replay",
            expected=encode_document(document).decode(),
            actual=encode_document(states[-1]).decode(),
        )
    return states


def _verify_signatures(
    proven: tuple[ProvenKey, ...], records: list[tuple[int, ParsedRecord]], root: bytes
) -> list[str]:
    """Verify every record under the one proven key that signed it. Returns the signers' public keys in record order.

    All kinds that touch a weapon are signed by their issuer's active record key alone (DESIGN 4.1).
    """
    publics = [key.public for key in proven]
    if any(a >= b for a, b in pairwise(publics)):
        raise VerificationError("the keys are not sorted and distinct", code="key_order", actual=publics[:4])
    documents = {
        key.public: _proven_document(KeyDoc, "key", key.public, text=key.document, proof=key.proof, root=root)
        for key in proven
    }
    by_key_id = {key_id(bytes.fromhex(public)): public for public in publics}
    signers = []
    for number, (index, record) in enumerate(records, start=1):
        public = by_key_id.get(record.envelope.signatures[0].keyid)
        if public is None:
            raise VerificationError(
                f"the key that signed record {number} is not in the bundle",
                code="key_missing",
                expected=f"a key with key id {record.envelope.signatures[0].keyid}",
            )
        _require_authority(documents[public], record, index, number)
        with checking("record_signature", f"the signature of record {number} does not hold"):
            verify_entry(record, (public,))
        signers.append(public)
    unused = sorted(set(publics).difference(signers))
    if unused:
        raise VerificationError("a key in the bundle signed none of its records", code="key_unused", actual=unused[:4])
    return signers


def _require_authority(key: KeyDoc, record: ParsedRecord, index: int, number: int) -> None:
    if (key.party, key.role) != (record.record.issuer, "record"):
        raise VerificationError(
            f"the key that signed record {number} is not its issuer's record key",
            code="key_not_issuers",
            expected=f"{record.record.issuer}, record",
            actual=f"{key.party}, {key.role}",
        )
    added = -1 if key.added is None else key.added
    if index <= added or (key.revoked is not None and index >= key.revoked):
        raise VerificationError(
            f"the key that signed record {number} was not in force there",
            code="key_not_in_force",
            expected=f"added {key.added} < index < revoked {key.revoked}",
            actual=f"index {index}",
        )
