"""How far a node that joins is, in a file of its data directory: it has no API yet that could say so."""

from pathlib import Path
from typing import Final

import msgspec

from node.files import write_file

PROGRESS_FILE: Final = "joining.json"


class JoiningProgress(msgspec.Struct, frozen=True, kw_only=True):
    """`height` and `size` of the snapshot; of the stage under way, how many of its parts are done."""

    height: int
    size: int
    stage: str
    done: int
    of: int


def tell_progress(data_dir: Path, progress: JoiningProgress) -> None:
    """Say how far it is.

    Raises:
        ConfigurationError: code `unwritable_file`.
    """
    write_file(data_dir / PROGRESS_FILE, msgspec.json.encode(progress), mode=0o600, replace=True)


def forget_progress(data_dir: Path) -> None:
    """Nothing is being joined any more."""
    (data_dir / PROGRESS_FILE).unlink(missing_ok=True)
