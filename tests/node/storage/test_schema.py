"""Migrations make the tables that the code reads, once, and refuse what a later program wrote."""

import stat
from pathlib import Path
from typing import get_args

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from ledger.errors import ConfigurationError, CorruptionError, StoreError
from node.storage import Database, open_stores
from node.storage.schema import METADATA, Branch, migrate

BRANCHES: tuple[Branch, ...] = get_args(Branch)


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_migrated_schema_is_the_tables_of_the_code(tmp_path: Path, branch: Branch) -> None:
    database = Database(tmp_path / f"{branch}.db")
    migrate(database, branch)
    migrate(database, branch)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA[branch]) == []
    database.close()


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_newer_schema_is_refused_by_name(tmp_path: Path, branch: Branch) -> None:
    database = Database(tmp_path / f"{branch}.db")
    migrate(database, branch)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :new"), {"new": f"{branch}_9999"})
    with pytest.raises(ConfigurationError) as caught:
        migrate(database, branch)
    assert caught.value.code == "newer_schema"
    assert caught.value.actual == f"{branch}_9999"
    database.close()


def test_another_databases_file_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "votes.db")
    migrate(database, "votes")
    with pytest.raises(ConfigurationError):
        migrate(database, "ledger")
    database.close()


def test_a_file_that_is_no_database_is_corruption(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all, but long enough to be read as a header" * 100)
    with pytest.raises(CorruptionError):
        open_stores(tmp_path)


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be made"):
        open_stores(tmp_path / "file" / "data")


def test_readers_cannot_write(tmp_path: Path) -> None:
    database = Database(tmp_path / "votes.db")
    migrate(database, "votes")
    with pytest.raises(StoreError) as caught, database.read() as connection:
        connection.exec_driver_sql("DELETE FROM consensus")
    assert caught.value.code == "database_read_only"
    database.close()


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_database_that_lost_a_table_is_refused_with_what_to_do(tmp_path: Path, branch: Branch) -> None:
    open_stores(tmp_path).close()
    lost = sorted(METADATA[branch].tables)[0]
    database = Database(tmp_path / f"{branch}.db")
    with database.write() as connection:
        connection.exec_driver_sql(f"DROP TABLE {lost}")
    database.close()
    with pytest.raises(CorruptionError) as caught:
        open_stores(tmp_path)
    assert caught.value.code == "missing_table"
    assert lost in str(caught.value.actual)
    assert f"{branch}.db" in caught.value.message
    assert caught.value.help is not None
    assert ("never votes again" in caught.value.help) == (branch == "votes")


def test_a_database_is_its_owners_alone_whatever_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    stores = open_stores(tmp_path)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*.db*")}
    stores.close()
    assert {"ledger.db", "votes.db", "agency.db"} <= modes.keys()
    assert set(modes.values()) == {0o600}, modes
