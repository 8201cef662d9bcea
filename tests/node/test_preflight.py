"""A damaged, mistaken or exposed file is refused by its name before the node starts, never by a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import ConfigurationError
from ledger.genesis import Parameters
from ledger.policy import Policy
from node.clock import SystemClock
from node.config import NodeConfig, load_config, load_genesis
from node.preflight import check_files
from node.service.ceremony import init_network
from tests.node.peers.support import CHEAP

PARTIES: Final = ["customs", "interior", "neighbour", "police"]
STRIDE: Final = 11
"""Every so many bytes of a file one is damaged."""

FileOf = Callable[[NodeConfig], Path]
FILES: Final[dict[str, FileOf]] = {
    "genesis": lambda config: config.genesis,
    "policy": lambda config: config.policy,
    "identity": lambda config: config.identity,
    "certificate": lambda config: config.tls.certificate,
    "key": lambda config: config.tls.key,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    """The first of four agencies' configuration."""
    folder = tmp_path_factory.mktemp("network")
    init_network(
        folder,
        PARTIES,
        origin="tracemark.test/preflight",
        profiles={},
        jurisdictions=dict.fromkeys(PARTIES, "XA"),
        parameters=Parameters(),
        base_port=None,
        now_ms=SystemClock().wall_ms(),
        derivation=CHEAP,
    )
    return load_config(folder / PARTIES[0] / "node.toml")


def _check(config: NodeConfig) -> None:
    check_files(config, load_genesis(config))


def _refused(config: NodeConfig, path: Path, data: bytes) -> ConfigurationError:
    """What is said of a file with other content, which is then put back."""
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        with pytest.raises(ConfigurationError) as caught:
            _check(config)
    finally:
        path.write_bytes(before)
    return caught.value


def test_a_fresh_network_passes(config: NodeConfig) -> None:
    _check(config)


@pytest.mark.parametrize("name", ["identity", "certificate", "key"])
def test_any_damage_is_refused_with_the_files_name_and_a_reason(config: NodeConfig, name: str) -> None:
    path = FILES[name](config)
    whole = path.read_bytes()
    for at in range(0, len(whole) - 1, STRIDE):
        if whole[at : at + 1] == b"\n":
            continue  # line ends of a PEM file say nothing
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        error = _refused(config, path, damaged)
        assert path.name in error.message, at
        assert not error.message.rstrip().endswith(":"), error.message


def test_a_damaged_authority_is_refused_with_the_genesis_documents_name_and_a_reason(config: NodeConfig) -> None:
    whole = config.genesis.read_bytes()
    start = whole.index(b'"ca":"') + len(b'"ca":"')
    for at in range(start, whole.index(b'"', start), STRIDE):
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        error = _refused(config, config.genesis, damaged)
        assert "genesis.json" in error.message, at
        assert error.code in ("bad_certificate", "bad_genesis_file"), at
        assert not error.message.rstrip().endswith(":"), error.message


@pytest.mark.parametrize("name", FILES)
def test_an_absent_file_is_named(config: NodeConfig, name: str) -> None:
    path = FILES[name](config)
    aside = path.rename(path.with_suffix(".aside"))
    try:
        with pytest.raises(ConfigurationError) as caught:
            _check(config)
    finally:
        aside.rename(path)
    assert (caught.value.code, str(path)) == ("missing_file", str(caught.value.expected).removeprefix("a file at "))


def test_a_key_that_others_may_read_is_refused(config: NodeConfig) -> None:
    config.tls.key.chmod(0o644)
    try:
        with pytest.raises(ConfigurationError) as caught:
            _check(config)
    finally:
        config.tls.key.chmod(0o600)
    assert caught.value.code == "exposed_secret"


@pytest.mark.parametrize(
    ("name", "code"), [("identity", "wrong_identity"), ("certificate", "bad_certificate"), ("key", "bad_certificate")]
)
def test_another_agencys_file_is_refused(config: NodeConfig, name: str, code: str) -> None:
    other = load_config(config.file.parent.parent / PARTIES[1] / "node.toml")
    assert _refused(config, FILES[name](config), FILES[name](other).read_bytes()).code == code


def test_a_policy_must_list_this_log_and_a_quorum_that_the_cosigners_can_make(config: NodeConfig) -> None:
    lines = config.policy.read_text().splitlines(keepends=True)
    text = "".join(lines)
    assert Policy.parse(text).quorum in lines[-1]
    first_log = next(line for line in lines if line.startswith("log "))
    assert _refused(config, config.policy, text.replace(first_log, "").encode()).code == "wrong_policy"
    assert _refused(config, config.policy, ("".join(lines[:-1]) + "quorum none\n").encode()).code == "wrong_policy"
    assert _refused(config, config.policy, ("".join(lines[:-1])).encode()).code in ("bad_policy", "wrong_policy")
    damaged = _refused(config, config.policy, text.replace("witness", "witless", 1).encode())
    assert damaged.code == "bad_policy"
    assert "policy.txt" in damaged.message


def test_a_policy_of_ones_own_is_accepted(config: NodeConfig) -> None:
    before = config.policy.read_bytes()
    own = [line for line in before.decode().splitlines() if not line.startswith(("#", "group", "quorum"))]
    members = " ".join(line.split()[1] for line in own if line.startswith("witness"))
    try:
        config.policy.write_text("\n".join([*own, f"group mine any {members}", "quorum mine"]) + "\n")
        _check(config)
    finally:
        config.policy.write_bytes(before)
