"""Parsers of outside bytes, each with good inputs to bend and what an accepted one must satisfy."""

from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Final

from ledger.answer import verify_receipt, verify_state_answer
from ledger.block import decode_seal
from ledger.bundle import verify_bundle
from ledger.checkpoint import SignedCheckpoint
from ledger.codec import encode
from ledger.evidence import decode_evidence, encode_evidence, verify_evidence
from ledger.genesis import decode_genesis
from ledger.keyfile import KeyDerivation, parse_key_file, seal, unseal
from ledger.merkle.tiles import Tile, decode_entries, encode_entries
from ledger.notes import NoteVerifier, parse_note
from ledger.policy import Policy
from ledger.proof import LogProof, ProofHead
from ledger.records.envelope import parse_entry, verify_entry
from ledger.records.evidence import Evidence
from ledger.state.model import DOCUMENT_TYPES, decode_document, encode_document
from tests.client.test_audit import lived
from tests.client.test_bundle import traded
from tests.fuzz.harness import Bend, Target, accepts
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_lines
from tests.ledger.liars import double_root, double_vote
from tests.toyledger import ToyLedger, toy_policy
from tests.world import GENESIS, key_named

POLICY: Final = toy_policy()
CHEAP: Final = KeyDerivation(memory_bytes=8192, operations=1)


@cache
def ledger() -> ToyLedger:
    """A ledger with records of most kinds."""
    return lived(ToyLedger())


@cache
def traced() -> tuple[ToyLedger, str]:
    """A ledger, and a weapon of it with a history."""
    toy = ToyLedger()
    return toy, traded(toy)


def target_of(
    name: str, seeds: Callable[[], Sequence[bytes]], bends: Sequence[Bend], call: Callable[[bytes], object]
) -> Target:
    """A target of bytes; its good inputs are made when they are first asked for."""

    @cache
    def good() -> tuple[bytes, ...]:
        return tuple(seeds())

    def bend(data: bytes, dice: Random, others: Sequence[bytes]) -> bytes:
        return dice.choice(bends)(data, dice, others)

    def draw(dice: Random) -> bytes:
        return bend(dice.choice(good()), dice, good())

    return Target(name=name, draw=draw, feed=lambda data: accepts(lambda: call(data)), good=good, bend=bend)


# --- records and documents ------------------------------------------------------------------------------------------


def _entries() -> list[bytes]:
    return [entry for entry in ledger().entries if entry.startswith(b'{"payload"')]


def _entry(data: bytes) -> None:
    """What parses is of one spelling; under keys that are not its signers' it does not verify."""
    parsed = parse_entry(data)
    assert parsed.envelope.to_bytes() == data
    verify_entry(parsed, (key_named(f"{parsed.record.issuer} record").public.hex(),))


def _genesis(data: bytes) -> None:
    assert decode_genesis(data).entry == data


def _seal(data: bytes) -> None:
    assert decode_seal(data).to_bytes() == data


def _documents() -> list[bytes]:
    return [key.kind.encode() + b" " + encode_document(document) for key, document in ledger().state.items()]


def _bend_document(data: bytes, dice: Random, others: Sequence[bytes]) -> bytes:
    kind, _, document = data.partition(b" ")
    bend = dice.choice((mutate_json, mutate_bytes))
    return kind + b" " + bend(document, dice, [other.partition(b" ")[2] for other in others[:8]])


def _document(data: bytes) -> None:
    kind, _, document = data.partition(b" ")
    assert kind.decode() in DOCUMENT_TYPES
    assert encode_document(decode_document(kind.decode(), document)) == document


def _key_file(data: bytes) -> None:
    """Opened only where the derivation stays cheap: a costly one is lawful, and slow."""
    file = parse_key_file(data)
    if file.kdf.memory_bytes <= 2**20 and file.kdf.operations <= 4:
        assert unseal(data, b"passphrase") == {"customs/record": bytes(32)}


# --- proofs ---------------------------------------------------------------------------------------------------------


def _note(data: bytes) -> None:
    assert parse_note(data).to_bytes() == data
    assert SignedCheckpoint.parse(data).to_bytes() == data


def _checkpoint(data: bytes) -> None:
    """Whatever is accepted says of the log what its agencies signed."""
    verified = POLICY.verify_checkpoint(data)
    assert verified.checkpoint.root == ledger().root(verified.checkpoint.size)
    assert POLICY.verify_checkpoint(POLICY.minimal(data), strict=True).checkpoint == verified.checkpoint


def _strict_checkpoint(data: bytes) -> None:
    POLICY.verify_checkpoint(data, strict=True)
    assert data in (ledger().checkpoint(), ledger().checkpoint(log="police")), "a second spelling of evidence"


def _policies() -> list[bytes]:
    return [POLICY.render().encode(), b"# all\n" + toy_policy(quorum=1).render().encode() + b"\n\t\n"]


def _policy(data: bytes) -> None:
    policy = Policy.parse(data)
    assert Policy.parse(policy.render()) == policy


def _vkey(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert NoteVerifier.parse(text).vkey == text


def _proof(data: bytes) -> None:
    proof = LogProof.parse(data)
    assert proof.to_bytes() == data
    assert ProofHead.parse(proof.head.to_bytes()) == proof.head


def _receipt(data: bytes) -> None:
    receipt = verify_receipt(data, ledger().entries[5], POLICY)
    assert receipt.index == 5
    assert receipt.checkpoint.checkpoint.root == ledger().root()


def _tile_path(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert Tile.parse(text).path == text


def _bundle_of_entries(data: bytes) -> None:
    assert encode_entries(decode_entries(data, 8)) == data


def _evidence(data: bytes) -> None:
    toy, weapon = traced()
    verify_bundle(data, POLICY)
    assert data == toy.bundle(weapon).to_bytes(), "a second file that passes as evidence"


def _answers() -> list[bytes]:
    toy, weapon = traced()
    return [toy.answer("weapon", name).to_bytes() for name in (weapon, "w" + "a" * 32)]


def _answer(data: bytes) -> None:
    """An answer may be spelt in several ways; what it says may not change."""
    toy, weapon = traced()
    verified = verify_state_answer(data, kind="weapon", id=weapon, policy=POLICY)
    assert verified.document == toy.weapon(weapon)


def _absence(data: bytes) -> None:
    verified = verify_state_answer(data, kind="weapon", id="w" + "a" * 32, policy=POLICY)
    assert verified.document is None


JSON: Final = (mutate_json, mutate_json, mutate_bytes)
TEXT: Final = (mutate_lines, mutate_lines, mutate_bytes)

ACCUSATIONS: Final = (double_vote(), double_vote(said=(("nullify", None), ("finalize", (3, b"x" * 32)))), double_root())


def _accusation(data: bytes) -> None:
    """Nobody is accused of what was not signed: both statements are of the good ones, under the same key."""
    evidence = decode_evidence(data)
    assert encode_evidence(evidence) == data
    verify_evidence(evidence)
    signed = [encode(each) for good in ACCUSATIONS if good.public == evidence.public for each in _said(good)]
    assert all(encode(each) in signed for each in _said(evidence)), "evidence of what nobody signed"


def _said(evidence: Evidence) -> tuple[object, object]:
    return evidence.first, evidence.second


PARSERS: Final = (
    target_of("entry", _entries, JSON, _entry),
    target_of("genesis", lambda: [GENESIS.entry], JSON, _genesis),
    target_of("seal", lambda: [entry for entry in ledger().entries if entry.startswith(b'{"epoch"')], JSON, _seal),
    target_of("document", _documents, [_bend_document], _document),
    target_of(
        "key-file",
        lambda: [seal({"customs/record": bytes(32)}, b"passphrase", salt=bytes(16), nonce=bytes(24), derivation=CHEAP)],
        JSON,
        _key_file,
    ),
    target_of("note", lambda: [ledger().checkpoint(), ledger().checkpoint(log="police")], TEXT, _note),
    target_of("checkpoint", lambda: [ledger().checkpoint(size) for size in ledger().sizes[-3:]], TEXT, _checkpoint),
    target_of(
        "evidence-note", lambda: [ledger().checkpoint(), ledger().checkpoint(log="police")], TEXT, _strict_checkpoint
    ),
    target_of("policy", _policies, TEXT, _policy),
    target_of("verifier-key", lambda: [log.verifier.vkey.encode() for log in POLICY.logs], [mutate_bytes], _vkey),
    target_of("proof", lambda: [ledger().receipt(index) for index in (1, 5)], TEXT, _proof),
    target_of("receipt", lambda: [ledger().receipt(5), ledger().receipt(6)], TEXT, _receipt),
    target_of(
        "tile-path",
        lambda: [b"tile/0/x001/x234/067", b"tile/entries/000.p/17", b"tile/63/x999/999", b"tile/1/000.p/255"],
        [mutate_bytes],
        _tile_path,
    ),
    target_of("entry-bundle", lambda: [encode_entries(ledger().entries[:8])], [mutate_bytes], _bundle_of_entries),
    target_of("evidence", lambda: [traced()[0].bundle(traced()[1]).to_bytes()], JSON, _evidence),
    target_of("accusation", lambda: [encode_evidence(each) for each in ACCUSATIONS], JSON, _accusation),
    target_of("presence", _answers, JSON, _answer),
    target_of("absence", _answers, JSON, _absence),
)
"""What the core takes from outside, byte for byte."""
