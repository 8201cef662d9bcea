"""Checkpoints and their cosignatures (c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature, DESIGN 6).

A checkpoint is the text of a signed note: origin, size, root. A log key (type 0x01, named by the origin) signs the
text; a witness key (type 0x04) signs it with a time. Which keys suffice is `ledger.policy`'s; when a validator may
cosign is the node's.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger.codec import b64decode, b64encode
from ledger.errors import EncodingError, InternalError, VerificationError
from ledger.limits import MAX_CHECKPOINT_TEXT_CHARS
from ledger.merkle.hashing import HASH_BYTES
from ledger.notes import COSIGNATURE_V1, Note, NoteSignature, NoteSigner, NoteVerifier, parse_note, verify_line
from ledger.signing import SIGNATURE_BYTES, SigningKey

MAX_SIZE: Final = 2**63 - 1
"""Sizes, indices and times of the text formats fit a signed 64-bit number, which is what others parse them into."""

COSIGNATURE_BYTES: Final = 8 + SIGNATURE_BYTES
"""A cosignature after its key id: the time in seconds (unsigned, big-endian) and the signature."""

_ROOT_LINE_CHARS: Final = len(b64encode(bytes(HASH_BYTES))) + 1
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LINE_CONTROLS: Final = re.compile(r"[\x00-\x1f]")


def parse_decimal(text: str) -> int | None:
    """A strict ASCII decimal without leading zeros, at most `MAX_SIZE`; None where it is not one."""
    if _DECIMAL.fullmatch(text) is None:
        return None
    number = int(text)
    return number if number <= MAX_SIZE else None


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A tree head: the log's origin, its size in entries, its root hash. Our own checkpoints have no extension lines.

    Raises:
        VerificationError: code `bad_checkpoint`, where the values have no checkpoint text.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(line and not _LINE_CONTROLS.search(line) for line in (self.origin, *self.extensions)):
            raise _bad_checkpoint("an empty line, or a control character, in the checkpoint")
        if not 0 <= self.size <= MAX_SIZE:
            raise _bad_checkpoint("no such size", expected="0 to 2**63 - 1", actual=self.size)
        if len(self.root) != HASH_BYTES:
            raise _bad_checkpoint("wrong root size", expected=f"{HASH_BYTES} bytes", actual=len(self.root))
        chars = sum(len(line) + 1 for line in (self.origin, str(self.size), *self.extensions)) + _ROOT_LINE_CHARS
        if chars > MAX_CHECKPOINT_TEXT_CHARS:  # what cannot stand in evidence is not believed either
            raise _bad_checkpoint(
                "the checkpoint is too long", expected=f"<= {MAX_CHECKPOINT_TEXT_CHARS} characters", actual=chars
            )

    @property
    def text(self) -> bytes:
        """The note text: what is signed."""
        lines = (self.origin, str(self.size), b64encode(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @staticmethod
    def parse(text: bytes) -> "Checkpoint":
        """Parse a note text. `Checkpoint.parse(text).text == text` always holds.

        Raises:
            VerificationError: code `bad_checkpoint`.
        """
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _bad_checkpoint("the checkpoint is not UTF-8", actual=f"byte {error.start}") from error
        if not decoded.endswith("\n"):
            raise _bad_checkpoint("the checkpoint does not end in a newline")
        lines = decoded[:-1].split("\n")
        if len(lines) < 3:
            raise _bad_checkpoint("too few lines", expected="origin, size, root", actual=f"{len(lines)} lines")
        size = parse_decimal(lines[1])
        if size is None:
            raise _bad_checkpoint(
                "the size is no decimal number", expected="0 to 2**63 - 1", actual=repr(lines[1][:80])
            )
        try:
            root = b64decode(lines[2], size=HASH_BYTES, what="root hash")
        except EncodingError as error:
            raise _bad_checkpoint(error.message, expected=error.expected, actual=repr(lines[2][:80])) from error
        return Checkpoint(origin=lines[0], size=size, root=root, extensions=tuple(lines[3:]))


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint with signature lines that nobody has verified yet."""

    checkpoint: Checkpoint
    note: Note

    @staticmethod
    def parse(data: bytes) -> "SignedCheckpoint":
        """Parse a signed note whose text is a checkpoint.

        Raises:
            VerificationError: codes `bad_note`, `bad_checkpoint`.
        """
        note = parse_note(data)
        return SignedCheckpoint(checkpoint=Checkpoint.parse(note.text), note=note)

    @staticmethod
    def of(checkpoint: Checkpoint, signatures: Iterable[NoteSignature]) -> "SignedCheckpoint":
        """A checkpoint with these lines, in this order."""
        return SignedCheckpoint(checkpoint=checkpoint, note=Note(text=checkpoint.text, signatures=tuple(signatures)))

    def to_bytes(self) -> bytes:
        """The signed note."""
        return self.note.to_bytes()


def sign_checkpoint(checkpoint: Checkpoint, log: NoteSigner) -> NoteSignature:
    """The log's own line. The key's name must be the origin (DESIGN 6).

    Raises:
        InternalError: code `wrong_origin`.
    """
    if log.verifier.name != checkpoint.origin:
        raise InternalError(
            "a log key signs its own origin only",
            code="wrong_origin",
            expected=log.verifier.name,
            actual=checkpoint.origin,
        )
    return log.sign(checkpoint.text)


class Cosigner:
    """A private witness key under its name (type 0x04)."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: SigningKey) -> None:
        self.verifier = NoteVerifier(name=name, key_type=COSIGNATURE_V1, public=key.public)
        self._key = key

    def sign(self, text: bytes, *, time_s: int) -> NoteSignature:
        """The cosignature line over a checkpoint text, stating a time in seconds since 1970 (0 to 2**63 - 1).

        Raises:
            InternalError: code `bad_cosignature_time`.
        """
        if not 0 <= time_s <= MAX_SIZE:
            raise InternalError(
                "no such cosignature time", code="bad_cosignature_time", expected="0 to 2**63 - 1", actual=time_s
            )
        signature = time_s.to_bytes(8) + self._key.sign(cosigned_message(text, time_s))
        return NoteSignature(name=self.verifier.name, key_id=self.verifier.key_id, signature=signature)


def cosigned_message(text: bytes, time_s: int) -> bytes:
    """What a cosignature/v1 signs: header line, time line, checkpoint text."""
    return b"cosignature/v1\ntime %d\n%b" % (time_s, text)


def verify_cosignature(text: bytes, line: NoteSignature, witness: NoteVerifier) -> int:
    """Verify one cosignature line of this witness over a checkpoint text; return its time in seconds since 1970.

    Raises:
        VerificationError: codes `wrong_key`, `bad_signature`.
    """
    if witness.key_type != COSIGNATURE_V1 or not witness.matches(line):
        raise VerificationError(
            "the line is not this witness's", code="wrong_key", expected=witness.vkey, actual=line.name
        )
    if len(line.signature) != COSIGNATURE_BYTES:
        raise _bad_cosignature(witness, expected=f"{COSIGNATURE_BYTES} bytes", actual=len(line.signature))
    time_s = int.from_bytes(line.signature[:8])
    if time_s > MAX_SIZE:
        raise _bad_cosignature(witness, expected="a time of at most 2**63 - 1", actual=time_s)
    inner = NoteSignature(name=line.name, key_id=line.key_id, signature=line.signature[8:])
    verify_line(cosigned_message(text, time_s), inner, witness)
    return time_s


def _bad_checkpoint(message: str, *, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(message, code="bad_checkpoint", expected=expected, actual=actual)


def _bad_cosignature(witness: NoteVerifier, *, expected: object, actual: object) -> VerificationError:
    return VerificationError(
        f"the cosignature of {witness.name} is malformed", code="bad_signature", expected=expected, actual=actual
    )
