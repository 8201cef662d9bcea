"""The OpenAPI document attacked by schemathesis: whatever is sent, no 5xx, and every answer is one that the document tells
of. And real answers, of weapons and records that exist, held against the schemas that it gives for them."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from ledger.records.envelope import parse_entry
from tests.node.api.support import OneAgency, weapon

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
EXAMPLES: Final = 5
"""Random requests for each route, beside one for each of the document's examples and for each edge of its schemas."""
ATTACK_TIMEOUT_S: Final = 110


@pytest.fixture(scope="module")
def document(agency: OneAgency) -> dict[str, Any]:
    """The document as served."""
    served: dict[str, Any] = agency.client().get("/openapi.json").json()
    return served


@pytest.mark.parametrize(
    ("role", "routes"), [("inquirer", ".*"), ("auditor", "^/(tile|v1/records)/.*")], ids=["inquirer", "auditor"]
)
def test_every_answer_to_an_attack_is_documented(agency: OneAgency, tmp_path: Path, role: str, routes: str) -> None:
    """Examples, edges and random requests against the running node, as an inquirer, and as an auditor who reads entries."""
    (tmp_path / "schemathesis.toml").write_text(
        "[headers]\n"
        f'Authorization = "Bearer {agency.secret(role, "station")}"\n'
        'Tracemark-Purpose = "criminal investigation"\n'
        'Tracemark-Case = "26-1178"\n'
    )
    options = {
        "--phases": "examples,coverage,fuzzing",
        "--checks": ",".join(CHECKS),
        "--max-examples": str(EXAMPLES),
        "--seed": "1",
        "--include-path-regex": routes,
        "--generation-database": "none",
    }
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{agency.url}/openapi.json", "--no-color"]
    done = subprocess.run(
        [*command, *(part for option in options.items() for part in option)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=ATTACK_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_real_answers_fit_their_schemas(agency: OneAgency, document: dict[str, Any]) -> None:
    entry = agency.register("maker-a", "SCHEMA1")
    record_id = parse_entry(entry).id
    results = agency.submit(entry)
    _require_fit(document, "/v1/records", "post", results.status_code, results.json())
    refused = agency.submit(agency.register("dealer-a", "SCHEMA2"))
    assert refused.status_code == 409
    _require_fit(document, "/v1/records", "post", 409, refused.json())
    inquirer, key = agency.client("inquirer", "station"), agency.keys["maker-a"].public.hex()
    for template, path in (
        ("/v1/records/{record_id}", f"/v1/records/{record_id}"),
        ("/v1/weapons", "/v1/weapons?serial=AB1"),
        ("/v1/weapons/{weapon_id}", f"/v1/weapons/{weapon('AB1')}"),
        ("/v1/weapons/{weapon_id}", f"/v1/weapons/{weapon('NOSUCH')}"),
        ("/v1/weapons/{weapon_id}/provenance", f"/v1/weapons/{weapon('AB1')}/provenance"),
        ("/v1/parties/{party_id}", "/v1/parties/maker-a"),
        ("/v1/keys/{public}", f"/v1/keys/{key}"),
        ("/v1/validators", "/v1/validators"),
        ("/v1/parameters", "/v1/parameters"),
        ("/v1/proposals", "/v1/proposals"),
        ("/v1/proposals/{proposal}", f"/v1/proposals/{record_id}"),
        ("/v1/evidence", "/v1/evidence"),
        ("/v1/consistency", "/v1/consistency?from=3"),
        ("/v1/network", "/v1/network"),
        ("/v1/genesis", "/v1/genesis"),
    ):
        response = inquirer.get(path)
        assert response.status_code == 200, response.text
        _require_fit(document, template, "get", 200, response.json())


def test_the_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    seen = 0
    for path in document["paths"].values():
        for operation in path.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in (each for body in bodies for each in body.get("content", {}).values()):
                if "example" in content:
                    seen += 1
                    _validator(document, content["schema"]).validate(content["example"])
    assert seen >= 5


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Envelope"]["x-tracemark-schema"] == "urn:tracemark:schema:1:envelope"
    assert _references(document) <= {f"#/components/schemas/{name}" for name in schemas}


def _references(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    return set[str]().union(*map(_references, value)) if isinstance(value, list) else set()


def _require_fit(document: dict[str, Any], template: str, method: str, status: int, answer: object) -> None:
    [content] = document["paths"][template][method]["responses"][str(status)]["content"].values()
    _validator(document, content["schema"]).validate(answer)


def _validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})
