"""Tokens: only the hash is kept, an unknown, a revoked and an expired one look alike, and a revoked one ends soon."""

import hashlib
from pathlib import Path

import pytest

from ledger.errors import ConfigurationError
from node.service.access import Caller
from node.service.admin import issue_token
from node.service.errors import AuthenticationError
from node.service.tokens import CACHE_MS, TokenAuthority
from node.storage import AgencyStore, Database
from tests.node.service.clock import ManualClock


@pytest.fixture
def store(tmp_path: Path) -> AgencyStore:
    return AgencyStore(Database(tmp_path / "agency.db"))


def test_recognises_an_issued_token_of_which_only_the_hash_is_stored(store: AgencyStore, tmp_path: Path) -> None:
    clock = ManualClock()
    issued = issue_token(store, party="dealer-1", role="holder", now_ms=clock.wall_ms())
    authority = TokenAuthority(store.find_token, clock)
    expected = Caller(token=issued.stored.id, party="dealer-1", role="holder")
    assert authority.recall(issued.secret) is None
    assert authority.authenticate(issued.secret) == expected
    assert authority.recall(issued.secret) == expected
    assert issued.stored.hash == hashlib.sha256(issued.secret.encode()).digest()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert issued.secret.encode() not in written
    assert issued.stored.hash in written


def test_a_revoked_token_ends_within_the_cache_time(store: AgencyStore) -> None:
    clock = ManualClock()
    issued = issue_token(store, party="dealer-1", role="holder", now_ms=clock.wall_ms())
    authority = TokenAuthority(store.find_token, clock)
    authority.authenticate(issued.secret)
    store.revoke_token(issued.stored.id, now_ms=clock.wall_ms())
    clock.advance(CACHE_MS)
    assert authority.recall(issued.secret) is None
    with pytest.raises(AuthenticationError, match="does not know"):
        authority.authenticate(issued.secret)


def test_an_expired_token_is_unknown(store: AgencyStore) -> None:
    clock = ManualClock()
    issued = issue_token(
        store, party="dealer-1", role="holder", now_ms=clock.wall_ms(), expires_ms=clock.wall_ms() + 60_000
    )
    authority = TokenAuthority(store.find_token, clock)
    authority.authenticate(issued.secret)
    clock.advance(60_000)
    assert authority.recall(issued.secret) is None
    with pytest.raises(AuthenticationError):
        authority.authenticate(issued.secret)


@pytest.mark.parametrize("secret", ["", "tmk_", "tmk_" + "A" * 43, "x" * 10_000, "tmk_" + "A" * 43 + "\n"])
def test_unknown_tokens_are_refused_alike(store: AgencyStore, secret: str) -> None:
    with pytest.raises(AuthenticationError) as refused:
        TokenAuthority(store.find_token, ManualClock()).authenticate(secret)
    assert refused.value.code == "bad_token"


@pytest.mark.parametrize(("party", "role"), [("Dealer", "holder"), ("dealer-1", "admin"), ("", "holder")])
def test_no_token_is_made_for_what_is_no_party_or_role(store: AgencyStore, party: str, role: str) -> None:
    with pytest.raises(ConfigurationError):
        issue_token(store, party=party, role=role, now_ms=0)
    assert store.tokens() == []
