"""The commands by which the validators decide, against a fake node."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import client.cli.common
from client.author import Author
from client.governance import read_identity, require_known_version, rotation
from client.session import Session
from ledger.codec import encode
from ledger.errors import ConfigurationError, InputError
from ledger.keyfile import NONCE_BYTES, SALT_BYTES, seal
from ledger.records.agencies import Agency
from ledger.records.fields import format_time
from ledger.records.governance import VersionActivate, rotated
from ledger.state.model import PartyDoc, StateKey
from node.service import ceremony
from node.service.profiles import profile_of
from tests.client.fakenode import FakeNode, nodes
from tests.client.test_cli import FAST, Run, run, secret
from tests.toyledger import AGENCIES, ToyLedger, toy_policy
from tests.world import ORIGIN, build_agency, key_named, node_key

__all__ = ["run"]

Decide = Callable[..., dict[str, Any]]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """A fake node; in the home a key file for each agency's node."""
    ledger = ToyLedger()
    ledger.submit(ledger.enrol("interior", "dealer", "dealer"))
    ledger.seal()
    home = tmp_path / "home"
    home.mkdir()
    for party in AGENCIES:
        seeds = {f"{party}/record": key_named(f"{party} record").seed}
        seeds[f"{party}/governance"] = node_key(party, "governance").seed
        sealed = seal(seeds, b"pass", salt=bytes(SALT_BYTES), nonce=bytes(NONCE_BYTES), derivation=FAST)
        (home / f"{party}.sealed").write_bytes(sealed)
        (home / f"{party}.sealed").chmod(0o600)
    secret(home / "passphrase", "pass")
    (home / "policy.txt").write_text(toy_policy().render())
    (home / "profile.toml").write_text('node = "https://one"\npolicy = "policy.txt"\npassphrase_file = "passphrase"\n')
    fake = FakeNode(ledger)

    def session(*arguments: Any, **options: Any) -> Session:
        options.pop("ca")
        return Session(*arguments, **options, transport=nodes(one=fake), sleep=lambda _: None)

    monkeypatch.setattr(client.cli.common, "Session", session)
    monkeypatch.setattr(client.cli.common, "Author", functools.partial(Author, clock=lambda: ledger.time_ms / 1000))
    monkeypatch.setattr("client.cli.proposal.time.time", lambda: ledger.time_ms / 1000)
    return fake


@pytest.fixture
def decide(run: Run, node: FakeNode, tmp_path: Path) -> Decide:
    """Run a command as an agency; its JSON answer, which must be no error."""

    def call(party: str, *arguments: str | Path) -> dict[str, Any]:
        code, out, err = run("proposal", *arguments, "--key", tmp_path / "home" / f"{party}.sealed", "--json")
        assert (code, err) == (0, ""), out
        answer: dict[str, Any] = json.loads(out)
        return answer

    return call


def newcomer(folder: Path, party: str = "coast", *, origin: str = ORIGIN) -> tuple[Path, Agency]:
    """An identity as a ceremony makes it."""
    made = ceremony.new_identity(
        party,
        origin=origin,
        name=f"The {party}",
        jurisdiction="CC",
        profile=profile_of(party),
        hosts=[],
        now_ms=1_790_000_000_000,
    )
    path = folder / f"{party}.json"
    path.write_bytes(encode(made.agency) + b"\n")
    return path, made.agency


def test_a_party_is_suspended_by_three_of_four(run: Run, node: FakeNode, decide: Decide) -> None:
    opened = decide("customs", "open", "suspend", "dealer")
    assert (opened["status"], opened["votes_for"], opened["needed_for"], opened["needed_against"]) == (
        "open", ["customs"], 3, 2,
    )  # fmt: skip
    assert opened["change"] == {"change": "party.suspend", "party": "dealer"}
    proposal = opened["proposal"]
    assert opened["record"] == proposal
    assert decide("police", "vote", proposal, "against")["votes_against"] == ["police"]
    assert decide("interior", "vote", proposal, "for")["status"] == "open"
    last = decide("neighbour", "vote", proposal, "for")
    assert (last["status"], last["votes_for"]) == ("enacted", ["customs", "interior", "neighbour"])
    assert last["record"] != proposal
    assert last["decided"] == last["index"]
    document = node.ledger.state[StateKey("party", "dealer")]
    assert isinstance(document, PartyDoc)
    assert document.status == "suspended"
    code, out, _ = run("party", "show", "dealer")
    assert (code, "suspended, by the validators" in out) == (0, True)
    code, out, _ = run("proposal", "show", proposal)
    assert code == 0
    for said in ("dealer is suspended", "customs, interior, neighbour", "enacted by the record at log index"):
        assert said in " ".join(out.split())


def test_proposals_are_listed_newest_first(run: Run, node: FakeNode, decide: Decide) -> None:
    first = decide("customs", "open", "parameters", "--heartbeat-s", "600")["proposal"]
    second = decide("police", "open", "suspend", "dealer")
    soon = node.ledger.time_ms + 60_000
    third = decide("police", "open", "remove", "neighbour", "--expires-at", format_time(soon))["proposal"]
    code, out, _ = run("proposal", "list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert [each["proposal"] for each in listed["proposals"]] == [third, second["proposal"], first]
    assert listed["verified"] is False
    node.ledger.wait(61_000)
    node.ledger.seal()
    node.ledger.seal()
    code, out, _ = run("proposal", "list", "--json")
    assert [each["proposal"] for each in json.loads(out)["proposals"]] == [second["proposal"], first]
    assert json.loads(run("proposal", "show", third, "--json")[1])["status"] == "expired"
    code, out, _ = run("proposal", "list", "--all")
    assert (code, "expired" in out, "validator.remove" in out) == (0, True, True)


def test_an_agency_joins_and_what_was_open_lapses(run: Run, node: FakeNode, decide: Decide, tmp_path: Path) -> None:
    lapsing = decide("customs", "open", "parameters", "--lead-timeout-ms", "900")["proposal"]
    path, agency = newcomer(tmp_path)
    proposal = decide("customs", "open", "add", path)["proposal"]
    code, out, _ = run("proposal", "show", proposal)
    assert (code, agency.node.consensus.public in "".join(out.split())) == (0, True)
    decide("interior", "vote", proposal, "for")
    decide("neighbour", "vote", proposal, "for")
    assert [each.party for each in node.ledger.validators().members] == ["coast", *AGENCIES]
    assert json.loads(run("proposal", "show", lapsing, "--json")[1])["status"] == "lapsed"
    assert json.loads(run("proposal", "list", "--json")[1])["proposals"] == []
    code, out, _ = run("proposal", "vote", lapsing, "for", "--key", tmp_path / "home" / "police.sealed", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "proposal_lapsed")


def test_a_validator_is_replaced_and_another_goes_on_with_new_keys(
    node: FakeNode, decide: Decide, tmp_path: Path
) -> None:
    new, _ = newcomer(tmp_path, "coast")
    replacing = decide("customs", "open", "replace", "neighbour", new)["proposal"]
    for party in ("interior", "police"):
        decide(party, "vote", replacing, "for")
    assert [each.party for each in node.ledger.validators().members] == ["coast", "customs", "interior", "police"]
    fresh, agency = newcomer(tmp_path, "customs")
    rotating = decide("customs", "open", "rotate", fresh, "--role", "consensus", "--role", "transport", "--keep-ca")
    assert set(rotating["change"]["keys"]) == {"consensus", "transport"}
    for party in ("interior", "police"):
        decide(party, "vote", rotating["proposal"], "for")
    customs = next(each for each in node.ledger.validators().members if each.party == "customs")
    assert (customs.consensus, customs.transport) == (agency.node.consensus.public, agency.node.transport.public)
    assert customs.governance == node_key("customs", "governance").public.hex()


def test_a_rotation_takes_what_differs(node: FakeNode) -> None:
    standing = node.ledger.validators()
    old, new = build_agency("customs"), build_agency("customs", 1)
    with pytest.raises(InputError) as caught:
        rotation(old, standing)
    assert caught.value.code == "empty_change"
    change = rotation(new, standing)
    assert [role for role, _ in rotated(change.keys)] == ["consensus", "cosigner", "governance", "log", "transport"]
    with pytest.raises(InputError) as caught:
        rotation(build_agency("coast"), standing)
    assert caught.value.code == "unknown_validator"


def test_an_identity_is_checked_before_it_is_proposed(tmp_path: Path) -> None:
    path, agency = newcomer(tmp_path)
    assert read_identity(path, origin=ORIGIN) == agency
    other, _ = newcomer(tmp_path, "harbour", origin="another.test/log")
    unreadable = tmp_path / "unreadable.json"
    unreadable.write_bytes(encode(build_agency("coast")))
    taken = tmp_path / "taken.json"
    taken.write_bytes(path.read_bytes().replace(b'"coast"', b'"ghost"'))
    for spoilt in (other, unreadable, taken):
        with pytest.raises(ConfigurationError) as caught:
            read_identity(spoilt, origin=ORIGIN)
        assert caught.value.code == "bad_identity"


def test_nobody_votes_for_a_version_that_the_program_does_not_know(
    run: Run, node: FakeNode, decide: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = node.ledger.parameters().version + 1
    monkeypatch.setattr("client.governance.NEWEST_VERSION", following)
    proposal = decide("customs", "open", "version", str(following), "--height", "5000")["proposal"]
    monkeypatch.setattr("client.governance.NEWEST_VERSION", following - 1)
    key = ("--key", tmp_path / "home" / "police.sealed", "--json")
    for arguments in (("vote", proposal, "for"), ("open", "version", str(following), "--height", "5000")):
        code, out, _ = run("proposal", *arguments, *key)
        assert (code, json.loads(out)["error"]["code"]) == (2, "unsupported_version")
    assert decide("police", "vote", proposal, "against")["votes_against"] == ["police"]
    require_known_version(VersionActivate(version=following - 1, height=1))


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("open", "suspend", "Dealer B"), 2, "bad_field"),
        (("open", "parameters", "--heartbeat-s", "0"), 2, "bad_field"),
        (("open", "version", "3", "--height", "0"), 2, "bad_field"),
        (("open", "parameters"), 3, "empty_change"),
        (("open", "remove", "dealer"), 3, "unknown_validator"),
        (("open", "resume", "dealer"), 3, "not_suspended"),
        (("vote", "0" * 64, "for"), 5, "not_found"),
        (("vote", "nonsense", "for"), 2, "bad_record_id"),
        (("show", "0" * 64), 5, "not_found"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run, node: FakeNode, tmp_path: Path, *, arguments: tuple[str, ...], code: int, error: str
) -> None:
    key = () if arguments[0] == "show" else ("--key", tmp_path / "home" / "customs.sealed")
    done, out, _ = run("proposal", *arguments, *key, "--json")
    assert (done, json.loads(out)["error"]["code"]) == (code, error)


def test_a_file_without_a_governance_key_is_named(run: Run, node: FakeNode, tmp_path: Path) -> None:
    only = {"customs/record": key_named("customs record").seed}
    path = tmp_path / "home" / "record-only"
    path.write_bytes(seal(only, b"pass", salt=bytes(SALT_BYTES), nonce=bytes(NONCE_BYTES), derivation=FAST))
    path.chmod(0o600)
    code, out, _ = run("proposal", "open", "suspend", "dealer", "--key", path, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "no_governance_key")
    assert "keys.sealed" in json.loads(out)["error"]["help"]
