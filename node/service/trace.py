"""Proven answers: state answers, receipts, provenance. Each as of one quorum-cosigned checkpoint.

Plain functions of a view; they run in a reader's thread. Who may ask is `node.service.access`'s.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product

from ledger.answer import StateAnswer, build_state_answer
from ledger.bundle import Bundle, build_bundle
from ledger.codec import decode_envelope
from ledger.errors import CorruptionError, SignatureError
from ledger.merkle.proof import inclusion_proof
from ledger.proof import LogProof, ProofHead
from ledger.records.envelope import parse_entry, verify_entry
from ledger.state.model import StateKey, TransferDoc, WeaponDoc, decode_document
from ledger.statetree import StateProof
from node.service.access import Caller, sees_weapon
from node.service.errors import NotFoundError
from node.service.ports import View


class Prover:
    """Proof heads of entries under one view's checkpoint. Remembers the tree's nodes, since neighbours share them."""

    def __init__(self, view: View) -> None:
        self._size = view.size
        self._node = cache(view.node)

    def head(self, index: int) -> ProofHead:
        """The head of the tlog-proof of one entry. Requires 0 <= index < the view's size."""
        return ProofHead(index=index, hashes=tuple(inclusion_proof(index, self._size, self._node)))

    def head_text(self, index: int) -> str:
        """The same as the lines before the blank one."""
        return self.head(index).to_bytes().decode("ascii")


def receipts(view: View, indices: Iterable[int]) -> dict[int, str]:
    """Receipts, whole tlog-proofs@v1, of those of the entries that the view's checkpoint covers, by index."""
    prover, checkpoint = Prover(view), view.checkpoint
    return {
        index: LogProof(head=prover.head(index), checkpoint=checkpoint).to_bytes().decode()
        for index in indices
        if index < view.size
    }


def seal_of(view: View, prover: Prover) -> tuple[bytes, str]:
    """The seal that closes the view's checkpoint, with its proof head."""
    index = view.size - 1
    return view.entries([index])[0], prover.head_text(index)


def state_answer(view: View, key: StateKey) -> StateAnswer:
    """One document, or its absence, with its proof."""
    return build_state_answer(
        id=key.id,
        document=view.documents([key]).get(key),
        proof=view.prove(key),
        seal=seal_of(view, Prover(view)),
        checkpoint=view.checkpoint.decode(),
    )


def weapon_answer(view: View, weapon_id: str, caller: Caller) -> StateAnswer:
    """A weapon's document, or its absence, for a caller that may see it.

    Raises:
        NotFoundError: the caller does not see all, and this weapon is not its party's business.
    """
    if not caller.sees_all:
        visible_weapon(view, weapon_id, caller)
    return state_answer(view, StateKey("weapon", weapon_id))


def provenance(view: View, ledger_id: str, weapon_id: str, caller: Caller) -> Bundle:
    """The evidence bundle of a weapon: its whole history with all proofs against one checkpoint.

    Raises:
        NotFoundError: no such weapon, or none that the caller may see.
    """
    document = visible_weapon(view, weapon_id, caller)
    indices = view.history(weapon_id)
    entries = view.entries(indices)
    key = StateKey("weapon", weapon_id)
    prover = Prover(view)
    return build_bundle(
        ledger=ledger_id,
        weapon=(weapon_id, document, view.prove(key)),
        records=list(zip(entries, map(prover.head_text, indices), strict=True)),
        keys=_signing_keys(view, entries),
        seal=seal_of(view, prover),
        checkpoint=view.evidence_checkpoint.decode(),
    )


def visible_weapon(view: View, weapon_id: str, caller: Caller) -> bytes:
    """A weapon's document bytes, if there is one that the caller may see; the same refusal in both other cases.

    Raises:
        NotFoundError: code `unknown_weapon`.
    """
    key = StateKey("weapon", weapon_id)
    data = view.documents([key]).get(key)
    if data is not None:
        weapon = decode_document("weapon", data)
        assert isinstance(weapon, WeaponDoc)
        if sees_weapon(caller, weapon, pending_offers(view, [weapon])):
            return data
    raise NotFoundError(
        "no such weapon among those that this token may see",
        code="unknown_weapon",
        actual=weapon_id,
        help="Search by serial; a holder sees what its party holds, owns, registered, offers or is offered.",
    )


def visible_weapons(view: View, weapon_ids: Sequence[str], caller: Caller) -> dict[str, WeaponDoc]:
    """The documents of those of the weapons that the caller may see."""
    found = view.documents(StateKey("weapon", weapon) for weapon in weapon_ids)
    weapons = {
        key.id: document
        for key, data in found.items()
        if isinstance(document := decode_document("weapon", data), WeaponDoc)
    }
    if caller.sees_all:
        return weapons
    return {
        weapon_id: weapon
        for weapon_id, weapon in weapons.items()
        if sees_weapon(caller, weapon, pending_offers(view, [weapon]))
    }


def pending_offers(view: View, weapons: Iterable[WeaponDoc]) -> list[TransferDoc]:
    """The transfers pending on any of the weapons. (An expired one still shows who offered to whom.)"""
    ids = {offer for weapon in weapons for offer in (weapon.offer_title, weapon.offer_custody) if offer is not None}
    found = view.documents(StateKey("transfer", offer) for offer in sorted(ids))
    transfers = [decode_document("transfer", data) for data in found.values()]
    return [transfer for transfer in transfers if isinstance(transfer, TransferDoc) and transfer.status == "pending"]


def _signing_keys(view: View, entries: Sequence[bytes]) -> list[tuple[str, bytes, StateProof]]:
    """The documents, with proofs, of all keys that signed one of the entries."""
    envelopes = [decode_envelope(entry)[0] for entry in entries]
    known = view.publics({signature.keyid for envelope in envelopes for signature in envelope.signatures})
    publics: set[str] = set()
    for entry, envelope in zip(entries, envelopes, strict=True):
        choices = [known.get(signature.keyid, ()) for signature in envelope.signatures]
        publics.update(_signers(entry, choices))
    keys = [StateKey("key", public) for public in sorted(publics)]
    documents = view.documents(keys)
    return [(key.id, documents[key], view.prove(key)) for key in keys]


def _signers(entry: bytes, choices: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The keys that signed an entry, one of each signature's choices. Only where a party took the trouble to make two
    keys of one key id (a trace must not fail for that) are signatures verified to tell which."""
    if all(len(choice) == 1 for choice in choices):
        return tuple(choice[0] for choice in choices)
    parsed = parse_entry(entry)
    for signers in product(*choices):
        try:
            return verify_entry(parsed, signers).signers
        except SignatureError:
            continue
    raise CorruptionError("a key that signed a record is not in the state", actual=f"record {parsed.id}")
