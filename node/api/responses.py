"""Small things that every router needs: its services, and answers as JSON."""

from typing import Final

import msgspec
from fastapi import Request, Response

from ledger.codec import encode
from node.api.openapi import JSON_MEDIA
from node.service.services import Services

NO_STORE: Final = {"Cache-Control": "no-store"}


async def services_of(request: Request) -> Services:
    """The application's services. (A dependency that waits for nothing.)"""
    services: Services = request.app.state.services
    return services


def json_response(answer: msgspec.Struct, *, status: int = 200) -> Response:
    """An answer as canonical JSON, which state answers must be; not to be kept by caches: it depends on who asked."""
    return Response(encode(answer), status_code=status, media_type=JSON_MEDIA, headers=NO_STORE)
