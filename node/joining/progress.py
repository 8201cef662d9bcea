"""How far a node that joins is, in a file of its data directory: it has no API yet that could say so."""

import time
from pathlib import Path
from typing import Final

import msgspec

from node.files import write_file

PROGRESS_FILE: Final = "joining.json"
_STALE_S: Final = 60


class JoiningProgress(msgspec.Struct, frozen=True, kw_only=True):
    """`height` and `size` of the snapshot; of the stage under way, how many of its parts are done."""

    height: int
    size: int
    stage: str
    done: int
    of: int


_DECODER: Final = msgspec.json.Decoder(JoiningProgress)


def tell_progress(data_dir: Path, progress: JoiningProgress) -> None:
    """Say how far it is.

    Raises:
        ConfigurationError: code `unwritable_file`.
    """
    write_file(data_dir / PROGRESS_FILE, msgspec.json.encode(progress), mode=0o600, replace=True)


def forget_progress(data_dir: Path) -> None:
    """Nothing is being joined any more."""
    (data_dir / PROGRESS_FILE).unlink(missing_ok=True)


def read_progress(data_dir: Path) -> JoiningProgress | None:
    """How far it is; None where nothing is being joined, or nothing was said of it for `_STALE_S`: the process has died."""
    path = data_dir / PROGRESS_FILE
    try:
        if time.time() - path.stat().st_mtime > _STALE_S:
            return None
        return _DECODER.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None


def progress_text(party: str, progress: JoiningProgress) -> str:
    """The same for people."""
    percent = 100 * progress.done // max(progress.of, 1)
    return (
        f"the node of {party} is joining by a snapshot of height {progress.height} ({progress.size} log entries): "
        f"{progress.stage} {progress.done} of {progress.of} ({percent} %)"
    )
