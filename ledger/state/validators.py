"""The validators' document read: who the members of an epoch are, and with which keys.

Members stand sorted by party; a member's place in that order is its number in the epoch. What changes the document is
`ledger.state.rules.governance`'s; what its keys sign is of no concern here;
how many members decide is `ledger.quorum`'s.
"""

from ledger.genesis import Agency, validators_hash
from ledger.state.model import PartyDoc, Validator, ValidatorsDoc


def validator_of(agency: Agency) -> Validator:
    """The entry of an agency that enters an epoch as its identity shows it."""
    node = agency.node
    return Validator(
        party=agency.party,
        consensus=node.consensus.public,
        cosigner=node.cosigner.public,
        governance=node.governance.public,
        log=node.log.public,
        transport=node.transport.public,
        ca=agency.ca,
    )


def agency_party(agency: Agency, index: int) -> PartyDoc:
    """The party of an agency that the ledger did not know before the record at a log index (0: the genesis document)."""
    return PartyDoc(
        name=agency.name,
        roles=agency.roles,
        jurisdiction=agency.jurisdiction,
        status="active",
        updated=index,
        grants=agency.grants,
        any_make="registry" in agency.roles,
        record_key=agency.record.public,
    )


def node_keys(validator: Validator) -> tuple[str, ...]:
    """All its keys, in hex."""
    return (
        validator.consensus,
        validator.cosigner,
        validator.governance,
        validator.log,
        validator.transport,
    )


def validators_hash_of(document: ValidatorsDoc) -> bytes:
    """The hash of an epoch's validators as every seal of the epoch names it."""
    return validators_hash(tuple((member.party, member.consensus) for member in document.members))


def consensus_keys(document: ValidatorsDoc) -> tuple[bytes, ...]:
    """The raw public consensus keys in the epoch's order."""
    return tuple(bytes.fromhex(member.consensus) for member in document.members)


def member(document: ValidatorsDoc, party: str) -> Validator | None:
    """The party's entry, if it is a member."""
    return next((found for found in document.members if found.party == party), None)
