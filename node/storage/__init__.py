"""The node's three databases (DESIGN 9). SQLAlchemy is imported here and nowhere else."""

from pathlib import Path

import msgspec

from ledger.errors import StoreError
from node.storage.agency import AgencyStore, QueryLine, Token
from node.storage.ledger import LedgerReader, LedgerStore
from node.storage.rows import BlockCommit, BlockPlace, Head, RecordRow, StoredBlock
from node.storage.sqlite import Database
from node.storage.votes import VoteStore


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """A node's stores, opened."""

    ledger: LedgerStore
    votes: VoteStore
    agency: AgencyStore

    def close(self) -> None:
        """Close all three."""
        self.ledger.close()
        self.votes.close()
        self.agency.close()


def open_stores(data_dir: Path) -> Stores:
    """Open a node's databases in `data_dir` (made if absent, mode 0700), and bring them to this program's schema.

    Raises:
        ConfigurationError: code `newer_schema`.
        StoreError: one of them cannot be opened; CorruptionError if what is in it does not fit together.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the data directory {data_dir} cannot be made", code="database_unreadable", actual=error.strerror
        ) from error
    return Stores(
        ledger=LedgerStore(Database(data_dir / "ledger.db")),
        votes=VoteStore(Database(data_dir / "votes.db")),
        agency=AgencyStore(Database(data_dir / "agency.db")),
    )


__all__ = [
    "AgencyStore",
    "BlockCommit",
    "BlockPlace",
    "Database",
    "Head",
    "LedgerReader",
    "LedgerStore",
    "QueryLine",
    "RecordRow",
    "StoredBlock",
    "Stores",
    "Token",
    "VoteStore",
    "open_stores",
]
