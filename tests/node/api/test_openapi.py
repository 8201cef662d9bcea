"""The OpenAPI document attacked: whatever is sent, no 5xx, and every answer is one that the document tells of."""

from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.node.api.support import OneAgency

_CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES: Final = 25
"""Requests of each generated kind for each route: the whole attack stays well under a minute."""


@pytest.fixture(scope="module")
def document(agency: OneAgency) -> dict[str, Any]:
    """The document as served."""
    response = agency.client().get("/openapi.json")
    assert response.status_code == 200
    served: dict[str, Any] = response.json()
    return served


@pytest.fixture(scope="module")
def attacked(agency: OneAgency) -> schemathesis.BaseSchema:
    """The document as schemathesis reads it."""
    return schemathesis.openapi.from_url(f"{agency.url}/openapi.json", wait_for_schema=5)


schema = schemathesis.pytest.from_fixture("attacked")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_documented(case: schemathesis.Case[Any], agency: OneAgency) -> None:
    secret = agency.secret("inquirer", "station")
    headers = {
        "Authorization": f"Bearer {secret}",
        "Tracemark-Purpose": "criminal investigation",
        "Tracemark-Case": "26-1178",
    }
    case.call_and_validate(headers=headers, checks=_CHECKS)
