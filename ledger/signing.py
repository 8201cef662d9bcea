"""Ed25519 with one rule, and keys by role (DESIGN 4.4). Nothing else in Tracemark verifies a signature.

The rule is libsodium's: S < L, canonical A and R, no small-order A or R, cofactorless. It is pinned by vectors in the
tests.
"""

import hashlib
from typing import Final, Literal

import nacl.bindings
import nacl.exceptions

from ledger.errors import SignatureError

Role = Literal["record", "consensus", "cosigner", "log", "governance", "transport"]
"""One key, one role, ever. (TLS certificates are made apart; `transport` signs the opening challenge of a link.)"""

ROLES: Final[tuple[Role, ...]] = ("record", "consensus", "cosigner", "log", "governance", "transport")
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEED_BYTES: Final = 32


class SigningKey:
    """An Ed25519 private key. Its text forms never show the secret."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise SignatureError("wrong seed size", code="bad_key", expected=SEED_BYTES, actual=len(seed))
        public, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
        self.public: bytes = public
        self._secret: bytes = secret

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message` (deterministic, RFC 8032)."""
        return bytes(nacl.bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES])

    @property
    def seed(self) -> bytes:
        """The 32-byte seed, for sealing in a key file only."""
        return self._secret[:SEED_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Verify one signature by the one rule.

    Args:
        public: 32 bytes.
        message: the signed bytes.
        signature: 64 bytes.

    Raises:
        SignatureError: code `bad_signature` (or `bad_key` for a key of the wrong size).
    """
    if len(public) != PUBLIC_KEY_BYTES:
        raise SignatureError("wrong public key size", code="bad_key", expected=PUBLIC_KEY_BYTES, actual=len(public))
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError("wrong signature size", expected=SIGNATURE_BYTES, actual=len(signature))
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except (nacl.exceptions.BadSignatureError, ValueError) as error:
        raise SignatureError("the signature does not verify", help="Check the key and that no byte changed.") from error


def is_valid(public: bytes, message: bytes, signature: bytes) -> bool:
    """`verify` as a question, for tallies that count rather than refuse."""
    try:
        verify(public, message, signature)
    except SignatureError:
        return False
    return True


def key_id(public: bytes) -> str:
    """DSSE key id: first 16 hex digits of SHA-256(public key) (DESIGN 4.1)."""
    return hashlib.sha256(public).hexdigest()[:16]


def public_from_hex(text: str) -> bytes:
    """A public key from its 64 lower-case hex digits.

    Raises:
        SignatureError: code `bad_key`.
    """
    try:
        public = bytes.fromhex(text)
    except ValueError:
        public = b""
    if len(public) != PUBLIC_KEY_BYTES or public.hex() != text:
        raise SignatureError(
            "not a public key", code="bad_key", expected="64 lower-case hex digits", actual=repr(text[:80])
        )
    return public
