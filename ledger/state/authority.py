"""Who may sign a record: the issuer's one active record key, as of a place in the log (DESIGN 4.1, 12).

A party rotates its key itself, at once. Its sponsor can add a recovery key, which becomes the active one 72 h later unless
the party objects with its own key. That moment has no record: until the party's next membership record or signature
writes it down (`settled`), the documents show the old key, and `active_key` computes what holds.

Governance is apart: who votes is a validator of the epoch, and its governance key signs.
"""

import msgspec

from ledger.errors import InternalError
from ledger.records import ProposalOpen, ProposalVote, Record
from ledger.records.envelope import SignedRecord
from ledger.records.fields import format_time
from ledger.state.codes import refuse
from ledger.state.lookup import find_key, inactive_reason, require_party, validators
from ledger.state.model import At, Doc, PartyDoc, State, StateKey
from ledger.state.validators import member


def active_key(party: PartyDoc, time_ms: int) -> str | None:
    """The public key (hex) with which the party signs at a block time, or None where it has none."""
    recovery = party.recovery
    if recovery is not None and recovery.active_from <= time_ms:
        return recovery.public
    return party.record_key


def signers_of(state: State, record: Record, time_ms: int) -> tuple[str, ...]:
    """The public keys (hex) that must sign `record` in a block of that time, the issuer's active key first.

    Proposals and votes are signed with the governance key of a current validator, whatever its party may do otherwise. Of
    the kinds there are so far, none asks for further signers.

    Raises:
        RuleError: code `unknown_party`, `no_active_key` or `not_a_validator`.
    """
    if isinstance(record, ProposalOpen | ProposalVote):
        return (_governance_key(state, record.issuer),)
    return (_required_key(require_party(state, record.issuer, "issuer"), record.issuer, time_ms),)


def _required_key(issuer: PartyDoc, party: str, time_ms: int) -> str:
    key = active_key(issuer, time_ms)
    if key is None:
        recovery = issuer.recovery
        raise refuse(
            "no_active_key",
            f"{party} has no active record key",
            expected="an active record key",
            actual=None if recovery is None else f"a recovery key from {format_time(recovery.active_from)}",
            help="Its sponsor can add a recovery key, which becomes active 72 h later.",
        )
    return key


def _governance_key(state: State, party: str) -> str:
    document = validators(state)
    validator = member(document, party)
    if validator is None:
        raise refuse(
            "not_a_validator",
            f"{party} is not a validator",
            expected=f"one of {', '.join(each.party for each in document.members)} (epoch {document.epoch})",
            actual=party,
        )
    return validator.governance


def check_authority(state: State, signed: SignedRecord, at: At) -> PartyDoc:
    """Check that the issuer may issue the record now, and that the right key signed alone. Returns the issuer's document.

    Raises:
        RuleError: code `unknown_party`, `party_suspended`, `party_ended`, `party_expired`, `no_active_key`, `revoked_key` or
            `wrong_signers`; of proposals and votes `not_a_validator`, `not_governance_key` or `wrong_signers`.
    """
    if isinstance(signed.record, ProposalOpen | ProposalVote):
        issuer = _check_governance(state, signed)
    else:
        issuer = _check_issuer(state, signed, at)
    if len(signed.signers) != 1:
        raise refuse(
            "wrong_signers", "only the issuer signs this kind of record", expected=1, actual=len(signed.signers)
        )
    return issuer


def _check_governance(state: State, signed: SignedRecord) -> PartyDoc:
    party = signed.record.issuer
    key = _governance_key(state, party)
    if signed.signers[0] != key:
        raise refuse(
            "not_governance_key",
            f"the key that signed is not the governance key of {party}",
            expected=key,
            actual=signed.signers[0],
            help="Sign with the governance key among the keys of the agency's node (keys.sealed).",
        )
    return require_party(state, party, "issuer")


def _check_issuer(state: State, signed: SignedRecord, at: At) -> PartyDoc:
    party = signed.record.issuer
    issuer = require_party(state, party, "issuer")
    reason = inactive_reason(issuer, at.time_ms)
    if reason is not None:
        code, phrase = reason
        raise refuse(
            code,
            f"{party} may not issue records: it is {phrase}",
            expected="an active party",
            actual=phrase,
            help="Its sponsoring agency can say why, and change it unless it has ended."
            if issuer.suspended_by is None
            else "Ask the validators to propose party.resume.",
        )
    key = _required_key(issuer, party, at.time_ms)
    if signed.signers[0] != key:
        raise refuse(
            "revoked_key",
            f"the key that signed is not the active record key of {party}",
            expected=key,
            actual=signed.signers[0],
            help="Sign the record again with the active key.",
        )
    return issuer


def settled(state: State, party: str, document: PartyDoc, at: At) -> tuple[PartyDoc, dict[StateKey, Doc]]:
    """The party's document with a due recovery written down, and the documents that this changes.

    The old key ends at the record that finds the recovery due: it could not have signed it.
    """
    recovery = document.recovery
    if recovery is None or recovery.active_from > at.time_ms:
        return document, {}
    changes: dict[StateKey, Doc] = {}
    if document.record_key is not None:
        changes.update(ended_key(state, document.record_key, at.index))
    document = msgspec.structs.replace(document, record_key=recovery.public, recovery=None, updated=at.index)
    changes[StateKey("party", party)] = document
    return document, changes


def ended_key(state: State, public: str, revoked: int) -> dict[StateKey, Doc]:
    """The change that ends a key: records at index `revoked` and above cannot be signed by it."""
    key = find_key(state, public)
    if key is None:
        raise InternalError("a party's key has no document", actual=public)
    return {StateKey("key", public): msgspec.structs.replace(key, revoked=revoked)}
