"""The header of a SQLite file, as this program writes it (https://www.sqlite.org/fileformat2.html#the_database_header).

Most of its fields never change once the file is made. SQLite believes them: with another number of reserved bytes it reads
every page wrongly, and calls that a damaged page or, worse, no row. So they are compared before a file is opened. What does
change (counters, the free list) is left to SQLite's own check; the write-ahead log has checksums.

All of this is for before this process has the file open: closing a file drops every POSIX lock that a process has on it, so
SQLite's too.
"""

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

from ledger.errors import CorruptionError, StoreError
from node.storage.sqlite import PAGE_BYTES

HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\x00"


class _Field(NamedTuple):
    """A field at `start`, and the values it can have; the first is the one to mend it with."""

    name: str
    start: int
    values: tuple[bytes, ...]

    def of(self, header: bytes | bytearray) -> bytes:
        return bytes(header[self.start : self.start + len(self.values[0])])


def _number(name: str, start: int, *values: int) -> _Field:
    return _Field(name, start, tuple(struct.pack(">I", value) for value in values))


_FIELDS: Final = (
    _Field("magic", 0, (_MAGIC,)),
    _Field("page size", 16, (struct.pack(">H", PAGE_BYTES),)),
    _Field("write and read version", 18, (b"\x02\x02", b"\x01\x01")),  # the second: a copy that was not opened yet
    _Field("reserved space", 20, (b"\x00",)),
    _Field("payload fractions", 21, (bytes((64, 32, 32)),)),
    _number("schema format", 44, 4, 0),  # 0: the tables are in the write-ahead log still
    _number("default cache size", 48, 0),
    _number("largest root page", 52, 0),
    _number("text encoding", 56, 1, 0),
    _number("user version", 60, 0),
    _number("incremental vacuum", 64, 0),
    _number("application id", 68, 0),
    _Field("reserved for expansion", 72, (bytes(20),)),
)


def header_faults(path: Path) -> list[str]:
    """What in a database file's header is not what this program writes, a line each; nothing for a file that is not there,
    or not made yet.

    Raises:
        StoreError: code `database_unreadable`.
    """
    if not path.exists() or Path(f"{path}-journal").exists():  # a first start cut short: SQLite rolls it back
        return []
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not header:
        return []
    if len(header) < HEADER_BYTES:
        return [f"it ends after {len(header)} bytes"]
    return [
        f"{field.name} (byte {field.start}) is {found.hex()}, not {field.values[0].hex()}"
        for field in _FIELDS
        if (found := field.of(header)) not in field.values
    ]


def require_header(path: Path) -> None:
    """Check a database file's header before anything in the file is believed.

    Raises:
        CorruptionError: code `damaged_header`.
        StoreError: code `database_unreadable`.
    """
    faults = header_faults(path)
    if faults:
        raise CorruptionError(
            f"the header of {path} is not what the node writes",
            code="damaged_header",
            expected="the header that it was made with",
            actual="; ".join(faults),
            help="Stop the node, then run `tracemark fsck DIR --repair`, with the folder of node.toml as DIR: it keeps a "
            "copy, and mends the header and whatever else is hurt.",
        )


def mend_header(path: Path) -> None:
    """Write the fields that never change into a database file's header, and sync it. Nothing may have the file open.

    Raises:
        StoreError: code `database_unreadable`: it is not known to be done.
    """
    try:
        with path.open("r+b") as file:
            header = bytearray(file.read(HEADER_BYTES))
            if len(header) < HEADER_BYTES:
                return  # there is no page to speak of
            for field in _FIELDS:
                if field.of(header) not in field.values:
                    header[field.start : field.start + len(field.values[0])] = field.values[0]
            file.seek(0)
            file.write(header)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"the database {path} cannot be opened",
        code="database_unreadable",
        actual=error.strerror,
        help="Check that the data directory exists and who owns it.",
    )
