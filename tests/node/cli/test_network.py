"""The ceremony, as operators type it: identities, genesis, show, a throw-away network; and what is refused."""

import json
import re
import socket
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from ledger.codec import decode, encode
from ledger.genesis import Agency, decode_genesis
from ledger.keyfile import KeyDerivation
from ledger.limits import MAX_IDENTITY_BYTES
from ledger.policy import Policy
from node.cli.network import app
from node.config import load_config, load_genesis, read_passphrase
from node.keys import NodeKeys, load_keys, seal_node_keys
from tests.node.peers.support import CHEAP

ORIGIN = "registry.example/weapons"
PARTIES = ("police", "customs", "interior", "neighbour")


@pytest.fixture(autouse=True)
def cheap_derivation(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Argon2id at its least: what is tested here is not its cost."""

    def cheap(keys: NodeKeys, passphrase: bytes, path: Path, *, derivation: KeyDerivation) -> None:
        assert derivation.memory_bytes >= 64 * 1024 * 1024
        seal_node_keys(keys, passphrase, path, derivation=CHEAP)

    monkeypatch.setattr("node.service.ceremony.seal_node_keys", cheap)
    yield


def run(*arguments: object) -> Result:
    """One command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def make_identity(folder: Path, party: str, *, origin: str = ORIGIN) -> Path:
    """An agency's identity.json."""
    done = run("identity", party, "--origin", origin, "--jurisdiction", "XA", "--out", folder / party)
    assert done.exit_code == 0, done.output
    return folder / party / "identity.json"


def error_of(done: Result) -> dict[str, Any]:
    """The error of a command run with --json."""
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    return error


def test_the_ceremony_end_to_end(tmp_path: Path) -> None:
    files = [make_identity(tmp_path, party) for party in PARTIES]
    done = run("genesis", *files, "--origin", ORIGIN, "--out", tmp_path / "ceremony", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    shown = run("show", tmp_path / "ceremony", "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout) == said
    genesis = decode_genesis((tmp_path / "ceremony" / "genesis.json").read_bytes())
    assert said["hash"] == genesis.chain_id.hex()
    assert (said["quorum"], said["faults_tolerated"]) == (3, 1)
    assert [agency["party"] for agency in said["agencies"]] == sorted(PARTIES)
    text = run("show", tmp_path / "ceremony" / "genesis.json")
    assert genesis.chain_id.hex() in text.stdout
    assert "3 of 4" in text.stdout


def test_the_policy_names_all_logs_and_q_of_all_cosigners(tmp_path: Path) -> None:
    files = [make_identity(tmp_path, party) for party in PARTIES]
    assert run("genesis", *files, "--origin", ORIGIN, "--out", tmp_path / "ceremony").exit_code == 0
    genesis = decode_genesis((tmp_path / "ceremony" / "genesis.json").read_bytes())
    policy = Policy.parse((tmp_path / "ceremony" / "policy.txt").read_bytes())
    assert {entry.verifier.name for entry in policy.logs} == {ORIGIN}
    assert [entry.verifier.public.hex() for entry in policy.logs] == [a.node.log.public for a in genesis.agencies]
    names = [f"{ORIGIN}/{party}" for party in sorted(PARTIES)]
    assert [witness.name for witness in policy.witnesses] == names
    assert [witness.verifier.name for witness in policy.witnesses] == names
    assert [w.verifier.public.hex() for w in policy.witnesses] == [a.node.cosigner.public for a in genesis.agencies]
    assert not policy.is_quorum(names[:2])
    assert policy.is_quorum(names[1:])
    authorities = x509.load_pem_x509_certificates((tmp_path / "ceremony" / "ca.pem").read_bytes())
    assert [each.subject.rfc4514_string() for each in authorities] == [f"CN={p} authority" for p in sorted(PARTIES)]


def test_one_agency_alone_is_a_ledger(tmp_path: Path) -> None:
    done = run("genesis", make_identity(tmp_path, "customs"), "--origin", ORIGIN, "--out", tmp_path / "c", "--json")
    assert (json.loads(done.stdout)["quorum"], json.loads(done.stdout)["faults_tolerated"]) == (1, 0)
    assert Policy.parse((tmp_path / "c" / "policy.txt").read_bytes()).is_quorum([f"{ORIGIN}/customs"])


@pytest.mark.parametrize(
    ("field", "value", "code", "exit_code"),
    [
        (("name",), "Somebody else", None, 0),
        (("party",), "police", "bad_possession", 2),
        (("node", "log", "public"), "00" * 32, "bad_possession", 2),
        (("record", "proof"), "A" * 86 + "==", "bad_possession", 2),
        (("ca",), "A" * 200, "bad_certificate", 2),
        (("roles",), ["king"], "bad_identity", 2),
        (("roles",), ["registry", "customs"], "bad_genesis", 2),
        (("extra",), 1, "bad_identity", 2),
    ],
)
def test_a_tampered_identity_is_refused(
    tmp_path: Path, field: tuple[str, ...], value: object, code: str | None, exit_code: int
) -> None:
    """What nobody signed, such as the display name, is for people to compare: it is under the hash."""
    path = make_identity(tmp_path, "customs")
    document = json.loads(path.read_text())
    place = document
    for name in field[:-1]:
        place = place[name]
    place[field[-1]] = value
    path.write_bytes(encode(document))
    done = run("genesis", path, "--origin", ORIGIN, "--out", tmp_path / "ceremony", "--json")
    assert done.exit_code == exit_code, done.output
    if code is not None:
        assert error_of(done)["code"] == code
        assert not (tmp_path / "ceremony").exists()


def test_every_byte_of_an_identity_matters(tmp_path: Path) -> None:
    """A changed byte is refused, or changes what the agencies see and hash."""
    path = make_identity(tmp_path, "customs")
    data = path.read_bytes().rstrip(b"\n")
    honest: Agency = decode(data, Agency, limit=MAX_IDENTITY_BYTES)
    for at in range(0, len(data), 97):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        done = run("genesis", path, "--origin", ORIGIN, "--out", tmp_path / f"out{at}", "--json")
        assert done.exit_code in (0, 2), done.output
        if done.exit_code == 0:
            agency = decode_genesis((tmp_path / f"out{at}" / "genesis.json").read_bytes()).agencies[0]
            assert agency != honest
            assert (agency.record, agency.node, agency.ca) == (honest.record, honest.node, honest.ca)


def test_an_identity_for_another_origin_is_refused(tmp_path: Path) -> None:
    path = make_identity(tmp_path, "customs", origin="registry.example/other")
    done = run("genesis", path, "--origin", ORIGIN, "--out", tmp_path / "ceremony", "--json")
    assert (done.exit_code, error_of(done)["code"]) == (2, "bad_possession")


def test_an_agency_stands_once(tmp_path: Path) -> None:
    path = make_identity(tmp_path, "customs")
    done = run("genesis", path, path, "--origin", ORIGIN, "--out", tmp_path / "ceremony", "--json")
    assert (done.exit_code, error_of(done)["code"]) == (2, "bad_genesis")
    other = make_identity(tmp_path / "other", "customs")
    done = run("genesis", path, make_identity(tmp_path, "police"), other, "--origin", ORIGIN, "--out", tmp_path / "c")
    assert done.exit_code == 2
    assert "customs: more than one identity" in done.stderr
    assert "police: " not in done.stderr


def test_two_agencies_do_not_share_an_authority(tmp_path: Path) -> None:
    paths = [make_identity(tmp_path, party) for party in ("customs", "police")]
    customs, police = (json.loads(path.read_text()) for path in paths)
    paths[1].write_bytes(encode({**police, "ca": customs["ca"]}))
    done = run("genesis", *paths, "--origin", ORIGIN, "--out", tmp_path / "ceremony", "--json")
    assert (done.exit_code, error_of(done)["code"]) == (2, "bad_certificate")


def test_a_changed_genesis_document_is_refused_by_show(tmp_path: Path) -> None:
    assert run("genesis", make_identity(tmp_path, "customs"), "--origin", ORIGIN, "--out", tmp_path).exit_code == 0
    path = tmp_path / "genesis.json"
    data = path.read_bytes()
    for changed in (data[:-1], data + b" ", data.replace(b'"customs"', b'"customz"', 1)):
        path.write_bytes(changed)
        assert run("show", path).exit_code == 2
    assert run("show", tmp_path / "absent.json").exit_code == 2


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = make_identity(tmp_path, "customs")
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    again = run("identity", "customs", "--origin", ORIGIN, "--jurisdiction", "XA", "--out", path.parent, "--json")
    assert (again.exit_code, error_of(again)["code"]) == (2, "file_exists")
    assert {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("Customs", "--jurisdiction", "XA"),
        ("customs", "--jurisdiction", "Germany"),
        ("customs", "--jurisdiction", "XA", "--roles", "king"),
        ("customs", "--jurisdiction", "XA", "--host", "a b"),
        ("customs", "--jurisdiction", "XA", "--name", "x\u202ey"),
    ],
)
def test_an_identity_that_cannot_be_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run("identity", *arguments, "--origin", ORIGIN, "--out", tmp_path / "x")
    assert done.exit_code == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("identity", "../x", "--jurisdiction", "XA"), "not an agency's party id"),
        (("identity", "customs", "--jurisdiction", "xa"), "an ISO 3166 alpha-2 code"),
        (("identity", "customs", "--jurisdiction", "XA", "--name", ""), "on one line"),
        (("identity", "customs", "--jurisdiction", "XA", "--roles", "king"), "registry, police, customs"),
        (("identity", "customs", "--jurisdiction", "XA", "--grants", "king"), "registry, police, customs"),
        (("init", "--agencies", ""), "party ids, such as"),
        (("init", "--agencies", "customs,Police"), "lower-case letters, digits and hyphens"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    command, *rest = arguments
    place = (tmp_path / "x",) if command == "init" else ("--origin", ORIGIN, "--out", tmp_path / "x")
    for how in ((), ("--json",)):
        done = run(command, *rest, *place, *how)
        assert done.exit_code == 2
        assert expected in done.output
        assert not re.search(r"regex|\\Z|\$\.", done.output)
    assert not (tmp_path / "x").exists()


def test_an_agency_of_no_usual_name_says_its_roles_itself(tmp_path: Path) -> None:
    """Else somebody who mistyped a name would ask for a registry's roles, and not know it."""
    place = ("--origin", ORIGIN, "--jurisdiction", "XA", "--out", tmp_path / "coast", "--json")
    done = run("identity", "coast", *place)
    assert (done.exit_code, error_of(done)["code"]) == (2, "bad_roles")
    assert "--roles" in error_of(done)["expected"]
    assert not (tmp_path / "coast").exists()
    done = run("identity", "coast", *place, "--roles", "museum")
    assert (done.exit_code, error_of(done)["code"]) == (2, "bad_roles")
    assert "--grants" in error_of(done)["expected"]
    done = run("identity", "coast", *place, "--roles", "police")
    said = json.loads(done.stdout)
    assert (said["roles"], said["grants"]) == (["police"], ["police"]), "a police force grants no registry's roles"
    agency = json.loads((tmp_path / "coast" / "identity.json").read_text())
    assert (agency["roles"], agency["grants"]) == (["police"], ["police"])


@pytest.mark.parametrize("party", ["customs", "interior", "police"])
def test_who_makes_an_identity_is_told_what_it_claims_and_where_that_counts(tmp_path: Path, party: str) -> None:
    done = run("identity", party, "--origin", ORIGIN, "--jurisdiction", "XA", "--out", tmp_path / party)
    agency = json.loads((tmp_path / party / "identity.json").read_text())
    said = " ".join(done.stdout.split())
    assert f"claims the roles {', '.join(agency['roles'])}, and to grant {', '.join(agency['grants'])}." in said
    assert "genesis document" in said
    assert "tracemark proposal open add" in said, "not every ledger is a new one"


def test_a_throw_away_network_is_whole(tmp_path: Path) -> None:
    done = run("init", tmp_path, "--agencies", ",".join(PARTIES), "--json")
    assert done.exit_code == 0, done.output
    network = json.loads((tmp_path / "network.json").read_text())
    assert set(network["agencies"]) == set(PARTIES)
    for party in PARTIES:
        config = load_config(tmp_path / party / "node.toml")
        genesis = load_genesis(config)
        agency = next(agency for agency in genesis.agencies if agency.party == party)
        assert load_keys(config, agency).party == party
        assert set(config.peers.addresses) == set(PARTIES) - {party}
        assert network["agencies"][party] == {"api": config.api.url, "peer": str(config.peers.listen)}
        assert config.api.url == f"https://{config.api.listen}"
        for name in ("keys.sealed", "passphrase", "tls/ca.key", "tls/node.key"):
            assert stat.S_IMODE((tmp_path / party / name).stat().st_mode) == 0o600
        assert read_passphrase(config) not in done.stdout.encode()
    ports = [int(address.rpartition(":")[2]) for each in network["agencies"].values() for address in each.values()]
    assert len(set(ports)) == 2 * len(PARTIES)
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_known_names_get_their_roles_and_others_can_be_given(tmp_path: Path) -> None:
    done = run(
        "init", tmp_path, "--agencies", "interior,customs,museums", "--roles", "museums=museum,registry:museum",
        "--base-port", 24_000, "--json",
    )  # fmt: skip
    agencies = {agency["party"]: agency for agency in json.loads(done.stdout)["agencies"]}
    assert agencies["interior"]["roles"] == ["registry"]
    assert {"maker", "importer", "dealer"} <= set(agencies["interior"]["grants"])
    assert agencies["customs"]["roles"] == ["customs"]
    assert (agencies["museums"]["roles"], agencies["museums"]["grants"]) == (["museum", "registry"], ["museum"])
    addresses = json.loads((tmp_path / "network.json").read_text())["agencies"]
    assert addresses["customs"] == {"api": "https://127.0.0.1:24002", "peer": "127.0.0.1:24003"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--agencies", "customs,customs"),
        ("--agencies", "customs,"),
        ("--agencies", "customs", "--roles", "police=police:police"),
        ("--agencies", "customs", "--roles", "customs=police"),
        ("--agencies", "customs", "--origin", "Not An Origin"),
        ("--agencies", "customs", "--heartbeat-s", "0"),
        (),
    ],
)
def test_a_network_that_cannot_be_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run("init", tmp_path / "x", *arguments).exit_code == 2
    assert not (tmp_path / "x").exists()


def test_a_certificate_is_renewed_under_the_same_authority(tmp_path: Path) -> None:
    assert run("init", tmp_path, "--agencies", "customs").exit_code == 0
    pem = tmp_path / "customs" / "tls" / "node.pem"
    old = x509.load_pem_x509_certificate(pem.read_bytes())
    config = tmp_path / "customs" / "node.toml"
    done = run("certificate", "--config", config, "--host", "node.customs.example", "--json")
    assert done.exit_code == 0, done.output
    renewed = x509.load_pem_x509_certificate(pem.read_bytes())
    assert renewed.serial_number != old.serial_number
    renewed.verify_directly_issued_by(
        x509.load_pem_x509_certificate((tmp_path / "customs" / "tls" / "ca.pem").read_bytes())
    )
    assert b"node.customs.example" in renewed.public_bytes(Encoding.DER)
    assert stat.S_IMODE((tmp_path / "customs" / "tls" / "node.key").stat().st_mode) == 0o600
    (tmp_path / "customs" / "passphrase").write_text("wrong\n")
    assert run("certificate", "--config", config).exit_code == 2


def test_the_example_configuration_is_valid_toml_with_every_default(tmp_path: Path) -> None:
    make_identity(tmp_path, "customs")
    assert tomllib.loads((tmp_path / "customs" / "node.toml").read_text())["party"] == "customs"
    assert load_config(tmp_path / "customs" / "node.toml").peers.addresses == {}


@pytest.mark.parametrize("command", ["identity", "renew", "genesis", "show", "init", "certificate"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "Example: tracemark network" in done.stdout


def test_two_throw_away_networks_are_not_two_histories_of_one_log(tmp_path: Path) -> None:
    """A client that remembers the first one's checkpoints would take the second for a fork of it."""
    made = [json.loads(run("init", tmp_path / name, "--agencies", "customs", "--json").stdout) for name in ("a", "b")]
    assert len({network["ledger"].partition("#")[0] for network in made}) == 2
