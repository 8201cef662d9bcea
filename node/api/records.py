"""Records: submit them and wait for receipts; ask what became of one."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from ledger.codec import Envelope
from ledger.errors import OverloadError
from ledger.limits import MAX_BATCH_RECORDS
from node.api.auth import RecordInquiry, ServicesOf, Submission
from node.api.body import read_json_body
from node.api.examples import ENVELOPE, RECORD_ANSWER, SUBMIT_ANSWER
from node.api.openapi import JSON_MEDIA, reference, responds
from node.api.problems import hold_back, problem, retry_headers, status_of
from node.api.responses import json_response
from node.service.answers import RecordAnswer, SubmitAnswer
from node.service.query import record as record_status
from node.service.submit import error_detail
from node.service.submit import submit as submit_batch

router: Final = APIRouter(tags=["records"])

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON_MEDIA: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "envelopes": {
                            "type": "array",
                            "items": reference(Envelope),
                            "minItems": 1,
                            "maxItems": MAX_BATCH_RECORDS,
                        }
                    },
                    "required": ["envelopes"],
                    "additionalProperties": False,
                },
                "example": {"envelopes": [ENVELOPE]},
            }
        },
    }
}

RecordIdPath = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="Record id: 64 lower-case hex digits.")]


@router.post(
    "/v1/records",
    summary="Submit 1 to 500 signed records",
    responses={
        **responds(
            "All are final, or were already.",
            reference(SubmitAnswer),
            400,
            401,
            403,
            408,
            409,
            413,
            415,
            422,
            429,
            500,
            503,
            example=SUBMIT_ANSWER,
        ),
        202: {
            "description": "Taken; some are not final yet. Ask for them by their ids, or send the same again.",
            "content": {JSON_MEDIA: {"schema": reference(SubmitAnswer)}},
        },
    },
    openapi_extra=_BODY,
)
async def submit(
    request: Request,
    services: ServicesOf,
    inquiry: Submission,
    wait: Annotated[
        Literal["none", "final"],
        Query(description="`final`: answer when all are final and under a quorum-cosigned checkpoint, or after 30 s."),
    ] = "none",
) -> Response:
    """A record's id is its idempotency key: the same record again gets the first receipt. The records of a batch stand each
    for themselves; the status is that of the worst, and `results` tells of each, in order. What a refusal found of a weapon
    is told to those who may see the weapon; to others the rule's code and its words."""
    with services.room.hold(inquiry.caller.party) as holding:
        body = await read_json_body(request, holding)
        submission = await submit_batch(
            services, body, inquiry.caller, wait_for_final=wait == "final", sees_all=inquiry.sees_all
        )
    worst = submission.worst
    if worst is not None and inquiry.sees_all:
        await inquiry.log()
    if worst is None:
        status = 200 if submission.is_complete else 202
        return json_response(SubmitAnswer(results=submission.results), status=status)
    if isinstance(worst, OverloadError):
        await hold_back()
    status = status_of(worst)
    headers = retry_headers(status, worst.retry_after_s) if isinstance(worst, OverloadError) else retry_headers(status)
    return problem(status, error_detail(worst), headers=headers, results=submission.results)


@router.get(
    "/v1/records/{record_id}",
    summary="What became of a record",
    responses=responds(
        "Its status; its receipt once it is final and cosigned.",
        reference(RecordAnswer),
        401,
        403,
        404,
        422,
        429,
        500,
        503,
        example=RECORD_ANSWER,
    ),
)
async def record(services: ServicesOf, inquiry: RecordInquiry, record_id: RecordIdPath) -> Response:
    """Anybody with a token learns the status and the receipt; kind, issuer and entry only who may see the record."""
    await inquiry.log()
    return json_response(await record_status(services, record_id, inquiry.caller))
