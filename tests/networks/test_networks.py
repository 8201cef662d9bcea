"""A short trial of real nodes on a network with faults; `make networks` has the long ones."""

from pathlib import Path
from typing import Final

import pytest

from tests.networks.__main__ import as_text
from tests.networks.fabric import choose
from tests.networks.scenarios import SELECTION
from tests.networks.trial import carry_out

PATIENCE: Final = 10.0
"""What a node does late is no failure here, where other work may share the processors: `make networks` measures it."""
pytestmark = pytest.mark.processes


def test_nothing_acknowledged_is_lost_and_all_are_level_soon_after(tmp_path: Path) -> None:
    make_fabric, words = choose()
    print(words)
    result = carry_out(SELECTION, tmp_path, make_fabric, patience=PATIENCE)
    print(as_text(result))
    assert not result.failure
    assert (len(result.phases), result.audited_nodes) == (2, 4)
