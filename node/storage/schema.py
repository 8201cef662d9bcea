"""Bringing a database to the schema of this program, and refusing one that is ahead of it (DESIGN 9)."""

from pathlib import Path
from typing import Final, Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ledger.errors import ConfigurationError, CorruptionError
from node.storage.sqlite import Database
from node.storage.tables import AGENCY, LEDGER, VOTES

Branch = Literal["ledger", "votes", "agency"]
METADATA: Final[dict[Branch, sa.MetaData]] = {"ledger": LEDGER, "votes": VOTES, "agency": AGENCY}
_HELP: Final[dict[Branch, str]] = {
    "ledger": "Keep the file for inspection and restore the node from its peers.",
    "votes": "Keep the file for inspection. Votes may be lost with the table, so this key must not vote again, an older "
    "copy does not help: enrol the agency with a new key.",
    "agency": "Keep the file for inspection and restore it from a backup; without it tokens must be made anew.",
}
"""What to do about a database that lost a table."""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate(database: Database, branch: Branch) -> None:
    """Make or upgrade the tables of `database` in one transaction.

    Raises:
        ConfigurationError: code `newer_schema`: a later version of this program has written the database.
        CorruptionError: code `missing_table`: it has this schema, but not all of its tables.
        StoreError: the database could not be read or written.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in scripts.walk_revisions()}
    head = next(revision for revision in scripts.get_heads() if revision.startswith(f"{branch}_"))
    with database.write() as connection:
        present = MigrationContext.configure(connection).get_current_heads()
        unknown = [revision for revision in present if revision not in known or not revision.startswith(f"{branch}_")]
        if unknown:
            raise ConfigurationError(
                f"the database {database.path} was written by a newer version of this program",
                code="newer_schema",
                expected=f"at most {head}",
                actual=", ".join(unknown),
                help="Start the version that wrote it, or a later one.",
            )
        if present == (head,):
            _require_tables(connection, database.path, branch)
            return
        config.attributes.update(connection=connection, metadata=METADATA[branch])
        command.upgrade(config, f"{branch}@head")


def _require_tables(connection: sa.Connection, path: Path, branch: Branch) -> None:
    missing = sorted(METADATA[branch].tables.keys() - set(sa.inspect(connection).get_table_names()))
    if missing:
        raise CorruptionError(
            f"the database {path} lost what was in it",
            code="missing_table",
            expected=f"the tables {', '.join(sorted(METADATA[branch].tables))}",
            actual=f"no {', '.join(missing)}",
            help=_HELP[branch],
        )
