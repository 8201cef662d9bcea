"""Real processes whose members change under load: one joins, one is killed meanwhile, one leaves, one changes its keys. In
full: `make epochs`."""

from pathlib import Path

import pytest

from client.demo.cast import INTERIOR
from tests.processes.changing import PATIENCE_S, Changing

pytestmark = pytest.mark.processes


def test_members_change_under_load_and_old_receipts_stay_good(tmp_path: Path) -> None:
    with Changing(tmp_path) as changing:
        first = changing.enrol_maker()
        network = changing.network
        with changing.load(INTERIOR, "LOAD") as load:
            changing.add("coast")
            network.kill("police")
            changing.remove("coast")
            network.start("police")
            changing.wait_epoch()
            changing.rotate("customs")
            load.wait_more(3, timeout_s=PATIENCE_S)
        changing.acknowledged += load.acknowledged
        changing.check([first])
