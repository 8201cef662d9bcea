"""`tracemark policy`, and evidence of a later era than the pinned policy's, at the command line."""

import base64
import json
import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from client.cli.main import main
from ledger.policy import Policy
from ledger.state.model import ValidatorsDoc
from ledger.succession import policy_of
from node.peers.certificates import new_authority
from tests import changingledger
from tests.changingledger import FIVE, OTHERS, Changing, validators
from tests.toyledger import toy_policy
from tests.world import ORIGIN


def certify(monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    """From here on, validators have CA certificates that can be read, but for those given."""
    sound = base64.b64encode(new_authority("any", now_ms=0).der).decode()

    def with_certificates(epoch: int, parties: Sequence[str]) -> ValidatorsDoc:
        document = validators(epoch, parties)
        members = (msgspec.structs.replace(each, ca=others.get(each.party, sound)) for each in document.members)
        return msgspec.structs.replace(document, members=tuple(members))

    monkeypatch.setattr(changingledger, "validators", with_certificates)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the first policy, a succession of two changes, and a receipt of the second epoch."""
    monkeypatch.setenv("TRACEMARK_HOME", str(tmp_path / "home"))
    certify(monkeypatch)
    ledger = Changing()
    ledger.change(OTHERS)
    (tmp_path / "receipt").write_bytes(ledger.receipt(1))
    (tmp_path / "receipt.entry").write_bytes(ledger.entries[1])
    ledger.change(FIVE)
    (tmp_path / "policy.txt").write_text(toy_policy().render())
    (tmp_path / "succession.json").write_bytes(ledger.succession.to_bytes())
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, object]]:
    code = main([*(str(argument) for argument in arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_evidence_of_a_later_era_needs_the_succession(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pinned = ("--policy", files / "policy.txt")
    code, said = answer(capsys, "verify", files / "receipt", *pinned)
    assert (code, said["error"]["code"]) == (1, "no_log_signature")  # type: ignore[index]
    assert "--succession" in said["error"]["help"]  # type: ignore[index]
    code, said = answer(capsys, "verify", files / "receipt", *pinned, "--succession", files / "succession.json")
    assert (code, said["verified"], said["index"]) == (0, True, 1)


def test_the_newest_policy_is_written_for_others_to_pin(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    succession = ("--policy", files / "policy.txt", "--succession", files / "succession.json")
    kept = ("--out", files / "new.txt", "--keep", files / "kept", "--authorities", files / "ca.pem")
    code, said = answer(capsys, "policy", "follow", *succession, *kept)
    eras = said["eras"]
    assert isinstance(eras, list)
    assert (code, [era["epoch"] for era in eras]) == (0, [0, 1, 2])
    newest, own = Policy.parse((files / "new.txt").read_bytes()), policy_of(ORIGIN, validators(2, FIVE))
    assert [log.verifier for log in newest.logs] == [log.verifier for log in own.logs]
    assert {w.verifier for w in newest.witnesses} == {w.verifier for w in own.witnesses}
    assert newest.groups[0].needed == own.groups[0].needed
    assert (files / "ca.pem").read_text().count("BEGIN CERTIFICATE") == len(FIVE)
    assert (files / "kept").read_bytes() == (files / "succession.json").read_bytes()


@pytest.mark.parametrize("ca", ["=" * 100, "A" * 100, "\N{SNOWMAN}" * 100], ids=["padding", "no DER", "no base64"])
def test_a_ca_certificate_that_cannot_be_read_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ca: str
) -> None:
    monkeypatch.setenv("TRACEMARK_HOME", str(tmp_path / "home"))
    certify(monkeypatch, westmark=ca)
    ledger = Changing()
    ledger.change(FIVE)
    (tmp_path / "policy.txt").write_text(toy_policy().render())
    (tmp_path / "succession.json").write_bytes(ledger.succession.to_bytes())
    given = ("--policy", tmp_path / "policy.txt", "--succession", tmp_path / "succession.json")
    assert main(["policy", "follow", *map(str, given), "--authorities", str(tmp_path / "ca.pem")]) == 0
    assert "westmark" in capsys.readouterr().err
    assert (tmp_path / "ca.pem").read_text().count("BEGIN CERTIFICATE") == len(FIVE) - 1
    ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))


def test_a_policy_is_shown_with_its_eras(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "--policy", str(files / "policy.txt")]) == 0
    assert "3 of 4" in capsys.readouterr().out
    succession = ["--succession", str(files / "succession.json")]
    assert main(["policy", "show", "--policy", str(files / "policy.txt"), *succession]) == 0
    assert "4 of 5" in capsys.readouterr().out


def test_a_broken_succession_ends_with_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (files / "succession.json").read_bytes()
    (files / "succession.json").write_bytes(data.replace(b"Uc", b"Ud", 1) if b"Uc" in data else data[:-1])
    succession = ("--policy", files / "policy.txt", "--succession", files / "succession.json")
    code, said = answer(capsys, "policy", "follow", *succession)
    assert code == 1
    assert said["error"]["code"] in ("succession_broken", "succession_form")  # type: ignore[index]


def test_following_needs_something_to_follow(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = answer(capsys, "policy", "follow", "--policy", files / "policy.txt")
    assert (code, said["error"]["code"]) == (2, "usage")  # type: ignore[index]
