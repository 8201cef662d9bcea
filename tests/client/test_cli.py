"""The command line: what it prints, and with which exit code it ends.

Offline commands run whole, the others against a fake node."""

import csv
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import client.cli.common
from client.audit import SavingSource
from client.author import Author
from client.cli.main import build_app, main
from client.errors import NodeUnreachableError, exit_code
from client.keys import create_key, open_key, read_public_half
from client.replay import audit
from client.sample import sample_codes, sample_manifest
from client.session import Session
from ledger.errors import ConfigurationError, InternalError
from ledger.keyfile import KeyDerivation
from ledger.limits import MAX_TEXT_CHARS
from tests.client.fakenode import FakeNode, nodes, problem
from tests.client.test_bundle import example
from tests.shared import data
from tests.toyledger import ToyLedger, toy_policy
from tests.world import GENESIS

FAST = KeyDerivation(memory_bytes=8192, operations=1)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a home of its own: exit code, standard output, standard error."""
    monkeypatch.setenv("TRACEMARK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRACEMARK_PASSPHRASE_FILE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """A folder with a bundle, a receipt with its entry, and the policy."""
    ledger, _, bundle = example()
    (tmp_path / "policy.txt").write_text(toy_policy().render())
    (tmp_path / "trace.bundle").write_bytes(bundle.to_bytes())
    (tmp_path / "receipt").write_bytes(ledger.receipt(5))
    (tmp_path / "receipt.entry").write_bytes(ledger.entries[5])
    return tmp_path


def secret(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


# --- verify, audit --------------------------------------------------------------------------------------------------


def test_a_bundle_is_verified_and_its_story_fits_the_terminal(run: Run, evidence: Path) -> None:
    code, out, err = run("verify", evidence / "trace.bundle", "--policy", evidence / "policy.txt")
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines())
    for said in (
        "genuine and complete",
        "registered by maker",
        "reported seized by police",
        "As of block 5",
        "customs",
    ):
        assert said in " ".join(out.split())
    code, out, _ = run("verify", evidence / "trace.bundle", "--policy", evidence / "policy.txt", "--json")
    answer = json.loads(out)
    assert (code, answer["verified"], answer["owner"], answer["possessor"]) == (0, True, "dealer", "police")
    assert [hop["kind"] for hop in answer["hops"]] == [
        "weapon.register",
        "transfer.offer",
        "transfer.accept",
        "incident.report",
        "incident.report",
    ]
    assert answer["as_of"]["height"] == 5


@pytest.mark.parametrize("at", [0, 100, 3000, -1])
def test_a_changed_bundle_ends_with_1_and_names_the_check(run: Run, evidence: Path, at: int) -> None:
    changed = bytearray((evidence / "trace.bundle").read_bytes())
    changed[at] ^= 1
    (evidence / "trace.bundle").write_bytes(changed)
    code, out, err = run("verify", evidence / "trace.bundle", "--policy", evidence / "policy.txt")
    assert (code, out) == (1, "")
    assert "error:" in err
    code, out, _ = run("verify", evidence / "trace.bundle", "--policy", evidence / "policy.txt", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"]


def test_a_receipt_is_verified_with_its_entry(run: Run, evidence: Path) -> None:
    policy = ("--policy", evidence / "policy.txt")
    code, out, _ = run("verify", evidence / "receipt", *policy, "--json")
    assert (code, json.loads(out)["index"]) == (0, 5)
    leaf = json.loads(out)["leaf_hash"]
    (evidence / "receipt.entry").unlink()
    assert run("verify", evidence / "receipt", *policy)[0] == 2
    assert run("verify", evidence / "receipt", *policy, "--leaf-hash", leaf)[0] == 0
    assert run("verify", evidence / "receipt", *policy, "--leaf-hash", "00" * 32)[0] == 1
    assert run("verify", evidence / "receipt", *policy, "--leaf-hash", "zz")[0] == 2


def test_a_saved_log_is_audited(run: Run, evidence: Path) -> None:
    ledger = example()[0]

    class Source:
        checkpoint = staticmethod(ledger.checkpoint)
        tile = staticmethod(ledger.tile)

    saving = SavingSource(Source(), evidence / "log")
    audit(saving, toy_policy())
    saving.finish()
    code, out, _ = run("audit", evidence / "log", "--policy", evidence / "policy.txt", "--json")
    assert (code, json.loads(out)["root"]) == (0, ledger.root().hex())
    assert (
        "every hash, signature, rule and seal" in run("audit", evidence / "log", "--policy", evidence / "policy.txt")[1]
    )
    next((evidence / "log" / "tile" / "entries").rglob("*.p/*")).write_bytes(b"x")
    code, out, _ = run("audit", evidence / "log", "--policy", evidence / "policy.txt", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "bad_entry_bundle")


# --- usage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("verify",),
        ("verify", "nothing-here", "--policy", "policy.txt"),
        ("weapon", "register", "nothing-here"),
        ("trace", "AB123"),
        ("audit", "nothing-here", "--policy", "policy.txt"),
        ("key", "new", "a.key"),
        ("transfer", "offer", "--to", "x"),
    ],
)
def test_wrong_usage_ends_with_2_also_as_json(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err
    code, out, _ = run(*arguments, "--json")
    assert code == 2
    error = json.loads(out)["error"]
    assert error["code"]
    assert error["message"]


def _commands() -> list[tuple[str, ...]]:
    app = build_app("none of the node's")
    groups = [
        (group.name or "", command.name or "")
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
    ]
    return [*groups, *((command.name or "",) for command in app.registered_commands)]


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_every_command_has_json_and_help_with_an_example(run: Run, command: tuple[str, ...]) -> None:
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "--json" in out
    assert "Example: tracemark " + " ".join(command) in " ".join(out.split())


def test_the_stable_commands_are_there(run: Run) -> None:
    names = {" ".join(command) for command in _commands()}
    assert names >= {
        "demo", "key new", "key add", "key revoke", "party enrol", "party update", "party show", "weapon register",
        "weapon show", "transfer offer", "transfer accept", "transfer decline", "transfer cancel", "incident report",
        "correction declare", "trace", "verify", "audit", "checkpoint",
    }  # fmt: skip
    assert run("--help")[0] == 0


def test_exit_codes_of_errors_that_are_ours_and_nobody_s() -> None:
    assert exit_code(InternalError("x")) == 70
    assert exit_code(NodeUnreachableError("x")) == 4


# --- manifests ------------------------------------------------------------------------------------------------------


def test_a_dry_run_lists_every_bad_line(run: Run) -> None:
    arguments = (
        "weapon",
        "register",
        data("manifests", "messy_400.csv"),
        "--codes",
        data("ncic_makes.csv"),
        "--dry-run",
    )
    code, out, _ = run(*arguments, "--json")
    answer = json.loads(out)
    with data("manifests", "messy_400_expected.csv").open(newline="") as file:
        expected = [(int(row["line"]), row["defect"]) for row in csv.DictReader(file)]
    assert code == 2
    assert [(item["line"], item["defect"]) for item in answer["problems"]] == expected
    assert all(set(item) == {"line", "column", "defect", "value", "help"} for item in answer["problems"])
    code, out, _ = run(*arguments)
    assert code == 2
    assert "50 bad" in out
    assert "U+0410" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert run(*arguments, "--skip-bad")[0] == 0


def test_bad_lines_stop_the_real_run_before_anything_is_asked_or_signed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("make_code,serial,country\nSW,,US\nSW,A1,US\n")
    code, out, _ = run("weapon", "register", tmp_path / "m.csv", "--json")
    assert (code, json.loads(out)["registered"]) == (2, 0)


# --- keys and settings ----------------------------------------------------------------------------------------------


def test_a_key_is_made_sealed_and_opened(run: Run, tmp_path: Path) -> None:
    passphrase = secret(tmp_path / "passphrase", "correct horse\n")
    arguments = ("key", "new", tmp_path / "maker.key", "--party", "maker", "--ledger", GENESIS.ledger_id,
                 "--passphrase-file", passphrase, "--json")  # fmt: skip
    code, out, _ = run(*arguments)
    assert code == 0
    assert (tmp_path / "maker.key").stat().st_mode & 0o777 == 0o600
    party, key = open_key(tmp_path / "maker.key", b"correct horse")
    half = read_public_half(tmp_path / "maker.key.public.json")
    assert (party, key.public.hex()) == ("maker", half.public) == ("maker", json.loads(out)["public"])
    before = (tmp_path / "maker.key").read_bytes()
    code, out, _ = run(*arguments)
    assert (code, json.loads(out)["error"]["code"]) == (2, "file_exists")
    assert (tmp_path / "maker.key").read_bytes() == before


def test_secrets_that_others_may_read_are_refused(run: Run, tmp_path: Path) -> None:
    passphrase = secret(tmp_path / "passphrase", "correct horse")
    passphrase.chmod(0o644)
    code, out, _ = run("key", "new", tmp_path / "k", "--party", "maker", "--ledger", GENESIS.ledger_id,
                       "--passphrase-file", passphrase, "--json")  # fmt: skip
    assert (code, json.loads(out)["error"]["code"]) == (2, "exposed_secret")
    assert not (tmp_path / "k").exists()


def test_the_wrong_passphrase_and_the_wrong_party_are_told_apart(tmp_path: Path) -> None:
    create_key(tmp_path / "k", b"right", party="maker", ledger=GENESIS.ledger_id, derivation=FAST)
    for passphrase, party, code in ((b"wrong", None, "wrong_passphrase"), (b"right", "dealer", "no_record_key")):
        with pytest.raises(ConfigurationError) as caught:
            open_key(tmp_path / "k", passphrase, party=party)
        assert caught.value.code == code


@pytest.mark.parametrize("in_the_way", ["a file in it", "a file"])
def test_the_demonstration_does_not_begin_where_something_is(run: Run, tmp_path: Path, in_the_way: str) -> None:
    """Wrong usage, and no check that failed."""
    folder = tmp_path / "kept"
    if in_the_way == "a file":
        folder.touch()
    else:
        folder.mkdir()
        (folder / "notes.txt").touch()
    code, out, _ = run("demo", "--keep", folder, "--json")
    assert (code, json.loads(out)["failed"]["code"]) == (2, "folder_not_empty")


@pytest.mark.parametrize("text", ["node = 7", "unknown = 1", "node = [", 'policy = ["a"]'])
def test_a_profile_with_mistakes_is_refused(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    code, out, _ = run("checkpoint", "--profile", tmp_path / "p.toml", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "bad_profile")


# --- with a node ----------------------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """A fake node that every session of a command reaches, and a profile of the maker in the command's home."""
    ledger = ToyLedger()
    home = tmp_path / "home"
    home.mkdir()
    for party in ("maker", "dealer", "interior", "police"):
        half = create_key(home / f"{party}.key", b"pass", party=party, ledger=GENESIS.ledger_id, derivation=FAST)
        name, key = open_key(home / f"{party}.key", b"pass")
        assert name == half.party
        ledger.keys[party] = ledger.keys.get(party, key)
        if ledger.keys[party] is not key:  # an agency, whose key is in genesis already
            ledger.submit(ledger.add_key(party, party, key))
            ledger.keys[party] = key
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("ALD", "BRK", "HOL", "MIR", "TRV")))
    ledger.submit(ledger.enrol("interior", "dealer", "dealer"))
    ledger.seal()
    fake = FakeNode(ledger)
    secret(home / "passphrase", "pass")
    (home / "policy.txt").write_text(toy_policy().render())
    (home / "profile.toml").write_text(
        'node = "https://one"\npolicy = "policy.txt"\nkey = "maker.key"\npassphrase_file = "passphrase"\n'
        'purpose = "test"\ncase = "1"\n'
    )

    def session(*arguments: Any, **options: Any) -> Session:
        options.pop("ca")
        return Session(*arguments, **options, transport=nodes(one=fake), sleep=lambda _: None)

    monkeypatch.setattr(client.cli.common, "Session", session)
    author = functools.partial(Author, clock=lambda: ledger.time_ms / 1000)
    monkeypatch.setattr(client.cli.common, "Author", author)
    monkeypatch.setattr("client.cli.transfer.time.time", lambda: ledger.time_ms / 1000)
    return fake


def test_a_manifest_is_registered_once_and_its_weapons_traced(run: Run, node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(sample_manifest(600, seed=1, last_year=2026))
    (tmp_path / "codes.csv").write_bytes(sample_codes())
    arguments = ("weapon", "register", tmp_path / "m.csv", "--codes", tmp_path / "codes.csv", "--json")
    code, out, err = run(*arguments)
    answer = json.loads(out)
    assert (code, answer["registered"], answer["problems"], err) == (0, 600, [], "")
    size = node.ledger.size
    again = json.loads(run(*arguments)[1])
    assert [record["index"] for record in again["records"]] == [record["index"] for record in answer["records"]]
    assert node.ledger.size == size
    weapon = next(document for key, document in node.ledger.state.items() if key.kind == "weapon")
    serial = weapon.serial  # type: ignore[union-attr]
    code, out, _ = run("trace", serial.lower(), "--bundle", tmp_path / "b", "--json")
    assert (code, json.loads(out)["owner"]) == (0, "maker")
    assert run("verify", tmp_path / "b", "--policy", tmp_path / "home" / "policy.txt")[0] == 0


def test_a_lot_that_the_ledger_refuses_ends_with_3(run: Run, node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("make_code,serial,country\nSW,A1,US\n")
    code, out, _ = run("weapon", "register", tmp_path / "m.csv", "--json")
    answer = json.loads(out)
    assert (code, answer["registered"], answer["error"]["code"]) == (3, 0, answer["records"][0]["error"]["code"])
    code, out, _ = run("weapon", "register", tmp_path / "m.csv")
    assert code == 3
    assert "0 weapons registered" in out


def test_an_interrupted_registration_goes_on_where_it_was(run: Run, node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(sample_manifest(600, seed=1, last_year=2026))
    cut = iter([True])

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.method == "POST" and next(cut, False):
            raise KeyboardInterrupt
        return response

    node.bend = bend
    assert run("weapon", "register", tmp_path / "m.csv")[0] == 130
    size = node.ledger.size
    code, out, _ = run("weapon", "register", tmp_path / "m.csv", "--json")
    assert (code, json.loads(out)["registered"]) == (0, 600)
    assert node.ledger.size == size


@pytest.mark.parametrize("taken", ["k", "k.public.json"])
def test_no_half_of_a_key_is_left_where_the_other_cannot_be_kept(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("an earlier one")
    cheap = KeyDerivation(memory_bytes=8192, operations=1)
    with pytest.raises(ConfigurationError) as caught:
        create_key(tmp_path / "k", b"words", party="maker", ledger=GENESIS.ledger_id, derivation=cheap)
    assert caught.value.code == "file_exists"
    assert [path.name for path in tmp_path.iterdir()] == [taken]


@pytest.mark.parametrize("taken", ["r", "r.entry"])
def test_nothing_is_submitted_whose_receipt_could_not_be_kept(
    run: Run, node: FakeNode, tmp_path: Path, taken: str
) -> None:
    (tmp_path / "m.csv").write_text("make_code,serial,country\nALD,A1,AT\n")
    assert run("weapon", "register", tmp_path / "m.csv")[0] == 0
    [weapon] = [key.id for key in node.ledger.state if key.kind == "weapon"]
    (tmp_path / taken).write_text("an earlier one")
    size = node.ledger.size
    code, out, _ = run("transfer", "offer", weapon, "--to", "dealer", "--receipt", tmp_path / "r", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "file_exists")
    assert node.ledger.size == size, "who is told that it failed may do it again"


def test_weapons_change_hands_are_stolen_and_seized(run: Run, node: FakeNode, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "m.csv").write_text("make_code,serial,country\nALD,A1,AT\nALD,A2,AT\n")
    assert run("weapon", "register", tmp_path / "m.csv")[0] == 0
    first, second = sorted(key.id for key in node.ledger.state if key.kind == "weapon")
    code, out, _ = run("transfer", "offer", first, second, "--to", "dealer", "--receipt", tmp_path / "r", "--json")
    assert code == 0
    transfer = json.loads(out)["id"]
    assert run("verify", tmp_path / "r", "--policy", home / "policy.txt")[0] == 0
    assert run("transfer", "accept", transfer)[0] == 3, "the maker cannot accept its own offer"
    assert run("transfer", "accept", transfer, "--key", home / "dealer.key")[0] == 0
    assert node.ledger.weapon(first).owner == "dealer"
    assert run("incident", "report", "stolen", first, "--key", home / "dealer.key")[0] == 0
    code, out, _ = run(
        "incident", "report", "seized", first, "--key", home / "police.key", "--record-case", "26-1", "--json"
    )
    assert code == 0
    report = json.loads(out)["id"]
    code, out, _ = run("weapon", "show", first, "--json")
    assert (json.loads(out)["status"], json.loads(out)["possessor"]) == ("seized", "police")
    assert run("correction", "declare", report, "--key", home / "police.key")[0] == 0
    assert node.ledger.weapon(first).status == "stolen"
    code, out, _ = run("correction", "declare", transfer, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "wrong_kind")
    hops = json.loads(run("trace", "a-1", "--make", "ald", "--json")[1])["hops"]
    assert hops[-1]["summary"].startswith("declared by police not to have occurred")
    assert [hop["status"] for hop in hops] == ["held", "held", "held", "stolen", "seized", "stolen"]


def test_a_party_is_enrolled_updated_and_shown(run: Run, node: FakeNode, tmp_path: Path) -> None:
    home = tmp_path / "home"
    key = ("--key", home / "interior.key")
    create_key(tmp_path / "m2", b"pass", party="maker-two", ledger=GENESIS.ledger_id, derivation=FAST)
    enrol = ("party", "enrol", "maker-two", "--name", "Maker Two", "--jurisdiction", "AA", "--role", "maker",
             "--make", "SW,CLT", "--new-key", tmp_path / "m2.public.json")  # fmt: skip
    assert run(*enrol, *key)[0] == 0
    assert run(*enrol, *key)[0] == 3
    assert run("party", "update", "maker-two", "--status", "suspended", *key)[0] == 0
    code, out, _ = run("party", "show", "maker-two", "--json")
    answer = json.loads(out)
    assert (code, answer["status"], answer["makes"], answer["sponsor"]) == (0, "suspended", ["CLT", "SW"], "interior")
    assert run("party", "show", "nobody")[0] == 5
    create_key(tmp_path / "m3", b"pass", party="maker", ledger=GENESIS.ledger_id, derivation=FAST)
    assert run("key", "add", "--new-key", tmp_path / "m3.public.json")[0] == 0
    old = open_key(home / "maker.key", b"pass")[1].public.hex()
    assert run("key", "revoke", old, "--reason", "retired", "--key", tmp_path / "m3")[0] == 3, "it is ended already"
    code, out, _ = run("party", "update", "maker-two", "--name", "x" * MAX_TEXT_CHARS, *key, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "bad_field")


def test_an_ambiguous_serial_lists_all_candidates_and_ends_with_2(run: Run, node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("make_code,serial,country\nALD,A1,AT\nBRK,A1,CZ\n")
    assert run("weapon", "register", tmp_path / "m.csv")[0] == 0
    code, out, _ = run("trace", "A1", "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (2, "ambiguous_serial")
    assert {candidate["make"] for candidate in error["candidates"]} == {"ALD", "BRK"}
    code, _, err = run("trace", "A1")
    assert code == 2
    assert "ALD A1" in err
    assert "BRK A1" in err
    for candidate in error["candidates"]:
        assert run("trace", "A1", "--weapon", candidate["id"])[0] == 0
        assert run("weapon", "show", "--serial", "A1", "--make", candidate["make"])[0] == 0


def test_the_recipient_finds_the_offer_on_the_weapon_and_accepts_by_its_id_alone(
    run: Run, node: FakeNode, tmp_path: Path
) -> None:
    dealer = ("--key", tmp_path / "home" / "dealer.key")
    (tmp_path / "m.csv").write_text("make_code,serial,country\nALD,A1,AT\n")
    code, out, _ = run("weapon", "register", tmp_path / "m.csv")
    assert (code, "1 weapon registered in 1 lot, each" in " ".join(out.split())) == (0, True)
    weapon = next(key.id for key in node.ledger.state if key.kind == "weapon")
    assert run("transfer", "offer", weapon, "--to", "dealer")[0] == 0
    words = run("weapon", "show", "--serial", "A1")[1].split()
    transfer = words[words.index("offered") + 2]
    assert transfer == next(key.id for key in node.ledger.state if key.kind == "transfer")
    assert run("transfer", "accept", transfer, *dealer)[0] == 0
    assert "offered" not in run("weapon", "show", "--serial", "A1")[1]
    assert run("transfer", "offer", weapon, "--to", "maker", "--moves", "title", *dealer)[0] == 0
    assert "title offered in" in run("weapon", "show", "--serial", "A1")[1]
    assert run("incident", "report", "stolen", weapon, *dealer)[0] == 0
    shown = " ".join(run("weapon", "show", "--serial", "A1")[1].split())
    assert "possessor nobody" in shown
    assert "none" not in shown


def test_a_second_run_says_which_lots_were_there_already(run: Run, node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("make_code,serial,country\nALD,A1,AT\n")
    arguments = ("weapon", "register", tmp_path / "m.csv")
    assert "there already" not in run(*arguments)[1]
    [again] = json.loads(run(*arguments, "--json")[1])["records"]
    assert again["was_there"] is True
    told = " ".join(run(*arguments)[1].split())
    assert "1 weapon registered in 1 lot, each with a verified receipt; 1 lot of them there already." in told
    assert again["id"][:16] in told


def test_a_record_without_a_quorum_ends_with_4_naming_it_and_says_that_it_waits(
    run: Run, node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.csv").write_text("make_code,serial,country\nALD,A1,AT\n")

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.method != "POST":
            return response
        results = [{"id": result["id"], "status": "pending"} for result in response.json()["results"]]
        return httpx.Response(202, json={"results": results})

    node.bend = bend
    monkeypatch.setattr(Session, "submit", functools.partialmethod(Session.submit, patience_s=0.2))
    code, out, err = run("weapon", "register", tmp_path / "m.csv", "--json")
    answer = json.loads(out)
    assert (code, answer["error"]["code"], err) == (4, "still_pending", "")
    assert answer["records"][0]["id"] in answer["error"]["actual"]
    weapon = next(key.id for key in node.ledger.state if key.kind == "weapon")
    code, _, err = run("transfer", "offer", weapon, "--to", "dealer")
    transfer = next(key.id for key in node.ledger.state if key.kind == "transfer")
    assert code == 4
    assert "admitted by https://one, not final yet; waiting" in err
    assert transfer in "".join(err.split())
    assert "[still_pending]" in err


def _without_entries(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    if request.method == "GET" and request.url.path.startswith("/v1/records/"):
        return httpx.Response(200, json={name: value for name, value in response.json().items() if name != "entry"})
    return response


def test_a_record_that_the_token_may_not_read_ends_with_3(run: Run, node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("make_code,serial,country\nALD,A1,AT\n")
    [record] = json.loads(run("weapon", "register", tmp_path / "m.csv", "--json")[1])["records"]
    node.bend = _without_entries
    for arguments in (("transfer", "accept", record["id"]), ("correction", "declare", record["id"])):
        code, out, _ = run(*arguments, "--json")
        assert (code, json.loads(out)["error"]["code"]) == (3, "not_readable")


_INTERNALS = ("$", "regex", "pattern", "^", "openapi")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("incident", "report", "eaten", "WEAPON"), "'recovered'"),
        (("incident", "report", "stolen", "WEAPON", "--at", "yesterday"), "2026-11-20T22:00:00Z"),
        (("incident", "report", "stolen", "WEAPON", "--at", "2026-02-30T00:00:00Z"), "2026-11-20T22:00:00Z"),
        (("incident", "report", "stolen", "wxxxx"), "w and 32"),
        (("incident", "report", "stolen", "WEAPON", "--country", "de"), "ISO 3166"),
        (("transfer", "offer", "WEAPON", "--to", "dealer", "--moves", "bored"), "'custody'"),
        (("transfer", "offer", "WEAPON", "--to", "Dealer!"), "lower-case letters"),
        (("transfer", "accept", "abcd"), "64 hex digits"),
        (("weapon", "show", "wxxxx"), "w and 32"),
        (("party", "update", "dealer", "--status", "napping"), "'suspended'"),
        (("party", "update", "dealer", "--role", "bored"), "proof-house"),
        (("key", "revoke", "abcd", "--reason", "lost"), "64 hex digits"),
        (("key", "revoke", "00" * 32, "--reason", "bored"), "'compromised'"),
        (("key", "new", "k", "--party", "dealer", "--ledger", "mine"), "#0123456789abcdef"),
    ],
)
def test_what_cannot_be_is_refused_in_words_that_name_what_can(
    run: Run, node: FakeNode, arguments: tuple[str, ...], said: str
) -> None:
    given = ["w" + "a" * 32 if argument == "WEAPON" else argument for argument in arguments]
    code, out, _ = run(*given, "--json")
    assert code == 2
    assert said in out
    assert not any(internal in out for internal in _INTERNALS), out


@pytest.mark.parametrize(
    ("status", "code", "options"),
    [(403, "purpose_required", ("--purpose", "--case")), (401, "not_authenticated", ("--token-file",))],
)
def test_what_a_node_asks_of_http_is_asked_of_options(
    run: Run, node: FakeNode, status: int, code: str, options: tuple[str, ...]
) -> None:
    node.bend = lambda *_: problem(status, code, "no", expected="header Tracemark-Purpose", help="See /openapi.json.")
    exit_status, out, _ = run("trace", "A1", "--json")
    assert exit_status == 3
    assert all(option in out for option in options)
    assert "Tracemark-" not in out
    node.bend = lambda *_: problem(404, "not_found", "no", help="See /openapi.json for what is there.")
    assert "openapi" not in run("trace", "A1", "--json")[1]


def test_a_token_that_a_node_does_not_know_is_said_to_be_one_agencys(run: Run, node: FakeNode) -> None:
    """The nodes of a profile are tried in turn: where they are two agencies', one of them sees a strange token."""
    node.bend = lambda *_: problem(401, "bad_token", "this node does not know the token")
    exit_status, out, _ = run("trace", "A1", "--json")
    assert (exit_status, json.loads(out)["error"]["code"]) == (3, "bad_token")
    assert "nodes of one agency in one profile" in json.loads(out)["error"]["help"]


def test_a_token_that_may_not_see_is_not_told_that_there_is_none(run: Run, node: FakeNode) -> None:
    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        hidden = request.url.path.startswith("/v1/weapons/")
        return problem(404, "unknown_weapon", "no such weapon that this token may see") if hidden else response

    node.bend = bend
    for arguments in (("trace", "A1"), ("trace", "A1", "--make", "ALD"), ("weapon", "show", "--serial", "A1")):
        code, out, _ = run(*arguments, "--json")
        message = json.loads(out)["error"]["message"]
        assert (code, message.startswith("no weapon that this token may see carries")) == (5, True)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"party":"maker"}'])
def test_a_file_that_is_no_evidence_is_called_that(run: Run, evidence: Path, content: bytes | None) -> None:
    file = evidence / ("policy.txt" if content is None else "other")
    if content is not None:
        file.write_bytes(content)
    code, out, _ = run("verify", file, "--policy", evidence / "policy.txt", "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (1, "not_evidence")
    assert error["message"] == "this file is neither an evidence bundle nor a receipt"


def test_what_is_not_there_ends_with_5_and_its_absence_is_proven(run: Run, node: FakeNode) -> None:
    code, out, _ = run("trace", "NEVER1", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (5, "not_found")
    code, out, _ = run("trace", "NEVER1", "--make", "ALD", "--json")
    assert code == 5
    assert "is proven" in json.loads(out)["error"]["message"]


def test_no_node_ends_with_4(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.txt").write_text(toy_policy().render())
    monkeypatch.setattr(client.cli.common, "Session", _impatient)
    code, out, _ = run("checkpoint", "--node", "https://127.0.0.1:9", "--policy", tmp_path / "policy.txt", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (4, "node_unreachable")


def _impatient(*arguments: Any, **options: Any) -> Session:
    return Session(*arguments, **options, patience_s=0.0)


def test_the_checkpoint_is_shown_and_a_fork_is_an_alarm(run: Run, node: FakeNode, tmp_path: Path) -> None:
    code, out, _ = run("checkpoint", "--out", tmp_path / "note", "--json")
    assert (code, json.loads(out)["size"]) == (0, node.ledger.size)
    assert (tmp_path / "note").read_bytes().decode() == json.loads(out)["note"]
    forked = ToyLedger()
    while forked.size < node.ledger.size:
        forked.seal()
    node.ledger = forked
    code, out, _ = run("checkpoint", "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"], len(error["files"])) == (1, "fork", 2)
    assert all(os.path.exists(file) for file in error["files"])  # noqa: PTH110
