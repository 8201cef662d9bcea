"""A disk that becomes full: where one node keeps its data and its log.

As root a small tmpfs, which ends like any disk (`ENOSPC`, for every file on it). Else the process's bound on the size of a
file, which ends each file for itself (`EFBIG`).
"""

import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Final, Protocol

_SIZE: Final = "64m"
_CHUNK: Final = bytes(64 * 1024)
_FILE_LIMIT_BYTES: Final = 4_096


class Disk(Protocol):
    """One node's disk."""

    name: str

    def fill(self, pid: int) -> None:
        """From now on the process can write nothing more."""
        ...

    def free(self) -> None:
        """There is room again (for a process started from now on)."""
        ...

    def close(self) -> None:
        """Take it away."""
        ...


def small_disk(home: Path) -> Disk:
    """A disk for the agency's folder `home` as `network init` leaves it; the node must not have been started yet."""
    return SmallDisk(home) if os.geteuid() == 0 and shutil.which("mount") else LimitedFiles()


class SmallDisk:
    """A tmpfs at the data directory. The log goes there, too: what tells of a full disk cannot be written either."""

    name = f"a tmpfs of {_SIZE}"

    def __init__(self, home: Path) -> None:
        self._mounted: Final = home / "data"
        self._filler: Final = self._mounted / "filler"
        self._mounted.mkdir(mode=0o700)
        options = ["-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tracemark-trial", str(self._mounted)]
        subprocess.run(["mount", *options], check=True)
        (home / "node.log").symlink_to(self._mounted / "node.log")

    def fill(self, pid: int) -> None:
        with self._filler.open("wb", buffering=0) as filler:
            for size in (len(_CHUNK), 1):
                try:
                    while True:
                        filler.write(_CHUNK[:size])
                except OSError:
                    pass

    def free(self) -> None:
        self._filler.unlink()

    def close(self) -> None:
        subprocess.run(["umount", str(self._mounted)], check=True)


class LimitedFiles:
    """RLIMIT_FSIZE of the running process."""

    name = "a bound on the size of each file (this user cannot mount)"

    def fill(self, pid: int) -> None:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, hard))

    def free(self) -> None:
        """The bound ends with the process."""

    def close(self) -> None:
        """There is nothing to take away."""
