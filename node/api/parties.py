"""Parties and their keys: what the ledger says of them, with proof. Open to every token: who is who is no secret."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Path, Response

from ledger.answer import StateAnswer
from ledger.state.model import StateKey
from node.api.auth import KnownCaller, ServicesOf
from node.api.openapi import reference, responds
from node.api.responses import json_response
from node.service.trace import state_answer

router: Final = APIRouter(tags=["parties"])

_RESPONSES: Final = responds(
    "The document or its proven absence, as of the newest quorum-cosigned checkpoint.",
    reference(StateAnswer),
    *(401, 403, 422, 429, 500, 503),
)


@router.get("/v1/parties/{party_id}", summary="A party's document, or its absence, with proof", responses=_RESPONSES)
async def party(
    services: ServicesOf, _caller: KnownCaller, party_id: Annotated[str, Path(pattern="^[a-z][a-z0-9-]{1,39}$")]
) -> Response:
    """Roles, jurisdiction, makes, status, and the key it signs with."""
    return json_response(await services.read(partial(state_answer, key=StateKey("party", party_id))))


@router.get("/v1/keys/{public}", summary="A key's document, or its absence, with proof", responses=_RESPONSES)
async def key(
    services: ServicesOf, _caller: KnownCaller, public: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
) -> Response:
    """Whose key it is, in which role, and from which log index to which it signs."""
    return json_response(await services.read(partial(state_answer, key=StateKey("key", public))))
