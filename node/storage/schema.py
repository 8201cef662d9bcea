"""Bringing a database to the schema of this program, and refusing one that is ahead of it (DESIGN 9)."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, Literal, get_args

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ledger.errors import ConfigurationError, CorruptionError
from node.storage.header import require_header
from node.storage.sqlite import Database
from node.storage.tables import AGENCY, LEDGER, VOTES

Branch = Literal["ledger", "votes", "agency"]
BRANCHES: Final[tuple[Branch, ...]] = get_args(Branch)
METADATA: Final[dict[Branch, sa.MetaData]] = {"ledger": LEDGER, "votes": VOTES, "agency": AGENCY}
_HELP: Final[dict[Branch, str]] = {
    "ledger": "Run `tracemark fsck DIR --repair`: it keeps a copy and mends from the log, or by the peers.",
    "votes": "Keep the file for inspection. Votes may be lost with the table, so this key must not vote again, an older "
    "copy does not help: `tracemark fsck DIR --repair` makes a new one, and the node waits for the others; with three "
    "agencies or fewer it never votes again.",
    "agency": "Keep the file for inspection and restore it from a backup; without it tokens must be made anew.",
}
"""What to do about a database that lost a table."""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate(database: Database, branch: Branch, *, on_new: Callable[[sa.Connection], None] | None = None) -> None:
    """Make or upgrade the tables of `database` in one transaction; `on_new` fills them in it if there were none before.

    Raises:
        ConfigurationError: code `newer_schema`: a later version of this program has written the database.
        CorruptionError: codes `damaged_header`; `missing_table`: it has this schema, but not all of its tables.
        StoreError: the database could not be read or written.
    """
    require_header(database.path)
    config = _config()
    head, known = _scripts(branch)
    with database.write() as connection:
        present = MigrationContext.configure(connection).get_current_heads()
        unknown = [revision for revision in present if revision not in known]
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
        if on_new is not None and not present:
            on_new(connection)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


@cache
def _scripts(branch: Branch) -> tuple[str, set[str]]:
    """The newest revision of a database, and all of them."""
    scripts = ScriptDirectory.from_config(_config())
    known = {r.revision for r in scripts.walk_revisions() if r.revision.startswith(f"{branch}_")}
    head = next(revision for revision in scripts.get_heads() if revision in known)
    return head, known


def require_current(database: Database, branch: Branch) -> None:
    """Check that a database has this program's schema, writing nothing.

    Raises:
        ConfigurationError: codes `older_schema`, `newer_schema`.
        CorruptionError: codes `damaged_header`, `missing_table`.
        StoreError: the database could not be read.
    """
    require_header(database.path)
    head, known = _scripts(branch)
    with database.read() as connection:
        present = MigrationContext.configure(connection).get_current_heads()
        if not present:
            _require_tables(connection, database.path, branch)
        if present != (head,):
            is_older = set(present) <= known
            raise ConfigurationError(
                f"the database {database.path} has the schema of another version of this program",
                code="older_schema" if is_older else "newer_schema",
                expected=head,
                actual=", ".join(present) or "none named",
                help="Start the node once: it brings its databases up to its version."
                if is_older
                else "Use the version that wrote it, or a later one.",
            )
        _require_tables(connection, database.path, branch)


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
