"""Request bodies: read as they arrive, up to a bound, of the one media type that the API takes."""

from fastapi import Request

from ledger.limits import MAX_REQUEST_BYTES
from node.api.problems import RequestError


async def read_json_body(request: Request) -> bytes:
    """The body's bytes, at most `MAX_REQUEST_BYTES`; decoding is the caller's.

    Raises:
        RequestError: 415 `unsupported_media_type`, 413 `too_large`.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise RequestError(
            415, "the body is not JSON", code="unsupported_media_type", expected="application/json", actual=media[:80]
        )
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > MAX_REQUEST_BYTES:
        raise _too_large(declared[:20])
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_REQUEST_BYTES:
            raise _too_large(f"more than {MAX_REQUEST_BYTES}")
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(actual: str) -> RequestError:
    return RequestError(
        413, "the body is too large", code="too_large", expected=f"<= {MAX_REQUEST_BYTES} bytes", actual=actual
    )
