"""For those who run the node: does it live, is it ready, what does it count."""

from typing import Final

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from node.api.auth import AnyCaller, ServicesOf, is_local
from node.api.openapi import TOKEN_OPTIONAL, reference, responds
from node.api.problems import problem, retry_headers
from node.api.responses import NO_STORE, json_response
from node.service.access import TokenRole, require_role
from node.service.answers import ErrorDetail, Health, Readiness
from node.service.tokens import missing_token

router: Final = APIRouter(tags=["operation"])

METRICS_MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOT_READY: Final = "this node does not take part now"
_METRICS_READERS: Final[frozenset[TokenRole]] = frozenset({"operator"})


@router.get("/healthz", summary="The process lives", responses=responds("It does.", reference(Health), 500))
async def healthz() -> Response:
    """Answered without touching anything that could block: restart the node if this fails."""
    return json_response(Health(status="ok"))


@router.get(
    "/readyz",
    summary="The node takes records and votes",
    responses=responds("It does.", reference(Readiness), 500, 503),
)
async def readyz(request: Request, services: ServicesOf) -> Response:
    """If not, the problem's `reasons` say in words why, to who asks from the node's own machine (others see them under
    /v1/network, with a token): restarting the node seldom helps."""
    reasons = services.node.status().reasons
    if not reasons:
        return json_response(Readiness(ready=True))
    if not is_local(request):
        return problem(503, ErrorDetail(code="not_ready", message=_NOT_READY, help=UNSET), headers=retry_headers(503))
    detail = ErrorDetail(code="not_ready", message="; ".join(reasons), help=UNSET)
    return problem(503, detail, headers=retry_headers(503), reasons=reasons)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses=responds("Text exposition format.", {"type": "string"}, 401, 403, 429, 500, 503, media=METRICS_MEDIA),
    openapi_extra=TOKEN_OPTIONAL,
)
async def metrics(request: Request, services: ServicesOf, caller: AnyCaller) -> Response:
    """Open to this machine; to others with an operator's token."""
    if not is_local(request):
        if caller is None:
            raise missing_token()
        require_role(caller, _METRICS_READERS)
    return Response(services.exposition(), media_type=METRICS_MEDIA, headers=NO_STORE)
