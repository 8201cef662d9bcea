"""The OpenAPI document: answers' schemas come from the structs that are sent, documents' from the `schemas` package."""

import json
from collections.abc import Mapping
from importlib.resources import files
from inspect import cleandoc
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from node.api.problems import PROBLEM_MEDIA
from node.service import answers

BUNDLE_MEDIA: Final = "application/vnd.tracemark.bundle+json"
JSON_MEDIA: Final = "application/json"
TEXT_MEDIA: Final = "text/plain; charset=utf-8"
TILE_MEDIA: Final = "application/octet-stream"

_REF: Final = "#/components/schemas/{name}"
_TYPES: Final = (
    answers.SubmitAnswer,
    answers.RecordAnswer,
    answers.WeaponPage,
    answers.ProposalPage,
    answers.EvidencePage,
    answers.ConsistencyAnswer,
    answers.NetworkAnswer,
    answers.Health,
    answers.Readiness,
)
"""Answers of the API alone; what else is public has its file in `schemas`."""
_PUBLISHED: Final = ("bundle", "envelope", "error", "genesis", "state-answer", "succession")
_MEANING: Final[Mapping[int, str]] = {
    400: "The request, or a record in it, is malformed or wrongly signed.",
    401: "No valid token.",
    403: "The token does not entitle to this, or purpose and case are missing.",
    404: "Nothing there that this token may see.",
    408: "The body did not arrive in time.",
    409: "A record breaks a rule of the ledger.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A parameter is not acceptable.",
    429: "Too much at once; Retry-After says when to send the same again.",
    500: "The node failed.",
    503: "The node cannot answer now; another may.",
}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}}}

TOKEN_OPTIONAL: Final[dict[str, Any]] = {"security": [{}]}
"""Added to a route's security: it also answers without a token."""

Responses = dict[int | str, dict[str, Any]]


def reference(shape: type) -> dict[str, str]:
    """A `$ref` to the schema of an answer."""
    return {"$ref": _REF.format(name=shape.__name__)}


def responds(
    description: str,
    schema: Mapping[str, Any],
    *errors: int,
    media: str = JSON_MEDIA,
    example: Any = None,
    status: int = 200,
) -> Responses:
    """What a route answers: one success, and problems of these statuses."""
    content: dict[str, Any] = {"schema": dict(schema)}
    if example is not None:
        content["example"] = example
    responses: Responses = {status: {"description": description, "content": {media: content}}}
    for error in errors:
        responses[error] = {
            "description": _MEANING[error],
            "content": {PROBLEM_MEDIA: {"schema": reference(answers.Problem)}},
        }
        if error in (429, 503):
            responses[error]["headers"] = _RETRY_AFTER
    return responses


def install(app: FastAPI, *, version: str) -> None:
    """Serve the document with the schemas of our own types instead of the framework's."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=version, description=app.description, routes=app.routes)
            components = made.setdefault("components", {})
            components["schemas"] = _schemas()
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to replace it


def _schemas() -> dict[str, Any]:
    _, own = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    return {**_in_ecma(own), **_published()}


def _published() -> dict[str, Any]:
    """The definitions of the published schemas, under the names that they have there."""
    schemas: dict[str, Any] = {}
    for name in _PUBLISHED:
        text = files("schemas").joinpath(f"{name}.json").read_text("utf-8")
        document = json.loads(text.replace("#/$defs/", "#/components/schemas/"))
        for defined, schema in document["$defs"].items():
            schemas[defined] = {**schema, "x-tracemark-schema": document["$id"]}
    return schemas


def _in_ecma(schema: Any) -> Any:
    """Write Python's end-of-text anchor as ECMA-262 does, and descriptions without their indentation."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$")
            if key == "pattern" and isinstance(value, str)
            else cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _in_ecma(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_in_ecma(item) for item in schema]
    return schema
