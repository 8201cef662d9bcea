"""The runner itself, and through it every shared vector: right verdicts pass, wrong ones and unreadable files are told."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.__main__ import main
from tests.shared import vectors

LOG_VKEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
WITNESS_VKEY = "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN"
SUNLIGHT_LOG = "000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706"
FIVE = hashlib.sha256(b"\x00five").hexdigest()

Output = pytest.CaptureFixture[str]


def closing(capsys: Output) -> str:
    return capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "path", "cases"),
    [
        ("merkle-inclusion", "merkle/inclusion.json", 49),
        ("merkle-consistency", "merkle/consistency.json", 49),
        ("ed25519-cctv", "ed25519/cctv.json", 457),
        ("ed25519-speccheck", "ed25519/speccheck.json", 12),
        ("ed25519-wycheproof", "ed25519/wycheproof.json", 151),
        ("jcs", "jcs", 6),
        ("smt", "smt/jmt_sha2_256.json", 3),
    ],
)
def test_shared_vectors(kind: str, path: str, cases: int, capsys: Output) -> None:
    assert main([kind, str(vectors(path))]) == 0
    assert closing(capsys) == f"{cases} passed, 0 failed"


def test_shared_log(capsys: Output) -> None:
    assert main(["tlog-log", str(vectors("tlog", "tessera")), "--vkey", LOG_VKEY]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "52 passed, 0 failed"
    for name in ("checkpoint.1 tiles", "checkpoint.9 entries", "checkpoint.5 consistency", "tile/entries/000.p/15"):
        assert f"ok   {name}: accepted" in lines


def test_shared_proof_and_cosignature(capsys: Output) -> None:
    proof = str(vectors("tlog", "worked.tlog-proof"))
    assert main(["tlog-proof", proof, "--vkey", LOG_VKEY, "--leaf-hash", FIVE]) == 0
    assert main(["tlog-proof", proof, "--vkey", LOG_VKEY, "--leaf-hash", FIVE[::-1]]) == 1
    checkpoint = str(vectors("tlog", "sunlight", "witness", SUNLIGHT_LOG, "checkpoint"))
    assert main(["cosignature", checkpoint, "--vkey", WITNESS_VKEY]) == 0
    unsigned = str(vectors("tlog", "tessera", "checkpoint"))
    assert main(["cosignature", checkpoint, unsigned, "--vkey", WITNESS_VKEY]) == 1
    assert closing(capsys) == "1 passed, 1 failed"


def rewritten(path: Path, folder: Path, change: Callable[[Any], Any]) -> str:
    """A copy of a JSON file with its document changed."""
    copy = folder / path.name
    copy.write_text(json.dumps(change(json.loads(path.read_bytes()))))
    return str(copy)


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_merkle_verdicts_turned_round_all_fail(kind: str, tmp_path: Path, capsys: Output) -> None:
    def turn(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [case | {"wantErr": not case["wantErr"]} for case in cases]

    path = rewritten(vectors("merkle", f"{kind}.json"), tmp_path, turn)
    assert main([f"merkle-{kind}", path]) == 1
    assert closing(capsys) == "0 passed, 49 failed"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("leafHash", None),
        ("leafHash", "not base64!"),
        ("leafHash", 7),
        ("leafIdx", "1"),
        ("leafIdx", True),
        ("leafIdx", 1.0),
        ("leafIdx", -1),
        ("treeSize", None),
        ("treeSize", 2**70),
        ("root", "AAAA"),
        ("proof", "AAAA"),
        ("proof", [1]),
        ("proof", ["AAA"]),
    ],
)
def test_a_malformed_case_is_a_rejected_case(field: str, value: object, tmp_path: Path, capsys: Output) -> None:
    def spoil(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        happy = next(case for case in cases if not case["wantErr"] and case["treeSize"] == 8)
        spoilt = happy | {field: value}
        absent = {name: held for name, held in spoilt.items() if held is not None}
        return [spoilt | {"wantErr": True}, absent | {"wantErr": True}, spoilt, happy]

    path = rewritten(vectors("merkle", "inclusion.json"), tmp_path, spoil)
    assert main(["merkle-inclusion", path]) == 1
    assert closing(capsys) == "3 passed, 1 failed"


def test_an_absent_verdict_means_acceptance_and_a_single_case_may_be_a_file(tmp_path: Path, capsys: Output) -> None:
    def bare(cases: list[dict[str, Any]]) -> dict[str, Any]:
        happy = next(case for case in cases if not case["wantErr"])
        return {name: held for name, held in happy.items() if name not in ("wantErr", "name", "desc")}

    rewritten(vectors("merkle", "consistency.json"), tmp_path, bare)
    assert main(["merkle-consistency", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "ok   consistency.json#0: accepted\n1 passed, 0 failed\n"


def test_signature_verdicts(tmp_path: Path, capsys: Output) -> None:
    def unflag(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [case | {"flags": []} for case in cases]

    assert main(["ed25519-cctv", rewritten(vectors("ed25519", "cctv.json"), tmp_path, unflag)]) == 1
    passed = int(closing(capsys).split()[0])
    assert 0 < passed < 457, "some are accepted without flags, some rejected in spite of it"
    assert (
        main(["ed25519-speccheck", rewritten(vectors("ed25519", "speccheck.json"), tmp_path, lambda all_: all_[1:])])
        == 1
    )
    assert closing(capsys) == "9 passed, 2 failed"

    def turn(document: dict[str, Any]) -> dict[str, Any]:
        for group in document["testGroups"]:
            for test in group["tests"]:
                test["result"] = "invalid" if test["result"] == "valid" else "valid"
        return document

    assert main(["ed25519-wycheproof", rewritten(vectors("ed25519", "wycheproof.json"), tmp_path, turn)]) == 1
    assert closing(capsys) == "0 passed, 151 failed"


def test_a_changed_byte_anywhere_in_a_log_is_found(tmp_path: Path) -> None:
    original = vectors("tlog", "tessera")
    names = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
    assert len(names) == 25
    folder = tmp_path / "log"
    shutil.copytree(original, folder, copy_function=shutil.copyfile)
    for name in names:
        data = (original / name).read_bytes()
        for at in {0, len(data) // 2, len(data) - 1}:
            (folder / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 1, f"byte {at} of {name}"
        for changed in (data[:-1], data + b"\x00", b""):
            (folder / name).write_bytes(changed)
            assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 1, f"{len(changed)} bytes of {name}"
        (folder / name).write_bytes(data)
    assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 0


def test_old_partial_tiles_may_be_gone_but_not_the_newest(tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "log"
    shutil.copytree(vectors("tlog", "tessera"), folder, copy_function=shutil.copyfile)
    for width in (1, 3, 11):
        (folder / f"tile/0/000.p/{width}").unlink()
        (folder / f"tile/entries/000.p/{width}").unlink()
    assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 0
    assert closing(capsys) == "46 passed, 0 failed"
    (folder / "tile/entries/000.p/15").unlink()
    assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 1
    (folder / "tile/0/000.p/15").unlink()
    assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 1


def test_a_stray_file_or_checkpoint_in_a_log_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    shutil.copytree(vectors("tlog", "tessera"), folder, copy_function=shutil.copyfile)
    for name, data in (("tile/0/x000/000", bytes(8192)), ("tile/1/000.p/1", bytes(32)), ("checkpoint.16", None)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder / "checkpoint").read_bytes() if data is None else data)
        assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 1, name
        path.unlink()
    assert main(["tlog-log", str(folder), "--vkey", LOG_VKEY]) == 0


def test_jcs_disagreement_and_unneeded_refusal(tmp_path: Path, capsys: Output) -> None:
    for name, written, expected in (
        ("equal.json", '{"b":1,"a":"\\u00e9\\u007f\\u001f"}', '{"a":"\u00e9\x7f\\u001f","b":1}'),
        ("float.json", "[1.0]", "[1]"),
        ("repeated.json", '{"a":1,"a":1}', '{"a":1}'),
        ("other.json", '{"b":1,"a":2}', '{"b":1,"a":2}'),
    ):
        for side, text in (("input", written), ("output", expected)):
            (tmp_path / side).mkdir(exist_ok=True)
            (tmp_path / side / name).write_text(text, encoding="utf-8")
    assert main(["jcs", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "ok   equal.json",
        "ok   float.json",
        "FAIL other.json",
        "ok   repeated.json",
    ]


def test_smt_of_another_root(tmp_path: Path, capsys: Output) -> None:
    def swap(document: dict[str, Any]) -> dict[str, Any]:
        first, second, third = document["vectors"]
        roots = (second["expected_root"], "zz", None)
        cases = [case | {"expected_root": root} for case, root in zip((first, second, third), roots, strict=True)]
        return document | {"vectors": [*cases, third, {}]}

    assert main(["smt", rewritten(vectors("smt", "jmt_sha2_256.json"), tmp_path, swap)]) == 1
    assert closing(capsys) == "1 passed, 4 failed"


def test_a_case_is_one_line_whatever_its_name(tmp_path: Path, capsys: Output) -> None:
    case = {"name": "two\nlines \x1b[31m \ud800", "wantErr": True}
    path = tmp_path / "case.json"
    path.write_text(json.dumps([case, "no case", None]))
    assert main(["merkle-inclusion", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok   two\\nlines \\x1b[31m \\ud800: rejected")
    assert lines[-1] == "1 passed, 2 failed"


@pytest.mark.parametrize(
    "arguments",
    [
        ["merkle-inclusion", "{tmp}/absent.json"],
        ["merkle-inclusion", "{tmp}/text.json"],
        ["merkle-inclusion", "{tmp}/number.json"],
        ["merkle-inclusion", "{tmp}/none.json"],
        ["merkle-inclusion", "{tmp}/empty"],
        ["ed25519-wycheproof", "{tmp}/none.json"],
        ["smt", "{tmp}/none.json"],
        ["jcs", "{tmp}/empty"],
        ["jcs", "{tmp}/absent"],
        ["tlog-log", "{tmp}/empty", "--vkey", LOG_VKEY],
        ["tlog-log", "{tmp}/empty"],
        ["tlog-log", "{tmp}/empty", "--vkey", "nonsense"],
        ["tlog-log", "{tmp}/empty", "--vkey", WITNESS_VKEY],
        ["tlog-proof", "{tmp}/text.json", "--vkey", LOG_VKEY],
        ["tlog-proof", "{tmp}/text.json", "--vkey", LOG_VKEY, "--leaf-hash", "xyz"],
        ["tlog-proof", "{tmp}/absent", "--vkey", LOG_VKEY, "--leaf-hash", FIVE],
        ["cosignature", "{tmp}/absent", "--vkey", WITNESS_VKEY],
        ["cosignature", "{tmp}/text.json", "--vkey", LOG_VKEY],
    ],
)
def test_unreadable_paths_and_wrong_usage_exit_2(arguments: list[str], tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "empty").mkdir()
    for name, text in (("text.json", "no JSON"), ("number.json", "7"), ("none.json", "[]")):
        (tmp_path / name).write_text(text)
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    assert capsys.readouterr().err.startswith("python -m tests.conformance: ")


@pytest.mark.parametrize(
    "arguments", [[], ["merkle-inclusion"], ["no-such-kind", "x"], ["smt", "x", "--no-such-option"]]
)
def test_usage_errors_exit_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
