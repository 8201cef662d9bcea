"""What the validators decide: the list of their proposals. Each is proven by its document (`node.service.trace`)."""

from msgspec import UNSET, UnsetType

from ledger.errors import CorruptionError
from ledger.records.fields import format_time
from ledger.records.governance import Change, ParametersSet, ValidatorAdd, VersionActivate
from ledger.state.model import ProposalDoc, StateKey, decode_document
from node.service.answers import ProposalPage, ProposalSummary
from node.service.ports import View


def proposals(view: View, *, cursor: str | None, limit: int) -> ProposalPage:
    """All proposals ever, in the order of their ids, which never changes, so that a cursor stays good.

    Args:
        view: the ledger.
        cursor: `next` of the page before: the id of its last proposal.
        limit: proposals of a page, 1 to `MAX_PAGE_ITEMS`.
    """
    names = view.proposals(after=cursor or "", limit=limit + 1)
    shown = names[:limit]
    documents = view.documents(StateKey("proposal", name) for name in shown)
    listed = tuple(_summary(name, documents[StateKey("proposal", name)]) for name in shown)
    return ProposalPage(proposals=listed, next=shown[-1] if len(names) > limit else UNSET)


def _summary(name: str, data: bytes) -> ProposalSummary:
    document = decode_document("proposal", data)
    if not isinstance(document, ProposalDoc):
        raise CorruptionError("a proposal's document is another's", actual=name)
    return ProposalSummary(
        id=name,
        opened_by=document.opened_by,
        opened=document.opened,
        epoch=document.epoch,
        change=str(document.change.__struct_config__.tag),
        party=_party_of(document.change),
        expires_at=format_time(document.expires_at),
        status=document.status,
        votes_for=document.votes_for,
        votes_against=document.votes_against,
        decided=UNSET if document.decided is None else document.decided,
    )


def _party_of(change: Change) -> str | UnsetType:
    match change:
        case ValidatorAdd():
            return change.agency.party
        case ParametersSet() | VersionActivate():
            return UNSET
        case _:
            return change.party
