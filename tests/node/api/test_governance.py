"""The validators, their parameters and their proposals, as a node answers."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from client.answers import ProposalPage
from ledger.answer import verify_state_answer
from ledger.records import ProposalOpen
from ledger.records.envelope import parse_entry, sign_record
from ledger.records.fields import format_time
from ledger.records.governance import Change, ParametersSet, PartySuspend, VersionActivate
from ledger.state.model import Doc, KindOfDocument, ParametersDoc, ProposalDoc, ValidatorsDoc
from node.clock import SystemClock
from node.keys import load_keys
from tests.node.api.support import AGENCY, DAY_MS, OneAgency


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneAgency]:
    """An agency of its own, since its proposals change what is in force: alone, it is its own quorum."""
    folder: Path = tmp_path_factory.mktemp("alone")
    with OneAgency(folder) as agency:
        agency.submit_final(agency.enrol("maker-a", "maker", makes=("GLC",)))
        yield agency


def propose(agency: OneAgency, change: Change) -> bytes:
    expires_at = format_time(SystemClock().wall_ms() + DAY_MS)
    record = agency.record(ProposalOpen, AGENCY, change=change, expires_at=expires_at)
    return sign_record(record, load_keys(agency.config, agency.agency).governance)


def proven(agency: OneAgency, kind: KindOfDocument, name: str, response: httpx.Response) -> Doc | None:
    assert response.status_code == 200, response.text
    return verify_state_answer(response.content, kind=kind, id=name, policy=agency.policy).document


def test_validators_and_parameters_are_proven(alone: OneAgency) -> None:
    client = alone.client("holder", "maker-a")
    validators = proven(alone, "validators", "current", client.get("/v1/validators"))
    assert isinstance(validators, ValidatorsDoc)
    assert [each.party for each in validators.members] == [AGENCY]
    parameters = proven(alone, "parameters", "ledger", client.get("/v1/parameters"))
    assert isinstance(parameters, ParametersDoc)
    assert parameters.ledger == alone.genesis.ledger_id


def test_proposals_are_listed_and_proven(alone: OneAgency) -> None:
    entries = [
        propose(alone, change)
        for change in (
            ParametersSet(heartbeat_s=77),
            PartySuspend(party="maker-a"),
            VersionActivate(version=alone.genesis.parameters.version + 1, height=1_000_000),
        )
    ]
    alone.submit_final(*entries)
    ids = [parse_entry(entry).id for entry in entries]
    client = alone.client("inquirer", "station")
    document = proven(alone, "proposal", ids[0], client.get(f"/v1/proposals/{ids[0]}"))
    assert isinstance(document, ProposalDoc)
    assert (document.status, document.votes_for) == ("enacted", (AGENCY,))
    assert proven(alone, "proposal", "0" * 64, client.get(f"/v1/proposals/{'0' * 64}")) is None
    parameters = proven(alone, "parameters", "ledger", client.get("/v1/parameters"))
    assert isinstance(parameters, ParametersDoc)
    assert parameters.heartbeat_s == 77
    listed, params = [], {"limit": "2"}
    while True:
        answer = client.get("/v1/proposals", params=params)
        page = answer.json()
        assert len(msgspec.json.decode(answer.content, type=ProposalPage).proposals) == len(page["proposals"])
        listed += page["proposals"]
        if "next" not in page:
            break
        params["cursor"] = page["next"]
    assert {each["id"]: (each["change"], each.get("party")) for each in listed} == dict(
        zip(ids, [("parameters.set", None), ("party.suspend", "maker-a"), ("version.activate", None)], strict=True)
    )
    assert [each["id"] for each in listed] == sorted(ids)
    assert all(each["decided"] == each["opened"] for each in listed)


def test_a_refused_proposal_is_told_why_to_everybody(alone: OneAgency) -> None:
    refused = alone.submit(propose(alone, ParametersSet()))
    assert refused.status_code == 409
    detail = refused.json()["results"][0]["error"]
    assert (detail["code"], detail["expected"]) == ("empty_change", "at least one parameter that differs")


def test_who_has_no_token_sees_nothing_of_it(alone: OneAgency) -> None:
    for path in ("/v1/validators", "/v1/parameters", "/v1/proposals", f"/v1/proposals/{'0' * 64}"):
        assert alone.client().get(path).status_code == 401
    assert alone.client("operator").get("/v1/proposals?cursor=nonsense").status_code == 422
