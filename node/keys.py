"""The node's private keys: sealed on disk, opened once at start with one Argon2id derivation (DESIGN 12).

Which role may sign what is decided by whoever is handed the key: consensus votes by the signing guard, checkpoints by the
log key, cosignatures by the cosigner, a link's opening by the transport key. Nothing here is ever printed.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import nacl.bindings

from ledger.errors import ConfigurationError
from ledger.genesis import Agency, keys_of
from ledger.keyfile import DEFAULT_DERIVATION, NONCE_BYTES, SALT_BYTES, KeyDerivation, seal, unseal
from ledger.limits import MAX_KEY_FILE_BYTES
from ledger.signing import ROLES, SEED_BYTES, Role, SigningKey
from node.config import NodeConfig, read_passphrase
from node.files import SECRET_MODE, read_secret, write_file

_PASSPHRASE_BYTES: Final = 32


class NodeKeys(msgspec.Struct, frozen=True, kw_only=True):
    """One agency's keys, one for each role (DESIGN 4.4)."""

    party: str
    record: SigningKey
    consensus: SigningKey
    cosigner: SigningKey
    log: SigningKey
    governance: SigningKey
    transport: SigningKey

    def of(self, role: Role) -> SigningKey:
        """The key of a role."""
        key: SigningKey = getattr(self, role)
        return key


def new_keys(party: str) -> NodeKeys:
    """Fresh keys for an agency, from the operating system's randomness."""
    return _assemble(party, {role: SigningKey(secrets.token_bytes(SEED_BYTES)) for role in ROLES})


def new_passphrase() -> bytes:
    """A passphrase for a machine to keep: 256 bits in hex."""
    return secrets.token_hex(_PASSPHRASE_BYTES).encode()


def seal_node_keys(
    keys: NodeKeys, passphrase: bytes, path: Path, *, derivation: KeyDerivation = DEFAULT_DERIVATION
) -> None:
    """Write the key file (0600, atomically, never over another).

    Raises:
        ConfigurationError: `file_exists`, `unwritable_file`, or those of `ledger.keyfile.seal`.
    """
    named = {_name(keys.party, role): keys.of(role).seed for role in ROLES}
    salt, nonce = nacl.bindings.randombytes(SALT_BYTES), nacl.bindings.randombytes(NONCE_BYTES)
    data = seal(named, passphrase, salt=salt, nonce=nonce, derivation=derivation)
    write_file(path, data, mode=SECRET_MODE)


def open_node_keys(path: Path, passphrase: bytes, *, party: str) -> NodeKeys:
    """Open a key file: one derivation for all six keys.

    Raises:
        ConfigurationError: `exposed_secret`, `missing_file`, `wrong_passphrase`, `bad_key_file`, or `missing_key` if it
        is not this party's.
    """
    opened = unseal(read_secret(path, limit=MAX_KEY_FILE_BYTES, what="key file"), passphrase)
    expected = sorted(_name(party, role) for role in ROLES)
    if sorted(opened) != expected:
        raise ConfigurationError(
            f"{path} does not hold the keys of {party}",
            code="missing_key",
            expected=", ".join(expected),
            actual=", ".join(sorted(opened)),
        )
    return _assemble(party, {role: SigningKey(opened[_name(party, role)]) for role in ROLES})


def load_keys(config: NodeConfig, agency: Agency) -> NodeKeys:
    """The keys that a configuration names, checked to be those of `agency`, as its identity shows it.

    Raises:
        ConfigurationError: as `open_node_keys` and `node.config.read_passphrase`; `wrong_keys` if they are other keys.
    """
    keys = open_node_keys(config.keys, read_passphrase(config), party=agency.party)
    for role, public in keys_of(agency):
        if keys.of(role).public.hex() != public.public:
            raise ConfigurationError(
                f"{config.keys}: the {role} key is not the one in this agency's identity",
                code="wrong_keys",
                expected=public.public,
                actual=keys.of(role).public.hex(),
                help="Use the key file that was made together with this agency's identity.",
            )
    return keys


def _assemble(party: str, keys: Mapping[Role, SigningKey]) -> NodeKeys:
    return NodeKeys(
        party=party,
        record=keys["record"],
        consensus=keys["consensus"],
        cosigner=keys["cosigner"],
        log=keys["log"],
        governance=keys["governance"],
        transport=keys["transport"],
    )


def _name(party: str, role: Role) -> str:
    return f"{party}/{role}"
