"""Reports of evidence: an agency puts on the ledger that another's node lied (PROTOCOL P5.9).

The evidence is verified again, here, by every node: the report does not ask to be believed. Nothing follows from it by rule.
"""

from ledger.errors import VerificationError
from ledger.evidence import kind_of_evidence, role_of, subject_of, verify_evidence
from ledger.records import EquivocationReport
from ledger.records.envelope import SignedRecord
from ledger.records.evidence import Equivocation
from ledger.state.codes import refuse
from ledger.state.lookup import find_key, parameters, validators
from ledger.state.model import At, Doc, EvidenceDoc, PartyDoc, State, StateKey


def check_evidence(state: State, signed: SignedRecord, at: At, issuer: PartyDoc) -> None:
    """An agency reports, once for each subject, what a node key of this ledger demonstrably signed."""
    record = signed.record
    assert isinstance(record, EquivocationReport)
    evidence = record.body.evidence
    if issuer.grants is None:
        raise refuse(
            "not_an_agency",
            f"{record.issuer} is not an agency",
            expected="an agency",
            actual=record.issuer,
            help="Give the evidence to your agency.",
        )
    ledger = parameters(state).ledger
    if evidence.ledger != ledger:
        raise refuse(
            "evidence_other_ledger", "the evidence is of another ledger", expected=ledger, actual=evidence.ledger
        )
    key, role = find_key(state, evidence.public), role_of(evidence)
    if key is None or (key.party, key.role) != (evidence.party, role):
        raise refuse(
            "evidence_unknown_key",
            f"the key is not known as the {role} key of {evidence.party}",
            expected=f"a {role} key that {evidence.party} has or had",
            actual="unknown" if key is None else f"the {key.role} key of {key.party}",
        )
    subject = subject_of(evidence)
    if state.get(StateKey("evidence", subject)) is not None:
        raise refuse("already_reported", f"{subject} was reported before", expected="something new", actual=subject)
    epoch = validators(state).epoch
    if isinstance(evidence, Equivocation) and evidence.epoch > epoch:
        raise refuse(
            "evidence_from_future", "the epoch has not begun", expected=f"at most {epoch}", actual=evidence.epoch
        )
    try:
        verify_evidence(evidence)
    except VerificationError as error:
        raise refuse(
            "evidence_false",
            f"the evidence proves nothing: {error.message} ({error.code})",
            expected=error.expected,
            actual=error.actual,
        ) from error


def apply_evidence(state: State, signed: SignedRecord, at: At) -> dict[StateKey, Doc]:
    """Writes what was proved."""
    record = signed.record
    assert isinstance(record, EquivocationReport)
    evidence = record.body.evidence
    votes = evidence if isinstance(evidence, Equivocation) else None
    document = EvidenceDoc(
        party=evidence.party,
        public=evidence.public,
        proves=kind_of_evidence(evidence),
        reported_by=record.issuer,
        record=signed.id,
        reported=at.index,
        epoch=None if votes is None else votes.epoch,
        view=None if votes is None else votes.view,
        size=None if isinstance(evidence, Equivocation) else evidence.size,
    )
    return {StateKey("evidence", subject_of(evidence)): document}
