"""The node's three databases (DESIGN 9). SQLAlchemy is imported here and nowhere else."""

from contextlib import ExitStack
from pathlib import Path

import msgspec

from ledger.errors import StoreError
from node.storage.agency import AgencyStore, QueryLine, Token
from node.storage.ledger import LedgerReader, LedgerStore
from node.storage.lock import FolderLock, lock_folder
from node.storage.rows import BlockCommit, BlockPlace, EpochRow, Head, RecordRow, StoredBlock
from node.storage.sqlite import Database
from node.storage.votes import VoteStore


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """A node's stores, opened, and the lock that keeps other processes from them."""

    lock: FolderLock
    ledger: LedgerStore
    votes: VoteStore
    agency: AgencyStore

    @property
    def folder(self) -> Path:
        """The data directory."""
        return self.lock.folder

    def close(self) -> None:
        """Close all three, then let another process have them."""
        self.ledger.close()
        self.votes.close()
        self.agency.close()
        self.lock.release()


def open_stores(data_dir: Path) -> Stores:
    """Open a node's databases in `data_dir` (made if absent, mode 0700), and bring them to this program's schema.

    The directory is locked first, until the stores are closed or the process ends.

    Raises:
        ConfigurationError: codes `data_dir_in_use`, `newer_schema`.
        StoreError: one of them cannot be opened; CorruptionError if what is in it does not fit together.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the data directory {data_dir} cannot be made", code="database_unreadable", actual=error.strerror
        ) from error
    with ExitStack() as opened:  # what was opened is closed again if the rest cannot be
        lock = lock_folder(data_dir)
        opened.callback(lock.release)
        has_ledger = (data_dir / "ledger.db").exists()
        databases = {name: Database(data_dir / f"{name}.db") for name in ("votes", "ledger", "agency")}
        for database in databases.values():
            opened.callback(database.close)
        # The votes come first: a ledger without them is one whose votes were lost, never a first start that was cut short.
        votes = VoteStore(databases["votes"], has_ledger=has_ledger)
        stores = Stores(
            lock=lock,
            ledger=LedgerStore(databases["ledger"]),
            votes=votes,
            agency=AgencyStore(databases["agency"]),
        )
        opened.pop_all()
    return stores


__all__ = [
    "AgencyStore",
    "BlockCommit",
    "BlockPlace",
    "Database",
    "EpochRow",
    "FolderLock",
    "Head",
    "LedgerReader",
    "LedgerStore",
    "QueryLine",
    "RecordRow",
    "StoredBlock",
    "Stores",
    "Token",
    "VoteStore",
    "lock_folder",
    "open_stores",
]
