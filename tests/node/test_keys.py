"""Key files: opened with one derivation, never exposed, never half written, never another agency's."""

import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import nacl.bindings
import pytest

from ledger.errors import ConfigurationError
from ledger.genesis import keys_of
from ledger.signing import ROLES
from node.config import NodeConfig
from node.files import SECRET_MODE, read_secret, write_file
from node.keys import load_keys, new_keys, new_passphrase, open_node_keys, seal_node_keys
from tests.node.peers.support import CHEAP, Net


def config_of(net: Net, party: str) -> NodeConfig:
    """The configuration of an agency's folder."""
    folder = net.folder / party
    return NodeConfig(
        file=folder / "node.toml", party=party, keys=folder / "keys.sealed", passphrase=folder / "passphrase"
    )


def test_sealed_keys_come_back_with_one_derivation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = new_keys("customs")
    seal_node_keys(keys, b"secret", tmp_path / "keys.sealed", derivation=CHEAP)
    derivations = []
    derive = nacl.bindings.crypto_pwhash_alg

    def counting(*arguments: Any) -> bytes:
        derivations.append(1)
        return bytes(derive(*arguments))

    monkeypatch.setattr(nacl.bindings, "crypto_pwhash_alg", counting)
    opened = open_node_keys(tmp_path / "keys.sealed", b"secret", party="customs")
    assert [opened.of(role).seed for role in ROLES] == [keys.of(role).seed for role in ROLES]
    assert len(derivations) == 1
    assert len({opened.of(role).public for role in ROLES}) == len(ROLES)


def test_the_key_file_is_private_and_says_no_secret(tmp_path: Path) -> None:
    keys = new_keys("customs")
    path = tmp_path / "keys.sealed"
    seal_node_keys(keys, b"secret", path, derivation=CHEAP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(keys.of(role).seed.hex().encode() in path.read_bytes() for role in ROLES)
    assert not any(keys.of(role).seed.hex() in repr(keys) for role in ROLES)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o602])
def test_a_file_that_others_may_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.sealed"
    seal_node_keys(new_keys("customs"), b"secret", path, derivation=CHEAP)
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as refused:
        open_node_keys(path, b"secret", party="customs")
    assert refused.value.code == "exposed_secret"
    assert refused.value.actual == f"mode {mode:04o}"


def test_a_wrong_passphrase_or_another_partys_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.sealed"
    seal_node_keys(new_keys("customs"), b"secret", path, derivation=CHEAP)
    for passphrase, party, code in ((b"other", "customs", "wrong_passphrase"), (b"secret", "police", "missing_key")):
        with pytest.raises(ConfigurationError) as refused:
            open_node_keys(path, passphrase, party=party)
        assert refused.value.code == code


def test_a_nodes_keys_are_those_of_its_agency(tmp_path: Path) -> None:
    net = Net(tmp_path, "customs", "police")
    customs, police = net.genesis.agencies
    keys = load_keys(config_of(net, "customs"), customs)
    assert {role: keys.of(role).public.hex() for role in ROLES} == {role: key.public for role, key in keys_of(customs)}
    stranger = msgspec.structs.replace(customs, node=police.node)
    with pytest.raises(ConfigurationError) as refused:
        load_keys(config_of(net, "customs"), stranger)
    assert refused.value.code == "wrong_keys"


def test_passphrases_are_long_and_never_the_same() -> None:
    assert len({new_passphrase() for _ in range(8)}) == 8
    assert all(len(new_passphrase()) == 64 for _ in range(2))


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "secret"
    write_file(path, b"first", mode=SECRET_MODE)
    with pytest.raises(ConfigurationError) as refused:
        write_file(path, b"second", mode=SECRET_MODE)
    assert refused.value.code == "file_exists"
    assert path.read_bytes() == b"first"

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", fail)
        with pytest.raises(ConfigurationError) as refused:
            write_file(path, b"third", mode=SECRET_MODE, replace=True)
    assert refused.value.actual == "No space left on device"
    assert path.read_bytes() == b"first"
    write_file(path, b"fourth", mode=SECRET_MODE, replace=True)
    assert read_secret(path, limit=10, what="secret") == b"fourth"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_file(path, bytes(11), mode=SECRET_MODE)
    with pytest.raises(ConfigurationError) as refused:
        read_secret(path, limit=10, what="secret")
    assert refused.value.code == "too_large"
    with pytest.raises(ConfigurationError) as refused:
        read_secret(tmp_path, limit=10, what="secret")
    assert refused.value.code == "unreadable_file"
