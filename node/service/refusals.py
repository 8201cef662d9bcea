"""What a refusal tells, and to whom: the rule that refused a record to anybody, what it found of a weapon only to those who
may see that weapon. A weapon's id can be computed from its marks, so a refusal would else answer any question about it.

Pure but for the view. Who may see what is `node.service.access`'s.
"""

from typing import Final

from ledger.errors import RuleError, TracemarkError
from ledger.records import Record, TransferAccept, TransferCancel, TransferDecline
from ledger.state.codes import RULES
from ledger.state.model import StateKey, TransferDoc, decode_document
from ledger.state.transition import weapons_of
from node.service.access import Caller
from node.service.ports import View
from node.service.trace import visible_weapons

_SILENT: Final = frozenset(
    {
        *("wrong_ledger", "issued_too_old", "issued_in_future", "unknown_party", "party_suspended", "party_ended"),
        *("party_expired", "no_active_key", "revoked_key", "wrong_signers", "not_sorted", "time_in_future"),
        *("not_an_agency", "duplicate_party", "duplicate_key", "role_not_granted", "wrong_jurisdiction"),
        *("makes_without_role", "any_make_without_role", "validity_in_past", "empty_update", "not_sponsor"),
        *("not_key_authority", "unknown_key", "key_not_active", "agency_without_key"),
        *("make_missing", "make_not_entitled", "serial_size", "serial_character", "serial_mixed_scripts"),
        *("unmarked_serial", "duplicate_identity", "distinct_from_wrong", "unknown_weapon", "unknown_transfer"),
        *("offer_to_self", "recipient_not_active", "offer_expiry"),
        *("no_weapons", "not_an_authority", "unregistered_not_possible", "expired"),
        *("suspended_by_validators", "not_a_validator", "not_governance_key", "proposal_expiry", "unknown_proposal"),
        *("proposal_decided", "proposal_lapsed", "proposal_expired", "already_voted", "empty_change"),
        *("unknown_validator", "already_validator", "agency_differs", "too_many_validators", "last_validator"),
        *("timers_inverted", "version_not_next", "height_passed", "already_suspended", "not_suspended"),
        *(
            "evidence_false",
            "evidence_other_ledger",
            "evidence_unknown_key",
            "evidence_from_future",
            "already_reported",
        ),
    }
)
"""Rules whose refusals say nothing of a weapon or an offer beyond the code and what the record itself says. Listed are the
silent ones, so that the words of a new rule are withheld until somebody has looked at them."""


def tells_of_weapons(error: TracemarkError) -> bool:
    """Whether a refusal may say what a weapon or an offer is like on the ledger."""
    return isinstance(error, RuleError) and error.code not in _SILENT


def withheld(error: TracemarkError) -> TracemarkError:
    """The refusal by the same rule in the rule's own words, without what it found."""
    return RuleError(
        RULES.get(error.code, "A rule of the ledger refuses the record."),
        code=error.code,
        help="What the ledger says of a weapon is told to those who hold, own or registered it, or offer or are offered it.",
    )


def may_be_told(view: View, record: Record, caller: Caller) -> bool:
    """Whether the caller may see all weapons that a record names and the offer that it answers, as the ledger has them."""
    if caller.sees_all:
        return True
    if isinstance(record, TransferAccept | TransferDecline | TransferCancel):
        key = StateKey("transfer", record.body.transfer)
        data = view.documents([key]).get(key)
        offer = None if data is None else decode_document("transfer", data)
        if not isinstance(offer, TransferDoc) or caller.party not in (offer.offered_by, offer.to):
            return False
    named = weapons_of(record)
    return len(visible_weapons(view, named, caller)) == len(frozenset(named))
