"""Tokens and the query log."""

import sqlite3
from pathlib import Path

import pytest

from ledger.errors import ConfigurationError, CorruptionError
from node.storage import AgencyStore, Database, Token


def token(name: str, **changes: object) -> Token:
    fields: dict[str, object] = {
        "id": name,
        "hash": name.encode().ljust(32),
        "party": "police",
        "role": "inquirer",
        "label": "desk 4",
        "created_ms": 1_000,
        **changes,
    }
    return Token(**fields)  # type: ignore[arg-type]


def test_tokens_are_found_by_their_hash_until_revoked(tmp_path: Path) -> None:
    store = AgencyStore(Database(tmp_path / "agency.db"))
    first, second = token("first"), token("second", created_ms=2_000, expires_ms=5_000)
    store.add_token(second)
    store.add_token(first)
    with pytest.raises(ConfigurationError) as caught:
        store.add_token(token("first", hash=bytes(32)))
    assert caught.value.code == "token_exists"
    assert store.find_token(first.hash) == first
    assert store.find_token(bytes(32)) is None
    assert store.tokens() == [first, second]
    assert second.is_valid(4_999)
    assert not second.is_valid(5_000)
    assert store.revoke_token("first", now_ms=3_000)
    assert not store.revoke_token("first", now_ms=4_000)
    assert not store.revoke_token("third", now_ms=4_000)
    revoked = store.find_token(first.hash)
    assert revoked is not None
    assert revoked.revoked_ms == 3_000
    assert not revoked.is_valid(3_001)
    store.close()


def test_the_query_log_is_a_chain_that_shows_a_missing_or_changed_line(tmp_path: Path) -> None:
    database = Database(tmp_path / "agency.db")
    store = AgencyStore(database)
    for batch in ([b"one"], [b"two", b"three"], [], [b"four"]):
        store.append_queries(batch)
    store.close()
    store = AgencyStore(database := Database(tmp_path / "agency.db"))
    store.append_queries([b"five"])
    assert [line.entry for line in store.queries(count=10)] == [b"one", b"two", b"three", b"four", b"five"]
    assert [line.number for line in store.queries(first=3, count=1)] == [3]
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE queries SET entry = x'00' WHERE number = 2")
    assert [line.number for line in store.queries(count=2)] == [0, 1]
    with pytest.raises(CorruptionError):
        store.queries(count=10)
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM queries WHERE number = 2")
    with pytest.raises(CorruptionError):
        store.queries(count=10)
    store.close()


def test_two_processes_may_write(tmp_path: Path) -> None:
    here, there = (AgencyStore(Database(tmp_path / "agency.db")) for _ in range(2))
    here.append_queries([b"one"])
    there.append_queries([b"two"])
    there.add_token(token("made there"))
    here.append_queries([b"three"])
    assert [line.entry for line in there.queries(count=9)] == [b"one", b"two", b"three"]
    assert here.tokens()[0].id == "made there"
    here.close()
    there.close()


@pytest.mark.parametrize("change", ["role = 'operator'", "expires_ms = NULL", "revoked_ms = NULL", "party = 'polizei'"])
def test_a_damaged_token_lets_nobody_in(tmp_path: Path, change: str) -> None:
    database = Database(tmp_path / "agency.db")
    store = AgencyStore(database)
    store.add_token(token("first", expires_ms=5_000))
    store.add_token(token("second"))
    assert store.revoke_token("first", now_ms=3_000)
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE tokens SET {change} WHERE id = 'first'")
    with pytest.raises(CorruptionError, match="first"):
        store.find_token(token("first").hash)
    assert store.find_token(token("second").hash) == token("second")
    store.close()


def test_tokens_of_the_schema_before_get_their_sums(tmp_path: Path) -> None:
    path = tmp_path / "agency.db"
    store = AgencyStore(Database(path))
    store.add_token(token("first", expires_ms=5_000))
    store.close()
    connection = sqlite3.connect(path)
    connection.executescript(
        "ALTER TABLE tokens DROP COLUMN sum; UPDATE alembic_version SET version_num = 'agency_0001';"
    )
    connection.close()
    store = AgencyStore(Database(path))
    assert store.find_token(token("first").hash) == token("first", expires_ms=5_000)
    store.close()
