"""What a node answers about one document of the state, and the receipt of one record: both verifiable offline.

A state answer proves that a document is there, or that none is, as of the height of the checkpoint it carries. Unlike an
evidence bundle (`ledger.bundle`) it makes no statement about history, and its checkpoint may carry more cosignatures
than the quorum needs.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ledger.bundle import ProvenEntry
from ledger.codec import b64encode, encode
from ledger.statetree import StateProof


class StateAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One document, or its absence, with everything that proves it. Canonical JSON.

    `document`: base64 of the canonical bytes; absent if there is no such document. `proof`: under the seal's state root.
    `seal`: the entry at checkpoint size - 1.
    """

    id: Annotated[str, Meta(min_length=1, max_length=100)]
    document: str | UnsetType = UNSET
    proof: StateProof
    seal: ProvenEntry
    checkpoint: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return encode(self)


def build_state_answer(
    *,
    id: str,  # noqa: A002 - the field's public name
    document: bytes | None,
    proof: StateProof,
    seal: tuple[bytes, str],
    checkpoint: str,
) -> StateAnswer:
    """Put an answer together from raw parts, all as of one height; see `build_bundle` for their forms."""
    return StateAnswer(
        id=id,
        document=UNSET if document is None else b64encode(document),
        proof=proof,
        seal=ProvenEntry(entry=b64encode(seal[0]), proof=seal[1]),
        checkpoint=checkpoint,
    )
