"""What is shipped for operators must be what the program accepts."""

import re
import tomllib
from typing import Any

import msgspec

from node.config import PASSPHRASE_CREDENTIAL, NodeConfig, load_config
from tests.shared import CHECKOUT

DEPLOY = CHECKOUT / "deploy"


def keys_of(value: Any, prefix: str = "") -> set[str]:
    """Dotted names of a nested mapping's leaves."""
    if not isinstance(value, dict):
        return {prefix}
    return {name for key, item in value.items() for name in keys_of(item, f"{prefix}.{key}" if prefix else key)}


def test_the_example_configuration_loads_and_names_every_key() -> None:
    path = DEPLOY / "node.toml"
    config = load_config(path)
    assert config.passphrase is None
    written = {
        re.sub(r"^(peers\.(?:addresses|urls))\..*", r"\1", key) for key in keys_of(tomllib.loads(path.read_text()))
    }
    known = {
        re.sub(r"^(peers\.(?:addresses|urls)).*", r"\1", key)
        for key in keys_of(msgspec.to_builtins(config, enc_hook=str))
    }
    assert known - written == {"file", "passphrase"}
    assert "passphrase" in NodeConfig.__struct_fields__


def test_the_unit_passes_the_credential_that_the_node_reads() -> None:
    unit = (DEPLOY / "tracemark-node.service").read_text()
    assert f"LoadCredential={PASSPHRASE_CREDENTIAL}:" in unit
    assert PASSPHRASE_CREDENTIAL in (DEPLOY / "compose.yaml").read_text()


def test_every_command_that_the_guide_names_exists() -> None:
    from node.cli import network, node, token

    known = {
        f"{name} {command.name or command.callback.__name__}"  # type: ignore[union-attr]
        for name, app in (("network", network.app), ("node", node.app), ("token", token.app))
        for command in app.registered_commands
    }
    named = set(re.findall(r"tracemark ((?:network|node|token) [a-z]+)", (DEPLOY / "README.md").read_text()))
    assert named <= known
    assert len(named) >= 6
