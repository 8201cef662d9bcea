"""Profiles that are no profile are refused by name, whatever the bytes."""

from pathlib import Path

import pytest

from client.profile import load_settings
from ledger.errors import ConfigurationError
from node.config import load_config, load_genesis


@pytest.mark.parametrize(
    ("text", "code"),
    [("node = " + "[" * 5_000, "bad_profile"), ('policy = "a\\u0000b"', "cannot_read"), ("\udcff", "bad_profile")],
    ids=["nested", "no path", "no text"],
)
def test_what_cannot_be_a_profile_is_refused(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "profile.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, profile=path, environment={}).require_policy()
    assert refused.value.code == code


def test_a_path_that_no_file_can_have_is_refused_in_a_nodes_configuration(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('party = "customs"\ngenesis = "a\\u0000b"\n')
    with pytest.raises(ConfigurationError) as refused:
        load_genesis(load_config(path))
    assert refused.value.code == "unreadable_file"
