"""The backup's file: an uncompressed tar, its manifest first, then the files that the manifest names with their hashes.

    manifest.json   {"format": "tracemark-backup/1", "ledger", "party", "created", "height", "entries", "log_root", "floor",
                     "files": {name: {"bytes", "sha256"}}}
    data/ledger.db, data/votes.db, data/agency.db
    config/node.toml, genesis.json, policy.txt, identity.json, keys.sealed, node.pem

A backup comes from outside: names are of this list and no other, everything is bounded by the manifest and hashed. So its
headers are read here, of plain files alone: what `tarfile` also understands fills the memory by one long header, or the disk
by a hole.
"""

import hashlib
import io
import os
import re
import tarfile
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

import msgspec
from msgspec import Meta

from ledger.errors import ConfigurationError

MANIFEST: Final = "manifest.json"
DATABASES: Final = ("ledger.db", "votes.db", "agency.db")
CONFIG_FILES: Final = ("node.toml", "genesis.json", "policy.txt", "identity.json", "keys.sealed", "node.pem")
_NAMES: Final = frozenset([*(f"data/{name}" for name in DATABASES), *(f"config/{name}" for name in CONFIG_FILES)])
_MAX_MANIFEST_BYTES: Final = 64 * 1024
_MAX_EXTENSION_BYTES: Final = 4096
_SIZE_RECORD: Final = re.compile(rb"^\d+ size=(\d{1,16})$", re.MULTILINE)
_CHUNK_BYTES: Final = 1024 * 1024
_FILE_MODE: Final = 0o600

_Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Natural = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file's size and SHA-256 (hex)."""

    bytes: _Natural
    sha256: _Hash


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup is of, and what is in it. `created`: UTC; `floor`: (epoch, view) of the ledger's; `log_root` in hex."""

    format: Literal["tracemark-backup/1"]
    ledger: Annotated[str, Meta(pattern=r"^[!-~]{1,300}\Z")]
    party: Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
    created: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    height: _Natural
    entries: _Natural
    log_root: _Hash
    floor: tuple[_Natural, _Natural]
    files: dict[str, FileEntry]


_DECODER: Final = msgspec.json.Decoder(Manifest)


def describe_file(path: Path) -> FileEntry:
    """A file's entry in the manifest."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(bytes=size, sha256=digest.hexdigest())


def write_archive(target: Path, manifest: Manifest, files: dict[str, Path]) -> None:
    """Write a backup to a new file (0600), durable on return.

    Raises:
        ConfigurationError: codes `file_exists`, `unwritable_file`.
    """
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    partial = target.with_name(f".{target.name}.partial")
    try:
        if target.exists():
            raise FileExistsError
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                _add(archive, MANIFEST, io.BytesIO(data), len(data))
                for name, entry in manifest.files.items():
                    with files[name].open("rb") as content:
                        _add(archive, name, content, entry.bytes)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(partial, target)
    except FileExistsError as error:
        raise ConfigurationError(
            "the file is already there",
            code="file_exists",
            expected=f"nothing at {target}",
            help="Choose another name.",
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"the backup {target} cannot be written", code="unwritable_file", actual=error.strerror
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, name: str, content: io.IOBase, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, _FILE_MODE
    archive.addfile(info, content)


def extract_archive(source: Path, folder: Path) -> Manifest:
    """Unpack a backup into an existing empty folder, every file checked against the manifest.

    Raises:
        ConfigurationError: codes `missing_file`, `unreadable_file`, `bad_backup`.
    """
    try:
        with source.open("rb") as stream:
            manifest = _read_manifest(source, stream)
            for name, entry in manifest.files.items():
                _extract(stream, folder / name, entry, source=source)
            if _next_member(stream) is not None:
                raise bad_backup(source, "there is more in it than its manifest names")
    except FileNotFoundError as error:
        raise ConfigurationError("there is no backup", code="missing_file", expected=f"a file at {source}") from error
    except (tarfile.TarError, EOFError, UnicodeError, ValueError) as error:
        raise bad_backup(source, f"it is no whole tar file: {error}") from error
    except OSError as error:
        raise ConfigurationError(
            f"the backup {source} cannot be unpacked", code="unreadable_file", actual=error.strerror
        ) from error
    return manifest


def _next_member(stream: BinaryIO) -> tarfile.TarInfo | None:
    """The next file's header; None at the end. Its length stands in a header before it where it has 8 GiB or more.

    Raises:
        TarError: it is no plain file.
    """
    block = stream.read(tarfile.BLOCKSIZE)
    if not block.strip(b"\0"):
        return None
    member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    if member.type == tarfile.XHDTYPE and member.size <= _MAX_EXTENSION_BYTES:
        extension = _read(stream, member.size)
        _skip_padding(stream, member.size)
        member = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "strict")
        if (size := _SIZE_RECORD.search(extension)) is not None:
            member.size = int(size[1])
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise tarfile.ReadError("there is something in it that is no plain file")
    return member


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _skip_padding(stream: BinaryIO, size: int) -> None:
    stream.read(-size % tarfile.BLOCKSIZE)


def _read_manifest(source: Path, stream: BinaryIO) -> Manifest:
    member = _next_member(stream)
    if member is None or member.name != MANIFEST or member.size > _MAX_MANIFEST_BYTES:
        raise bad_backup(source, "it does not begin with a manifest")
    data = _read(stream, member.size)
    _skip_padding(stream, member.size)
    try:
        manifest = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_backup(source, f"its manifest cannot be read: {error}") from error
    missing = {*(f"data/{name}" for name in DATABASES), "config/genesis.json"} - manifest.files.keys()
    unknown = manifest.files.keys() - _NAMES
    if missing or unknown:
        raise bad_backup(source, f"its manifest lacks {sorted(missing)} and has {sorted(unknown)}")
    return manifest


def _extract(stream: BinaryIO, path: Path, entry: FileEntry, *, source: Path) -> None:
    name = f"{path.parent.name}/{path.name}"
    member = _next_member(stream)
    if member is None or member.name != name or member.size != entry.bytes:
        raise bad_backup(source, f"{name} is not there as the manifest says")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    digest, left = hashlib.sha256(), entry.bytes
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE), "wb") as target:
        while left:
            chunk = _read(stream, min(left, _CHUNK_BYTES))
            digest.update(chunk)
            target.write(chunk)
            left -= len(chunk)
        target.flush()
        os.fsync(target.fileno())
    _skip_padding(stream, entry.bytes)
    if digest.hexdigest() != entry.sha256:
        raise bad_backup(source, f"{name} is damaged", expected=entry.sha256, actual=digest.hexdigest())


def bad_backup(
    source: Path, what: str, *, expected: str | None = None, actual: str | None = None
) -> ConfigurationError:
    """The error of a backup that is not whole."""
    return ConfigurationError(
        f"{source} is no sound backup: {what}",
        code="bad_backup",
        expected=expected,
        actual=actual,
        help="Nothing was restored. Use another backup.",
    )
