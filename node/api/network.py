"""The network and its genesis document: open, since whoever checks us must know what to check against."""

from typing import Final

from fastapi import APIRouter, Request, Response

from ledger.genesis import Genesis
from ledger.succession import Succession
from node.api.auth import AnyCaller, ServicesOf, is_local
from node.api.examples import NETWORK
from node.api.openapi import JSON_MEDIA, TOKEN_OPTIONAL, reference, responds
from node.api.responses import json_response
from node.service.answers import NetworkAnswer
from node.service.network import network

router: Final = APIRouter(tags=["network"])


@router.get(
    "/v1/network",
    summary="The network as this node sees it",
    responses=responds(
        "Without a token, but for this machine: without validators, others, pending records, reasons and progress.",
        reference(NetworkAnswer),
        *(401, 429, 500, 503),
        example=NETWORK,
    ),
    openapi_extra=TOKEN_OPTIONAL,
)
async def show(request: Request, services: ServicesOf, caller: AnyCaller) -> Response:
    """Height, size and roots are those of this node's newest final block; `cosigned` is what proofs are made against;
    `progress` says in words how this node is getting on."""
    return json_response(network(services, known=caller is not None or is_local(request)))


@router.get(
    "/v1/succession",
    summary="Who the validators were and are, provably",
    responses=responds(
        "Canonical JSON: one step for each change of the validators, oldest first.",
        reference(Succession),
        *(401, 429, 500, 503),
    ),
    openapi_extra=TOKEN_OPTIONAL,
)
async def succession(services: ServicesOf, _caller: AnyCaller) -> Response:
    """Whoever holds the policy of an earlier day follows it by these steps to today's: each is vouched for by the quorum
    before it. Steps are missing at the end only where this node does not know that quorum's cosignatures yet."""
    current = await services.succession()
    return Response(current.to_bytes(), media_type=JSON_MEDIA, headers={"Cache-Control": "no-cache"})


@router.get(
    "/v1/genesis",
    summary="The genesis document",
    responses=responds("Canonical JSON: entry 0 of the log, byte for byte.", reference(Genesis), 500),
)
async def genesis(services: ServicesOf) -> Response:
    """Its SHA-256 is the chain id. Compare it with the hash that was published at the ceremony."""
    return Response(services.genesis.entry, media_type=JSON_MEDIA, headers={"Cache-Control": "public, max-age=86400"})
