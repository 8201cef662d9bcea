"""What every record has in common (DESIGN 4.2)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ledger.limits import MAX_REFS
from ledger.records.fields import LedgerId, Nonce, PartyId, RecordId, Time


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of record bodies: immutable, no unknown field, an absent field is absent (never null).

    They make no cycles, so the garbage collector need not walk them.
    """


class RecordBase(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """The outer fields. Each kind subclasses this with its tag and its body."""

    issued_at: Time
    issuer: PartyId
    ledger: LedgerId
    nonce: Nonce
    refs: Annotated[tuple[RecordId, ...], Meta(max_length=MAX_REFS)]
    schema: Literal[1]
