"""A party's record key on disk: made, sealed in a file, opened again. What is signed with it is `client.author`'s.

A key file (`ledger.keyfile`) names its keys `<party>/<role>`; of an agency's file, which holds all its node's keys, only the
record key is used here, and the governance key for what the agency proposes and votes. Beside a new key lies its public half
with the proof of possession, for whoever enrols it.
"""

import secrets
from pathlib import Path
from typing import Final, Literal

import msgspec

from client.files import create_file, read_file, read_secret, require_absent
from ledger.codec import decode, encode
from ledger.errors import ConfigurationError, EncodingError, SignatureError
from ledger.keyfile import DEFAULT_DERIVATION, NONCE_BYTES, SALT_BYTES, KeyDerivation, seal, unseal
from ledger.limits import MAX_KEY_FILE_BYTES, MAX_PASSPHRASE_BYTES
from ledger.records.envelope import prove_possession, verify_possession
from ledger.records.fields import LedgerId, PartyId, PublicKey, Signature
from ledger.records.membership import NewKey
from ledger.signing import SEED_BYTES, SigningKey

SignerRole = Literal["record", "governance"]
_ROLE: Final = "record"
_MAX_PUBLIC_BYTES: Final = 4_096


class PublicHalf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a party hands to its sponsor: its new key, and proof that it has it, for one ledger. Canonical JSON."""

    ledger: LedgerId
    party: PartyId
    public: PublicKey
    proof: Signature

    @property
    def new_key(self) -> NewKey:
        """As it stands in a record."""
        return NewKey(public=self.public, proof=self.proof)


def create_key(
    path: Path, passphrase: bytes, *, party: str, ledger: str, derivation: KeyDerivation = DEFAULT_DERIVATION
) -> PublicHalf:
    """Make a record key: sealed in `path` (0600), its public half in `path` + `.public.json`. Nothing is overwritten.

    Raises:
        ConfigurationError: `file_exists`, `cannot_write`, `bad_passphrase`, `bad_party` (party or ledger id).
    """
    key = SigningKey(secrets.token_bytes(SEED_BYTES))
    proven = prove_possession(key, ledger=ledger, party=party, role=_ROLE)
    half = PublicHalf(ledger=ledger, party=party, public=proven.public, proof=proven.proof)
    try:
        decode(encode(half), PublicHalf, limit=_MAX_PUBLIC_BYTES)
    except EncodingError as error:
        raise ConfigurationError(
            "not a party's or not a ledger's id",
            code="bad_party",
            expected="a party such as maker-a and a ledger such as registry.example/weapons#0123456789abcdef",
            actual=f"party {party[:50]}, ledger {ledger[:150]}",
            help="The sponsoring agency tells the ledger's id; without --ledger a node is asked for it.",
        ) from error
    sealed = seal(
        {f"{party}/{_ROLE}": key.seed},
        passphrase,
        salt=secrets.token_bytes(SALT_BYTES),
        nonce=secrets.token_bytes(NONCE_BYTES),
        derivation=derivation,
    )
    require_absent(public_path(path))
    create_file(path, sealed)  # first: a public half whose key was never kept must not reach the sponsor
    create_file(public_path(path), encode(half), mode=0o644)
    return half


def public_path(path: Path) -> Path:
    """Where the public half of a key file lies."""
    return path.with_name(f"{path.name}.public.json")


def read_public_half(path: Path) -> PublicHalf:
    """A party's new key as it handed it over; its proof is verified.

    Raises:
        ConfigurationError: `cannot_read`, `bad_public_key`.
    """
    data = read_file(path, limit=_MAX_PUBLIC_BYTES, what="public key file").removesuffix(b"\n")
    try:
        half: PublicHalf = decode(data, PublicHalf, limit=_MAX_PUBLIC_BYTES)
        verify_possession(half.new_key, ledger=half.ledger, party=half.party, role=_ROLE)
    except (EncodingError, SignatureError) as error:
        raise ConfigurationError(
            f"{path} is not a public key with its proof: {error.message}",
            code="bad_public_key",
            help="It is the file that `tracemark key new` wrote beside the key.",
        ) from error
    return half


def open_key(
    path: Path, passphrase: bytes, *, party: str | None = None, role: SignerRole = "record"
) -> tuple[str, SigningKey]:
    """The party and its key from a key file. `party` chooses where the file holds those of several.

    Raises:
        ConfigurationError: `cannot_read`, `exposed_secret`, `no_record_key`, `no_governance_key`, or those of
            `ledger.keyfile.unseal`.
    """
    opened = unseal(read_secret(path, limit=MAX_KEY_FILE_BYTES, what="key file"), passphrase)
    keys = {name.removesuffix(f"/{role}"): seed for name, seed in opened.items() if name.endswith(f"/{role}")}
    found = party if party is not None else next(iter(keys)) if len(keys) == 1 else None
    if found is None or found not in keys:
        raise ConfigurationError(
            f"{path} does not hold the {role} key that is meant",
            code=f"no_{role}_key",
            expected=f"one {role} key" if party is None else f"{party}/{role}",
            actual=", ".join(sorted(opened)),
            help="Give --party, or the party's own key file; governance keys lie in keys.sealed of an agency's node.",
        )
    return found, SigningKey(keys[found])


def read_passphrase(path: Path) -> bytes:
    """A passphrase from a file that only its owner may read, without the newline at its end.

    Raises:
        ConfigurationError: those of `read_secret`; `bad_passphrase`.
    """
    passphrase = read_secret(path, limit=MAX_PASSPHRASE_BYTES + 2, what="passphrase file").rstrip(b"\r\n")
    if not passphrase:
        raise ConfigurationError(f"{path} is empty", code="bad_passphrase")
    return passphrase
