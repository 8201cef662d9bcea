"""Sealed keys: one passphrase opens all, a wrong one none, and no byte can be changed unnoticed."""

import hashlib
import json

import nacl.exceptions
import pytest

from ledger.errors import ConfigurationError, SignatureError
from ledger.keyfile import DEFAULT_DERIVATION, NONCE_BYTES, SALT_BYTES, KeyDerivation, parse_key_file, seal, unseal
from ledger.signing import SigningKey

CHEAP = KeyDerivation(memory_bytes=8192, operations=1)
SEEDS = {
    f"customs/{role}": hashlib.sha256(role.encode()).digest() for role in ("record", "consensus", "cosigner", "log")
}
SALT, NONCE = bytes(range(SALT_BYTES)), bytes(range(NONCE_BYTES))
PASSPHRASE = "correct horse é".encode()
FILE = seal(SEEDS, PASSPHRASE, salt=SALT, nonce=NONCE, derivation=CHEAP)


def test_one_derivation_opens_all_keys() -> None:
    assert unseal(FILE, PASSPHRASE) == SEEDS
    public = {name: SigningKey(seed).public.hex() for name, seed in SEEDS.items()}
    assert parse_key_file(FILE).public == public
    assert all(seed.hex().encode() not in FILE for seed in SEEDS.values())


def test_default_costs() -> None:
    assert DEFAULT_DERIVATION.memory_bytes == 64 * 1024 * 1024
    assert unseal(seal(SEEDS, PASSPHRASE, salt=SALT, nonce=NONCE), PASSPHRASE) == SEEDS


@pytest.mark.parametrize("passphrase", [b"hunter2", PASSPHRASE + b"\n", PASSPHRASE[:-1]])
def test_wrong_passphrase(passphrase: bytes) -> None:
    with pytest.raises(ConfigurationError) as caught:
        unseal(FILE, passphrase)
    assert caught.value.code == "wrong_passphrase"
    assert passphrase.decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize("passphrase", [b"", b"x" * 1025])
def test_passphrases_out_of_bounds(passphrase: bytes) -> None:
    with pytest.raises(ConfigurationError, match="bad_passphrase"):
        unseal(FILE, passphrase)
    with pytest.raises(ConfigurationError, match="bad_passphrase"):
        seal(SEEDS, passphrase, salt=SALT, nonce=NONCE, derivation=CHEAP)


def test_no_changed_byte_opens() -> None:
    costs = FILE.index(b'"kdf"'), FILE.index(b'"nonce"')
    for at in range(len(FILE) - 1):
        if costs[0] <= at < costs[1]:
            continue  # other costs are tried below; a flipped digit here may ask for a gigabyte
        mutated = FILE[:at] + bytes([FILE[at] ^ 1]) + FILE[at + 1 :]
        with pytest.raises(ConfigurationError):
            unseal(mutated, PASSPHRASE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_bytes", 2**30 + 1),
        ("memory_bytes", 8191),
        ("memory_bytes", -1),
        ("operations", 0),
        ("operations", 17),
        ("name", "scrypt"),
    ],
)
def test_costs_out_of_bounds_are_refused_unpaid(field: str, value: object) -> None:
    document = json.loads(FILE)
    document["kdf"][field] = value
    with pytest.raises(ConfigurationError, match="bad_key_file"):
        unseal(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), PASSPHRASE)


def test_public_keys_of_others_are_noticed() -> None:
    document = json.loads(FILE)
    document["public"]["customs/log"] = document["public"]["customs/record"]
    with pytest.raises(ConfigurationError, match="bad_key_file"):
        unseal(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), PASSPHRASE)


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 100_000, FILE + b"\n", FILE[:-2], b"x" * 70_000])
def test_files_that_are_none(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="bad_key_file"):
        parse_key_file(data)


def test_sealing_refuses_what_cannot_be_opened() -> None:
    with pytest.raises(ConfigurationError, match="bad_key_file"):
        seal({}, PASSPHRASE, salt=SALT, nonce=NONCE, derivation=CHEAP)
    with pytest.raises(ConfigurationError, match="bad_key_file"):
        seal(SEEDS, PASSPHRASE, salt=SALT[:-1], nonce=NONCE, derivation=CHEAP)
    with pytest.raises(SignatureError, match="bad_key"):
        seal({"customs/log": b"short"}, PASSPHRASE, salt=SALT, nonce=NONCE, derivation=CHEAP)


def test_other_salt_or_nonce_makes_another_box() -> None:
    boxes = {
        parse_key_file(seal(SEEDS, PASSPHRASE, salt=salt, nonce=nonce, derivation=CHEAP)).box
        for salt in (SALT, SALT[::-1])
        for nonce in (NONCE, NONCE[::-1])
    }
    assert len(boxes) == 4


def test_a_machine_without_the_memory_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = seal({"a/record": bytes(32)}, b"secret", salt=bytes(SALT_BYTES), nonce=bytes(NONCE_BYTES), derivation=CHEAP)

    def without_memory(*arguments: object) -> bytes:
        raise nacl.exceptions.RuntimeError("Key derivation failed")

    monkeypatch.setattr("nacl.bindings.crypto_pwhash_alg", without_memory)
    with pytest.raises(ConfigurationError) as refused:
        unseal(data, b"secret")
    assert refused.value.code == "key_derivation_failed"
