"""Every rule that a well-formed record can break, by its stable code. Programs match the code; texts may change."""

from types import MappingProxyType
from typing import Final

from ledger.errors import InternalError, RuleError

RULES: Final = MappingProxyType(
    {
        # any record
        "wrong_ledger": "The record names another ledger.",
        "issued_too_old": "The record was issued more than 30 days before its block.",
        "issued_in_future": "The record was issued more than 10 s after its block.",
        "unknown_party": "A party that the record names (or its issuer) is not enrolled.",
        "party_suspended": "The issuer is suspended.",
        "party_ended": "The party's enrolment has ended, for good.",
        "party_expired": "The issuer's enrolment was valid until an earlier time.",
        "no_active_key": "The issuer has no active record key at the block's time.",
        "revoked_key": "The key that signed is not the issuer's active record key at the record's place in the log.",
        "wrong_signers": "More signed than the kind of record asks for.",
        "not_sorted": "A list that must be sorted and distinct is not.",
        "time_in_future": "A stated time of an event lies after the block's time.",
        # membership
        "not_an_agency": "Only an agency enrols parties.",
        "duplicate_party": "The party id is taken; ids are never reused.",
        "duplicate_key": "The key is known to the ledger already: one key, one role, one party, ever.",
        "role_not_granted": "The agency may not grant this role.",
        "wrong_jurisdiction": "The party is outside the agency's jurisdiction.",
        "makes_without_role": "Make codes belong to makers and importers only.",
        "any_make_without_role": "Registering any make belongs to importers and registries only.",
        "validity_in_past": "The stated end of validity is not in the future.",
        "empty_update": "The update changes nothing.",
        "suspended_by_validators": "The validators suspended the party; only they resume it.",
        "not_sponsor": "Only the party's sponsor may do this.",
        "not_key_authority": "Only the party itself or its sponsor adds or revokes its keys.",
        "unknown_key": "The party never had this record key.",
        "key_not_active": "The key is neither the party's active nor its pending record key.",
        "agency_without_key": "An agency replaces its key; it cannot be left without one.",
        # registration
        "make_missing": "Neither the row nor the lot's defaults name a make.",
        "make_not_entitled": "The issuer may not register weapons of this make.",
        "serial_size": "The serial is empty or too long.",
        "serial_character": "The serial has a character that no serial has.",
        "serial_mixed_scripts": "The serial mixes letters of several scripts.",
        "unmarked_serial": "UNMARKED and a number, and the reason for it, go together.",
        "duplicate_identity": "The identity is on the ledger already, or stands twice in the record.",
        "distinct_from_wrong": "`distinct_from` does not list exactly the existing weapons of this make and serial.",
        # custody
        "unknown_weapon": "No weapon under this id is on the ledger.",
        "weapon_void": "The weapon's registration was declared not to have occurred.",
        "weapon_not_movable": "A lost or stolen weapon changes no hands.",
        "weapon_superseded": "The identity was superseded by another.",
        "not_owner": "The issuer does not own the weapon.",
        "not_possessor": "The issuer does not hold the weapon.",
        "offer_to_self": "An offer is made to somebody else.",
        "recipient_not_active": "The recipient is suspended, ended or expired.",
        "offer_expiry": "An offer expires after its block's time and within 366 days.",
        "offer_pending": "Another offer of the weapon is pending.",
        "unknown_transfer": "No such offer was ever made.",
        "not_recipient": "Only the party to which the offer was made may answer it.",
        "not_offeror": "Only the party that made the offer may cancel it.",
        "offer_not_pending": "The offer was accepted, declined or cancelled before.",
        "offer_expired": "The offer has expired.",
        "weapons_differ": "The weapons are not exactly those of the offer.",
        "offeror_not_active": "The party that made the offer is suspended, ended or expired.",
        "offer_gone": "The weapon no longer refers to this offer.",
        # incidents
        "no_weapons": "The report names no weapon.",
        "not_entitled_to_report": "Only holder, owner or their sponsor reports a weapon lost or stolen; "
        "one in an authority's keeping only that authority or its sponsor.",
        "not_an_authority": "Only police and customs report a weapon seized, found or recovered.",
        "unregistered_not_possible": "Only a seized or found weapon can be one that nobody registered.",
        "already_seized": "The weapon is in an authority's hands already.",
        "status_conflict": "The weapon's status does not admit this incident.",
        # corrections
        "not_correctable": "Only registrations and incidents can be declared not to have occurred.",
        "not_last_record": "Another record has touched the weapon since.",
        "not_issuer": "Only the issuer of a record corrects it.",
        "correction_incomplete": "A correction names all weapons of the record, or none is corrected.",
        # governance
        "not_a_validator": "Only validators of the current epoch propose and vote.",
        "not_governance_key": "The key that signed is not the validator's governance key of the current epoch.",
        "proposal_expiry": "A proposal expires after its block's time and within 90 days.",
        "unknown_proposal": "No such proposal was ever opened.",
        "proposal_decided": "The proposal was enacted or rejected before.",
        "proposal_lapsed": "The epoch in which the proposal was opened has ended.",
        "proposal_expired": "The proposal has expired.",
        "already_voted": "A validator votes once; opening a proposal is its vote for it.",
        "empty_change": "The proposal would change nothing.",
        "unknown_validator": "The party is not a validator.",
        "already_validator": "The agency is a validator already.",
        "agency_differs": "The agency does not come back as the ledger knows it.",
        "too_many_validators": "There is no room for so many validators.",
        "last_validator": "A ledger keeps at least one validator.",
        "timers_inverted": "The advance timer must be longer than the lead timer.",
        "version_not_next": "Versions of the protocol are activated one after the other.",
        "height_passed": "A version is activated at a height to come.",
        "already_suspended": "The validators have suspended the party already.",
        "not_suspended": "The validators have not suspended the party.",
        # evidence
        "evidence_false": "The evidence does not prove itself: not two contradicting statements under one key.",
        "evidence_other_ledger": "The evidence is of another ledger.",
        "evidence_unknown_key": "The key that signed was never the named agency's in that role.",
        "evidence_from_future": "The votes are of an epoch that has not begun.",
        "already_reported": "This was reported before; more evidence of it says nothing new.",
    }
)
"""Code to rule, in the order in which they are documented."""


def refuse(
    code: str,
    message: str,
    *,
    expected: object = None,
    actual: object = None,
    help: str | None = None,  # noqa: A002 - the field's public name
) -> RuleError:
    """The refusal of a record by the rule `code`; for the person who filled in the form.

    Raises:
        InternalError: the code is not in `RULES`.
    """
    if code not in RULES:
        raise InternalError("a refusal without a rule", actual=code)
    return RuleError(message, code=code, expected=expected, actual=actual, help=help)
