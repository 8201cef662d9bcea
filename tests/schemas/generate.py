"""Makes the files of `schemas/` from the types that the parsers use: `python -m tests.schemas.generate`."""

import json
from inspect import cleandoc
from typing import Any, Final

import msgspec

from ledger.answer import StateAnswer
from ledger.block import Seal
from ledger.bundle import Bundle
from ledger.codec import PAYLOAD_TYPE, Envelope
from ledger.genesis import Genesis
from ledger.limits import MAX_SIGNATURES
from ledger.records import Record
from ledger.records.evidence import Evidence
from ledger.state.model import DOCUMENT_TYPES
from ledger.succession import Succession
from node.service.answers import Problem
from tests.shared import CHECKOUT
from tests.strategies import BODIES

FOLDER: Final = CHECKOUT / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

SHAPES: Final[dict[str, Any]] = {
    "bundle": Bundle,
    "envelope": Envelope,
    "error": Problem,
    "evidence": Evidence,
    "genesis": Genesis,
    "record": Record,
    "seal": Seal,
    "state-answer": StateAnswer,
    "succession": Succession,
    **{str(kind.__struct_config__.tag): kind for kind in BODIES},
    **{f"document.{kind}": shape for kind, shape in DOCUMENT_TYPES.items()},
}
"""Name of the schema -> type of the parser."""

_TITLES: Final = {
    "bundle": "An evidence bundle",
    "envelope": "A log entry: a record in its DSSE envelope",
    "error": "Problem details of an error",
    "evidence": "Evidence that an agency's node lied",
    "genesis": "The genesis document",
    "record": "A record of any kind",
    "seal": "A block's seal",
    "state-answer": "A document of the state with its proof",
    "succession": "The changes of the validators, each with its proof",
}
_END: Final = r"(?![\s\S])"
"""End of text in the pattern dialects of ECMA 262 and Python alike; `$` admits a newline in the latter."""

_BASE64: Final = (
    r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?" + _END
)  # RFC 4648 section 4, pad bits zero


def generate(name: str) -> dict[str, Any]:
    """The schema of that name."""
    schema: dict[str, Any] = _portable(msgspec.json.schema(SHAPES[name]))
    made = {
        "$schema": DIALECT,
        "$id": f"urn:tracemark:schema:1:{name}",
        "title": _TITLES.get(name, f"A record of kind {name}" if "document" not in name else f"State {name}"),
        **schema,
    }
    if name == "genesis":
        parameters = made["$defs"]["Parameters"]
        parameters["required"] = list(parameters["properties"])
        for stated in parameters["properties"].values():
            del stated["not"]
    if name == "envelope":
        properties = made["$defs"]["Envelope"]["properties"]
        properties["payloadType"] = {"const": PAYLOAD_TYPE}
        properties["payload"] = {"type": "string", "pattern": _BASE64}
        properties["signatures"] |= {"minItems": 1, "maxItems": MAX_SIGNATURES, "uniqueItems": True}
    return made


def text_of(schema: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(schema, indent=2, ensure_ascii=True) + "\n"


def _portable(node: Any) -> Any:
    """The library's schema in the terms of this project: patterns for any dialect, absence instead of null."""
    if isinstance(node, list):
        return [_portable(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _portable(value) for key, value in node.items() if not _is_annotation(key, value)}
    if "pattern" in node:
        made["pattern"] = _pattern(node["pattern"])
    if "description" in node and isinstance(node["description"], str):
        made["description"] = cleandoc(node["description"])
    if isinstance(made.get("anyOf"), list):
        made = _without_null(made)
    if "default" in node and node["default"] is not None:
        # What equals the default is written by leaving it out, and in no other way.
        made["not"] = {"const": node["default"]}
    return made


def _is_annotation(key: str, value: Any) -> bool:
    """Keywords of OpenAPI and of the library that say nothing here; a field may have the same name."""
    return key == "default" or (key == "discriminator" and "propertyName" in value)


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    others = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**rest, **others[0]} if len(others) == 1 else {**rest, "anyOf": others}


def _pattern(pattern: str) -> str:
    portable = pattern.replace(r"\U000e0000-\U000e0fff", "\U000e0000-\U000e0fff")
    return portable.removesuffix(r"\Z") + _END if portable.endswith(r"\Z") else portable


def main() -> None:
    """Write all files."""
    for name in SHAPES:
        (FOLDER / f"{name}.json").write_text(text_of(generate(name)), encoding="utf-8")


if __name__ == "__main__":
    main()
