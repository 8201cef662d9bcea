"""The evidence bundle: one file that proves a weapon's whole history offline, with nothing but a policy (DESIGN 6, 7).

It is canonical JSON of the one shape `Bundle`. Every proof in it stands against the one checkpoint it carries: the seal
at checkpoint size - 1 (any other would hide the last hop) gives the state root; under that root lie the weapon's document,
whose `history_head` shows that no hop is missing, and the documents of the keys that signed the hops.

Pure: the node builds bundles with these types, the client and anybody else verifies them with `verify_bundle`. Fetching
and display are theirs.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledger.codec import b64encode, encode
from ledger.limits import MAX_BUNDLE_RECORDS
from ledger.records.fields import LedgerId, PublicKey, WeaponId
from ledger.statetree import StateProof

BUNDLE_FORMAT: Final = "tracemark-bundle/1"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the bundle's parts: immutable, no unknown field."""


class ProvenEntry(_Part, frozen=True):
    """A log entry (base64 of its bytes) and the head of its tlog-proof: the lines before the blank one, newline included.

    `proof` + "\\n" + the bundle's `checkpoint` is a complete `c2sp.org/tlog-proof@v1`.
    """

    entry: str
    proof: str


class ProvenWeapon(_Part, frozen=True):
    """The weapon's document (base64 of its canonical bytes) and its state proof under the seal's state root."""

    id: WeaponId
    document: str
    proof: StateProof


class ProvenKey(_Part, frozen=True):
    """A signing key's document (base64 of its canonical bytes) and its state proof under the seal's state root."""

    public: PublicKey
    document: str
    proof: StateProof


class Bundle(_Part, frozen=True):
    """The file. `records` are in log order, `keys` sorted by public key; `checkpoint` is a signed note in strict minimal
    form: the log's line, then a minimal quorum of cosignatures."""

    format: Literal["tracemark-bundle/1"]
    ledger: LedgerId
    weapon: ProvenWeapon
    records: Annotated[tuple[ProvenEntry, ...], Meta(min_length=1, max_length=MAX_BUNDLE_RECORDS)]
    keys: Annotated[tuple[ProvenKey, ...], Meta(min_length=1, max_length=MAX_BUNDLE_RECORDS)]
    seal: ProvenEntry
    checkpoint: str

    def to_bytes(self) -> bytes:
        """The file's bytes: canonical JSON."""
        return encode(self)


def build_bundle(
    *,
    ledger: str,
    weapon: tuple[str, bytes, StateProof],
    records: list[tuple[bytes, str]],
    keys: list[tuple[str, bytes, StateProof]],
    seal: tuple[bytes, str],
    checkpoint: str,
) -> Bundle:
    """Put a bundle together from raw parts; sorts the keys. Proves nothing: the parts must be as of one height.

    Args:
        ledger: the ledger id.
        weapon: weapon id, document bytes, state proof.
        records: entry bytes and tlog-proof head (`ledger.proof`) of each record of the history, in log order.
        keys: public key in hex, document bytes, state proof of every key that signed one of the records.
        seal: entry bytes and tlog-proof head of the entry at checkpoint size - 1.
        checkpoint: the note in strict minimal form (`ledger.policy`).
    """
    weapon_id, document, proof = weapon
    return Bundle(
        format=BUNDLE_FORMAT,
        ledger=ledger,
        weapon=ProvenWeapon(id=weapon_id, document=b64encode(document), proof=proof),
        records=tuple(ProvenEntry(entry=b64encode(entry), proof=head) for entry, head in records),
        keys=tuple(
            ProvenKey(public=public, document=b64encode(data), proof=key_proof)
            for public, data, key_proof in sorted(keys, key=lambda key: key[0])
        ),
        seal=ProvenEntry(entry=b64encode(seal[0]), proof=seal[1]),
        checkpoint=checkpoint,
    )
