"""The lock of a data directory: one process at a time has its databases open.

Two nodes on one votes database would each sign what the other has not seen, and so vote twice in one view. The kernel ends
the lock with the process, however that ends; the file stays, and the process id in it is only for people. What needs
`agency.db` alone (tokens) does not take the lock.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.errors import ConfigurationError, StoreError
from node.files import keep_owner

LOCK_FILE: Final = "lock"
_MAX_PID_BYTES: Final = 20


class FolderLock:
    """A lock that is held. Lost with the process at the latest."""

    def __init__(self, descriptor: int, folder: Path) -> None:
        """`descriptor`: of the lock's file, locked; `folder`: what it locks."""
        self.folder: Final = folder
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another process in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)  # ends the lock: nobody else has this open file
            self._descriptor = -1


def lock_folder(folder: Path) -> FolderLock:
    """Take the lock of a data directory that exists.

    Raises:
        ConfigurationError: code `data_dir_in_use`: another process has it.
        StoreError: code `database_unreadable`: the lock's file cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            keep_owner(path, folder)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
    except BlockingIOError as error:
        raise ConfigurationError(
            f"another process has the data directory {folder} open",
            code="data_dir_in_use",
            expected="one process for each data directory",
            actual=f"process {_holder(path)}",
            help="Two nodes with one agency's keys would vote twice. End the other one, or correct data_dir.",
        ) from error
    except OSError as error:
        raise StoreError(
            f"the data directory {folder} cannot be locked",
            code="database_unreadable",
            actual=error.strerror,
            help="Check who owns it, and that its file system has locks.",
        ) from error
    return FolderLock(descriptor, folder)


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Have a folder, which is made if absent, for oneself; it may be deleted meanwhile. The kernel ends it with the process.

    Raises:
        BlockingIOError: another process has it. OSError: it cannot be made or opened.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def holder_of(folder: Path) -> int | None:
    """The process that holds the lock of a data directory, as far as this system tells (`/proc/locks`); takes no lock."""
    try:
        inode = (folder / LOCK_FILE).stat().st_ino
        held = Path("/proc/locks").read_text()
    except OSError:
        return None
    for line in held.splitlines():
        fields = line.split()  # number: FLOCK ADVISORY WRITE process major:minor:inode start end
        if "FLOCK" in fields[:2] and fields[-3].endswith(f":{inode}") and int(fields[-4]) > 0:
            return int(fields[-4])
    return None


def _holder(path: Path) -> str:
    """The process id that the holder wrote, if it has."""
    try:
        with path.open("rb") as stream:
            written = stream.read(_MAX_PID_BYTES).strip()
    except OSError:
        return "unknown"
    return written.decode("ascii") if written.isdigit() else "unknown"
