"""The kinds of records, one module per family (DESIGN 4.3). Unknown kinds and fields are refused."""

from typing import TypeAlias

from ledger.records.corrections import CorrectionDeclare
from ledger.records.custody import TransferAccept, TransferCancel, TransferDecline, TransferOffer
from ledger.records.evidence import EquivocationReport
from ledger.records.governance import ProposalOpen, ProposalVote
from ledger.records.incidents import IncidentReport
from ledger.records.items import WeaponRegister
from ledger.records.membership import KeyAdd, KeyRevoke, PartyEnrol, PartyUpdate

Record: TypeAlias = (
    PartyEnrol
    | PartyUpdate
    | KeyAdd
    | KeyRevoke
    | WeaponRegister
    | TransferOffer
    | TransferAccept
    | TransferDecline
    | TransferCancel
    | IncidentReport
    | CorrectionDeclare
    | ProposalOpen
    | ProposalVote
    | EquivocationReport
)
"""Any record; decoding picks the kind by its `kind` field."""

__all__ = [
    "CorrectionDeclare",
    "EquivocationReport",
    "IncidentReport",
    "KeyAdd",
    "KeyRevoke",
    "PartyEnrol",
    "PartyUpdate",
    "ProposalOpen",
    "ProposalVote",
    "Record",
    "TransferAccept",
    "TransferCancel",
    "TransferDecline",
    "TransferOffer",
    "WeaponRegister",
]
