"""The genesis document: entry 0 of the log, whose hash is the chain id (DESIGN 12).

It fixes origin, parameters, validators with their keys, and each agency's party: the state at height 0. Every key
carries its proof of possession, so that each agency can check the whole document before it agrees to the hash.
"""

import hashlib
from functools import cached_property
from itertools import pairwise
from typing import Annotated

from msgspec import Meta

from ledger.codec import decode, encode
from ledger.errors import EncodingError
from ledger.limits import MAX_GENESIS_BYTES, MAX_VALIDATORS
from ledger.records.agencies import Agency, ValidatorKeys, keys_of
from ledger.records.base import Body
from ledger.records.envelope import verify_possession
from ledger.records.fields import AdvanceTimeoutMs, HeartbeatS, LeadTimeoutMs, Origin, Time, parse_time

__all__ = [
    "Agency",
    "Genesis",
    "Parameters",
    "ValidatorKeys",
    "check_genesis",
    "decode_genesis",
    "keys_of",
    "validators_hash",
]


class Parameters(Body, frozen=True, omit_defaults=False):
    """Parameters of the protocol that all nodes share. Times in the unit of their name.

    The document states every one of them, so that no later default of the program can change what a ledger agreed on.
    """

    version: Annotated[int, Meta(ge=1, le=2)] = 2
    heartbeat_s: HeartbeatS = 3_600
    lead_timeout_ms: LeadTimeoutMs = 1_000
    advance_timeout_ms: AdvanceTimeoutMs = 2_000


class Genesis(Body, frozen=True, dict=True, gc=True):
    """The document. `agencies` are sorted by party; their order is the validators' order of epoch 0."""

    schema: Annotated[int, Meta(ge=1, le=1)]
    origin: Origin
    time: Time
    parameters: Parameters
    agencies: Annotated[tuple[Agency, ...], Meta(min_length=1, max_length=MAX_VALIDATORS)]

    @cached_property
    def entry(self) -> bytes:
        """Canonical JSON: log entry 0."""
        return encode(self)

    @cached_property
    def chain_id(self) -> bytes:
        """SHA-256 of the entry."""
        return hashlib.sha256(self.entry).digest()

    @property
    def ledger_id(self) -> str:
        """`<origin>#<first 16 hex digits of the chain id>`: what every record names."""
        return f"{self.origin}#{self.chain_id.hex()[:16]}"

    @property
    def time_ms(self) -> int:
        """Its time in ms since 1970."""
        return parse_time(self.time)


def validators_hash(validators: tuple[tuple[str, str], ...]) -> bytes:
    """The seal's `validators`: SHA-256 of the canonical JSON of `[[party, consensus key hex], ...]` in epoch order."""
    return hashlib.sha256(encode(validators)).digest()


def decode_genesis(data: bytes) -> Genesis:
    """Parse and check a genesis document: form, order, one key one role, every proof of possession.

    Raises:
        EncodingError: not canonical, or code `bad_genesis`.
        SignatureError: code `bad_possession`.
    """
    genesis: Genesis = decode(data, Genesis, limit=MAX_GENESIS_BYTES)
    check_genesis(genesis)
    return genesis


def check_genesis(genesis: Genesis) -> None:
    """The checks of `decode_genesis` on a built document."""
    parse_time(genesis.time)
    parties = [agency.party for agency in genesis.agencies]
    if any(a >= b for a, b in pairwise(parties)):
        raise EncodingError("agencies must be sorted by party and distinct", code="bad_genesis", actual=parties)
    seen: set[str] = set()
    for agency in genesis.agencies:
        for names in (agency.roles, agency.grants):
            if list(names) != sorted(set(names)):
                raise EncodingError("roles must be sorted and distinct", code="bad_genesis", actual=list(names))
        for role, key in keys_of(agency):
            if key.public in seen:
                raise EncodingError("one key, one role: a key stands twice", code="bad_genesis", actual=key.public)
            seen.add(key.public)
            verify_possession(key, ledger=genesis.origin, party=agency.party, role=role)
