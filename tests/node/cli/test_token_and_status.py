"""Tokens on the node's machine, and the status of a node that does not run."""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from ledger.errors import StoreError
from node.cli import node, token
from node.config import load_config
from node.service.tokens import hash_token
from node.storage import AgencyStore, Database, Token
from tests.node.peers.support import Net


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of one agency that has never run."""
    net = Net(tmp_path, "customs")
    (tmp_path / "genesis.json").write_bytes(net.genesis.entry)
    path = tmp_path / "node.toml"
    path.write_text('party = "customs"\n[api]\nlisten = "127.0.0.1:1"\n')
    return path


def run(app: typer.Typer, *arguments: object) -> Result:
    """One command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def tokens_of(config: Path) -> list[Token]:
    """What the agency's database holds."""
    store = AgencyStore(Database(load_config(config).data_dir / "agency.db"))
    try:
        return store.tokens()
    finally:
        store.close()


def make(config: Path, *arguments: object) -> dict[str, Any]:
    """`token new --json`."""
    done = run(token.app, "new", "--config", config, "--party", "maker-a", "--role", "holder", "--json", *arguments)
    assert done.exit_code == 0, done.output
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_a_secret_is_shown_once_and_kept_as_its_hash(config: Path) -> None:
    made = make(config)
    (stored,) = tokens_of(config)
    assert stored.hash == hash_token(made["token"]) == hashlib.sha256(made["token"].encode()).digest()
    assert (stored.id, stored.party, stored.role) == (made["id"], "maker-a", "holder")
    assert made["token"].encode() not in (load_config(config).data_dir / "agency.db").read_bytes()
    assert made["token"] not in run(token.app, "list", "--config", config).stdout


def test_a_secret_can_go_to_a_private_file_instead(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "maker-a.token"
    made = make(config, "--out", path)
    assert "token" not in made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert hash_token(path.read_text().strip()) == tokens_of(config)[0].hash
    again = run(token.app, "new", "--config", config, "--party", "maker-a", "--role", "holder", "--out", path, "--json")
    assert (again.exit_code, json.loads(again.stdout)["error"]["code"]) == (2, "file_exists")
    assert [stored.id for stored in tokens_of(config)] == [made["id"]], "nobody has the secret of a second one"


def test_a_file_that_cannot_be_written_stores_no_token(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "folder" / "maker-a.token"
    done = run(token.app, "new", "--config", config, "--party", "maker-a", "--role", "holder", "--out", out, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "unwritable_file")
    assert tokens_of(config) == []


def test_a_token_that_is_not_stored_leaves_no_file(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "maker-a.token"

    def fail(_store: AgencyStore, _token: Token) -> None:
        raise StoreError("the disk is full", code="disk_full")

    monkeypatch.setattr(AgencyStore, "add_token", fail)
    done = run(token.app, "new", "--config", config, "--party", "maker-a", "--role", "holder", "--out", out, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (1, "disk_full")
    assert not out.exists()


def test_tokens_are_listed_and_revoked(config: Path) -> None:
    first, second = make(config, "--label", "front desk"), make(config, "--days", 3)
    listed = json.loads(run(token.app, "list", "--config", config, "--json").stdout)["tokens"]
    assert {each["id"]: each["status"] for each in listed} == {first["id"]: "valid", second["id"]: "valid"}
    assert [each.get("label") for each in listed if each["id"] == first["id"]] == ["front desk"]
    assert [("expires" in each) for each in listed] == [each["id"] == second["id"] for each in listed]
    assert run(token.app, "revoke", first["id"], "--config", config).exit_code == 0
    assert run(token.app, "revoke", first["id"], "--config", config).exit_code == 5
    listed = json.loads(run(token.app, "list", "--config", config, "--json").stdout)["tokens"]
    assert {each["id"]: each["status"] for each in listed} == {first["id"]: "revoked", second["id"]: "valid"}


def test_what_is_not_there_and_what_cannot_be_have_their_exit_codes(config: Path, tmp_path: Path) -> None:
    assert run(token.app, "list", "--config", config).exit_code == 5
    assert run(token.app, "new", "--config", config, "--party", "maker-a", "--role", "king").exit_code == 2
    assert run(token.app, "new", "--config", config, "--party", "Maker A", "--role", "holder").exit_code == 2
    assert run(token.app, "list", "--config", tmp_path / "absent.toml").exit_code == 2


def test_a_node_that_does_not_run_is_said_so(config: Path) -> None:
    done = run(node.app, "status", "--config", config, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (4, "unreachable")


def test_the_text_of_a_status_lists_others_and_how_old_their_heights_are() -> None:
    answer = {
        "agency": "customs",
        "ledger": "x",
        "ready": True,
        "height": 61,
        "size": 4800,
        "root": "00",
        "validators": [
            {"party": "customs", "connected": True, "height": 61},
            {"party": "interior", "connected": True, "height": 57},
            {"party": "police", "connected": False},
        ],
    }
    peers = [line for line in node.as_text(answer).splitlines() if line.startswith("peer")]
    assert peers == [
        "peer      interior: linked, height 57 when it last said",
        "peer      police: not linked, height unknown",
    ]


def test_a_token_file_that_others_may_read_is_not_used(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("tmk_x\n")
    path.chmod(0o644)
    done = run(node.app, "status", "--config", config, "--token-file", path, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "exposed_secret")


@pytest.mark.parametrize(
    ("app", "command"),
    [(token.app, "new"), (token.app, "list"), (token.app, "revoke"), (node.app, "run"), (node.app, "status")],
)
def test_every_command_has_help_with_an_example(app: typer.Typer, command: str) -> None:
    assert "Example: tracemark" in run(app, command, "--help").stdout
