"""Tokens on the node's machine, and the status of a node that does not run."""

import hashlib
import json
import os
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from ledger.errors import StoreError
from node.cli import node, token
from node.cli.remains import Joining, Remains
from node.config import load_config
from node.service.tokens import hash_token
from node.storage import AgencyStore, Database, Token, lock_folder
from tests.node.execution.engine import Engine
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


@pytest.mark.parametrize("is_running", [False, True])
def test_a_token_for_a_party_that_the_ledger_does_not_know_is_made_with_a_warning(
    config: Path, is_running: bool
) -> None:
    """A mistyped name would be noticed by whoever gets the token, much later. The look at the ledger changes nothing."""
    engine = Engine(load_config(config).data_dir)
    if not is_running:
        engine.close()
    before = (load_config(config).data_dir / "ledger.db").read_bytes()

    def warning(party: str) -> str | None:
        done = run(token.app, "new", "--config", config, "--party", party, "--role", "holder", "--json")
        assert done.exit_code == 0
        said: str | None = json.loads(done.stdout).get("warning")
        assert ("warning: " in done.stderr) is (said is not None)
        return said

    assert warning("customs") is None
    assert "no party costums" in (warning("costums") or "")
    assert (load_config(config).data_dir / "ledger.db").read_bytes() == before
    text = run(token.app, "new", "--config", config, "--party", "costums", "--role", "holder")
    assert text.stdout.startswith("tmk_"), "the token alone: it may be piped"
    assert len(tokens_of(config)) == 3
    if is_running:
        engine.close()


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1_000])
def test_a_token_is_made_whatever_the_ledgers_file_is(config: Path, content: bytes | None) -> None:
    path = load_config(config).data_dir / "ledger.db"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    assert "warning" not in make(config)
    assert path.read_bytes() == content if content is not None else not path.exists()


def test_what_no_token_is_made_for_is_said_in_words(config: Path) -> None:
    done = run(token.app, "new", "--config", config, "--party", "../x", "--role", "king")
    assert done.exit_code == 2
    assert "lower-case letters" in done.stderr
    assert "regex" not in done.stderr


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


def test_of_a_node_that_does_not_run_it_says_what_its_files_say(config: Path) -> None:
    done = run(node.app, "status", "--config", config, "--json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["error"]["code"], answer["state"]) == (4, "unreachable", "down")
    assert (answer["files"]["process"], answer["files"]["last_write_s"]) == (None, None)
    text = run(node.app, "status", "--config", config).stderr
    assert "it has never run" in text
    assert f"tracemark node run --config {config}" in text


def test_of_a_node_that_runs_and_does_not_answer_it_names_the_process(config: Path) -> None:
    make(config)
    folder = load_config(config).data_dir
    (folder / "ledger.db").touch()
    with closing(socket.create_server(("127.0.0.1", 0))) as peer:
        with config.open("a") as file:
            file.write(f'[peers.addresses]\npolice = "127.0.0.1:{peer.getsockname()[1]}"\ninterior = "127.0.0.1:1"\n')
        lock = lock_folder(folder)
        try:
            done = run(node.app, "status", "--config", config, "--json")
        finally:
            lock.release()
    files = json.loads(done.stdout)["files"]
    assert (files["process"], files["is_suspended"], files["peers"]) == (
        os.getpid(),
        False,
        {"police": True, "interior": False},
    )
    assert 0 <= files["last_write_s"] < 60
    assert files["joining"] is None


def test_a_suspended_process_is_told_from_a_stopped_one() -> None:
    seen: dict[str, Any] = {
        "config": "node.toml",
        "data_dir": "data",
        "process": 4711,
        "is_suspended": True,
        "last_write_s": 130,
        "disk_free_bytes": 100 * 2**20,
        "peers": {"police": False},
    }
    assert Remains(**seen).lines() == [
        "its process 4711 is suspended: let it go on with `kill -CONT 4711`",
        "its databases were last written 2 min ago",
        "its disk is (nearly) full: 100 MiB free; make room before the start",
        "from here no connection to the peer port of: police",
    ]
    joining = Joining(height=6400, stage="entries", done=12, of=80)
    assert Remains(**{**seen, "is_suspended": False, "joining": joining}).lines()[0] == (
        "its process 4711 joins by a snapshot of height 6400: entries, 12 of 80; it answers when that is done"
    )
    assert "no process has data open" in Remains(**{**seen, "process": None, "is_suspended": False}).lines()[0]


def answer_of(**progress: Any) -> dict[str, Any]:
    """An answer to GET /v1/network."""
    return {
        "agency": "customs",
        "ledger": "x",
        "epoch": 2,
        "validator": False,
        "protocol": 1,
        "software": "0.1",
        "ready": progress["state"] == "ready",
        "height": 61,
        "size": 4800,
        "root": "00",
        "pending": 3,
        "validators": [
            {"party": "customs", "connected": True, "height": 61},
            {"party": "interior", "connected": True, "height": 57},
            {"party": "police", "connected": False},
        ],
        "progress": {"findings": [], **progress},
    }


def test_the_text_of_a_status_lists_others_and_how_old_their_heights_are() -> None:
    answer = answer_of(state="ready", summary="3 of 4 validators reachable")
    peers = [line for line in node.as_text(answer).splitlines() if line.startswith("peer")]
    assert peers == [
        "peer      interior: linked, height 57 when it last said",
        "peer      police: not linked, height unknown",
    ]
    answer["others"] = [{"party": "coast", "connected": True, "height": 60}, {"party": "harbour", "connected": False}]
    observers = [line for line in node.as_text(answer).splitlines() if line.startswith("observer")]
    assert observers == [
        "observer  coast: linked, height 60 when it last said",
        "observer  harbour: not linked, height unknown",
    ]
    assert node.as_text(answer).splitlines()[0] == "customs: takes part"
    assert "epoch     2 (no validator: follows), protocol version 1, software 0.1" in node.as_text(answer).splitlines()


def test_the_text_of_a_status_says_first_why_there_is_no_progress_and_what_to_do() -> None:
    words = "no quorum: 2 of 4 validators reachable, 3 needed; last block 41 s ago; missing: interior, police"
    findings = [
        {"code": "no_quorum", "text": words, "help": "Look at the links.", "blocks": True},
        {"code": "disk_low", "text": "300 MiB left", "help": "Make room."},
    ]
    answer = answer_of(state="no_quorum", summary=words, findings=findings, pending_s=45)
    lines = node.as_text(answer).splitlines()
    assert lines[:5] == [
        "customs: is not making progress",
        f"  {words}",
        "    -> Look at the links.",
        "  300 MiB left",
        "    -> Make room.",
    ]
    assert "pending   3 records, the oldest for 45 s" in lines
    assert "pending   1 record, the oldest for 45 s" in node.as_text({**answer, "pending": 1}).splitlines()


@pytest.mark.parametrize(("state", "code"), [("ready", 0), ("no_quorum", 1), ("stopped", 1), ("catching_up", 1)])
def test_the_exit_code_tells_whether_the_node_takes_part(
    config: Path, monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    monkeypatch.setattr(node, "_ask", lambda *_: answer_of(state=state, summary="so"))
    done = run(node.app, "status", "--config", config, "--json")
    assert (done.exit_code, json.loads(done.stdout)["progress"]["state"]) == (code, state)


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
