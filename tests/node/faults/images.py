"""Crash images: a node's files as they stand at any write point, and with a commit's last write torn."""

import shutil
from pathlib import Path
from typing import Final

import msgspec

from tests.node.faults.points import Name, Plan, Point

DATABASES: Final = ("ledger", "votes", "agency")
_FRAME_BYTES: Final = 24 + 8192
_SECTOR_BYTES: Final = 512


class Image(msgspec.Struct, frozen=True):
    """Files by name, at a write point. `torn`: in which way the newest write is not whole, "" if it is. `seen`: how many of
    the things that the outside had seen by then."""

    point: Point
    files: dict[str, bytes]
    torn: str
    seen: int

    def restore(self, folder: Path) -> None:
        """Put the files where a node finds them."""
        folder.mkdir(parents=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


class Camera:
    """Photographs a folder's databases before every write point, and after every commit in torn forms."""

    def __init__(self, folder: Path, seen: list[object]) -> None:
        """`seen`: what the outside has seen so far; grows as the node runs."""
        self.plan = Plan(folder, before=self._before, after=self._after)
        self.images: list[Image] = []
        self.points: dict[Name, int] = {}
        self._folder = folder
        self._seen = seen
        self._last: dict[str, bytes] = {}
        self._at_begin: dict[str, bytes] = {}

    def _files(self) -> dict[str, bytes]:
        """No shared-memory files: the kernel's, which a crash of the machine takes."""
        found = (self._folder / f"{name}.db{suffix}" for name in DATABASES for suffix in ("", "-wal"))
        return {path.name: path.read_bytes() for path in found if path.exists()}

    def _before(self, point: Point) -> None:
        self.points[point.name] = self.points.get(point.name, 0) + 1
        files = self._files()
        if point.name[1] == "BEGIN IMMEDIATE":
            self._at_begin = files
        if files != self._last:
            self.images.append(Image(point, files, "", len(self._seen)))
            self._last = files

    def _after(self, point: Point) -> None:
        if point.name[1] != "COMMIT":
            return
        files, wal = self._files(), f"{point.name[0]}.db-wal"
        before, after = self._last.get(wal, b""), files.get(wal, b"")
        durable = self._at_begin.get(wal, b"")  # what was synced before this transaction is not torn any more
        grown = len(after) > len(durable) and after.startswith(durable)
        if grown:
            for torn, data in _torn(durable, before, after):
                self.images.append(Image(point, {**files, wal: data}, torn, len(self._seen)))
        main = f"{point.name[0]}.db"
        if files.get(main) != self._last.get(main) and main in self._last:
            # A checkpoint under way: some pages copied home, the log still whole.
            half = _half_copied(self._last[main], files[main])
            self.images.append(Image(point, {**files, main: half}, "checkpoint half done", len(self._seen)))


def _torn(durable: bytes, before: bytes, after: bytes) -> list[tuple[str, bytes]]:
    """Ways in which a commit's write may lie on the disk before it was synced."""
    first, last = len(durable), len(after)
    middle = min(last - 1, max(first, len(before)) + _FRAME_BYTES // 2)
    garbled = bytearray(after)
    garbled[middle : middle + _SECTOR_BYTES] = bytes(len(garbled[middle : middle + _SECTOR_BYTES]))
    lost_first = after[:first] + bytes(min(_FRAME_BYTES, last - first)) + after[first + _FRAME_BYTES :]
    return [
        ("cut within a frame", after[:middle]),
        ("the last sector missing", after[: last - _SECTOR_BYTES]),
        ("a sector of zeros", bytes(garbled)),
        ("the first frame missing, later ones there", lost_first),
    ]


def _half_copied(old: bytes, new: bytes) -> bytes:
    pages = [new[at : at + 8192] if at % 16384 else old[at : at + 8192] for at in range(0, len(new), 8192)]
    return b"".join(pages)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
