"""Refusals tell of a weapon only those who may see it: its id can be computed, so else they would answer any question."""

import json
import secrets
from typing import Any

import httpx
import pytest

from ledger.records import CorrectionDeclare, TransferOffer
from ledger.records.envelope import parse_entry
from ledger.records.fields import format_time
from node.clock import SystemClock
from tests.node.api.support import DAY_MS, OneAgency, weapon

_NAMED = ("maker-a", "dealer-b", "station", "interior", "stolen by", "held")


@pytest.fixture(scope="module")
def hidden(agency: OneAgency) -> str:
    """A weapon of maker-a, and a stolen one, with a dealer who has nothing to do with them."""
    serial = f"HID{secrets.randbelow(10**9)}"
    agency.submit_final(agency.enrol("dealer-c", "dealer"), agency.register("maker-a", serial, f"{serial}S"))
    agency.submit_final(agency.report("maker-a", "stolen", weapon(f"{serial}S")))
    return serial


def _offer(agency: OneAgency, issuer: str, moves: str, *weapons: str) -> bytes:
    body = {"to": "dealer-a", "weapons": tuple(sorted(weapons)), "moves": moves}
    expires_at = format_time(SystemClock().wall_ms() + DAY_MS)
    return agency.sign(agency.record(TransferOffer, issuer, **body, expires_at=expires_at))


def _attempts(agency: OneAgency, serial: str) -> dict[str, bytes]:
    plain, stolen = weapon(serial), weapon(f"{serial}S")
    foreign = agency.offer("maker-a", "dealer-b", plain)
    agency.submit_final(foreign)
    correction = {"record": parse_entry(foreign).id, "reason": "did_not_occur", "weapons": (plain,)}
    return {
        "not_owner": _offer(agency, "dealer-c", "title", plain),
        "not_possessor": _offer(agency, "dealer-c", "custody", plain),
        "weapon_not_movable": _offer(agency, "dealer-c", "title", stolen),
        "status_conflict": agency.report("dealer-c", "lost", stolen),
        "not_entitled_to_report": agency.report("dealer-c", "stolen", plain),
        "not_recipient": agency.accept("dealer-c", foreign, plain),
        "not_correctable": agency.sign(agency.record(CorrectionDeclare, "dealer-c", **correction)),
    }


def _is_told(error: dict[str, Any]) -> bool:
    return "expected" in error or "actual" in error or any(name in json.dumps(error) for name in _NAMED)


def _refusal(response: httpx.Response, code: str) -> dict[str, Any]:
    assert response.status_code == 409, response.text
    [result] = response.json()["results"]
    assert result["error"]["code"] == response.json()["code"] == code
    error: dict[str, Any] = result["error"]
    return error


def test_a_holder_learns_the_rule_and_nothing_of_a_weapon_it_may_not_see(agency: OneAgency, hidden: str) -> None:
    holder = agency.client("holder", "dealer-c")
    for code, entry in _attempts(agency, hidden).items():
        response = agency.submit(entry, client=holder)
        error = _refusal(response, code)
        problem = {name: value for name, value in response.json().items() if name != "results"}
        assert not _is_told(error), (code, error)
        assert not _is_told(problem), (code, problem)
        assert hidden not in response.text
        assert error["message"]
        kept = holder.get(f"/v1/records/{parse_entry(entry).id}").json()
        assert (kept["status"], kept["error"]["code"]) == ("refused", code)
        assert not _is_told(kept["error"]), (code, kept)
        assert hidden not in json.dumps(kept)


def test_a_weapon_of_ones_own_beside_it_opens_nothing(agency: OneAgency, hidden: str) -> None:
    serial = f"{hidden}OWN"
    agency.submit_final(agency.register("maker-a", serial, f"{serial}X"))
    other = weapon(f"{serial}X")
    sale = agency.offer("maker-a", "dealer-c", weapon(serial))
    agency.submit_final(sale)
    agency.submit_final(agency.accept("dealer-c", sale, weapon(serial)))
    holder = agency.client("holder", "dealer-c")
    both = _offer(agency, "dealer-c", "title", weapon(serial), other)
    assert not _is_told(_refusal(agency.submit(both, client=holder), "not_owner"))
    foreign = agency.offer("maker-a", "dealer-b", other)
    agency.submit_final(foreign)
    answer = agency.accept("dealer-c", foreign, weapon(serial))
    assert not _is_told(_refusal(agency.submit(answer, client=holder), "not_recipient"))


def test_who_may_see_the_weapon_is_told_what_was_found(agency: OneAgency, hidden: str) -> None:
    entry = _offer(agency, "maker-a", "both", weapon(f"{hidden}S"))
    error = _refusal(agency.submit(entry, client=agency.client("holder", "maker-a")), "weapon_not_movable")
    assert error["actual"] == "stolen"


def test_an_inquirer_is_told_only_against_a_purpose_which_is_logged(agency: OneAgency, hidden: str) -> None:
    entry = agency.report("station", "found", weapon(hidden))
    silent = agency.client("inquirer", "station")
    del silent.headers["Tracemark-Purpose"]
    assert not _is_told(_refusal(agency.submit(entry, client=silent), "status_conflict"))
    before = len(agency.agency_store.queries(count=100_000))
    error = _refusal(agency.submit(entry, client=agency.client("inquirer", "station")), "status_conflict")
    assert error["actual"] == "held"
    assert len(agency.agency_store.queries(count=100_000)) == before + 1
