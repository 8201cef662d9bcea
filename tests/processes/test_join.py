"""A node joins by a snapshot from real ones, is killed in the middle of it, and goes on."""

import json
import time
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.ledgers import AGENCIES, deal, found
from client.localnet import LocalNetwork

pytestmark = pytest.mark.processes

JOINER: Final = "police"
RECORDS: Final = 600
PATIENCE_S: Final = 60.0


def lines(network: LocalNetwork, party: str) -> list[dict[str, Any]]:
    """What a node logged."""
    text = (network.folder / party / "node.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_node_that_is_killed_while_it_joins_goes_on_and_takes_part(tmp_path: Path) -> None:
    network = found(tmp_path / "network", records=RECORDS, weapons=1, block_records=6)
    for party in AGENCIES:
        with (network.folder / party / "node.toml").open("a") as file:
            file.write("\n[catch_up]\nmin_entries = 100\n")
    deal(network, *(party for party in AGENCIES if party != JOINER))
    with network:
        network.start(*(party for party in AGENCIES if party != JOINER))
        data = network.folder / JOINER / "data"
        network.launch(JOINER)
        deadline = time.monotonic() + PATIENCE_S
        while not (data / "joining.db").exists() and not (data / "ledger.db").exists():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        network.kill(JOINER)
        network.start(JOINER)
        target = network.network_status("customs")
        while (joined := network.network_status(JOINER))["size"] < target["size"]:
            assert time.monotonic() < deadline, lines(network, JOINER)[-5:]
            time.sleep(0.05)
        assert joined["root"] == target["root"]
        assert any(line["event"] == "joined by a snapshot" for line in lines(network, JOINER))
        assert not (data / "joining.db").exists()
        network.wait_ready(JOINER, timeout_s=PATIENCE_S)
