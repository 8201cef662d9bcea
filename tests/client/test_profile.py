"""Profiles that are no profile are refused by name, whatever the bytes."""

from pathlib import Path

import pytest

from client.cli.common import Context
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
    assert refused.value.code == "bad_configuration"


def _profile(folder: Path) -> Path:
    path = folder / "profile.toml"
    path.write_text('node = ["https://a.example", "https://b.example:8443"]\ntoken_file = "holder.token"\n')
    return path


def test_a_profiles_token_goes_to_the_profiles_nodes_only(tmp_path: Path) -> None:
    path = _profile(tmp_path)
    token = tmp_path / "holder.token"
    assert load_settings({}, profile=path, environment={}).token_file == token
    assert load_settings({"node": ["https://a.example"]}, profile=path, environment={}).token_file == token
    other = load_settings({"node": ["https://a.example", "https://c.example"]}, profile=path, environment={})
    assert other.token_file is None
    given = {"node": ["https://c.example"], "token_file": token}
    assert load_settings(given, profile=path, environment={}).token_file == token


@pytest.mark.parametrize(
    ("urls", "is_given", "is_sent"),
    [
        (None, False, True),
        (["https://b.example:8443/"], False, True),
        (["https://c.example"], False, False),
        (["https://c.example"], True, True),
    ],
)
def test_a_session_with_a_node_that_the_profile_does_not_name_goes_without_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urls: list[str] | None, is_given: bool, is_sent: bool
) -> None:
    (tmp_path / "holder.token").touch(0o600)
    (tmp_path / "holder.token").write_text("tmk_secret\n")
    settings = load_settings({}, profile=_profile(tmp_path), environment={})
    told: dict[str, object] = {}
    monkeypatch.setattr("client.cli.common.Session", lambda *_, **options: told.update(options))
    monkeypatch.setattr("client.profile.Settings.require_policy", lambda _: None)
    Context(settings, home=tmp_path, as_json=False, is_token_given=is_given).session(urls)
    assert told["token"] == ("tmk_secret" if is_sent else None)
