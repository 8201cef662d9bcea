"""State answers and receipts: what one document or one record is proven to be."""

from collections.abc import Callable
from functools import cache

import msgspec
import pytest

from ledger.answer import StateAnswer, verify_receipt, verify_state_answer
from ledger.codec import b64encode
from ledger.errors import VerificationError
from ledger.marks import weapon_id
from ledger.state.model import KindOfDocument, PartyDoc
from tests.toyledger import ToyLedger, toy_policy

POLICY = toy_policy()
ABSENT = weapon_id("GLC", "NEVER1", "")
replace = msgspec.structs.replace


@cache
def ledger() -> ToyLedger:
    toy = ToyLedger()
    toy.submit(toy.enrol("interior", "maker", "maker", makes=("GLC",)))
    toy.seal()
    toy.submit(toy.register("maker", *(f"A{number:05d}" for number in range(40))))
    toy.seal()
    return toy


def refused(answer: StateAnswer, kind: KindOfDocument, document_id: str, code: str) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_state_answer(answer.to_bytes(), kind=kind, id=document_id, policy=POLICY)
    assert caught.value.code == code, str(caught.value)


def test_a_document_is_proven_as_of_a_height() -> None:
    proven = verify_state_answer(ledger().answer("party", "maker").to_bytes(), kind="party", id="maker", policy=POLICY)
    assert isinstance(proven.document, PartyDoc)
    assert proven.document == ledger().party("maker")
    assert (proven.as_of.size, proven.as_of.height) == (ledger().size, ledger().height - 1)


def test_absence_is_proven() -> None:
    answer = ledger().answer("weapon", ABSENT)
    assert verify_state_answer(answer.to_bytes(), kind="weapon", id=ABSENT, policy=POLICY).document is None


def test_a_document_cannot_be_denied_or_changed() -> None:
    answer = ledger().answer("party", "maker")
    refused(replace(answer, document=msgspec.UNSET), "party", "maker", "document_proof")
    other = b64encode(ledger().document("party", "customs") or b"")
    refused(replace(answer, document=other), "party", "maker", "document_proof")
    refused(replace(answer, proof=ledger().prove("party", "customs")), "party", "maker", "document_proof")


def test_an_answer_is_about_what_was_asked() -> None:
    answer = ledger().answer("party", "maker")
    refused(answer, "party", "customs", "wrong_answer")
    refused(answer, "weapon", "maker", "document_proof")
    refused(replace(answer, id="customs"), "party", "customs", "document_proof")


def test_an_older_seal_is_refused() -> None:
    toy = ledger()
    old = toy.sizes[-2] - 1
    seal = replace(toy.answer("party", "maker").seal, entry=b64encode(toy.entries[old]), proof=toy.head(old))
    refused(replace(toy.answer("party", "maker"), seal=seal), "party", "maker", "seal_position")


def test_more_cosignatures_are_welcome_and_fewer_are_not() -> None:
    answer = ledger().answer("party", "maker")
    more = ledger().checkpoint(cosigners=("customs", "interior", "neighbour", "police")).decode()
    verify_state_answer(replace(answer, checkpoint=more).to_bytes(), kind="party", id="maker", policy=POLICY)
    fewer = ledger().checkpoint(cosigners=("customs",)).decode()
    refused(replace(answer, checkpoint=fewer), "party", "maker", "no_quorum")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"id":1}', b"[" * 100_000])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_state_answer(data, kind="party", id="maker", policy=POLICY)
    assert caught.value.code == "answer_form"


def test_a_receipt_proves_its_entry_and_no_other() -> None:
    toy = ledger()
    index = 2
    assert verify_receipt(toy.receipt(index), toy.entries[index], POLICY).index == index
    with pytest.raises(VerificationError):
        verify_receipt(toy.receipt(index), toy.entries[index + 1], POLICY)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def _drop(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + 1 :]


@pytest.mark.parametrize("change", [_flip, _drop])
def test_every_changed_byte_of_a_receipt_is_refused(change: Callable[[bytes, int], bytes]) -> None:
    """A cosignature line beyond the quorum may be lost or broken to an unknown key's; here each is needed."""
    toy = ledger()
    receipt = toy.receipt(4)
    for at in range(len(receipt)):
        with pytest.raises(VerificationError):
            verify_receipt(change(receipt, at), toy.entries[4], POLICY)
