"""Weapons: who sees which, inquiries that state their purpose and are logged, searches by pages, bundles that hold."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from ledger.answer import StateAnswer
from ledger.bundle import verify_bundle
from ledger.codec import b64decode, decode
from ledger.errors import StoreError
from ledger.limits import MAX_BUNDLE_BYTES
from ledger.state.model import WeaponDoc, decode_document
from ledger.state.transition import kind_of
from tests.node.api.support import OneAgency, weapon

AB1, AB2, AB3 = weapon("AB1"), weapon("AB2"), weapon("AB3")


def _code(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    code: str = response.json()["code"]
    return code


def _found(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [found["id"] for found in response.json()["weapons"]]


def test_provenance_is_a_bundle_that_verifies_offline(agency: OneAgency) -> None:
    response = agency.client("inquirer", "station").get(f"/v1/weapons/{AB1}/provenance")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/vnd.tracemark.bundle+json"
    trace = verify_bundle(response.content, agency.policy)
    assert [kind_of(hop.record.record) for hop in trace.hops] == [
        "weapon.register",
        "transfer.offer",
        "transfer.accept",
        "incident.report",
        "incident.report",
    ]
    assert (trace.document.owner, trace.document.possessor, trace.document.status) == ("dealer-a", "station", "seized")


def test_a_weapon_answer_proves_the_document_and_its_absence(agency: OneAgency) -> None:
    client = agency.client("inquirer", "station")
    shown: StateAnswer = decode(client.get(f"/v1/weapons/{AB1}").content, StateAnswer, limit=MAX_BUNDLE_BYTES)
    assert isinstance(shown.document, str)
    document = decode_document("weapon", b64decode(shown.document))
    assert isinstance(document, WeaponDoc)
    assert document.serial == "AB1"
    absent = client.get(f"/v1/weapons/{weapon('NOSUCH')}")
    assert absent.status_code == 200
    assert "document" not in absent.json()
    assert _code(client.get(f"/v1/weapons/{weapon('NOSUCH')}/provenance"), 404) == "unknown_weapon"


@pytest.mark.parametrize(
    ("party", "visible"),
    [
        ("maker-a", {AB1, AB2, AB3}),
        ("dealer-a", {AB1}),
        ("dealer-b", {AB2, AB3}),
        ("station", {AB1}),
        ("interior", set()),
    ],
)
def test_a_holder_sees_what_is_its_partys_business_and_nothing_else(
    agency: OneAgency, party: str, visible: set[str]
) -> None:
    agency.submit(agency.offer("maker-a", "dealer-b", AB3))  # pending, whichever test made the offer first
    client = agency.client("holder", party)
    for weapon_id, serial in ((AB1, "AB1"), (AB2, "AB2"), (AB3, "AB3")):
        expected = 200 if weapon_id in visible else 404
        assert client.get(f"/v1/weapons/{weapon_id}").status_code == expected
        assert client.get(f"/v1/weapons/{weapon_id}/provenance").status_code == expected
        assert _found(client.get("/v1/weapons", params={"serial": serial})) == [weapon_id] * (weapon_id in visible)


def test_to_a_holder_a_hidden_weapon_looks_like_none(agency: OneAgency) -> None:
    client = agency.client("holder", "dealer-b")
    hidden = client.get(f"/v1/weapons/{AB1}").json()
    absent = client.get(f"/v1/weapons/{weapon('NOSUCH')}").json()
    assert {**hidden, "actual": ""} == {**absent, "actual": ""}


@pytest.mark.parametrize("role", ["auditor", "peer"])
def test_other_roles_do_not_ask_for_weapons(agency: OneAgency, role: str) -> None:
    for path in (f"/v1/weapons/{AB1}", f"/v1/weapons/{AB1}/provenance", "/v1/weapons?serial=AB1"):
        assert _code(agency.client(role).get(path), 403) == "wrong_role"


@pytest.mark.parametrize("missing", ["Tracemark-Purpose", "Tracemark-Case"])
def test_an_inquirer_states_purpose_and_case(agency: OneAgency, missing: str) -> None:
    headers = {"Tracemark-Purpose": "criminal investigation", "Tracemark-Case": "26-1178"}
    del headers[missing]
    client = agency.client(None, Authorization=f"Bearer {agency.secret('inquirer', 'station')}", **headers)
    assert _code(client.get(f"/v1/weapons/{AB1}"), 403) == "purpose_required"


def test_every_inquiry_stands_in_the_query_log_before_its_answer(agency: OneAgency) -> None:
    before = len(agency.agency_store.queries(count=100_000))
    client = agency.client("inquirer", "station", **{"Tracemark-Case": "26-2001"})
    client.get("/v1/weapons", params={"serial": "AB 1", "make": "GLC"})
    client.get(f"/v1/weapons/{AB1}/provenance")
    client.get(f"/v1/weapons/{weapon('NOSUCH')}/provenance")
    agency.client("holder", "maker-a").get(f"/v1/weapons/{AB1}")
    lines = [json.loads(line.entry) for line in agency.agency_store.queries(count=100_000)[before:]]
    assert [line["asked"] for line in lines] == [
        "GET /v1/weapons?serial=AB+1&make=GLC",
        f"GET /v1/weapons/{AB1}/provenance",
        f"GET /v1/weapons/{weapon('NOSUCH')}/provenance",
    ]
    tokens = {token.id: token for token in agency.agency_store.tokens()}
    for line in lines:
        assert (line["party"], line["case"], line["purpose"]) == ("station", "26-2001", "criminal investigation")
        assert tokens[line["token"]].party == "station"
        assert line["time_ms"] > agency.genesis.time_ms


def test_what_cannot_be_logged_is_not_answered(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_lines: Sequence[bytes]) -> None:
        raise StoreError("the disk is full: /secret/path", code="disk_full")

    client = agency.client("inquirer", "station")
    monkeypatch.setattr(agency.services.query_log, "_append", fail)
    response = client.get(f"/v1/weapons/{AB1}/provenance")
    assert _code(response, 503) == "store_failed"
    assert response.headers["retry-after"]
    assert "secret" not in response.text
    monkeypatch.undo()
    assert client.get(f"/v1/weapons/{AB1}/provenance").status_code == 200


def test_an_ambiguous_serial_lists_all_candidates_page_by_page(agency: OneAgency) -> None:
    agency.submit_final(agency.enrol("importer-a", "importer", any_make=True))
    first = weapon("OLD77", make="AAA")
    agency.submit_final(*(agency.register("importer-a", "OLD77", make=make) for make in ("AAA", "BBB", "CCC")))
    agency.submit_final(agency.register("importer-a", "OLD77", make="AAA", distinct_from=(first,)))
    client = agency.client("inquirer", "station")
    everything = client.get("/v1/weapons", params={"serial": "old-77"}).json()
    assert "next" not in everything
    assert [found["make"] for found in everything["weapons"]] == ["AAA", "AAA", "BBB", "CCC"]
    paged: list[dict[str, Any]] = []
    params = {"serial": "OLD77", "limit": "1"}
    while True:
        page = client.get("/v1/weapons", params=params).json()
        assert len(page["weapons"]) == 1
        paged += page["weapons"]
        if "next" not in page:
            break
        params["cursor"] = page["next"]
    assert paged == everything["weapons"]
    assert _found(client.get("/v1/weapons", params={"serial": "OLD77", "make": "BBB"})) == [weapon("OLD77", "BBB")]
    assert _found(client.get("/v1/weapons", params={"serial": "OLD78"})) == []


@pytest.mark.parametrize(
    ("serial", "code"), [("AB\u0412", "serial_mixed_scripts"), ("AB_1", "serial_character"), ("--", "serial_size")]
)
def test_a_serial_that_no_weapon_can_have_is_400(agency: OneAgency, serial: str, code: str) -> None:
    response = agency.client("inquirer", "station").get("/v1/weapons", params={"serial": serial})
    assert _code(response, 400) == code


@pytest.mark.parametrize("cursor", ["x", "////", "QUFB", "é"])
def test_a_forged_cursor_is_400(agency: OneAgency, cursor: str) -> None:
    response = agency.client("inquirer", "station").get("/v1/weapons", params={"serial": "AB1", "cursor": cursor})
    assert _code(response, 400) == "bad_cursor"


@pytest.mark.parametrize(
    "path", ["/v1/weapons/x", "/v1/weapons", "/v1/weapons?serial=A&limit=0", "/v1/weapons?serial=A&limit=501"]
)
def test_a_parameter_that_cannot_be_is_422(agency: OneAgency, path: str) -> None:
    assert _code(agency.client("inquirer", "station").get(path), 422) == "bad_parameter"
