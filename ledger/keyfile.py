"""Sealing private keys under a passphrase (DESIGN 12): Argon2id and SecretBox, several named keys in one file.

Pure: salt and nonce are passed in, fresh for every sealing, and reading, writing (mode 0600) and asking for the
passphrase are the caller's. One derivation opens all keys of a file, so that a node starts with one.

File (JSON): {"box": base64, "format": "tracemark-keys/1", "kdf": {"memory_bytes", "name": "argon2id", "operations"},
"nonce": base64, "public": {name: 64 hex digits}, "salt": base64}. The box holds the canonical JSON {name: seed in
hex}. A name says whose key it is and its role, such as "customs/record".
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
import nacl.bindings
import nacl.exceptions

from ledger.codec import b64decode, b64encode, decode, encode
from ledger.errors import ConfigurationError, EncodingError, SignatureError
from ledger.limits import (
    MAX_KEY_FILE_BYTES,
    MAX_KEY_FILE_MEMORY_BYTES,
    MAX_KEY_FILE_OPERATIONS,
    MAX_PASSPHRASE_BYTES,
)
from ledger.signing import SEED_BYTES, SigningKey

FORMAT: Final = "tracemark-keys/1"
SALT_BYTES: Final = nacl.bindings.crypto_pwhash_SALTBYTES
NONCE_BYTES: Final = nacl.bindings.crypto_secretbox_NONCEBYTES


class KeyDerivation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Argon2id's costs. The default is 64 MiB and three passes: libsodium's memory for interactive use, one pass
    more."""

    name: Literal["argon2id"] = "argon2id"
    memory_bytes: int = 64 * 1024 * 1024
    operations: int = 3


class KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key file as it stands on disk; what of it may be read without the passphrase is `public`."""

    format: Literal["tracemark-keys/1"]
    kdf: KeyDerivation
    salt: str
    nonce: str
    box: str
    public: dict[str, str]


DEFAULT_DERIVATION: Final = KeyDerivation()


def seal(
    seeds: Mapping[str, bytes],
    passphrase: bytes,
    *,
    salt: bytes,
    nonce: bytes,
    derivation: KeyDerivation = DEFAULT_DERIVATION,
) -> bytes:
    """The bytes of a key file that holds these keys.

    Args:
        seeds: at least one 32-byte Ed25519 seed, by name.
        passphrase: 1 to `MAX_PASSPHRASE_BYTES` bytes.
        salt: `SALT_BYTES` random bytes, fresh for this file.
        nonce: `NONCE_BYTES` random bytes, fresh for this file.
        derivation: its costs; tests take less than the default.

    Raises:
        ConfigurationError: codes `bad_passphrase`, `bad_key_file` (no keys; salt, nonce or costs out of range).
        SignatureError: code `bad_key`, for a seed of another size.
    """
    if not seeds:
        raise _bad_key_file("a key file needs at least one key")
    if len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
        raise _bad_key_file("wrong salt or nonce size", expected=f"{SALT_BYTES}, {NONCE_BYTES} bytes")
    public = _public_keys(seeds)
    plain = encode({name: seed.hex() for name, seed in seeds.items()})
    box = nacl.bindings.crypto_secretbox(plain, nonce, _derive(passphrase, salt, derivation))
    file = KeyFile(
        format=FORMAT,
        kdf=derivation,
        salt=b64encode(salt),
        nonce=b64encode(nonce),
        box=b64encode(box),
        public=public,
    )
    return encode(file) + b"\n"


def parse_key_file(data: bytes) -> KeyFile:
    """Parse a key file without opening it: canonical JSON, one newline at the end.

    Raises:
        ConfigurationError: code `bad_key_file`.
    """
    try:
        file: KeyFile = decode(data.removesuffix(b"\n"), KeyFile, limit=MAX_KEY_FILE_BYTES)
    except EncodingError as error:
        raise _bad_key_file(error.message, expected=error.expected, actual=error.actual) from error
    return file


def unseal(data: bytes, passphrase: bytes) -> dict[str, bytes]:
    """Open a key file: the 32-byte seeds of all its keys by name. Costs one derivation (about 0.1 s and 64 MiB by default).

    Raises:
        ConfigurationError: codes `wrong_passphrase`, `bad_passphrase`, `bad_key_file`.
    """
    file = parse_key_file(data)
    try:
        salt = b64decode(file.salt, size=SALT_BYTES, what="salt")
        nonce = b64decode(file.nonce, size=NONCE_BYTES, what="nonce")
        box = b64decode(file.box, what="box")
    except EncodingError as error:
        raise _bad_key_file(error.message, expected=error.expected, actual=error.actual) from error
    secret = _derive(passphrase, salt, file.kdf)
    try:
        opened = nacl.bindings.crypto_secretbox_open(box, nonce, secret)
    except nacl.exceptions.CryptoError as error:
        raise ConfigurationError(
            "the passphrase does not open the key file",
            code="wrong_passphrase",
            help="Check the passphrase file; if it is right, the key file is damaged: restore it from its backup.",
        ) from error
    seeds, public = _parse_seeds(opened)
    if public != file.public:
        raise _bad_key_file("the public keys beside the sealed ones are not theirs", help="Restore the backup.")
    return seeds


def _public_keys(seeds: Mapping[str, bytes]) -> dict[str, str]:
    return {name: SigningKey(seed).public.hex() for name, seed in seeds.items()}


def _parse_seeds(opened: bytes) -> tuple[dict[str, bytes], dict[str, str]]:
    try:
        plain: dict[str, str] = decode(opened, dict[str, str], limit=MAX_KEY_FILE_BYTES)
        seeds = {name: bytes.fromhex(seed) for name, seed in plain.items()}
        return seeds, _public_keys(seeds)
    except (EncodingError, SignatureError, ValueError) as error:
        raise _bad_key_file("the sealed keys are not keys", expected=f"seeds of {SEED_BYTES} bytes") from error


def _derive(passphrase: bytes, salt: bytes, derivation: KeyDerivation) -> bytes:
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise ConfigurationError(
            "the passphrase is empty or too long",
            code="bad_passphrase",
            expected=f"1 to {MAX_PASSPHRASE_BYTES} bytes",
            actual=len(passphrase),
        )
    bindings = nacl.bindings
    memory_ok = bindings.crypto_pwhash_argon2id_MEMLIMIT_MIN <= derivation.memory_bytes <= MAX_KEY_FILE_MEMORY_BYTES
    operations_ok = bindings.crypto_pwhash_argon2id_OPSLIMIT_MIN <= derivation.operations <= MAX_KEY_FILE_OPERATIONS
    if not memory_ok or not operations_ok:
        raise _bad_key_file(
            "the derivation's costs are out of range",
            expected=f"<= {MAX_KEY_FILE_MEMORY_BYTES} bytes, <= {MAX_KEY_FILE_OPERATIONS} operations",
            actual=f"{derivation.memory_bytes} bytes, {derivation.operations} operations",
        )
    try:
        key = bindings.crypto_pwhash_alg(
            bindings.crypto_secretbox_KEYBYTES,
            passphrase,
            salt,
            derivation.operations,
            derivation.memory_bytes,
            bindings.crypto_pwhash_ALG_ARGON2ID13,
        )
    except nacl.exceptions.RuntimeError as error:
        raise ConfigurationError(
            "the key file's derivation cannot be computed on this machine",
            code="key_derivation_failed",
            expected=f"{derivation.memory_bytes} bytes of free memory",
            help="Free memory, or seal the keys again with lower costs on a machine that has it.",
        ) from error
    return bytes(key)


def _bad_key_file(
    message: str,
    *,
    expected: object = None,
    actual: object = None,
    help: str | None = None,  # noqa: A002 - the error's public name
) -> ConfigurationError:
    return ConfigurationError(message, code="bad_key_file", expected=expected, actual=actual, help=help)
