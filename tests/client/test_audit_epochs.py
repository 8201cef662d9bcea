"""Audits of logs whose validators changed by the votes that the log itself holds."""

from typing import Any

import msgspec
import pytest

import client.replay
from client.replay import Audited, audit
from ledger.errors import VerificationError
from ledger.policy import Judge
from ledger.records.governance import (
    Change,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    VersionActivate,
)
from ledger.state.model import VALIDATORS_KEY
from ledger.state.validators import validators_hash_of
from ledger.succession import SUCCESSION_FORMAT, Succession, follow, policy_of
from tests.client.test_audit import ToySource
from tests.toyledger import AGENCIES, ToyLedger, toy_policy
from tests.world import ORIGIN, build_agency, node_key, node_key_proof


class Governed(ToyLedger):
    """A ledger whose agencies vote; each change of the validators closes a block, and its step is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Any] = []

    def close(self, change: Change, *, wrong: dict[str, Any] | None = None) -> None:
        """A change in one block, and an empty block after it."""
        old = [member.party for member in self.validators().members]
        self.decide(change)
        self.seal(**(wrong or {}))
        note = self.checkpoint(cosigners=old[: len(old) - (len(old) - 1) // 3])
        answer = self.answer(VALIDATORS_KEY.kind, VALIDATORS_KEY.id)
        self.steps.append(msgspec.structs.replace(answer, checkpoint=note.decode()))
        for party in ("coast", "harbour"):
            self.governance[party] = node_key(party, "governance")
        self.seal()

    def final(self) -> Judge:
        """The policy of the newest validators, nothing of it followed."""
        return policy_of(ORIGIN, self.validators())


def several() -> Governed:
    """Four epochs: 4 -> 5 -> 5 with another consensus key -> 4 -> 4 with another agency."""
    ledger = Governed()
    ledger.close(ValidatorAdd(agency=build_agency("coast")))
    ledger.submit(ledger.enrol("interior", "maker", "maker", any_make=False, makes=("GLC",)))
    rotation = RotatedKeys(consensus=node_key_proof("customs", "consensus", 1))
    ledger.close(ValidatorRotate(party="customs", keys=rotation))
    ledger.close(ValidatorRemove(party="neighbour"))
    ledger.close(ValidatorReplace(party="police", agency=build_agency("harbour")))
    return ledger


def audited(ledger: Governed, judge: Judge) -> Audited:
    members = [member.party for member in ledger.validators().members]
    source = ToySource(ledger)
    note = ledger.checkpoint(cosigners=members[: len(members) - (len(members) - 1) // 3])
    source.checkpoint = lambda: note  # type: ignore[method-assign]
    return audit(source, judge)


def refused(ledger: Governed, code: str) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        audited(ledger, ledger.final())
    assert caught.value.code == code, str(caught.value)
    return caught.value


def test_a_log_of_several_epochs_passes() -> None:
    ledger = several()
    found = audited(ledger, ledger.final())
    assert (found.epoch, found.validators) == (4, ("coast", "customs", "harbour", "interior"))


def test_the_policy_of_the_genesis_document_is_followed_to_the_last_epoch() -> None:
    ledger = several()
    pinned = toy_policy()
    with pytest.raises(VerificationError):
        audited(ledger, pinned)
    steps = Succession(format=SUCCESSION_FORMAT, steps=tuple(ledger.steps))
    assert audited(ledger, follow(pinned, steps)).epoch == 4


@pytest.mark.parametrize("field", ["epoch", "validators"])
def test_the_closing_seal_is_of_the_epoch_that_it_closes(field: str) -> None:
    ledger = Governed()
    ledger.decide(ValidatorRemove(party="police"))
    coming = ledger.validators()
    wrong = {"epoch": coming.epoch, "validators": validators_hash_of(coming).hex()}[field]
    ledger.seal(**{field: wrong})
    assert field in refused(ledger, "bad_seal").message


@pytest.mark.parametrize("field", ["epoch", "validators"])
def test_the_next_seal_is_of_the_next_epoch(field: str) -> None:
    ledger = Governed()
    before = ledger.validators()
    ledger.decide(ValidatorRemove(party="police"))
    ledger.seal()
    ledger.seal(**{field: {"epoch": 0, "validators": validators_hash_of(before).hex()}[field]})
    assert field in refused(ledger, "bad_seal").message


def test_no_record_follows_the_one_that_changes_the_validators() -> None:
    ledger = Governed()
    ledger.decide(ValidatorRemove(party="police"))
    ledger.submit(ledger.enrol("interior", "maker", "maker"))
    ledger.seal()
    assert "follows the record that changed the validators" in refused(ledger, "bad_block").message


def test_views_begin_anew_with_an_epoch_and_rise_within_it() -> None:
    ledger = Governed()
    ledger.decide(ValidatorRemove(party="police"))
    ledger.seal(view=900)
    ledger.seal(view=1)
    ledger.seal(view=2)
    audited(ledger, ledger.final())
    ledger.seal(view=2)
    assert "view and time must rise" in refused(ledger, "bad_seal").message


def test_view_0_of_an_epoch_is_the_block_that_opened_it() -> None:
    ledger = Governed()
    ledger.decide(ValidatorRemove(party="police"))
    ledger.seal()
    ledger.seal(view=0)
    refused(ledger, "bad_seal")


def test_a_vote_by_a_validator_that_left_is_found() -> None:
    ledger = several()
    assert "neighbour" in AGENCIES
    proposal = ledger.propose("neighbour", ValidatorRemove(party="coast"))
    _, signed = ledger.sign(proposal)
    ledger._append(signed.entry)
    ledger._records += 1
    ledger.seal()
    assert "not_a_validator" in refused(ledger, "broken_rule").message


def test_a_version_is_sealed_from_its_height_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Governed()
    current = ledger.parameters().version
    following = current + 1
    monkeypatch.setattr(client.replay, "NEWEST_VERSION", current)
    height = ledger.height + 3
    ledger.decide(VersionActivate(version=following, height=height))
    while ledger.height < height:
        ledger.seal()
    audited(ledger, ledger.final())
    ledger.seal(version=following)
    error = refused(ledger, "unsupported_version")
    assert error.help is not None
    monkeypatch.setattr(client.replay, "NEWEST_VERSION", following)
    audited(ledger, ledger.final())
    ledger.seal(version=current)
    assert "version" in refused(ledger, "bad_seal").message
