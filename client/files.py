"""Files of the client: written whole or not at all, secrets readable by their owner alone."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without advisory locks; there, one command at a time
    fcntl = None  # type: ignore[assignment]


def read_file(path: Path, *, limit: int, what: str) -> bytes:
    """A file of at most `limit` bytes.

    Raises:
        ConfigurationError: codes `cannot_read`, `too_large`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"cannot read the {what} {path}: {reason}", code="cannot_read") from error
    if len(data) > limit:
        raise ConfigurationError(f"the {what} {path} is too large", code="too_large", expected=f"<= {limit} bytes")
    return data


def read_secret(path: Path, *, limit: int, what: str) -> bytes:
    """A file that only its owner may read.

    Raises:
        ConfigurationError: code `exposed_secret` where others may; also those of `read_file`.
    """
    data = read_file(path, limit=limit, what=what)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigurationError(
            f"others may read the {what} {path}",
            code="exposed_secret",
            expected="mode 0600",
            actual=f"{mode:04o}",
            help=f"chmod 600 {path}",
        )
    return data


def write_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file durably in one step: after a crash it is the old one or the new one, whole.

    Raises:
        ConfigurationError: code `cannot_write`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}", code="cannot_write") from error


def create_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """`write_file`, but never over a file that is there.

    Raises:
        ConfigurationError: codes `file_exists`, `cannot_write`.
    """
    require_absent(path)
    write_file(path, data, mode=mode)


def require_absent(path: Path) -> None:
    """Refuse a place where something is, before work is done whose result is to be kept there.

    Raises:
        ConfigurationError: code `file_exists`.
    """
    if path.exists():
        raise ConfigurationError(f"{path} is there already", code="file_exists", help="Name another file, or move it.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive advisory lock on the file `path`, which is made if need be, against other processes.

    Raises:
        ConfigurationError: code `cannot_write`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot lock {path}: {error.strerror}", code="cannot_write") from error
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def file_stem(origin: str) -> str:
    """A file name for a log's origin, which may hold slashes: readable, and distinct by its hash."""
    readable = "".join(character if character.isalnum() or character in "-." else "_" for character in origin)[:60]
    return f"{readable}-{hashlib.sha256(origin.encode()).hexdigest()[:12]}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
