"""What there is to say of a node that does not answer: its process, files and disk, and whether its peers can be reached.

Looks and changes nothing: no lock is taken, no database opened.
"""

import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from node.config import Address, NodeConfig
from node.joining.progress import PROGRESS_FILE
from node.progress import DISK_LOW_BYTES, room, span
from node.storage.lock import holder_of

_CONNECT_S: Final = 2.0
_WRITTEN: Final = ("ledger.db", "ledger.db-wal", "votes.db", "votes.db-wal")
_LOG: Final = "Its log says why it ended; under systemd: journalctl -u tracemark-node -o cat -n 50"


class Joining(msgspec.Struct, frozen=True, kw_only=True):
    """How far the node is with joining by a snapshot, as it wrote down itself; until then it answers nobody."""

    height: int
    stage: str
    done: int
    of: int


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """`process`: the id of the process that has the data directory open, if any. `is_suspended`: it does not run (SIGSTOP).
    `last_write_s`: seconds since the databases were written, None where there are none. `peers`: whether something accepts
    a connection at each peer's address. `joining`: how far it is, where it begins with a snapshot."""

    config: str
    data_dir: str
    process: int | None
    is_suspended: bool
    last_write_s: int | None
    disk_free_bytes: int | None
    peers: dict[str, bool]
    joining: Joining | None = None

    def lines(self) -> list[str]:
        """The same for people, with what to do."""
        if self.is_suspended:
            lines = [f"its process {self.process} is suspended: let it go on with `kill -CONT {self.process}`"]
        elif self.process is not None and self.joining is not None:
            at = self.joining
            lines = [
                f"its process {self.process} joins by a snapshot of height {at.height}: {at.stage}, {at.done} of {at.of}; "
                "it answers when that is done"
            ]
        elif self.process is not None:
            lines = [
                f"its process {self.process} runs, but does not answer here: is api.listen right? is it overloaded?"
            ]
        else:
            lines = [f"no process has {self.data_dir} open: start it: tracemark node run --config {self.config}", _LOG]
        if self.last_write_s is None:
            lines.append("it has never run: there are no databases yet")
        else:
            lines.append(f"its databases were last written {span(self.last_write_s * 1000)} ago")
        if self.disk_free_bytes is not None and self.disk_free_bytes < DISK_LOW_BYTES:
            lines.append(f"its disk is (nearly) full: {room(self.disk_free_bytes)} free; make room before the start")
        closed = [party for party, is_open in self.peers.items() if not is_open]
        if closed:
            lines.append(f"from here no connection to the peer port of: {', '.join(closed)}")
        elif self.peers:
            lines.append("from here every other agency's peer port accepts connections")
        return lines


def look(settings: NodeConfig) -> Remains:
    """Look at what the configuration names."""
    process = holder_of(settings.data_dir)
    written = [mtime for name in _WRITTEN if (mtime := _mtime(settings.data_dir / name)) is not None]
    peers = settings.peers.addresses
    with ThreadPoolExecutor(max(1, len(peers))) as pool:
        accepted = list(pool.map(_accepts, peers.values()))
    return Remains(
        config=str(settings.file),
        data_dir=str(settings.data_dir),
        process=process,
        is_suspended=process is not None and _is_suspended(process),
        last_write_s=max(0, int(time.time() - max(written))) if written else None,
        disk_free_bytes=_disk_free(settings.data_dir),
        peers=dict(zip(peers, accepted, strict=True)),
        joining=_joining(settings.data_dir / PROGRESS_FILE),
    )


def _joining(path: Path) -> Joining | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Joining)
    except (OSError, ValueError):
        return None


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _disk_free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder if folder.exists() else folder.parent).free
    except OSError:
        return None


def _is_suspended(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return False
    return state in ("T", "t")


def _accepts(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False
