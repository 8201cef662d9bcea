"""One snapshot on disk: the documents of the state as they were after one block, in chunks, and where each chunk lies.

Two files. `<height>.documents` has the chunks one after the other, each a msgpack array of (kind, id, canonical JSON) in the
order of the hashed keys; `<height>.index` names the manifest, the chunks' roots and their ends. The index is written last,
and renamed into its place: without it there is no snapshot. Nothing in them is believed by whoever fetches them.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from ledger.errors import CorruptionError
from ledger.limits import MAX_FRAME_BYTES, MAX_PAGE_BYTES
from ledger.snapshot import SnapshotManifest

_INDEX: Final = ".index"
_DOCUMENTS: Final = ".documents"
_ENCODER: Final = msgspec.msgpack.Encoder()


class _Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    manifest: SnapshotManifest
    roots: bytes
    ends: list[int]


_INDICES: Final = msgspec.msgpack.Decoder(_Index)


class Snapshot:
    """A snapshot that can be read from any thread."""

    def __init__(self, folder: Path, index: _Index) -> None:
        """For this module's own use: see `write_snapshot` and `read_snapshots`."""
        self.manifest: Final = index.manifest
        self.roots: Final = index.roots
        self._ends: Final = index.ends
        self._path: Final = folder / f"{index.manifest.height}{_DOCUMENTS}"

    @property
    def total_bytes(self) -> int:
        """The documents' size on disk."""
        return self._ends[-1]

    def chunks(self, first: int, count: int) -> bytes | None:
        """Chunks from `first` on as one msgpack array, at most `count`, as many as fit `MAX_FRAME_BYTES`, but at least one;
        None if there is no such chunk.

        Raises:
            OSError: the file cannot be read, or has gone.
        """
        last = min(first + count, len(self._ends))
        if not 0 <= first < last:
            return None
        start = self._ends[first - 1] if first else 0
        while last > first + 1 and self._ends[last - 1] - start > MAX_FRAME_BYTES:
            last -= 1
        with self._path.open("rb") as stream:
            stream.seek(start)
            data = stream.read(self._ends[last - 1] - start)
        return array_header(last - first) + data


def write_snapshot(
    folder: Path, manifest: SnapshotManifest, roots: bytes, chunks: Iterable[Sequence[tuple[str, str, bytes]]]
) -> Snapshot | None:
    """Write a snapshot; None if one of its chunks is too large to be fetched.

    Raises:
        Exception: whatever `chunks` raises. OSError: it could not be written. Nothing of it takes up room then.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    documents, index = (folder / f"{manifest.height}{suffix}" for suffix in (_DOCUMENTS, _INDEX))
    temporary = index.with_suffix(".new")
    is_made = False
    try:
        ends = _write_chunks(documents, chunks)
        if ends is None:
            return None
        value = _Index(manifest=manifest, roots=roots, ends=ends)
        with _private(temporary) as stream:
            stream.write(_ENCODER.encode(value))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(index)
        is_made = True
    finally:
        if not is_made:  # above all where the disk is full: the ledger needs the room
            for path in (documents, temporary):
                path.unlink(missing_ok=True)
    return Snapshot(folder, value)


def _write_chunks(path: Path, chunks: Iterable[Sequence[tuple[str, str, bytes]]]) -> list[int] | None:
    """Where each chunk ends; None if one is too large."""
    ends: list[int] = []
    with _private(path) as stream:
        end = 0
        for chunk in chunks:
            data = _ENCODER.encode(chunk)
            if len(data) >= MAX_PAGE_BYTES - MAX_FRAME_BYTES // 2:
                return None
            stream.write(data)
            end += len(data)
            ends.append(end)
        stream.flush()
        os.fsync(stream.fileno())
    return ends


def read_snapshots(folder: Path) -> tuple[list[Snapshot], list[CorruptionError]]:
    """The snapshots in a folder, by rising height, and what is wrong with those that are none.

    Raises:
        OSError: the folder cannot be read.
    """
    found, damaged = [], []
    for path in folder.glob(f"*{_INDEX}") if folder.exists() else ():
        try:
            found.append(_read_snapshot(folder, path))
        except CorruptionError as error:
            damaged.append(error)
    return sorted(found, key=lambda snapshot: snapshot.manifest.height), damaged


def _read_snapshot(folder: Path, path: Path) -> Snapshot:
    try:
        index = _INDICES.decode(path.read_bytes())
        documents = folder / f"{index.manifest.height}{_DOCUMENTS}"
        is_whole = bool(index.ends) and documents.exists() and documents.stat().st_size == index.ends[-1]
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptionError(f"{path} is no index of a snapshot", actual=error) from error
    except OSError as error:
        raise CorruptionError(f"{path} or its documents cannot be read", actual=error.strerror) from error
    if not is_whole:
        raise CorruptionError(f"the documents of {path} are not there, or not whole")
    return Snapshot(folder, index)


def forget_others(folder: Path, kept: Iterable[int]) -> list[OSError]:
    """Delete every file but those of the snapshots of the heights `kept`, indices first. Folders are somebody else's.

    Returns why some cannot be deleted.

    Raises:
        OSError: the folder cannot be read.
    """
    names = {f"{height}{suffix}" for height in kept for suffix in (_INDEX, _DOCUMENTS)}
    others = [path for path in folder.iterdir() if path.name not in names] if folder.exists() else []
    failed = []
    for path in sorted(others, key=lambda path: path.suffix != _INDEX):
        try:
            path.unlink(missing_ok=True)
        except IsADirectoryError:
            continue
        except OSError as error:
            failed.append(error)
    return failed


def array_header(count: int) -> bytes:
    """The first bytes of a msgpack array of `count` items (the format's fixarray, array 16 and array 32)."""
    if count < 16:
        return bytes([0x90 | count])
    return b"\xdc" + count.to_bytes(2) if count < 1 << 16 else b"\xdd" + count.to_bytes(4)


def _private(path: Path) -> BinaryIO:
    """A new file that is nobody else's, in place of one that may be there."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
