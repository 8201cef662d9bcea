"""What is the agency's own: bearer tokens and the query log. No command writes the ledger's databases while the node runs;
this one is shared between the node and its commands."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ledger.errors import ConfigurationError, CorruptionError
from node.storage.schema import migrate
from node.storage.sqlite import Database, compile_sql
from node.storage.sums import row_sum
from node.storage.tables import QUERIES, TOKENS

START: Final = bytes(32)
"""What the first line of the query log is chained to."""

_SQL_TOKEN: Final = compile_sql(sa.select(*TOKENS.c).where(TOKENS.c.digest == sa.bindparam("digest")))
_SQL_LAST_QUERY: Final = compile_sql(
    sa.select(QUERIES.c.number, QUERIES.c.hash)
    .order_by(QUERIES.c.number.desc())
    .limit(sa.literal_column("1"))
    .offset(sa.literal_column("0"))
)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token as stored. `hash`: SHA-256 of the secret; `role`: of `node.service.access`; times in ms since 1970."""

    id: str
    hash: bytes
    party: str
    role: str
    label: str
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None

    def is_valid(self, now_ms: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


class QueryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the query log: its number from 0, what was logged, and the chain's hash after it."""

    number: int
    entry: bytes
    hash: bytes


class AgencyStore:
    """The agency's database. Any thread and process may write: transactions are short and take turns."""

    def __init__(self, database: Database) -> None:
        """Bring the tables to this program's schema.

        Raises:
            ConfigurationError: code `newer_schema`.
            StoreError: the database could not be opened.
        """
        self._database = database
        migrate(database, "agency")

    def add_token(self, token: Token) -> None:
        """Keep a new token.

        Raises:
            ConfigurationError: code `token_exists`: its id is taken.
            StoreError: it is not known to be durable.
        """
        with self._database.write() as connection:
            try:
                connection.execute(sa.insert(TOKENS).values(token_row(token)))
            except IntegrityError as error:
                raise ConfigurationError("the token's id is taken", code="token_exists", actual=token.id) from error

    def find_token(self, digest: bytes) -> Token | None:
        """The token whose secret has this SHA-256, whether valid or not.

        Raises:
            CorruptionError: its row is not what was written.
        """
        with self._database.read() as connection:
            row = connection.exec_driver_sql(_SQL_TOKEN, (digest,)).first()
        return None if row is None else _token(row)

    def tokens(self) -> list[Token]:
        """All tokens ever made, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*TOKENS.c).order_by(TOKENS.c.created_ms, TOKENS.c.id)).all()
        return [_token(row) for row in rows]

    def revoke_token(self, id: str, *, now_ms: int) -> bool:  # noqa: A002 - the field's name
        """End a token; False if there is none of this id, or it had ended."""
        with self._database.write() as connection:
            row = connection.execute(sa.select(*TOKENS.c).where(TOKENS.c.id == id)).first()
            if row is None or row.revoked_ms is not None:
                return False
            revoked = msgspec.structs.replace(_token(row), revoked_ms=now_ms)
            update = sa.update(TOKENS).where(TOKENS.c.id == id)
            connection.execute(update.values(revoked_ms=now_ms, sum=token_row(revoked)[-1]))
            return True

    def append_queries(self, entries: Sequence[bytes]) -> None:
        """Chain lines to the query log, in one transaction. Durable on return.

        Raises:
            StoreError: they are not known to be durable.
        """
        with self._database.write() as connection:
            last = connection.exec_driver_sql(_SQL_LAST_QUERY).first()
            number, chained = (0, START) if last is None else (last[0] + 1, last[1])
            rows = []
            for offset, entry in enumerate(entries):
                chained = chain(chained, entry)
                rows.append({"number": number + offset, "entry": entry, "hash": chained})
            if rows:
                connection.execute(sa.insert(QUERIES), rows)

    def queries(self, *, first: int = 0, count: int) -> list[QueryLine]:
        """Lines of the query log from number `first` on, each checked against the one before it.

        Raises:
            CorruptionError: a line was changed or taken out.
        """
        wanted = sa.select(*QUERIES.c).where(QUERIES.c.number >= first - 1).order_by(QUERIES.c.number)
        with self._database.read() as connection:
            rows = connection.execute(wanted.limit(count + (first > 0))).all()
        lines = [QueryLine(number=row.number, entry=row.entry, hash=row.hash) for row in rows]
        before = lines.pop(0).hash if first > 0 and lines else START
        for number, line in enumerate(lines, start=first):
            before = chain(before, line.entry)
            if line.number != number or line.hash != before:
                raise CorruptionError("the query log's chain is broken", expected=before.hex(), actual=line.hash.hex())
        return lines

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def chain(before: bytes, entry: bytes) -> bytes:
    """The hash after a line: SHA-256 of the hash before it and the line."""
    return hashlib.sha256(before + entry).digest()


def token_row(token: Token) -> tuple[str | int | bytes | None, ...]:
    """The row of a token."""
    row = (
        token.id,
        token.hash,
        token.party,
        token.role,
        token.label,
        token.created_ms,
        token.expires_ms,
        token.revoked_ms,
    )
    return (*row, row_sum(*row))


def _token(row: Any) -> Token:
    if row.sum != row_sum(*row[:-1]):
        raise CorruptionError(
            f"the token {row.id} is not what was written",
            help="`tracemark fsck` names the row. Make a new token; the damaged one lets nobody in.",
        )
    return Token(
        id=row.id,
        hash=row.digest,
        party=row.party,
        role=row.role,
        label=row.label,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
    )
