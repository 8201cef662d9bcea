"""Submitting: receipts that hold, the same record again, and each kind of refusal with its status and words."""

import json
from typing import Any

import httpx
import pytest

from ledger.codec import b64decode
from ledger.limits import API_PARTY_BODIES_BYTES, MAX_REQUEST_BYTES
from ledger.merkle.hashing import leaf_hash
from ledger.proof import LogProof
from ledger.records.envelope import parse_entry
from tests.node.api.support import OneAgency, batch, weapon

JSON = {"Content-Type": "application/json"}


def _problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:tracemark:problem:{problem['code']}"
    assert problem["detail"]
    return problem


def test_waiting_gives_receipts_that_verify_offline(agency: OneAgency) -> None:
    entries = [agency.register("maker-a", f"RCP{number}") for number in range(3)]
    results = agency.submit_final(*entries)
    for entry, result in zip(entries, results, strict=True):
        assert result["id"] == parse_entry(entry).id
        proof = LogProof.parse(result["receipt"].encode())
        proof.verify(leaf_hash(entry), agency.policy)
        assert proof.head.index == result["index"]


def test_not_waiting_answers_pending_and_the_id_tells_later(agency: OneAgency) -> None:
    entry = agency.register("maker-a", "LATER1")
    response = agency.submit(entry, wait="none")
    assert response.status_code == 202
    assert response.json() == {"results": [{"id": parse_entry(entry).id, "status": "pending"}]}
    first = agency.submit_final(entry)
    answer = agency.client("auditor").get(f"/v1/records/{parse_entry(entry).id}")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["status"], shown["index"], shown["kind"], shown["issuer"]) == (
        "final",
        first[0]["index"],
        "weapon.register",
        "maker-a",
    )
    assert b64decode(shown["entry"]) == entry
    LogProof.parse(shown["receipt"].encode()).verify(leaf_hash(entry), agency.policy)


def test_the_same_record_again_gets_the_first_receipt(agency: OneAgency) -> None:
    entry = agency.register("maker-a", "AGAIN1")
    [first] = agency.submit_final(entry)
    response = agency.submit(entry, entry, wait="none")
    assert response.status_code == 200
    for again in response.json()["results"]:
        assert (again["id"], again["status"], again["index"]) == (first["id"], "final", first["index"])
        LogProof.parse(again["receipt"].encode()).verify(leaf_hash(entry), agency.policy)


def test_the_same_record_twice_in_one_batch_is_one_entry(agency: OneAgency) -> None:
    entry = agency.register("maker-a", "TWICE1")
    first, second = agency.submit_final(entry, entry)
    assert first["index"] == second["index"]


def test_what_a_rule_refuses_is_409_with_the_rules_words_and_the_rest_stands(agency: OneAgency) -> None:
    good = agency.register("maker-a", "MIXED1")
    bad = agency.register("dealer-a", "MIXED2")
    problem = _problem(agency.submit(bad, good), 409)
    refused, taken = problem["results"]
    assert (refused["status"], taken["status"]) == ("refused", "final")
    assert refused["error"]["code"] == problem["code"]
    assert refused["error"]["message"] == problem["detail"]
    assert problem["expected"]
    assert agency.client("auditor").get(f"/v1/records/{refused['id']}").json()["status"] == "refused"


def test_a_wrong_signature_is_400_and_spoils_nothing(agency: OneAgency) -> None:
    good = agency.register("maker-a", "SPOIL1")
    envelope = json.loads(good)
    other = json.loads(agency.register("maker-a", "SPOIL2"))
    forged = json.dumps({**envelope, "signatures": other["signatures"]}, sort_keys=True, separators=(",", ":"))
    problem = _problem(agency.submit(forged.encode()), 400)
    assert problem["code"] == "bad_signature"
    agency.submit_final(good)


def test_a_malformed_envelope_is_400_and_worse_than_a_broken_rule(agency: OneAgency) -> None:
    problem = _problem(agency.submit(agency.register("dealer-a", "WORST1"), b'{"payload":"e30="}'), 400)
    assert [result["status"] for result in problem["results"]] == ["refused", "refused"]
    assert "id" not in problem["results"][1]
    assert problem["code"] == "malformed"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"envelopes":[]}', b"[", b'{"envelopes":[],"x":1}'])
def test_a_body_that_is_no_batch_is_400(agency: OneAgency, body: bytes) -> None:
    response = agency.client("operator").post("/v1/records", content=body, headers=JSON)
    assert _problem(response, 400)["code"] == "malformed"


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_415(agency: OneAgency, media: str) -> None:
    response = agency.client("operator").post("/v1/records", content=b"{}", headers={"Content-Type": media})
    assert _problem(response, 415)["expected"] == "application/json"


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_over_the_limit_is_413_before_it_is_read_whole(agency: OneAgency, is_declared: bool) -> None:
    chunk = b" " * 65_536

    def body() -> Any:
        for _ in range(MAX_REQUEST_BYTES // len(chunk) + 1):
            yield chunk

    content = b" " * (MAX_REQUEST_BYTES + 1) if is_declared else body()
    try:
        response = agency.client("operator").post("/v1/records", content=content, headers=JSON)
    except (httpx.WriteError, httpx.ReadError):
        return  # the node hung up on the rest, as it may
    _problem(response, 413)


def test_without_room_for_its_body_a_request_is_429_and_with_it_leaves_none_taken(agency: OneAgency) -> None:
    entry = agency.register("maker-a", "ROOM1")
    room = agency.services.room
    with room.hold("interior") as holding:
        holding.take(API_PARTY_BODIES_BYTES)
        response = agency.submit(entry)
        assert _problem(response, 429)["code"] == "requests_full"
        assert int(response.headers["retry-after"]) >= 1
        assert agency.submit(entry, client=agency.client("holder", "dealer-a")).status_code == 200
    assert agency.submit(entry).status_code == 200
    assert room.held_bytes == 0


def test_500_envelopes_are_one_batch_and_501_are_none(agency: OneAgency) -> None:
    entries = [agency.register("maker-a", f"BIG{number}") for number in range(500)]
    results = agency.submit_final(*entries)
    assert len({result["index"] for result in results}) == 500
    response = agency.client("operator").post("/v1/records", content=batch(*entries, entries[0]), headers=JSON)
    assert _problem(response, 400)["code"] == "malformed"


@pytest.mark.parametrize("role", ["holder", "inquirer", "operator"])
def test_who_may_submit(agency: OneAgency, role: str) -> None:
    entry = agency.register("maker-a", f"WHO{role.upper()}")
    assert agency.submit(entry, client=agency.client(role, "dealer-a")).status_code == 200


@pytest.mark.parametrize("role", ["auditor", "peer"])
def test_who_may_not_submit(agency: OneAgency, role: str) -> None:
    problem = _problem(agency.submit(agency.register("maker-a", "NOT1"), client=agency.client(role)), 403)
    assert problem["code"] == "wrong_role"
    assert "holder" in problem["expected"]


def test_without_a_token_nothing_is_taken(agency: OneAgency) -> None:
    response = agency.submit(agency.register("maker-a", "NOBODY1"), client=agency.client())
    assert _problem(response, 401)["help"]
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("secret", ["tmk_" + "A" * 43, "x", "tmk_" + "é" * 43])
def test_an_unknown_token_is_401(agency: OneAgency, secret: str) -> None:
    client = agency.client(None)
    response = client.get("/v1/network", headers=[(b"Authorization", f"Bearer {secret}".encode())])
    assert _problem(response, 401)["code"] == "bad_token"


def test_an_unknown_record_is_404(agency: OneAgency) -> None:
    assert _problem(agency.client("auditor").get(f"/v1/records/{'0' * 64}"), 404)["code"] == "unknown_record"


def test_what_a_record_says_is_shown_to_those_whom_it_concerns(agency: OneAgency) -> None:
    offer = agency.offer("maker-a", "dealer-b", weapon("AB3"))
    [result] = agency.submit_final(offer)
    path = f"/v1/records/{result['id']}"
    for role, party in (
        ("holder", "maker-a"),
        ("holder", "dealer-b"),
        ("inquirer", "station"),
        ("auditor", "interior"),
    ):
        assert b64decode(agency.client(role, party).get(path).json()["entry"]) == offer
    for role, party in (("holder", "dealer-a"), ("operator", "interior")):
        shown = agency.client(role, party).get(path).json()
        assert (shown["status"], shown["index"]) == ("final", result["index"])
        assert {"entry", "kind", "issuer"}.isdisjoint(shown)
        LogProof.parse(shown["receipt"].encode()).verify(leaf_hash(offer), agency.policy)
