"""Forged by everybody together: evidence and logs on which every hash and every agency's signature is right, and of which
only the meaning is wrong. What is accepted must be what the records lead to."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, lru_cache
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from client.replay import audit
from ledger.bundle import build_bundle, verify_bundle
from ledger.checkpoint import Checkpoint, Cosigner, SignedCheckpoint, sign_checkpoint
from ledger.codec import PAYLOAD_TYPE, Envelope, EnvelopeSignature, b64decode, b64encode, encode, pae
from ledger.errors import TracemarkError, VerificationError
from ledger.limits import MAX_TILE_ENTRY_BYTES
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.proof import inclusion_proof
from ledger.merkle.tiles import TILE_HEIGHT, Tile, encode_entries
from ledger.merkle.tree import Frontier, NodeId
from ledger.notes import NoteSigner
from ledger.proof import ProofHead
from ledger.records.envelope import parse_entry
from ledger.signing import SigningKey, key_id
from ledger.statetree import StateTree, key_hash, value_hash
from tests.fuzz.harness import Target, accepts
from tests.fuzz.mutate import Members, mutate_bytes, mutate_json, mutate_tree, parse, strings_of, write
from tests.fuzz.parsers import POLICY, ledger, traced
from tests.toyledger import AGENCIES, QUORUM
from tests.world import GENESIS, ORIGIN, key_named

_SEAL: Final = b'{"epoch"'
_RECORD: Final = b'{"payload"'


class Forged(NamedTuple):
    """A log and documents of the state, all of them as its forgers like. `places`: of the weapon's records."""

    entries: tuple[bytes, ...]
    documents: tuple[tuple[str, str, bytes], ...] = ()
    weapon: str = ""
    places: tuple[int, ...] = ()


class Log:
    """A log of any entries, with its tree and a checkpoint that all agencies signed."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._entries = entries
        self._nodes: dict[NodeId, bytes] = {}
        frontier, completed = Frontier().extend(map(leaf_hash, entries))
        self._nodes.update(((level, index), node) for level, index, node in completed)
        self._checkpoint = Checkpoint(origin=ORIGIN, size=len(entries), root=frontier.root)

    def checkpoint(self) -> bytes:
        """In the form of evidence."""
        lines = [sign_checkpoint(self._checkpoint, NoteSigner(ORIGIN, key_named("customs log")))]
        for party in AGENCIES[:QUORUM]:
            cosigner = Cosigner(f"{ORIGIN}/{party}", key_named(f"{party} cosigner"))
            lines.append(cosigner.sign(self._checkpoint.text, time_s=1_790_000_000))
        return SignedCheckpoint.of(self._checkpoint, lines).to_bytes()

    def head(self, index: int) -> str:
        """The head of an entry's proof."""
        hashes = inclusion_proof(index, len(self._entries), lambda level, at: self._nodes[level, at])
        return ProofHead(index=index, hashes=tuple(hashes)).to_bytes().decode()

    def tile(self, tile: Tile) -> bytes:
        """A hash tile or an entry bundle."""
        if tile.level is None:
            return encode_entries(self._entries[tile.first : tile.first + tile.width])
        level = tile.level * TILE_HEIGHT
        return b"".join(self._nodes[level, tile.first + at] for at in range(tile.width))


@cache
def keys() -> tuple[SigningKey, ...]:
    """Every key that signs records in the ledgers that are bent."""
    names = ("maker record", "dealer record", "maker second", *(f"{party} record" for party in AGENCIES))
    return tuple(map(key_named, names))


def resign(entry: bytes, payload: bytes) -> bytes:
    """The entry with another payload, signed by whoever signed it before."""
    envelope = msgspec.json.decode(entry, type=Envelope)
    key = next(key for key in keys() if key_id(key.public) == envelope.signatures[0].keyid)
    signature = EnvelopeSignature(keyid=key_id(key.public), sig=b64encode(key.sign(pae(PAYLOAD_TYPE, payload))))
    return encode(Envelope(payload=b64encode(payload), payload_type=PAYLOAD_TYPE, signatures=(signature,)))


def payload_of(entry: bytes) -> bytes:
    """A record's payload."""
    return b64decode(msgspec.json.decode(entry, type=Envelope).payload)


def bend_entry(entry: bytes, dice: Random, others: Sequence[bytes]) -> bytes:
    """A record with something else signed, a seal or a genesis document that says something else."""
    if not entry.startswith(_RECORD) or dice.random() < 0.1:
        return mutate_json(entry, dice, others[:4])
    words = words_of(tuple(other for other in others if other.startswith(_RECORD)))
    try:
        tree = parse(payload_of(entry))
        for _ in range(dice.choice((1, 1, 2))):
            tree = mutate_tree(tree, dice, words, spelling=dice.random() < 0.2)
        return resign(entry, write(in_canonical_order(tree)))
    except (TracemarkError, msgspec.MsgspecError, ValueError, LookupError, RecursionError, StopIteration):
        return mutate_bytes(entry, dice)


@lru_cache(maxsize=64)
def words_of(entries: tuple[bytes, ...]) -> list[str]:
    """The strings of all these records that are in form."""
    words: list[str] = []
    for entry in entries:
        try:
            words += strings_of(parse(payload_of(entry)))
        except (TracemarkError, msgspec.MsgspecError, ValueError, RecursionError):
            continue
    return words


def in_canonical_order(tree: Any) -> Any:
    """Members in canonical order, so that most bent records still parse."""
    if isinstance(tree, Members):
        return Members(
            sorted(((name, in_canonical_order(value)) for name, value in tree), key=lambda member: member[0])
        )
    return [in_canonical_order(value) for value in tree] if isinstance(tree, list) else tree


# --- logs -----------------------------------------------------------------------------------------------------------


def _draw_log(dice: Random) -> Forged:
    entries = list(ledger().entries)
    for _ in range(dice.choice((1, 1, 2))):
        at = dice.randrange(len(entries))
        match dice.randrange(6):
            case 0:
                del entries[at]
            case 1:
                entries.insert(dice.randrange(len(entries)), entries[at])
            case 2:
                to = dice.randrange(len(entries))
                entries[at], entries[to] = entries[to], entries[at]
            case _:
                entries[at] = bend_entry(entries[at], dice, entries)
    entries = [entry for entry in entries if len(entry) <= MAX_TILE_ENTRY_BYTES]  # others fit no tile
    return Forged(entries=tuple(_chained(entries) if dice.random() < 0.7 else entries))


def _chained(entries: list[bytes]) -> list[bytes]:
    """The same log with seals that count their records and name the seal before them, as far as they are seals."""
    chained: list[bytes] = []
    previous, records, height = hashlib.sha256(entries[0]).hexdigest() if entries else "", 0, 0
    for index, entry in enumerate(entries):
        if not entry.startswith(_SEAL):
            records += index > 0
            chained.append(entry)
            continue
        try:
            fields = dict(parse(entry)) | {"prev_seal": previous, "record_count": records, "height": height}
            chained.append(write(Members(sorted(fields.items()))))
        except (ValueError, RecursionError):
            chained.append(entry)
            continue
        previous, records, height = hashlib.sha256(chained[-1]).hexdigest(), 0, height + 1
    return chained


def _audit(forged: Forged) -> bool:
    """Only a failed verification may leave an audit."""
    try:
        audited = audit(Log(forged.entries), POLICY)
    except VerificationError:
        return False
    assert audited.state_root == ledger().tree.root.hex() or audited.size != len(ledger().entries)
    return True


# --- evidence -------------------------------------------------------------------------------------------------------


def _draw_evidence(dice: Random) -> Forged:
    toy, weapon = traced()
    places = [index for index, _ in toy.history[weapon]]
    history = [toy.entries[index] for index in places]
    publics = sorted({toy.signer(record) for _, record in toy.history[weapon]})
    documents = [("weapon", weapon, toy.document("weapon", weapon) or b"")]
    documents += [("key", public, toy.document("key", public) or b"") for public in publics]
    entries = toy.entries[: toy.size]
    for _ in range(dice.choice((1, 1, 2))):
        if dice.random() < 0.4:
            at = dice.randrange(len(documents))
            kind, name, document = documents[at]
            documents[at] = (kind, name, mutate_json(document, dice, [other for _, _, other in documents]))
        else:
            at = dice.choice((*places, len(entries) - 1))
            entries[at] = bend_entry(entries[at], dice, history)
        if dice.random() < 0.1:
            del places[dice.randrange(len(places))]
            places = places or [2]
    if dice.random() < 0.8:
        documents[0] = ("weapon", weapon, _rehashed(documents[0][2], [entries[at] for at in places]))
    return Forged(entries=tuple(entries), documents=tuple(documents), weapon=weapon, places=tuple(places))


def _rehashed(document: bytes, records: Sequence[bytes]) -> bytes:
    """The weapon's document with the history head of these records."""
    head = b""
    try:
        for entry in records:
            head = hashlib.sha256(head + bytes.fromhex(parse_entry(entry).id)).digest()
        fields = dict(parse(document)) | {"history_head": head.hex(), "history_count": len(records)}
        fields["last"] = Members(sorted((dict(fields["last"]) | {"record": parse_entry(records[-1]).id}).items()))
        return write(Members(sorted(fields.items())))
    except (TracemarkError, ValueError, TypeError, KeyError, RecursionError):
        return document


def _evidence(forged: Forged) -> bool:
    tree = StateTree.empty().update({key_hash(kind, name): value_hash(data) for kind, name, data in forged.documents})
    entries = list(forged.entries)
    with suppress(ValueError, TypeError, RecursionError):  # no seal any more: refused as it is
        entries[-1] = write(Members(sorted((dict(parse(entries[-1])) | {"state_root": tree.root.hex()}).items())))
    log = Log(entries)
    bundle = build_bundle(
        ledger=GENESIS.ledger_id,
        weapon=(forged.weapon, forged.documents[0][2], tree.prove(key_hash("weapon", forged.weapon))),
        records=[(entries[index], log.head(index)) for index in forged.places],
        keys=[(name, data, tree.prove(key_hash("key", name))) for _, name, data in forged.documents[1:]],
        seal=(entries[-1], log.head(len(entries) - 1)),
        checkpoint=log.checkpoint().decode(),
    )
    return accepts(lambda: verify_bundle(bundle.to_bytes(), POLICY))


FORGERIES: Final = (
    Target(name="rogue-log", draw=_draw_log, feed=_audit, few=60),
    Target(name="rogue-evidence", draw=_draw_evidence, feed=_evidence, few=60),
)
"""What a rogue quorum could sign."""
