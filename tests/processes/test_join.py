"""A node joins by a snapshot from real ones, is killed in the middle of it, and goes on."""

import json
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from benchmarks.ledgers import AGENCIES, deal, found
from benchmarks.load import Maker, batch_body
from client.audit import audit_node
from client.localnet import LocalNetwork
from client.tls import tls_context
from ledger.genesis import decode_genesis
from ledger.policy import Policy

pytestmark = pytest.mark.processes

JOINER: Final = "police"
RECORDS: Final = 600
PATIENCE_S: Final = 90.0


def lines(network: LocalNetwork, party: str) -> list[dict[str, Any]]:
    """What a node logged."""
    text = (network.folder / party / "node.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def post_one_more(network: LocalNetwork, number: int) -> None:
    """One more weapon, posted to a node that was there all the time."""
    genesis = decode_genesis((network.folder / "genesis.json").read_bytes())
    entry = next(Maker("maker-0", genesis, now_ms=genesis.time_ms).lots(1, weapons=1, start=1_000_000 + number))
    path = network.folder / "customs" / "token-customs-inquirer"
    if not path.exists():
        network.new_token("customs", party="customs", role="inquirer")
    token = path.read_text().strip()
    with httpx.Client(verify=tls_context(network.authorities), timeout=PATIENCE_S) as client:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        url = f"{network.url('customs')}/v1/records?wait=none"
        assert client.post(url, content=batch_body([entry]), headers=headers).status_code in (200, 202)


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
        assert not joined["ready"], "whoever holds a validator's key and no votes may have lost some (P7.5)"
        posted = 0
        while not network.network_status(JOINER)["ready"]:
            assert time.monotonic() < deadline, lines(network, JOINER)[-5:]
            post_one_more(network, posted)
            posted += 1
            time.sleep(0.2)
        token = network.new_token(JOINER, party=JOINER, role="auditor").read_text().strip()
        audited = audit_node(
            network.url(JOINER), policy=Policy.parse(network.policy.read_text()), ca=network.authorities, token=token
        )
        assert audited.records > RECORDS + 1, "it serves the whole log, from before its snapshot on"
