"""`tracemark verify` of evidence, and `tracemark evidence`: offline whole, online against a fake node."""

import functools
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import msgspec
import pytest

import client.cli.common
from client.author import Author
from client.errors import ForkError
from client.session import Session
from client.trust import TrustStore
from ledger.evidence import decode_evidence, encode_evidence, subject_of, verify_evidence
from ledger.keyfile import NONCE_BYTES, SALT_BYTES, seal
from ledger.policy import Policy
from ledger.records.evidence import Evidence
from ledger.state.model import EvidenceDoc, StateKey
from tests.client.fakenode import FakeNode, nodes
from tests.client.test_cli import FAST, Run, run, secret
from tests.ledger.liars import double_root, double_vote, signed_note
from tests.toyledger import ToyLedger, toy_policy
from tests.world import GENESIS, build_genesis, key_named, node_key

__all__ = ["run"]


class Accuser(FakeNode):
    """A node that holds evidence, one piece a page."""

    def __init__(self, *held: Evidence) -> None:
        super().__init__(ToyLedger())
        self.held = {subject_of(evidence): evidence for evidence in held}
        self.next = ""
        """What a hostile one says of more, instead of the truth."""

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v1/evidence":
            return super()._answer(request)
        cursor = parse_qs(request.url.query.decode()).get("cursor", [""])[0]
        later = [subject for subject in sorted(self.held) if subject > cursor]
        page: dict[str, Any] = {"evidence": [msgspec.to_builtins(self.held[subject]) for subject in later[:1]]}
        if self.next or len(later) > 1:
            page["next"] = self.next or later[0]
        return httpx.Response(200, json=page)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the genesis document, a policy, and evidence."""
    (tmp_path / "genesis.json").write_bytes(GENESIS.entry)
    (tmp_path / "policy.txt").write_text(ledger_policy().render())
    (tmp_path / "votes.json").write_bytes(encode_evidence(double_vote()))
    (tmp_path / "roots.json").write_bytes(encode_evidence(double_root()))
    return tmp_path


def ledger_policy() -> Policy:
    """As the ceremony makes it: cosigners under the origin's name."""
    return toy_policy()


def node_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *held: Evidence) -> Accuser:
    """A fake node that the profile names, and the key of the police."""
    fake = Accuser(*held)
    home = tmp_path / "home"
    home.mkdir()
    sealed = seal(
        {"police/record": key_named("police record").seed},
        b"pass",
        salt=bytes(SALT_BYTES),
        nonce=bytes(NONCE_BYTES),
        derivation=FAST,
    )
    secret(home / "passphrase", "pass")
    (home / "police.sealed").write_bytes(sealed)
    (home / "police.sealed").chmod(0o600)
    (home / "policy.txt").write_text(ledger_policy().render())
    (home / "profile.toml").write_text('node = "https://one"\npolicy = "policy.txt"\npassphrase_file = "passphrase"\n')

    def session(*arguments: Any, **options: Any) -> Session:
        options.pop("ca")
        return Session(*arguments, **options, transport=nodes(one=fake), sleep=lambda _: None)

    monkeypatch.setattr(client.cli.common, "Session", session)
    monkeypatch.setattr(
        client.cli.common, "Author", functools.partial(Author, clock=lambda: fake.ledger.time_ms / 1000)
    )
    return fake


def test_evidence_is_verified_with_nothing_but_the_genesis_document_and_said_in_words(run: Run, files: Path) -> None:
    code, out, _ = run("verify", files / "votes.json", "--genesis", files / "genesis.json")
    assert code == 0
    text = " ".join(out.split())
    assert "Proven. The consensus key of customs signed two votes that exclude each other." in text
    assert "view 7 of epoch 0" in text
    assert "its consensus key by the genesis document" in text
    assert "which of these, the file does not show" in text
    code, out, _ = run("verify", files / "votes.json", "--genesis", files / "genesis.json", "--json")
    answer = json.loads(out)
    assert code == 0
    assert (answer["verified"], answer["kind"], answer["party"]) == (True, "equivocation", "customs")
    assert (answer["epoch"], answer["view"], answer["subject"]) == (0, 7, "customs:0")
    assert [statement.split(":")[0] for statement in answer["statements"]] == ["notarize", "notarize"]


def test_a_policy_names_cosigners_but_no_validators_keys(run: Run, files: Path) -> None:
    code, out, _ = run("verify", files / "roots.json", "--policy", files / "policy.txt", "--json")
    assert code == 0
    assert json.loads(out)["shown_by"] == "the policy"
    code, out, _ = run("verify", files / "votes.json", "--policy", files / "policy.txt", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "evidence_signer"
    code, out, _ = run("verify", files / "votes.json", "--json")
    assert code == 1
    assert "Give the genesis document" in json.loads(out)["error"]["help"]


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (msgspec.structs.replace(double_vote(), view=8), "evidence_signature"),
        (double_vote(said=(("notarize", (0, b"x" * 32)), ("nullify", None))), "evidence_lawful"),
        (double_vote(key=node_key("police", "consensus")), "evidence_signer"),
        (double_vote("customs", genesis=build_genesis("customs")), "evidence_ledger"),
    ],
)
def test_a_file_that_proves_nothing_says_why(run: Run, files: Path, evidence: Evidence, code: str) -> None:
    (files / "bad.json").write_bytes(encode_evidence(evidence))
    exit_code, out, _ = run("verify", files / "bad.json", "--genesis", files / "genesis.json", "--json")
    assert (exit_code, json.loads(out)["error"]["code"]) == (1, code)


def test_a_spoilt_file_and_a_wrong_genesis_document(run: Run, files: Path) -> None:
    (files / "bad.json").write_bytes((files / "votes.json").read_bytes() + b"\n")
    code, out, _ = run("verify", files / "bad.json", "--genesis", files / "genesis.json", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "evidence_form")
    code, out, _ = run("verify", files / "votes.json", "--genesis", files / "policy.txt", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "bad_genesis")


def test_the_two_files_of_a_forked_log_become_evidence(run: Run, files: Path) -> None:
    """What a client kept when it saw two histories of one size."""
    store = TrustStore(files / "trust")
    old = signed_note("r", log="customs", cosigners=("customs", "interior", "police"))
    seen = signed_note("s", log="police", cosigners=("interior", "neighbour", "police"), time_s=10)
    source = ToyLedgerSource()
    store.observe(old.to_bytes(), source)
    with pytest.raises(ForkError) as raised:
        store.observe(seen.to_bytes(), source)
    out = files / "made"
    code, text, _ = run("evidence", "compare", *raised.value.files, "--genesis", files / "genesis.json", "--out", out)
    assert code == 0, text
    assert sorted(path.name for path in out.iterdir()) == ["interior-fork-5.json", "police-fork-5.json"]
    for path in out.iterdir():
        verify_evidence(decode_evidence(path.read_bytes()))
        assert run("verify", path, "--genesis", files / "genesis.json")[0] == 0
    code, text, _ = run(
        "evidence",
        "compare",
        raised.value.files[0],
        raised.value.files[0],
        "--genesis",
        files / "genesis.json",
        "--json",
    )
    assert (code, json.loads(text)["error"]["code"]) == (1, "evidence_lawful")
    assert run("evidence", "compare", *raised.value.files)[0] == 2, "of which ledger?"


class ToyLedgerSource:
    """Nothing is asked of it where the sizes are equal."""

    def consistency(self, older: int, newer: int) -> list[bytes]:
        raise AssertionError

    def tile(self, tile: Any) -> bytes:
        raise AssertionError


def test_what_a_node_holds_is_listed_and_fetched_and_nothing_is_believed_unproven(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false = msgspec.structs.replace(double_vote("police"), view=8)
    stranger = double_root("interior", key=key_named("nobody"))
    node_with(monkeypatch, tmp_path, double_vote(), double_root("neighbour"), false, stranger)
    code, out, _ = run("evidence", "list", "--json")
    listed = {each["subject"]: each for each in json.loads(out)["evidence"]}
    assert code == 0
    assert {subject: each["verified"] for subject, each in listed.items()} == {
        "customs:0": True,
        "interior:fork:5": False,
        "neighbour:fork:5": True,
        "police:0": False,
    }
    assert listed["police:0"]["error"]["code"] == "evidence_signature"
    assert listed["interior:fork:5"]["error"]["code"] == "evidence_signer"
    assert listed["customs:0"]["shown_by"] == "the ledger's state"
    out_folder = tmp_path / "fetched"
    code, out, _ = run("evidence", "fetch", "--out", out_folder)
    assert code == 1
    assert sorted(path.name for path in out_folder.iterdir()) == ["customs-0.json", "neighbour-fork-5.json"]


@pytest.mark.parametrize("there", ["another ledger's", "another subject", "spoilt"])
def test_what_is_no_evidence_of_it_is_not_told_as_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    node_with(monkeypatch, tmp_path, double_vote())
    folder = tmp_path / "fetched"
    assert run("evidence", "fetch", "--out", folder)[0] == 0
    [path] = folder.iterdir()
    assert run("evidence", "fetch", "--out", folder)[0] == 0, "the same stays"
    foreign = {
        "another ledger's": encode_evidence(double_vote(genesis=build_genesis("customs"))),
        "another subject": encode_evidence(double_root()),
        "spoilt": path.read_bytes()[:-1],
    }[there]
    path.write_bytes(foreign)
    code, out, _ = run("evidence", "fetch", "--out", folder, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "file_exists")
    assert path.read_bytes() == foreign


def test_a_list_without_end_is_given_up(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node_with(monkeypatch, tmp_path, double_vote()).next = "customs:0"
    code, out, _ = run("evidence", "list", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "bad_answer")


def test_evidence_is_reported_on_the_ledger(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = node_with(monkeypatch, tmp_path)
    (tmp_path / "votes.json").write_bytes(encode_evidence(double_vote()))
    code, out, err = run("evidence", "report", tmp_path / "votes.json", "--key", tmp_path / "home" / "police.sealed")
    assert code == 0, err
    assert "It is on the ledger" in " ".join(out.split())
    document = fake.ledger.state[StateKey("evidence", "customs:0")]
    assert isinstance(document, EvidenceDoc)
    assert (document.reported_by, document.party) == ("police", "customs")
    (tmp_path / "bad.json").write_bytes(encode_evidence(msgspec.structs.replace(double_vote(), view=8)))
    code, _, err = run("evidence", "report", tmp_path / "bad.json", "--key", tmp_path / "home" / "police.sealed")
    assert code == 1
    assert "evidence_signature" in err
