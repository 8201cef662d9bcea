"""Checkpoints and cosignatures: strict text, every byte signed, times stated."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    cosigned_message,
    parse_decimal,
    sign_checkpoint,
    verify_cosignature,
)
from ledger.codec import b64encode
from ledger.errors import InternalError, VerificationError
from ledger.notes import NoteSignature, NoteSigner, NoteVerifier, parse_note, verify_note
from tests.ledger.notebook import CHECKPOINT, COSIGNERS, LOGS, ORIGIN, ROOT, TIME_S, key, signed
from tests.shared import vectors

SUNLIGHT_WITNESS = "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN"
SUNLIGHT_LOG = "000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706"


def test_text_and_parse() -> None:
    assert CHECKPOINT.text == f"{ORIGIN}\n1234\n{b64encode(ROOT)}\n".encode()
    assert Checkpoint.parse(CHECKPOINT.text) == CHECKPOINT
    extended = CHECKPOINT.text + b"an extension\n"
    assert Checkpoint.parse(extended).extensions == ("an extension",)
    assert Checkpoint.parse(extended).text == extended


@pytest.mark.parametrize(
    "size", ["", "-1", "+1", "01", "1 ", " 1", "1.0", "1e3", "0x1", "1_0", "٣", str(2**63), "9" * 30]
)
def test_sizes_that_are_no_decimal(size: str) -> None:
    assert parse_decimal(size) is None
    with pytest.raises(VerificationError, match="bad_checkpoint"):
        Checkpoint.parse(f"{ORIGIN}\n{size}\n{b64encode(ROOT)}\n".encode())


def test_decimal_bounds() -> None:
    assert (parse_decimal("0"), parse_decimal(str(2**63 - 1))) == (0, 2**63 - 1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"origin\n1\n",
        b"\n1\n" + b64encode(ROOT).encode() + b"\n",
        b"origin\n1\n" + b64encode(ROOT).encode(),
        b"origin\n1\n" + b64encode(ROOT).encode() + b"\nan extension",
        b"origin\n1\n" + b64encode(ROOT).encode() + b"\n\n",
        b"origin\n1\n" + b64encode(ROOT).encode() + b"\n\nx\n",
        b"origin\n1\n" + b64encode(ROOT[:31]).encode() + b"\n",
        b"origin\n1\n" + b64encode(ROOT).rstrip("=").encode() + b"\n",
        b"origin\n1\n" + b64encode(ROOT).encode() + b" \n",
        b"ori\rgin\n1\n" + b64encode(ROOT).encode() + b"\n",
        b"\xff\n1\n" + b64encode(ROOT).encode() + b"\n",
    ],
)
def test_texts_that_are_no_checkpoint(text: bytes) -> None:
    with pytest.raises(VerificationError, match="bad_checkpoint"):
        Checkpoint.parse(text)


@given(st.binary(max_size=200))
def test_parsing_raises_only_our_error_and_keeps_every_byte(text: bytes) -> None:
    with suppress(VerificationError):
        assert Checkpoint.parse(text).text == text


def test_a_log_signs_its_own_origin_only() -> None:
    line = sign_checkpoint(CHECKPOINT, LOGS["police"])
    note = SignedCheckpoint.of(CHECKPOINT, [line]).note
    assert verify_note(note, [LOGS["police"].verifier]) == (LOGS["police"].verifier,)
    with pytest.raises(InternalError, match="wrong_origin"):
        sign_checkpoint(CHECKPOINT, NoteSigner("other.example", key("x")))


@pytest.mark.parametrize("time_s", [0, TIME_S, 2**63 - 1])
def test_cosignature_states_its_time(time_s: int) -> None:
    cosigner = COSIGNERS["customs"]
    line = cosigner.sign(CHECKPOINT.text, time_s=time_s)
    assert line.signature[:8] == time_s.to_bytes(8)
    assert verify_cosignature(CHECKPOINT.text, line, cosigner.verifier) == time_s


@pytest.mark.parametrize("time_s", [-1, 2**63])
def test_times_out_of_range_are_not_signed(time_s: int) -> None:
    with pytest.raises(InternalError, match="bad_cosignature_time"):
        COSIGNERS["customs"].sign(CHECKPOINT.text, time_s=time_s)


def test_no_changed_byte_of_a_cosignature_verifies() -> None:
    cosigner = COSIGNERS["customs"]
    line = cosigner.sign(CHECKPOINT.text, time_s=TIME_S)
    blob = line.signature
    changed = [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in range(len(blob))]
    for signature in (*changed, blob[:-1], blob + b"\x00", blob[8:], b""):
        other = NoteSignature(name=line.name, key_id=line.key_id, signature=signature)
        with pytest.raises(VerificationError, match="bad_signature"):
            verify_cosignature(CHECKPOINT.text, other, cosigner.verifier)
    for text in (CHECKPOINT.text + b"x\n", CHECKPOINT.text[:-1], b""):
        with pytest.raises(VerificationError, match="bad_signature"):
            verify_cosignature(text, line, cosigner.verifier)


def test_a_signed_time_out_of_range_is_refused() -> None:
    witness, time_s = COSIGNERS["customs"].verifier, 2**63
    blob = time_s.to_bytes(8) + key("customs/cosigner").sign(cosigned_message(CHECKPOINT.text, time_s))
    line = NoteSignature(name=witness.name, key_id=witness.key_id, signature=blob)
    with pytest.raises(VerificationError, match="malformed"):
        verify_cosignature(CHECKPOINT.text, line, witness)


def test_a_cosignature_is_no_log_signature_and_of_one_witness() -> None:
    line = COSIGNERS["customs"].sign(CHECKPOINT.text, time_s=TIME_S)
    for verifier in (COSIGNERS["police"].verifier, LOGS["customs"].verifier):
        with pytest.raises(VerificationError, match="wrong_key"):
            verify_cosignature(CHECKPOINT.text, line, verifier)


def test_signed_checkpoint_round_trip() -> None:
    data = signed()
    parsed = SignedCheckpoint.parse(data)
    assert parsed.checkpoint == CHECKPOINT
    assert parsed.to_bytes() == data
    assert len(parsed.note.signatures) == 5


def test_sunlight_witness_cosignature() -> None:
    witness = NoteVerifier.parse(SUNLIGHT_WITNESS)
    note = parse_note(vectors("tlog", "sunlight", "witness", SUNLIGHT_LOG, "checkpoint").read_bytes())
    log_line, witness_line = note.signatures
    assert log_line.name == Checkpoint.parse(note.text).origin, "an RFC 6962 line, of a key type we do not know"
    assert verify_cosignature(note.text, witness_line, witness) == 1_767_139_200
