"""Signed notes and verifier keys: one spelling, unknown lines ignored, known lines that fail refused."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import b64encode
from ledger.errors import ConfigurationError, InternalError, VerificationError
from ledger.limits import MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES
from ledger.notes import (
    COSIGNATURE_V1,
    ED25519,
    Note,
    NoteSignature,
    NoteSigner,
    NoteVerifier,
    compute_key_id,
    is_key_name,
    parse_note,
    verify_note,
)
from ledger.signing import SigningKey

TESSERA_VKEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"


def key(number: int) -> SigningKey:
    return SigningKey(hashlib.sha256(b"key %d" % number).digest())


def signer(name: str, number: int) -> NoteSigner:
    return NoteSigner(name, key(number))


ALICE = signer("example.com/alice", 1)
BOB = signer("example.com/bob", 2)
TEXT = "Ognuno sta solo\n\ned è subito sera.\n".encode()
NOTE = Note(text=TEXT, signatures=(ALICE.sign(TEXT), BOB.sign(TEXT)))


def test_known_verifier_key() -> None:
    verifier = NoteVerifier.parse(TESSERA_VKEY)
    assert (verifier.name, verifier.key_type, verifier.key_id.hex()) == (
        "example.com/log/testdata",
        ED25519,
        "33d7b496",
    )
    assert verifier.vkey == TESSERA_VKEY
    assert compute_key_id(verifier.name, ED25519, verifier.public) == verifier.key_id


def test_no_changed_character_of_a_verifier_key_parses_to_the_same_key() -> None:
    for at, char in enumerate(TESSERA_VKEY):
        for other in {"A", "0", "+", "/", "=", " ", char.swapcase()} - {char}:
            changed = TESSERA_VKEY[:at] + other + TESSERA_VKEY[at + 1 :]
            with pytest.raises(ConfigurationError, match="bad_vkey"):
                NoteVerifier.parse(changed)
    for cut in (TESSERA_VKEY[:-1], TESSERA_VKEY + "=", TESSERA_VKEY + "\n", "+" + TESSERA_VKEY, ""):
        with pytest.raises(ConfigurationError, match="bad_vkey"):
            NoteVerifier.parse(cut)


@pytest.mark.parametrize("key_type", [0, 2, 5, 6, 255])
def test_other_key_types_are_refused(key_type: int) -> None:
    public = key(1).public
    vkey = f"a+{compute_key_id('a', key_type, public).hex()}+{b64encode(bytes([key_type]) + public)}"
    with pytest.raises(ConfigurationError, match="bad_vkey"):
        NoteVerifier.parse(vkey)


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\tb", "a\u00a0b", "a\u2003b", "a\u3000b", "a\nb", "a\x00", "x" * 256]
)
def test_names_that_no_key_may_have(name: str) -> None:
    assert not is_key_name(name)
    with pytest.raises(ConfigurationError):
        NoteVerifier(name=name, key_type=ED25519, public=key(1).public)


def test_round_trip_and_last_blank_line() -> None:
    data = NOTE.to_bytes()
    assert parse_note(data) == NOTE
    assert verify_note(NOTE, [ALICE.verifier, BOB.verifier]) == (ALICE.verifier, BOB.verifier)
    assert parse_note(data).text.count(b"\n\n") == 1, "the text's own blank line belongs to the text"


def test_unknown_keys_are_ignored_even_with_a_known_name_or_id() -> None:
    other = signer("example.com/alice", 3)
    same_id = NoteSignature(name="example.com/eve", key_id=ALICE.verifier.key_id, signature=b"junk")
    note = Note(text=TEXT, signatures=(other.sign(TEXT + b"x\n"), same_id, ALICE.sign(TEXT)))
    assert verify_note(parse_note(note.to_bytes()), [ALICE.verifier]) == (ALICE.verifier,)


def test_a_known_key_that_fails_rejects_the_note() -> None:
    note = Note(text=TEXT, signatures=(ALICE.sign(TEXT), BOB.sign(b"another text\n")))
    with pytest.raises(VerificationError, match="bad_signature"):
        verify_note(note, [ALICE.verifier, BOB.verifier])
    assert verify_note(note, [ALICE.verifier]) == (ALICE.verifier,)


def test_no_known_signature() -> None:
    with pytest.raises(VerificationError, match="no_known_signature"):
        verify_note(NOTE, [signer("example.com/carol", 4).verifier])
    with pytest.raises(VerificationError, match="no_known_signature"):
        verify_note(NOTE, [])


def test_repeated_lines_of_one_key_count_once() -> None:
    note = Note(text=TEXT, signatures=(ALICE.sign(TEXT), ALICE.sign(TEXT)))
    assert verify_note(note, [ALICE.verifier]) == (ALICE.verifier,)


def test_no_changed_byte_verifies_under_both_keys() -> None:
    data = NOTE.to_bytes()
    for at in range(len(data)):
        for changed in {data[at] ^ 1, data[at] ^ 0x80, 0x0A, 0x20} - {data[at]}:
            mutated = data[:at] + bytes([changed]) + data[at + 1 :]
            try:
                signers = verify_note(parse_note(mutated), [ALICE.verifier, BOB.verifier])
            except VerificationError:
                continue
            # A changed name or key id makes a line unknown: it may only be lost, never pass.
            assert len(signers) == 1
            assert parse_note(mutated).text == TEXT


SIGNATURE = ALICE.sign(TEXT).to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        TEXT + b"\n",
        TEXT + SIGNATURE,
        TEXT + b"\n" + SIGNATURE[:-1],
        TEXT + b"\n" + SIGNATURE + b"\n",
        TEXT + b"\n" + SIGNATURE + b"trailing",
        TEXT + b"\n" + SIGNATURE.replace("— ".encode(), b"- "),
        TEXT + b"\n" + SIGNATURE.replace("— ".encode(), "—".encode()),
        TEXT + b"\n" + SIGNATURE.replace(b"alice ", b"alice  "),
        TEXT + b"\n" + SIGNATURE.replace(b"alice", b"al+ice"),
        TEXT + b"\n" + "— alice AAAA\n".encode(),
        TEXT + b"\n" + "— alice AAAAAA==\n".encode(),
        TEXT + b"\n" + "— alice AAAAAAA\n".encode(),
        TEXT + b"\n" + "— alice AAAAAAB=\n".encode(),
        TEXT.replace(b"solo", b"so\tlo") + b"\n" + SIGNATURE,
        TEXT.replace(b"solo", b"so\rlo") + b"\n" + SIGNATURE,
        TEXT.replace(b"solo", b"so\x00lo") + b"\n" + SIGNATURE,
        TEXT.replace(b"solo", b"so\xfflo") + b"\n" + SIGNATURE,
        b"\xef\xbb\xbf" + TEXT + b"\n" + SIGNATURE[3:],
        TEXT + b"\n" + SIGNATURE * (MAX_NOTE_SIGNATURES + 1),
        b"x" * MAX_NOTE_BYTES + b"\n\n" + SIGNATURE,
    ],
)
def test_malformed_notes_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="bad_note"):
        parse_note(data)


def test_as_many_signatures_as_the_bound() -> None:
    assert len(parse_note(TEXT + b"\n" + SIGNATURE * MAX_NOTE_SIGNATURES).signatures) == MAX_NOTE_SIGNATURES


@given(st.binary(max_size=300))
def test_parsing_raises_only_our_error_and_keeps_every_byte(data: bytes) -> None:
    try:
        note = parse_note(data)
    except VerificationError:
        return
    assert note.to_bytes() == data


@given(st.text(max_size=60), st.lists(st.tuples(st.sampled_from(["a", "é", "x/y"]), st.binary(min_size=5)), min_size=1))
def test_whatever_is_written_parses_back(text: str, lines: list[tuple[str, bytes]]) -> None:
    body = "".join(char for char in text if char == "\n" or char >= " ").encode() + b"\n"
    rows = tuple(NoteSignature(name=name, key_id=blob[:4], signature=blob[4:]) for name, blob in lines)
    note = Note(text=body, signatures=rows)
    assert parse_note(note.to_bytes()) == note


def test_a_signer_refuses_a_text_without_newline() -> None:
    with pytest.raises(InternalError, match="bad_note_text"):
        ALICE.sign(b"text")


def test_key_types_make_different_key_ids() -> None:
    public = key(1).public
    log = NoteVerifier(name="a", key_type=ED25519, public=public)
    witness = NoteVerifier(name="a", key_type=COSIGNATURE_V1, public=public)
    assert log.key_id != witness.key_id
    assert NoteVerifier.parse(witness.vkey) == witness
