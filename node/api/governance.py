"""Governance: who the validators are, by which parameters they run, what they propose and decide. Open to every token."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from ledger.answer import StateAnswer
from ledger.limits import MAX_PAGE_ITEMS
from ledger.state.model import PARAMETERS_KEY, VALIDATORS_KEY, StateKey
from node.api.auth import KnownCaller, ServicesOf
from node.api.examples import PROPOSAL_PAGE
from node.api.openapi import reference, responds
from node.api.responses import json_response
from node.service.answers import ProposalPage
from node.service.governance import proposals
from node.service.query import DEFAULT_PAGE_ITEMS
from node.service.trace import state_answer

router: Final = APIRouter(tags=["governance"])

_PROVEN: Final = responds(
    "The document or its proven absence, as of the newest quorum-cosigned checkpoint.",
    reference(StateAnswer),
    *(401, 403, 422, 429, 500, 503),
)
_RecordIdPattern: Final = "^[0-9a-f]{64}$"


@router.get("/v1/validators", summary="The epoch's validators, with proof", responses=_PROVEN)
async def validators(services: ServicesOf, _caller: KnownCaller) -> Response:
    """The number of the epoch, and its validators with their keys and CA certificates, in their order."""
    return json_response(await services.read(partial(state_answer, key=VALIDATORS_KEY)))


@router.get("/v1/parameters", summary="The parameters in force, with proof", responses=_PROVEN)
async def parameters(services: ServicesOf, _caller: KnownCaller) -> Response:
    """The version of the rules, the one that is to come, and the timers that all nodes share."""
    return json_response(await services.read(partial(state_answer, key=PARAMETERS_KEY)))


@router.get(
    "/v1/proposals",
    summary="All proposals",
    responses=responds(
        "In the order of their ids.", reference(ProposalPage), *(401, 403, 422, 429, 500, 503), example=PROPOSAL_PAGE
    ),
)
async def find(
    *,
    services: ServicesOf,
    _caller: KnownCaller,
    cursor: Annotated[str | None, Query(pattern=_RecordIdPattern, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_ITEMS)] = DEFAULT_PAGE_ITEMS,
) -> Response:
    """Open ones and those that were decided, or can no longer be. The list is this node's word; a proposal's document is
    proven."""
    return json_response(await services.read(partial(proposals, cursor=cursor, limit=limit)))


@router.get("/v1/proposals/{proposal}", summary="A proposal's document, or its absence, with proof", responses=_PROVEN)
async def show(
    services: ServicesOf,
    _caller: KnownCaller,
    proposal: Annotated[str, Path(pattern=_RecordIdPattern, description="The record id of its opening.")],
) -> Response:
    """The change that it is about, its votes, and what became of it."""
    return json_response(await services.read(partial(state_answer, key=StateKey("proposal", proposal))))
