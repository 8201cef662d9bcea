"""The configuration file: what is read, and that every mistake is named by file, key, expected and actual."""

from pathlib import Path

import pytest

from ledger.errors import ConfigurationError
from node.config import Address, load_config, load_genesis, read_passphrase
from tests.node.peers.support import Net

FULL = """
party = "customs"
data_dir = "state"
genesis = "/etc/tracemark/genesis.json"
passphrase = "pass"
[api]
listen = "0.0.0.0:443"
url = "https://customs.example"
[peers]
listen = "[::]:7443"
[peers.addresses]
police = "police.example:7443"
[peers.urls]
police = "https://police.example:8443/registry"
[tls]
certificate = "/etc/ssl/node.pem"
[quotas]
token_requests_per_second = 7
[log]
level = "warning"
"""


def write(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, FULL))
    assert config.party == "customs"
    assert config.data_dir == tmp_path / "state"
    assert config.genesis == Path("/etc/tracemark/genesis.json")
    assert config.keys == tmp_path / "keys.sealed"
    assert config.passphrase == tmp_path / "pass"
    assert config.api.listen == Address(host="0.0.0.0", port=443)
    assert str(config.peers.listen) == "[::]:7443"
    assert config.peers.addresses == {"police": Address(host="police.example", port=7443)}
    assert config.tls.certificate == Path("/etc/ssl/node.pem")
    assert config.tls.key == tmp_path / "tls" / "node.key"
    assert config.quotas.token_requests_per_second == 7
    assert config.log.level == "warning"


def test_nothing_listens_beyond_this_machine_unless_told(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, 'party = "customs"\n'))
    assert {config.api.listen.host, config.peers.listen.host} == {"127.0.0.1"}
    assert config.passphrase is None


def test_paths_are_relative_to_the_file_not_to_where_the_node_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 'party = "customs"\n')
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("node.toml")).data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("text", "key", "expected", "actual"),
    [
        ("", "party", "a value", "nothing"),
        ('party = "Customs"', "party", "matching regex", "'Customs'"),
        ('party = "customs"\nfoo = 1', "foo", "only known keys", "unknown"),
        ('party = "customs"\nfile = "x"', "file", "no such key", "file"),
        ('party = "customs"\ndata_dir = 3', "data_dir", "string", "3"),
        ('party = "customs"\ndata_dir = ""', "data_dir", "string", "''"),
        ('party = "customs"\ndata_dir = "a\\u0000"', "data_dir", "without a NUL", "'a\\x00'"),
        ('party = "customs"\n[api]\nlisten = 8443', "api.listen", "string", "8443"),
        ('party = "customs"\n[api]\nlisten = "8443"', "api.listen", "host:port", "'8443'"),
        ('party = "customs"\n[api]\nlisten = ":8443"', "api.listen", "host:port", "':8443'"),
        ('party = "customs"\n[api]\nlisten = "::1:8443"', "api.listen", "host:port", "'::1:8443'"),
        ('party = "customs"\n[api]\nlisten = "a:65536"', "api.listen", "host:port", "'a:65536'"),
        ('party = "customs"\n[api]\nlisten = "a:8٤"', "api.listen", "host:port", "a:8"),
        ('party = "customs"\n[api]\nport = 1', "api.port", "only known keys", "unknown"),
        ('party = "customs"\n[api]\nurl = "http://x"', "api.url", "https", "'http://x'"),
        ('party = "customs"\n[peers.addresses]\npolice = "x"', "peers.addresses", "host:port", "x"),
        ('party = "customs"\n[peers.addresses]\npolice = "a..b:1"', "peers.addresses", "host:port", "'a..b:1'"),
        ('party = "customs"\n[peers.addresses]\ncustoms = "x:1"', "peers.addresses.customs", "other", "this one"),
        ('party = "customs"\n[quotas]\nburst_s = 0', "quotas.burst_s", ">= 1", "0"),
        ('party = "customs"\n[quotas]\nburst_s = 1.5', "quotas.burst_s", "int", "1.5"),
        ('party = "customs"\n[log]\nlevel = "loud"', "log.level", "documentation", "'loud'"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, key: str, expected: str, actual: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as refused:
        load_config(path)
    assert f"{path}: {key}" in refused.value.message
    assert expected in (refused.value.expected or "")
    assert actual in (refused.value.actual or "")


@pytest.mark.parametrize("data", [b"=", b"\xff", b"a = [" * 5_000], ids=["syntax", "not UTF-8", "nested"])
def test_what_is_not_toml_is_said_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load_config(path)


def test_absent_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_config(tmp_path / "node.toml")
    assert refused.value.code == "missing_file"
    with pytest.raises(ConfigurationError) as refused:
        load_config(write(tmp_path, "#" * 300_000))
    assert refused.value.code == "too_large"


def test_the_genesis_document_must_be_one(tmp_path: Path) -> None:
    net = Net(tmp_path, "customs", "police")
    path = tmp_path / "genesis.json"
    path.write_bytes(net.genesis.entry)
    assert load_genesis(load_config(write(tmp_path, 'party = "customs"\n'))) == net.genesis
    path.write_bytes(net.genesis.entry + b" ")
    with pytest.raises(ConfigurationError) as refused:
        load_genesis(load_config(write(tmp_path, 'party = "customs"\n')))
    assert refused.value.code == "bad_genesis_file"


def test_the_passphrase_comes_from_its_file_or_from_the_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    config = load_config(write(tmp_path, 'party = "customs"\n'))
    with pytest.raises(ConfigurationError) as refused:
        read_passphrase(config)
    assert refused.value.code == "no_passphrase"
    secret = tmp_path / "tracemark-passphrase"
    secret.write_bytes(b"from the manager\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for mode in (0o400, 0o440):
        secret.chmod(mode)
        assert read_passphrase(config) == b"from the manager"
    secret.chmod(0o444)
    with pytest.raises(ConfigurationError) as refused:
        read_passphrase(config)
    assert refused.value.code == "exposed_secret"
    own = tmp_path / "own"
    own.write_bytes(b"two\n\n")
    own.chmod(0o600)
    assert read_passphrase(load_config(write(tmp_path, 'party = "customs"\npassphrase = "own"\n'))) == b"two\n"
    own.chmod(0o640)
    with pytest.raises(ConfigurationError) as refused:
        read_passphrase(load_config(tmp_path / "node.toml"))
    assert refused.value.code == "exposed_secret"
