"""Evidence that agencies' nodes lied, as this node holds it: open to all who rely on the ledger."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from ledger.limits import MAX_PAGE_ITEMS
from node.api.auth import ServicesOf
from node.api.examples import EVIDENCE_PAGE
from node.api.openapi import reference, responds
from node.api.responses import json_response
from node.service.answers import EvidencePage
from node.service.evidence import evidence_page
from node.service.query import DEFAULT_PAGE_ITEMS

router: Final = APIRouter(tags=["network"])

_SUBJECT: Final = r"^[a-z][a-z0-9-]{1,39}:(?:(?:fork|log):)?[0-9]{1,16}$"


@router.get(
    "/v1/evidence",
    summary="Evidence against agencies' nodes",
    responses=responds(
        "In the order of what it is about.", reference(EvidencePage), *(422, 429, 500, 503), example=EVIDENCE_PAGE
    ),
)
async def find(
    *,
    services: ServicesOf,
    cursor: Annotated[str | None, Query(pattern=_SUBJECT, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_ITEMS)] = DEFAULT_PAGE_ITEMS,
) -> Response:
    """Each piece proves itself: two statements under one key that no honest holder of it signs both. Believe none before you
    have verified it."""
    return json_response(evidence_page(services.node.evidence_held(), cursor=cursor, limit=limit))
