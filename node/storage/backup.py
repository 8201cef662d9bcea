"""Copies of a node's databases while it runs: whole files, which fit each other.

The ledger's and the votes' are read as of one moment. Were the votes older, the finalization that led to the ledger's floor
could be missing (P7.5); were they newer by a pruning, blocks that the ledger lacks.
"""

import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ledger.errors import StoreError
from node.storage.sqlite import Database, compile_sql, copy_database, execute_raw, store_errors
from node.storage.tables import FLOOR, MARKS
from node.storage.votes import SIGNING_FLOOR

_ATTEMPTS: Final = 10
_SQL_FLOOR: Final = compile_sql(sa.select(FLOOR.c.epoch, FLOOR.c.view))
_SQL_PRUNED: Final = compile_sql(sa.select(MARKS.c.epoch, MARKS.c.view).where(MARKS.c.name == sa.bindparam("name")))


def copy_databases(ledger: Database, votes: Database, agency: Database, folder: Path) -> None:
    """Copy all three into an existing folder, under their own names, mode 0600.

    Raises:
        StoreError: one could not be read, or a copy not be written.
    """
    for attempt in range(_ATTEMPTS):
        with ledger.read() as ledger_now, votes.read() as votes_now:
            floor = execute_raw(ledger_now, _SQL_FLOOR).fetchone()
            pruned = execute_raw(votes_now, _SQL_PRUNED, (SIGNING_FLOOR,)).fetchone()
            if pruned is not None and floor is not None and pruned > floor and attempt + 1 < _ATTEMPTS:
                continue  # a block was committed and pruned between the two
            _copy(ledger_now, folder / ledger.path.name)
            _copy(votes_now, folder / votes.path.name)
            break
    with agency.read() as agency_now:
        _copy(agency_now, folder / agency.path.name)


def _copy(connection: Connection, target: Path) -> None:
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"the copy {target} cannot be made", actual=error.strerror) from error
    with store_errors(target):
        copy_database(connection, target)
