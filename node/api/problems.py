"""The one shape of every error: RFC 9457 problem details, with a stable code and what was expected and found.

Services raise errors of the one tree; the handlers here give each class its status. What went wrong inside us is logged,
never told.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import UNSET
from starlette.exceptions import HTTPException

from ledger.codec import encode
from ledger.errors import InputError, OverloadError, RuleError, StoreError, TracemarkError
from ledger.limits import REFUSAL_HOLD_MS
from node.service.answers import ErrorDetail, Problem, RecordResult
from node.service.errors import AuthenticationError, AuthorizationError, NotFoundError, NotReadyError
from node.service.submit import error_detail

PROBLEM_MEDIA: Final = "application/problem+json"
NOT_READY_RETRY_S: Final = 5
"""What a 503 suggests: about a view change and a reconnection."""

_STATUS: Final[tuple[tuple[type[TracemarkError], int], ...]] = (
    (AuthenticationError, 401),
    (AuthorizationError, 403),
    (NotFoundError, 404),
    (NotReadyError, 503),
    (RuleError, 409),
    (OverloadError, 429),
    (StoreError, 503),
    (InputError, 400),
)

_HELP: Final[Mapping[int, str]] = {
    404: "See /openapi.json for what is there.",
    405: "See the Allow header for the methods of this path.",
}

_LOG: Final = structlog.get_logger(__name__)


class RequestError(TracemarkError):
    """A request that HTTP itself has a status for: a body too large, of another media type, too late."""

    default_code = "bad_request"

    def __init__(self, status: int, message: str, *, code: str, expected: object = None, actual: object = None) -> None:
        super().__init__(message, code=code, expected=expected, actual=actual)
        self.status = status


def status_of(error: TracemarkError) -> int:
    """The HTTP status of an error; 500 for whatever is ours."""
    if isinstance(error, RequestError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(
    status: int,
    detail: ErrorDetail,
    *,
    headers: Mapping[str, str] | None = None,
    results: tuple[RecordResult, ...] | None = None,
    reasons: tuple[str, ...] | None = None,
) -> Response:
    """A problem as a response."""
    body = Problem(
        type=f"urn:tracemark:problem:{detail.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail.message,
        code=detail.code,
        expected=detail.expected,
        actual=detail.actual,
        help=detail.help,
        results=UNSET if results is None else results,
        reasons=UNSET if reasons is None else reasons,
    )
    return Response(
        encode(body),
        status_code=status,
        media_type=PROBLEM_MEDIA,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def retry_headers(status: int, retry_after_s: int = NOT_READY_RETRY_S) -> dict[str, str]:
    """Retry-After where a later try may succeed."""
    return {"Retry-After": str(retry_after_s)} if status in (429, 503) else {}


async def hold_back() -> None:
    """Let a moment pass before somebody is told to come again later: this is what slows down those who do not listen."""
    await asyncio.sleep(REFUSAL_HOLD_MS / 1000)


async def _on_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TracemarkError)
    status = status_of(error)
    if isinstance(error, OverloadError):
        await hold_back()
    if status == 500 or isinstance(error, StoreError):
        return _internal(error, status)
    headers = retry_headers(status, error.retry_after_s if isinstance(error, OverloadError) else NOT_READY_RETRY_S)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tracemark"'
    if status == 408:
        headers["Connection"] = "close"  # RFC 9110, 15.5.9: what still comes is no next request
    return problem(status, error_detail(error), headers=headers)


async def _on_unexpected(_request: Request, error: Exception) -> Response:
    return _internal(error, 500)


def _internal(error: Exception, status: int) -> Response:
    """Log the whole error; tell that there was one."""
    _LOG.error("request_failed", exc_info=error)
    code, message = ("store_failed", "the node's store failed") if status == 503 else ("internal", "the node failed")
    detail = ErrorDetail(code=code, message=message, help="Try another node; this one's operator finds it in its log.")
    return problem(status, detail, headers=retry_headers(status))


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    detail = ErrorDetail(code=code, message=str(error.detail), help=_HELP.get(error.status_code, UNSET))
    return problem(error.status_code, detail, headers=error.headers)


async def _on_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = " ".join(str(part) for part in first["loc"])
    detail = ErrorDetail(
        code="bad_parameter",
        message=f"{where} is not acceptable",
        expected=str(first["msg"]),
        actual=repr(first.get("input"))[:200],
        help="See /openapi.json for the parameters of this path.",
    )
    return problem(422, detail)


def install(app: FastAPI) -> None:
    """Answer every error of the application as a problem."""
    app.add_exception_handler(TracemarkError, _on_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(Exception, _on_unexpected)
