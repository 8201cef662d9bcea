"""One registry with some history for all tests of the API; each test adds records of its own and disturbs no other."""

from collections.abc import Iterator

import pytest

from tests.node.api.support import OneAgency, trading


@pytest.fixture(scope="session")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneAgency]:
    """A running node of one agency, with `tests.node.api.support.trading`'s history."""
    with OneAgency(tmp_path_factory.mktemp("one")) as running:
        trading(running)
        yield running
