"""Signed notes and verifier keys (c2sp.org/signed-note): text with signature lines, byte for byte as others write them.

This module knows plain Ed25519 signatures over the note text. Cosignatures, and what the text means, are
`ledger.checkpoint`'s; which keys count is `ledger.policy`'s.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger.codec import b64decode, b64encode
from ledger.errors import ConfigurationError, EncodingError, InternalError, SignatureError, VerificationError
from ledger.limits import MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES
from ledger.signing import PUBLIC_KEY_BYTES, SigningKey, verify

ED25519: Final = 0x01
"""Signature type: Ed25519 over the note text. The type of log keys."""
COSIGNATURE_V1: Final = 0x04
"""Signature type: timestamped Ed25519 cosignature of a checkpoint (c2sp.org/tlog-cosignature). The type of witness
keys."""

KEY_ID_BYTES: Final = 4
MAX_KEY_NAME_CHARS: Final = 255

_DASH: Final = "— "
_UNICODE_SPACES: Final = frozenset(
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)
"""White_Space of Unicode, a closed list, so that no verdict depends on the interpreter's tables."""
_CONTROLS: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


def compute_key_id(name: str, key_type: int, public: bytes) -> bytes:
    """First 4 bytes of SHA-256(name || 0x0A || type || public key)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes((key_type,)) + public).digest()[:KEY_ID_BYTES]


def is_key_name(name: str) -> bool:
    """Whether a name may stand in a signature line: not empty, no Unicode space, no plus, no control character."""
    return (
        0 < len(name) <= MAX_KEY_NAME_CHARS
        and "+" not in name
        and not _CONTROLS.search(name)
        and not _UNICODE_SPACES.intersection(name)
        and not any("\ud800" <= char <= "\udfff" for char in name)
    )


class NoteVerifier(msgspec.Struct, frozen=True, kw_only=True):
    """A public key by its name and signature type, as a verifier key ("vkey") writes it.

    Raises:
        ConfigurationError: code `bad_vkey`, where the name, the type or the key is not acceptable.
    """

    name: str
    key_type: int
    public: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise _bad_vkey("a key name is empty, too long, or has spaces or plus signs", actual=repr(self.name[:80]))
        if self.key_type not in (ED25519, COSIGNATURE_V1):
            raise _bad_vkey("unknown signature type", expected="1 (log) or 4 (cosignature)", actual=self.key_type)
        if len(self.public) != PUBLIC_KEY_BYTES:
            raise _bad_vkey("wrong public key size", expected=PUBLIC_KEY_BYTES, actual=len(self.public))

    @staticmethod
    def parse(vkey: str) -> "NoteVerifier":
        """Parse `name+hex(key id)+base64(type || public key)`; the key id must be the computed one.

        Raises:
            ConfigurationError: code `bad_vkey`.
        """
        match = _VKEY.fullmatch(vkey)
        if match is None:
            raise _bad_vkey(
                "not a verifier key", expected="name+hex(key id)+base64(type || key)", actual=repr(vkey[:120])
            )
        try:
            encoded = b64decode(match[3], size=1 + PUBLIC_KEY_BYTES, what="verifier key")
        except EncodingError as error:
            raise _bad_vkey(error.message, expected=error.expected, actual=error.actual) from error
        verifier = NoteVerifier(name=match[1], key_type=encoded[0], public=encoded[1:])
        if verifier.key_id.hex() != match[2]:
            raise _bad_vkey("the key id is not this key's", expected=verifier.key_id.hex(), actual=match[2])
        return verifier

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that open this key's signatures."""
        return compute_key_id(self.name, self.key_type, self.public)

    @property
    def vkey(self) -> str:
        """The verifier key's text."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes((self.key_type,)) + self.public)}"

    def matches(self, signature: "NoteSignature") -> bool:
        """Whether a signature line claims to be this key's: same name and same key id."""
        return signature.name == self.name and signature.key_id == self.key_id


class NoteSignature(msgspec.Struct, frozen=True, kw_only=True):
    """One signature line: the key's name and id, and what follows the id (64 bytes for Ed25519, 72 for a
    cosignature)."""

    name: str
    key_id: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.signature)}\n".encode()


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A signed note, verified by nobody yet. `text` ends in a newline; what was signed is its UTF-8."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """The note as it is written: text, blank line, signature lines."""
        return self.text + b"\n" + b"".join(signature.to_bytes() for signature in self.signatures)


class NoteSigner:
    """A private key that signs note texts under a name (type 0x01)."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: SigningKey) -> None:
        self.verifier = NoteVerifier(name=name, key_type=ED25519, public=key.public)
        self._key = key

    def sign(self, text: bytes) -> NoteSignature:
        """The signature line over a note text, which must end in a newline."""
        if not text.endswith(b"\n"):
            raise InternalError("a note text must end in a newline", code="bad_note_text")
        return NoteSignature(name=self.verifier.name, key_id=self.verifier.key_id, signature=self._key.sign(text))


def parse_note(data: bytes) -> Note:
    """Split a signed note at its last blank line and parse the signature lines.

    Bounds: `MAX_NOTE_BYTES`, `MAX_NOTE_SIGNATURES`. `parse_note(data).to_bytes() == data` always holds.

    Raises:
        VerificationError: code `bad_note`.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise _bad_note("the note is too large", expected=f"<= {MAX_NOTE_BYTES} bytes", actual=len(data))
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad_note("the note is not UTF-8", actual=f"byte {error.start}") from error
    control = _CONTROLS.search(decoded)
    if control is not None:
        raise _bad_note("a control character in the note", actual=repr(control[0]))
    split = decoded.rfind("\n\n")
    if split < 0:
        raise _bad_note("no blank line before the signatures")
    text, lines = decoded[: split + 1], decoded[split + 2 :]
    if not lines.endswith("\n"):
        raise _bad_note("the note does not end with a signature line and a newline")
    rows = lines[:-1].split("\n")
    if len(rows) > MAX_NOTE_SIGNATURES:
        raise _bad_note("too many signatures", expected=f"<= {MAX_NOTE_SIGNATURES}", actual=len(rows))
    return Note(text=text.encode("utf-8"), signatures=tuple(_parse_line(row) for row in rows))


def verify_note(note: Note, verifiers: Iterable[NoteVerifier]) -> tuple[NoteVerifier, ...]:
    """Verify a note against plain (type 0x01) keys and return those that signed it, each once, in the order of the
    lines.

    Lines of unknown keys are ignored; a line of a known key that fails rejects the note.

    Raises:
        VerificationError: codes `bad_signature`, `no_known_signature`.
    """
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signers: dict[NoteVerifier, None] = {}
    for line in note.signatures:
        verifier = known.get((line.name, line.key_id))
        if verifier is not None:
            verify_line(note.text, line, verifier)
            signers[verifier] = None
    if not signers:
        raise VerificationError(
            "no known key signed the note",
            code="no_known_signature",
            expected=[verifier.vkey for verifier in known.values()][:10],
            actual=[line.name for line in note.signatures][:10],
        )
    return tuple(signers)


def verify_line(message: bytes, line: NoteSignature, verifier: NoteVerifier) -> None:
    """Verify that a line's Ed25519 signature is this key's over `message`.

    Raises:
        VerificationError: code `bad_signature`.
    """
    try:
        verify(verifier.public, message, line.signature)
    except SignatureError as error:
        raise VerificationError(
            f"the signature of {verifier.name} does not verify",
            code="bad_signature",
            expected=f"a signature of {verifier.vkey}",
            help="The note was changed, or the key is another one.",
        ) from error


def _parse_line(row: str) -> NoteSignature:
    name, space, encoded = row.removeprefix(_DASH).partition(" ")
    if not row.startswith(_DASH) or not space or not is_key_name(name):
        raise _bad_note("not a signature line", expected="em dash, key name, base64", actual=repr(row[:120]))
    try:
        blob = b64decode(encoded, what="signature")
    except EncodingError as error:
        raise _bad_note(error.message, expected=error.expected, actual=repr(encoded[:120])) from error
    if len(blob) <= KEY_ID_BYTES:
        raise _bad_note("a signature without a signature", expected=f"> {KEY_ID_BYTES} bytes", actual=len(blob))
    return NoteSignature(name=name, key_id=blob[:KEY_ID_BYTES], signature=blob[KEY_ID_BYTES:])


def _bad_vkey(message: str, *, expected: object = None, actual: object = None) -> ConfigurationError:
    return ConfigurationError(message, code="bad_vkey", expected=expected, actual=actual)


def _bad_note(message: str, *, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(message, code="bad_note", expected=expected, actual=actual)
