"""What operators, parties and strangers learn of the node; and that every wrong turn gets the one error shape."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from ledger.answer import StateAnswer
from ledger.codec import b64decode, decode
from ledger.errors import OverloadError
from ledger.limits import MAX_BUNDLE_BYTES
from ledger.records.envelope import parse_entry
from ledger.state.model import KeyDoc, PartyDoc, decode_document
from node.api.auth import is_local
from node.app import create_app
from node.service.ports import Outcome
from node.service.quota import Quota, QuotaRates, Rate
from tests.node.api.support import AGENCY, OneAgency, trading, weapon


def _problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert {"type", "title", "detail"} <= problem.keys()


def test_a_node_without_peers_lives_and_is_ready(agency: OneAgency) -> None:
    assert agency.client().get("/healthz").json() == {"status": "ok"}
    assert agency.client().get("/readyz").json() == {"ready": True}


def test_the_genesis_document_is_served_byte_for_byte(agency: OneAgency) -> None:
    assert agency.client().get("/v1/genesis").content == agency.genesis.entry


def test_strangers_see_the_public_part_of_the_network(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.api.network.is_local", lambda _: False)
    public = agency.client().get("/v1/network").json()
    assert public["genesis"] == agency.genesis.chain_id.hex()
    assert public["cosigned"]["size"] == public["size"]
    assert {"validators", "others", "pending", "reasons", "progress"}.isdisjoint(public)
    known = agency.client("operator").get("/v1/network").json()
    assert known["validators"][0]["party"] == AGENCY
    assert (known["others"], known["pending"], known["reasons"]) == ([], 0, [])
    assert known["progress"]["state"] == "ready"


def test_this_machine_is_told_how_the_node_gets_on_without_a_token(agency: OneAgency) -> None:
    progress = agency.client().get("/v1/network").json()["progress"]
    assert (progress["state"], progress["reachable"], progress["needed"]) == ("ready", 1, 1)
    assert progress["summary"].startswith("1 of 1 validators reachable, 1 needed; last block ")
    assert progress["disk_free_bytes"] > 0


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (("127.0.0.1", 5), ("127.0.0.1", 8443), True),
        (("::1", 5), ("::1", 8443), True),
        (("198.51.100.7", 5), ("198.51.100.7", 8443), True),
        (("198.51.100.8", 5), ("198.51.100.7", 8443), False),
        (None, ("127.0.0.1", 8443), False),
        (("/run/socket", 0), None, False),
    ],
)
def test_only_who_connects_from_this_machine_is_local(client: object, server: object, expected: bool) -> None:
    scope = {"type": "http", "headers": [], "client": client, "server": server}
    assert is_local(Request(scope)) is expected


def test_metrics_count_requests_by_route(agency: OneAgency) -> None:
    agency.client().get("/healthz")
    text = agency.client().get("/metrics").text
    assert 'tracemark_request_seconds_count{method="GET",route="/healthz",status="200"}' in text
    assert "/v1/weapons/w" not in text, "paths as asked would make labels without bound"


def test_metrics_tell_how_the_node_gets_on(agency: OneAgency) -> None:
    text = agency.client().get("/metrics").text
    for line in (
        'tracemark_state{state="ready"} 1.0',
        'tracemark_state{state="stopped"} 0.0',
        "tracemark_validators_reachable 1.0",
        "tracemark_validators_needed 1.0",
        "tracemark_blocks_behind 0.0",
    ):
        assert line in text
    assert "tracemark_last_block_age_seconds " in text
    assert "tracemark_disk_free_bytes " in text


def test_parties_and_keys_are_shown_with_proof_to_everybody_with_a_token(agency: OneAgency) -> None:
    client = agency.client("holder", "dealer-a")
    party: StateAnswer = decode(client.get("/v1/parties/maker-a").content, StateAnswer, limit=MAX_BUNDLE_BYTES)
    assert isinstance(party.document, str)
    document = decode_document("party", b64decode(party.document))
    assert isinstance(document, PartyDoc)
    assert document.record_key == agency.keys["maker-a"].public.hex()
    key: StateAnswer = decode(
        client.get(f"/v1/keys/{document.record_key}").content, StateAnswer, limit=MAX_BUNDLE_BYTES
    )
    assert isinstance(key.document, str)
    key_document = decode_document("key", b64decode(key.document))
    assert isinstance(key_document, KeyDoc)
    assert key_document.party == "maker-a"
    assert "document" not in client.get("/v1/parties/nobody").json()
    _problem(agency.client().get("/v1/parties/maker-a"), 401, "not_authenticated")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/weapons/", "/..%2f", "/docs", "/redoc"])
def test_an_unknown_path_is_a_problem(agency: OneAgency, path: str) -> None:
    _problem(agency.client("operator").get(path), 404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v1/weapons"), ("PUT", "/v1/records"), ("POST", "/healthz")])
def test_another_method_is_a_problem_that_names_the_right_ones(agency: OneAgency, method: str, path: str) -> None:
    response = agency.client("operator").request(method, path)
    _problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] in ("GET", "POST")


def test_what_goes_wrong_inside_is_500_and_tells_nothing(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> object:
        raise ValueError("secret detail")

    monkeypatch.setattr(agency.services.node, "status", fail)
    with capture_logs() as logged:
        response = agency.client().get("/v1/network")
    _problem(response, 500, "internal")
    assert "secret" not in response.text
    assert "secret detail" in str([entry["exc_info"] for entry in logged if entry["event"] == "request_failed"])


def test_over_the_quota_is_429_and_says_when(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = Rate(per_second=1, burst=5)
    quota = Quota("records", QuotaRates(token=poor, party=poor), monotonic_ms=lambda: 0)
    monkeypatch.setattr(agency.services.record_quota, "charge", quota.charge)
    client = agency.client("holder", "maker-a")
    entries = [agency.register("maker-a", f"QUOTA{number}") for number in range(4)]
    assert agency.submit(*entries, client=client).status_code == 200
    response = agency.submit(*entries, client=client)
    _problem(response, 429, "quota_exceeded")
    assert response.headers["retry-after"] == "3"


def test_who_is_told_to_come_again_is_refused_before_anything_is_read(
    agency: OneAgency, monkeypatch: pytest.MonkeyPatch
) -> None:
    def behind(source: str) -> None:
        raise OverloadError(f"{source} waits", code="admission_behind", retry_after_s=7)

    def never(*_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(agency.services.node, "require_turn", behind)
    monkeypatch.setattr("node.service.submit.envelopes_of", never)
    held = _holding(monkeypatch)
    response = agency.submit(agency.register("maker-a", "BEHIND"), client=agency.client("holder", "maker-a"))
    _problem(response, 429, "admission_behind")
    assert response.json()["detail"] == "maker-a waits"
    assert response.headers["retry-after"] == "7"
    assert len(held) == 1, "who comes again at once shall not do so as often as we can say no"


def test_a_batch_without_room_is_held_back_and_one_that_is_wrong_is_not(
    agency: OneAgency, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = _holding(monkeypatch)
    assert agency.submit(b"{}").status_code == 400
    assert held == []
    full = Outcome(id="0" * 64, status="refused", error=OverloadError("full", code="mempool_full"))

    async def no_room(entries: Sequence[bytes], *, source: str) -> list[Outcome]:
        return [full for _ in entries]

    monkeypatch.setattr(agency.services.node, "submit", no_room)
    response = agency.submit(agency.register("maker-a", "FULL"))
    _problem(response, 429, "mempool_full")
    assert len(held) == 1


def _holding(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Something for each refusal that was held back."""
    held: list[None] = []

    async def hold_back() -> None:
        held.append(None)

    for module in ("problems", "records"):
        monkeypatch.setattr(f"node.api.{module}.hold_back", hold_back)
    return held


def test_without_a_quorum_of_agencies_the_node_says_so_and_keeps_records_pending(tmp_path: Path) -> None:
    with OneAgency(tmp_path, "customs", "neighbour", "police") as alone:
        ready = alone.client().get("/readyz")
        _problem(ready, 503, "not_ready")
        [reason] = ready.json()["reasons"]
        assert reason.startswith("no quorum: 1 of 4 validators reachable, 3 needed; last block ")
        assert reason.endswith("; missing: customs, neighbour, police")
        assert ready.headers["retry-after"]
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr("node.api.health.is_local", lambda _: False)
            told = alone.client().get("/readyz")
        _problem(told, 503, "not_ready")
        assert "reasons" not in told.json()
        assert "customs" not in told.text, "who is down is not for everybody"
        assert alone.client().get("/healthz").status_code == 200
        entry = alone.enrol("maker-a", "maker", makes=("GLC",))
        assert alone.submit(entry, wait="none").status_code == 202
        shown = alone.client("auditor").get(f"/v1/records/{parse_entry(entry).id}").json()
        assert shown == {"id": parse_entry(entry).id, "status": "pending"}
        for path in ("/checkpoint", "/v1/consistency?from=1", "/tile/0/000.p/1"):
            response = alone.client().get(path)
            _problem(response, 503, "not_cosigned")
            assert response.headers["retry-after"]


def test_a_corrupt_row_is_never_answered_and_ends_the_nodes_voting(tmp_path: Path) -> None:
    with OneAgency(tmp_path) as corrupted:
        trading(corrupted)
        path = f"/v1/weapons/{weapon('AB1')}/provenance"
        client = corrupted.client("inquirer", "station")
        assert client.get(path).status_code == 200
        with sqlite3.connect(corrupted.config.data_dir / "ledger.db") as database:
            database.execute("UPDATE documents SET value = replace(value, 'seized', 'held') WHERE kind = 'weapon'")
        _problem(client.get(path), 503, "store_failed")
        [reason] = client.get("/readyz").json()["reasons"]
        assert reason.startswith("stopped voting")
        _problem(corrupted.submit(corrupted.register("maker-a", "AFTER1")), 503, "store_failed")


def test_agencies_without_an_address_are_named_at_the_start(tmp_path: Path) -> None:
    agency = OneAgency(tmp_path, "customs", "border")
    peers = msgspec.structs.replace(agency.config.peers, addresses={})

    async def start_and_stop() -> None:
        app = create_app(msgspec.structs.replace(agency.config, peers=peers))
        async with app.router.lifespan_context(app):
            pass

    with capture_logs() as lines:
        asyncio.run(start_and_stop())
    assert [line["parties"] for line in lines if line["log_level"] == "warning"] == [["border", "customs"]]
