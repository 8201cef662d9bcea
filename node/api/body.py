"""Request bodies: read as they arrive, up to a bound and a deadline, of the one media type that the API takes."""

import asyncio
from typing import Final

import structlog
from fastapi import Request
from starlette.requests import ClientDisconnect

from ledger.limits import MAX_REQUEST_BYTES, REQUEST_BODY_TIMEOUT_S
from node.api.problems import RequestError
from node.service.room import Holding

_LOG: Final = structlog.get_logger(__name__)


async def read_json_body(request: Request, holding: Holding) -> bytes:
    """The body's bytes, at most `MAX_REQUEST_BYTES`, for which room is taken as they come; decoding is the caller's.

    Raises:
        OverloadError: code `requests_full`.
        RequestError: 415 `unsupported_media_type`, 413 `too_large`, 408 `request_timeout` after
            `REQUEST_BODY_TIMEOUT_S`; 400 `incomplete_body`, which nobody gets: the client has gone.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise RequestError(
            415, "the body is not JSON", code="unsupported_media_type", expected="application/json", actual=media[:80]
        )
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > MAX_REQUEST_BYTES:
        raise _too_large(declared[:20])
    try:
        async with asyncio.timeout(REQUEST_BODY_TIMEOUT_S):
            return await _read(request, holding)
    except TimeoutError as error:
        raise RequestError(
            408,
            "the body did not arrive in time",
            code="request_timeout",
            expected=f"all of it within {REQUEST_BODY_TIMEOUT_S} s",
        ) from error
    except ClientDisconnect as error:
        _LOG.info("a client left before its request was whole", path=request.url.path)
        raise RequestError(400, "the body is not whole", code="incomplete_body") from error


async def _read(request: Request, holding: Holding) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_REQUEST_BYTES:
            raise _too_large(f"more than {MAX_REQUEST_BYTES}")
        holding.take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(actual: str) -> RequestError:
    return RequestError(
        413, "the body is too large", code="too_large", expected=f"<= {MAX_REQUEST_BYTES} bytes", actual=actual
    )
