"""The operator's own business: making tokens. Used by `node.cli.token` on the node's machine, never over the network."""

import secrets
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ledger.errors import ConfigurationError, StoreError
from ledger.limits import MAX_NAME_CHARS
from ledger.records.fields import PartyId
from ledger.statetree import key_hash
from node.service.access import TokenRole
from node.service.tokens import hash_token, new_token
from node.storage import AgencyStore, Database, LedgerReader, Token

_ID_BYTES: Final = 6
"""Of a token's public id: 2**48 of them, and the store refuses a second one."""


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    party: PartyId
    role: TokenRole
    label: Annotated[str, Meta(max_length=MAX_NAME_CHARS)]


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a new token, and its secret, which is shown this once."""

    stored: Token
    secret: str


def prepare_token(*, party: str, role: str, label: str = "", now_ms: int, expires_ms: int | None = None) -> IssuedToken:
    """Make a token for a party in a role, which is believed once it is stored. Whether the party is enrolled is not asked:
    it may be a moment later.

    Args:
        party: a party id.
        role: one of `node.service.access.TOKEN_ROLES`.
        label: for people, e.g. whose desk it is for.
        now_ms: now, in ms since 1970.
        expires_ms: when it ends by itself, in ms since 1970.

    Raises:
        ConfigurationError: code `bad_token_request`.
    """
    try:
        request = msgspec.convert({"party": party, "role": role, "label": label}, _Request)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            "no token is made for this",
            code="bad_token_request",
            expected="a party id of 2 to 40 lower-case letters, digits and hyphens, first a letter; a role: holder, "
            f"inquirer, auditor, peer or operator; a label of at most {MAX_NAME_CHARS} characters",
            actual=f"party {party[:80]!r}, role {role[:80]!r}, label {label[:80]!r}",
        ) from error
    secret = new_token()
    stored = Token(
        id=secrets.token_hex(_ID_BYTES),
        hash=hash_token(secret),
        party=request.party,
        role=request.role,
        label=request.label,
        created_ms=now_ms,
        expires_ms=expires_ms,
    )
    return IssuedToken(stored=stored, secret=secret)


def is_on_ledger(data_dir: Path, party: str) -> bool | None:
    """Whether the ledger in a data directory knows a party, as of its newest block; None where that cannot be read. Writes
    nothing; a node may run on it."""
    path = data_dir / "ledger.db"
    if not path.exists():
        return None
    key = key_hash("party", party)
    with closing(Database(path)) as database:
        try:
            with database.read() as connection:
                reader = LedgerReader(connection)
                return None if reader.head() is None else bool(reader.documents([key]))
        except StoreError:
            return None


def issue_token(
    store: AgencyStore, *, party: str, role: str, label: str = "", now_ms: int, expires_ms: int | None = None
) -> IssuedToken:
    """Make a token as `prepare_token` does, and store it.

    Raises:
        ConfigurationError: code `bad_token_request`, or `token_exists` (try again).
        StoreError: it could not be stored.
    """
    issued = prepare_token(party=party, role=role, label=label, now_ms=now_ms, expires_ms=expires_ms)
    store.add_token(issued.stored)
    return issued
