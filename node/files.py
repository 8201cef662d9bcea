"""Files with secrets, and files that must be whole or absent.

Reads are bounded and refuse a secret that others on the machine may read; writes are atomic and durable (a temporary
file in the same folder, fsync, rename, fsync of the folder), so that a crash leaves the old content or the new.
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from ledger.errors import ConfigurationError

SECRET_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644


def read_file(path: Path, *, limit: int, what: str) -> bytes:
    """The bytes of a file of at most `limit` bytes.

    Raises:
        ConfigurationError: code `missing_file`, `unreadable_file` or `too_large`.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no {what}", code="missing_file", expected=f"a file at {path}", actual="nothing"
        ) from error
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        actual = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"the {what} {path} cannot be read", code="unreadable_file", actual=actual) from error
    if len(data) > limit:
        raise ConfigurationError(
            f"the {what} {path} is too large", code="too_large", expected=f"<= {limit} bytes", actual=f"> {limit}"
        )
    return data


def read_secret(path: Path, *, limit: int, what: str, exposed: int = 0o077) -> bytes:
    """As `read_file`, for a file that nobody but its owner may reach. `exposed`: mode bits that it must not have.

    Raises:
        ConfigurationError: also code `exposed_secret`.
    """
    data = read_file(path, limit=limit, what=what)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & exposed:
        raise ConfigurationError(
            f"others on this machine may reach the {what} {path}",
            code="exposed_secret",
            expected="mode 0600",
            actual=f"mode {mode:04o}",
            help=f"chmod 600 {path}; if others could read it, replace what it protects.",
        )
    return data


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, durable.

    Raises:
        OSError: they are not known to be.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes, *, mode: int, replace: bool = False) -> None:
    """Write a file atomically and durably with `mode`, creating its folder (0700) if absent; replaced, it keeps its owner.

    Raises:
        ConfigurationError: code `file_exists` unless `replace`; `unwritable_file`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                os.fchmod(stream.fileno(), mode)
                if replace and path.exists():
                    keep_owner(Path(temporary), path)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        sync(path.parent)
    except FileExistsError as error:
        raise ConfigurationError(
            "the file is already there",
            code="file_exists",
            expected=f"nothing at {path}",
            help="Nothing was overwritten. Choose another place, or move the old file away.",
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"the file {path} cannot be written", code="unwritable_file", actual=error.strerror
        ) from error


def keep_owner(new: Path, like: Path) -> None:
    """Give a new file to the owner of another one, where root makes it: the node, which does not run as root, must read it.

    Raises:
        OSError: it cannot be done.
    """
    if os.geteuid() == 0:
        found = like.stat()
        os.chown(new, found.st_uid, found.st_gid, follow_symlinks=False)
