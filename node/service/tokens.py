"""Bearer tokens: made, hashed, recognised (DESIGN 11). Storing and revoking them is `node.storage`'s and `node.cli.token`'s.

A token is `tmk_` and 32 random bytes in base64url. Only its SHA-256 is kept: the secret has as much entropy as the hash, so
a slow hash would protect nothing and cost every request.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from node.clock import Clock
from node.service.access import TOKEN_ROLES, Caller
from node.service.errors import AuthenticationError

PREFIX: Final = "tmk_"
SECRET_BYTES: Final = 32
CACHE_MS: Final = 2_000
"""How long a token is believed without asking the store again: so long may a revoked one still work."""
CACHE_TOKENS: Final = 4_096
"""Tokens remembered; beyond, the oldest is forgotten."""

_FORM: Final = re.compile(r"tmk_[A-Za-z0-9_-]{43}")


def new_token() -> str:
    """A fresh secret."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_token(secret: str) -> bytes:
    """What is stored of a secret: SHA-256 of its characters."""
    return hashlib.sha256(secret.encode()).digest()


class StoredToken(Protocol):
    """What the agency store keeps of a token."""

    @property
    def id(self) -> str: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def party(self) -> str: ...
    @property
    def role(self) -> str: ...
    def is_valid(self, now_ms: int) -> bool: ...


class _Believed(msgspec.Struct, frozen=True, kw_only=True):
    caller: Caller
    until_ms: int


class TokenAuthority:
    """Recognises tokens. `find` reads the store by hash, in whatever thread `authenticate` is called."""

    def __init__(self, find: Callable[[bytes], StoredToken | None], clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._believed: dict[bytes, _Believed] = {}

    def recall(self, secret: str) -> Caller | None:
        """The caller of a token recognised within the last `CACHE_MS`, without I/O."""
        believed = self._believed.get(hash_token(secret))
        if believed is None or believed.until_ms <= self._clock.monotonic_ms():
            return None
        return believed.caller

    def authenticate(self, secret: str) -> Caller:
        """Recognise a token by the store.

        Raises:
            AuthenticationError: code `bad_token`, for an unknown and for a revoked one alike.
            StoreError: the store could not be read.
        """
        if _FORM.fullmatch(secret) is None:
            raise _unknown()
        digest = hash_token(secret)
        stored = self._find(digest)
        if (
            stored is None
            or not hmac.compare_digest(stored.hash, digest)
            or not stored.is_valid(self._clock.wall_ms())
            or stored.role not in TOKEN_ROLES
        ):
            self._believed.pop(digest, None)
            raise _unknown()
        caller = Caller(token=stored.id, party=stored.party, role=stored.role)
        if len(self._believed) >= CACHE_TOKENS:
            self._believed.pop(next(iter(self._believed)), None)
        self._believed[digest] = _Believed(caller=caller, until_ms=self._clock.monotonic_ms() + CACHE_MS)
        return caller


def missing_token() -> AuthenticationError:
    """The refusal of a request without a token."""
    return AuthenticationError(
        "this needs a token",
        expected="Authorization: Bearer <token>",
        help="The operator of this node makes tokens with `tracemark token new`.",
    )


def _unknown() -> AuthenticationError:
    return AuthenticationError(
        "this node does not know the token",
        code="bad_token",
        expected="a token made at this node with `tracemark token new`, neither revoked nor expired",
    )
