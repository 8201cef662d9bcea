"""Files that operators and users hand over: configuration, profiles, identities, journals, backups, certificates. Each input
is written to one file again and again, since that is how they come."""

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from client.journal import Journal
from client.profile import load_settings
from ledger.codec import b64encode, encode
from ledger.errors import ConfigurationError
from ledger.genesis import Agency
from ledger.marks import check_serial, look_alikes, normalise, weapon_id
from node.backup.archive import DATABASES, Manifest, describe_file, extract_archive, write_archive
from node.config import Address, load_config
from node.files import SECRET_MODE
from node.peers.certificates import (
    agency_authority,
    check_node_certificate,
    issue_certificate,
    issuer_of,
    new_authority,
    public_key_hash,
)
from node.service.ceremony import new_identity, read_identity
from node.service.profiles import parse_profile, profile_of
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_lines
from tests.fuzz.parsers import TEXT, target_of
from tests.node.test_config import FULL
from tests.world import GENESIS, START_MS


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")  # written a million times
    folder = tempfile.TemporaryDirectory(prefix="tracemark-fuzz-", dir=memory if memory.is_dir() else None)
    _KEPT.append(folder)  # removed with the process
    return Path(folder.name)


_KEPT: Final[list[tempfile.TemporaryDirectory[str]]] = []


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Reads the input from a file of this name."""

    def feed(data: bytes) -> object:
        path = _folder() / name
        if not path.exists():
            path.touch(mode=SECRET_MODE)
        path.write_bytes(data)
        return read(path)

    return feed


def _configuration(path: Path) -> None:
    config = load_config(path)
    assert config.data_dir.is_absolute()
    assert Address.parse(str(config.api.listen)) == config.api.listen


_PROFILE: Final = b"""node = ["https://registry.example:8443", "https://other.example"]
policy = "policy.txt"
ca = "ca.pem"
token_file = "token"
key = "maker.key"
party = "maker"
passphrase_file = "passphrase"
purpose = "criminal investigation"
case = "26-1178"
"""


def _profile(path: Path) -> None:
    settings = load_settings({}, profile=path, environment={})
    for use in (settings.require_policy, settings.read_token):
        try:
            use()
        except ConfigurationError as error:
            assert error.code in ("no_policy", "cannot_read", "bad_token", "exposed_secret")


@cache
def _identity() -> bytes:
    made = new_identity(
        "customs",
        origin="tracemark.test/log",
        name="Customs",
        jurisdiction="AA",
        profile=profile_of("customs"),
        hosts=(),
        now_ms=START_MS,
    )
    return encode(made.agency)


def _journal(path: Path) -> None:
    class Here(Journal):
        @property
        def path(self) -> Path:
            return path

    journal = Here(path.parent, ledger="l", party="maker", lots=())
    journal._path = path
    journal._count = 2
    entries = journal.read()
    assert entries is not None
    assert len(entries) == 2


@cache
def _sound_backup() -> bytes:
    """A small one: what is in the databases is looked at later."""
    files = {"config/genesis.json": _folder() / "genesis.json"} | {f"data/{n}": _folder() / n for n in DATABASES}
    for name, path in files.items():
        path.write_bytes(name.encode() * 40)
    manifest = Manifest(
        format="tracemark-backup/1",
        ledger=GENESIS.ledger_id,
        party="customs",
        created="2026-11-21T10:00:00Z",
        height=4,
        entries=10,
        log_root="00" * 32,
        floor=(0, 4),
        files={name: describe_file(path) for name, path in files.items()},
    )
    target = _folder() / "sound.tar"
    write_archive(target, manifest, files)
    return target.read_bytes()


def _backup(path: Path) -> None:
    """What is unpacked is what the manifest says, and nothing lies elsewhere."""
    folder = _folder() / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    manifest = extract_archive(path, folder)
    unpacked = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    assert {name: describe_file(file) for name, file in unpacked.items()} == manifest.files


# --- certificates -----------------------------------------------------------------------------------------------------


@cache
def _authority_der() -> bytes:
    return new_authority("customs", now_ms=START_MS).der


def _authority(data: bytes) -> None:
    agency = msgspec.structs.replace(_customs(), ca=b64encode(data))
    certificate = agency_authority(agency)
    assert certificate.subject.rfc4514_string() == "CN=customs authority"


def _customs() -> Agency:
    return GENESIS.agencies[0]


@cache
def _issued() -> tuple[x509.Certificate, bytes, bytes, bytes]:
    """An authority, and a certificate of it: DER, PEM, its key."""
    authority = new_authority("customs", now_ms=START_MS)
    node = issue_certificate(authority, (), now_ms=START_MS)
    der = node.certificate.public_bytes(serialization.Encoding.DER)
    return authority.certificate, der, node.certificate_pem, node.key_pem


def _peer_certificate(data: bytes) -> None:
    """What a handshake let through: of whom it is, and what the opening is bound to."""
    issuer_of(data, {"customs": _issued()[0]})
    assert public_key_hash(data) == public_key_hash(_issued()[1]), "under no authority"


def _pem(path: Path) -> None:
    """A certificate's file, the other half as it should be; or a key's."""
    certificate, key, agency = _sound_pem()
    if b"PRIVATE" in path.read_bytes():
        check_node_certificate(certificate, path, agency)
    else:
        check_node_certificate(path, key, agency)


@cache
def _sound_pem() -> tuple[Path, Path, Agency]:
    """A node's two files, and its agency."""
    authority, _, pem, key = _issued()
    files = _folder() / "sound.pem", _folder() / "sound.key"
    for file, data in zip(files, (pem, key), strict=True):
        file.touch(mode=SECRET_MODE)
        file.write_bytes(data)
    agency = msgspec.structs.replace(_customs(), ca=b64encode(authority.public_bytes(serialization.Encoding.DER)))
    return *files, agency


def _words(data: bytes) -> None:
    """What people type: roles, addresses, serials."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (parse_profile, Address.parse):
        try:
            read(text)
        except ConfigurationError as error:
            assert error.expected
    serial = normalise(text)
    check_serial(serial)
    assert normalise(serial) == serial
    assert weapon_id("GLC", serial, "").startswith("w")
    look_alikes(serial)


FILES: Final = (
    target_of(
        "configuration", lambda: [FULL.encode(), b'party = "customs"\n'], TEXT, _in_file("node.toml", _configuration)
    ),
    target_of("profile", lambda: [_PROFILE], TEXT, _in_file("profile.toml", _profile)),
    target_of(
        "identity",
        lambda: [_identity()],
        (mutate_json, mutate_json, mutate_bytes),
        _in_file("identity.json", read_identity),
    ),
    target_of(
        "journal",
        lambda: [b'{"entries":["aGVsbG8=","d29ybGQ="]}'],
        (mutate_json, mutate_bytes),
        _in_file("journal.json", _journal),
    ),
    target_of("backup", lambda: [_sound_backup()], (mutate_bytes,), _in_file("backup.tar", _backup)),
    target_of("authority", lambda: [_authority_der()], (mutate_bytes,), _authority),
    target_of("peer-certificate", lambda: [_issued()[1]], (mutate_bytes,), _peer_certificate),
    target_of("pem", lambda: [_issued()[2], _issued()[3]], (mutate_lines, mutate_bytes), _in_file("node.pem", _pem)),
    target_of(
        "words",
        lambda: [b"customs=customs:importer,carrier", b"[::1]:7443", b"ab-12 34/7", "А123Б ٣".encode()],
        (mutate_bytes, mutate_lines),
        _words,
    ),
)
"""What is read from files, and what people type."""
