"""New keys for an agency's node: what is new, what stays, and that the proposal takes exactly the difference."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.governance import read_identity, rotation
from ledger.genesis import Agency, keys_of
from ledger.keyfile import KeyDerivation
from ledger.records.governance import rotated
from ledger.state.model import ValidatorsDoc
from ledger.state.validators import validator_of
from node.config import read_passphrase_file
from node.keys import NodeKeys, open_node_keys, seal_node_keys
from node.service.renewal import NODE_ROLES
from tests.node.cli.test_network import ORIGIN, error_of, make_identity, run
from tests.node.peers.support import CHEAP


@pytest.fixture(autouse=True)
def cheap_derivation(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Argon2id at its least."""

    def cheap(keys: NodeKeys, passphrase: bytes, path: Path, *, derivation: KeyDerivation) -> None:
        seal_node_keys(keys, passphrase, path, derivation=CHEAP)

    for module in ("ceremony", "renewal"):
        monkeypatch.setattr(f"node.service.{module}.seal_node_keys", cheap)
    yield


def renew(tmp_path: Path, *options: object) -> tuple[Agency, Agency, Path]:
    """The old identity, the new one, and its folder."""
    old = make_identity(tmp_path, "customs")
    out = tmp_path / "renewed"
    done = run("renew", old.parent, "--origin", ORIGIN, "--out", out, *options)
    assert done.exit_code == 0, done.output
    return read_identity(old, origin=ORIGIN), read_identity(out / "identity.json", origin=ORIGIN), out


def standing(agency: Agency) -> ValidatorsDoc:
    return ValidatorsDoc(epoch=0, members=(validator_of(agency),))


def test_all_node_keys_are_new_and_the_rest_stays(tmp_path: Path) -> None:
    old, new, folder = renew(tmp_path)
    assert (new.record, new.ca, new.name, new.roles) == (old.record, old.ca, old.name, old.roles)
    was, is_now = (dict(keys_of(agency)) for agency in (old, new))
    assert [role for role in NODE_ROLES if was[role].public == is_now[role].public] == []
    change = rotation(new, standing(old))
    assert tuple(role for role, _ in rotated(change.keys)) == NODE_ROLES
    keys = open_node_keys(folder / "keys.sealed", read_passphrase_file(folder / "passphrase"), party="customs")
    assert {role: keys.of(role).public.hex() for role in is_now} == {role: key.public for role, key in is_now.items()}
    for name in ("ca.pem", "ca.key", "node.key", "node.pem"):
        assert (folder / "tls" / name).read_bytes() == (tmp_path / "customs" / "tls" / name).read_bytes()
    for name in ("keys.sealed", "passphrase", "tls/ca.key", "tls/node.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_only_the_key_that_is_meant_is_new(tmp_path: Path) -> None:
    old, new, _ = renew(tmp_path, "--role", "consensus")
    change = rotation(new, standing(old))
    assert [role for role, _ in rotated(change.keys)] == ["consensus"]
    assert new.node.cosigner == old.node.cosigner


def test_the_authority_is_new_where_it_is_asked_for(tmp_path: Path) -> None:
    old, new, folder = renew(tmp_path, "--role", "transport", "--new-ca", "--host", "node.customs.example")
    assert new.ca != old.ca
    assert rotation(new, standing(old)).ca == new.ca
    assert (folder / "tls" / "node.pem").read_bytes() != (tmp_path / "customs" / "tls" / "node.pem").read_bytes()


def test_an_authority_in_a_safe_is_not_missed(tmp_path: Path) -> None:
    make_identity(tmp_path, "customs")
    (tmp_path / "customs" / "tls" / "ca.key").rename(tmp_path / "safe")
    done = run("renew", tmp_path / "customs", "--origin", ORIGIN, "--out", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "new" / "tls" / "ca.key").exists()


def test_nothing_is_overwritten_and_nothing_wrong_is_made(tmp_path: Path) -> None:
    old = make_identity(tmp_path, "customs").parent
    assert run("renew", old, "--origin", ORIGIN, "--out", old).exit_code == 2
    done = run("renew", old, "--origin", "another.example/log", "--out", tmp_path / "new", "--json")
    assert error_of(done)["code"] == "bad_possession"
    done = run("renew", old, "--origin", ORIGIN, "--role", "record", "--out", tmp_path / "new", "--json")
    assert error_of(done)["code"] == "bad_roles"
    (old / "passphrase").write_text("wrong\n")
    done = run("renew", old, "--origin", ORIGIN, "--out", tmp_path / "new", "--json")
    assert error_of(done)["code"] == "wrong_passphrase"
    assert not (tmp_path / "new").exists()
