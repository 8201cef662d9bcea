"""The node as a process: TLS under its agency's authority, a clean end on SIGTERM, and nothing lost by it."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from ledger.records.envelope import parse_entry
from node.peers.certificates import trusting_context
from tests.node.api.support import AGENCY, OneAgency, batch

pytestmark = pytest.mark.processes

_RUN: Final = "import sys, pathlib, node.app, node.config; " + (
    "sys.exit(node.app.run(node.config.load_config(pathlib.Path(sys.argv[1]))))"
)
_COMMAND: Final = "import node.cli.node, node.cli.token, sys; getattr(node.cli, sys.argv.pop(1)).app()"
PATIENCE_S: Final = 30.0


@contextmanager
def _running(agency: OneAgency) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """The node as a process, and an operator's client that trusts nobody but the agency."""
    with (agency.folder / "node.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", _RUN, str(agency.config.file)], stderr=log)
    headers = {"Authorization": f"Bearer {agency.secret('operator')}", "Content-Type": "application/json"}
    client = httpx.Client(
        base_url=f"https://{agency.config.api.listen}",
        verify=trusting_context(agency.agency),
        headers=headers,
        timeout=PATIENCE_S,
        trust_env=False,
    )
    client.event_hooks["request"] = [lambda request: request.extensions.update(sni_hostname=AGENCY)]
    try:
        _wait_until_it_lives(process, client)
        yield process, client
    finally:
        process.kill()
        process.wait()
        client.close()


def _wait_until_it_lives(process: subprocess.Popen[bytes], client: httpx.Client) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the node ended: see its log"
        try:
            assert client.get("/healthz").status_code == 200
        except httpx.ConnectError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the node does not answer")


def test_sigterm_ends_it_cleanly_and_what_was_final_stays(tmp_path: Path) -> None:
    agency = OneAgency(tmp_path)
    entry = agency.enrol("maker-a", "maker", makes=("GLC",))
    with _running(agency) as (process, client):
        first = client.post("/v1/records?wait=final", content=batch(entry)).raise_for_status().json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    with _running(agency) as (process, client):
        again = client.post("/v1/records", content=batch(entry))
        assert again.status_code == 200
        assert again.json()["results"][0]["index"] == first["results"][0]["index"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_who_waits_for_receipts_is_answered_when_the_node_ends(tmp_path: Path) -> None:
    agency = OneAgency(tmp_path, "customs", "neighbour", "police")
    entry = agency.enrol("maker-a", "maker", makes=("GLC",))
    answers: list[httpx.Response] = []
    with _running(agency) as (process, client):
        waiting = threading.Thread(
            target=lambda: answers.append(client.post("/v1/records?wait=final", content=batch(entry)))
        )
        waiting.start()
        path = f"/v1/records/{parse_entry(entry).id}"
        while client.get(path).status_code == 404:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        waiting.join(PATIENCE_S)
    assert [answer.status_code for answer in answers] == [202]
    assert answers[0].json()["results"][0]["status"] == "pending"


def test_a_second_node_on_the_same_data_is_refused_and_tokens_are_made_all_the_same(tmp_path: Path) -> None:
    agency = OneAgency(tmp_path)
    config = ("--config", str(agency.config.file), "--json")
    with _running(agency) as (process, client):
        second = subprocess.run(
            [sys.executable, "-c", _COMMAND, "node", "run", *config], capture_output=True, check=False
        )
        assert second.returncode == 2, second.stderr
        error = json.loads(second.stdout)["error"]
        assert (error["code"], error["actual"]) == ("data_dir_in_use", f"process {process.pid}")
        assert str(agency.config.data_dir) in error["message"]
        asked = ("token", "new", "--party", "maker-a", "--role", "holder")
        made = subprocess.run([sys.executable, "-c", _COMMAND, *asked, *config], capture_output=True, check=True)
        headers = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}
        assert "validators" in client.get("/v1/network", headers=headers).json()
