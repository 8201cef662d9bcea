"""The node's configuration: one TOML file, read once, frozen, passed down.

It says where things lie and where to listen. What all agencies must agree on is in the genesis document, never here;
relative paths are relative to the file's folder. Every error names file, key, expected and actual.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ledger.errors import ConfigurationError, EncodingError, SignatureError
from ledger.genesis import Genesis, decode_genesis
from ledger.limits import MAX_CONFIG_BYTES, MAX_GENESIS_BYTES, MAX_OBSERVERS, MAX_PASSPHRASE_BYTES, SNAPSHOT_MIN_ENTRIES
from ledger.records.fields import PartyId
from node.files import read_file, read_secret

PASSPHRASE_CREDENTIAL: Final = "tracemark-passphrase"  # noqa: S105 - a file's name, not a secret
"""The name under `$CREDENTIALS_DIRECTORY` (systemd's LoadCredential=) where a service manager puts the passphrase."""

_WHERE: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<key>.*)`)?$", re.DOTALL)
_TYPES: Final = re.compile(r"^Expected (?P<expected>.*?)(?:, got .*)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(?P<field>.*)`$", re.DOTALL)


class Address:
    """A TCP address. Written `host:port`, an IPv6 host in brackets. (No struct: in the file it is a string.)"""

    __slots__ = ("host", "port")

    def __init__(self, *, host: str, port: int) -> None:
        self.host: Final = host
        self.port: Final = port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))

    def __repr__(self) -> str:
        return f"Address({self})"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @staticmethod
    def parse(text: str) -> "Address":
        """Parse `host:port`, the port from 0 (any free one, for listening) to 65535.

        Raises:
            ConfigurationError: code `bad_address`.
        """
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        decimal = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65_535
        is_host = (":" in host) == bracketed and not any(c.isspace() for c in host) and _is_name(host)
        if not colon or not decimal or not is_host:
            raise ConfigurationError(
                "not an address",
                code="bad_address",
                expected="host:port, such as 127.0.0.1:7443 or [::1]:7443",
                actual=repr(text[:100]),
            )
        return Address(host=host, port=int(port))


def _is_name(host: str) -> bool:
    """Whether it can be asked for at all: labels of 1 to 63 characters, as `getaddrinfo` demands of names."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: no unknown key."""


_Url = Annotated[str, Meta(pattern=r"^https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?\Z", max_length=200)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class ApiConfig(_Section, frozen=True):
    """The HTTP API: where it listens, and under which URL clients and other agencies reach it."""

    listen: Address = Address(host="127.0.0.1", port=8443)
    url: _Url = "https://127.0.0.1:8443"


class PeersConfig(_Section, frozen=True):
    """The peer port, the other agencies' peer addresses, and (for people) their APIs' URLs, by party. `observers`: identity
    files of agencies that are no validators and may link to this node all the same."""

    listen: Address = Address(host="127.0.0.1", port=7443)
    addresses: dict[PartyId, Address] = {}
    observers: Annotated[tuple[Path, ...], Meta(max_length=MAX_OBSERVERS)] = ()
    urls: dict[PartyId, _Url] = {}


class TlsConfig(_Section, frozen=True):
    """The node's certificate (PEM, its own only) and private key (PEM, 0600). Authorities are in the genesis document."""

    certificate: Path = Path("tls/node.pem")
    key: Path = Path("tls/node.key")


class QuotaConfig(_Section, frozen=True):
    """What one token, and one party over all its tokens, may ask of the API; `burst_s` seconds' worth at once."""

    token_requests_per_second: _Count = 200
    party_requests_per_second: _Count = 400
    token_records_per_second: _Count = 10_000
    party_records_per_second: _Count = 20_000
    burst_s: Annotated[int, Meta(ge=1, le=3_600)] = 10


class CatchUpConfig(_Section, frozen=True):
    """How a node that is far behind gets level. `snapshot`: `auto`, by a snapshot where that is the better way; `never`, by
    blocks alone, each executed here. `min_entries`: log entries below which snapshots are neither made nor joined by."""

    snapshot: Literal["auto", "never"] = "auto"
    min_entries: _Count = SNAPSHOT_MIN_ENTRIES


class LogConfig(_Section, frozen=True):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class NodeConfig(_Section, frozen=True):
    """Everything that a node is told. Paths are absolute once loaded. `passphrase` absent: see `read_passphrase`. `rotated`:
    this agency's keys are not those of the genesis document any more."""

    file: Path
    party: PartyId
    data_dir: Path = Path("data")
    genesis: Path = Path("genesis.json")
    policy: Path = Path("policy.txt")
    identity: Path = Path("identity.json")
    rotated: bool = False
    keys: Path = Path("keys.sealed")
    passphrase: Path | None = None
    api: ApiConfig = ApiConfig()
    peers: PeersConfig = PeersConfig()
    tls: TlsConfig = TlsConfig()
    quotas: QuotaConfig = QuotaConfig()
    catch_up: CatchUpConfig = CatchUpConfig()
    log: LogConfig = LogConfig()


def load_config(path: Path) -> NodeConfig:
    """Read a node's configuration file.

    Raises:
        ConfigurationError: code `bad_configuration` naming the file and the key, or those of `read_file`.
    """
    path = path.absolute()
    data = read_file(path, limit=MAX_CONFIG_BYTES, what="configuration file")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}", expected="TOML 1.0 in UTF-8") from error
    if "file" in values:
        raise _bad_value(path, "file", expected="no such key", actual="file")
    try:
        config = msgspec.convert({**values, "file": path}, NodeConfig, dec_hook=_decode_special)
    except msgspec.ValidationError as error:
        raise _explain(path, values, str(error)) from error
    if config.party in config.peers.addresses:
        raise _bad_value(path, f"peers.addresses.{config.party}", expected="only other agencies", actual="this one")
    return _with_absolute_paths(config)


def load_genesis(config: NodeConfig) -> Genesis:
    """The genesis document that the configuration names, checked.

    Raises:
        ConfigurationError: the file is absent, or code `bad_genesis_file` or `bad_possession`.
    """
    data = read_file(config.genesis, limit=MAX_GENESIS_BYTES, what="genesis document")
    try:
        return decode_genesis(data)
    except (EncodingError, SignatureError) as error:
        raise ConfigurationError(
            f"{config.genesis} is not a genesis document: {error.message}",
            code=error.code if isinstance(error, SignatureError) else "bad_genesis_file",
            expected=error.expected,
            actual=error.actual,
        ) from error


def read_passphrase(config: NodeConfig) -> bytes:
    """The passphrase of the key file: from `passphrase` (0600), else from the service manager's credentials.

    Raises:
        ConfigurationError: code `no_passphrase`, or those of `node.files.read_secret`.
    """
    if config.passphrase is not None:
        return read_passphrase_file(config.passphrase)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigurationError(
            f"{config.file}: nothing says where the passphrase is",
            code="no_passphrase",
            expected="the key `passphrase` (a 0600 file), or $CREDENTIALS_DIRECTORY",
            actual="neither",
            help=f"Under systemd: LoadCredential={PASSPHRASE_CREDENTIAL}:/path/to/file.",
        )
    # systemd lets the service in by an access control list, whose mask shows where a group's bits would stand.
    return read_passphrase_file(Path(folder) / PASSPHRASE_CREDENTIAL, exposed=0o007)


def read_passphrase_file(path: Path, *, exposed: int = 0o077) -> bytes:
    """A passphrase from its 0600 file, without the newline that an editor or `echo` leaves at the end.

    Raises:
        ConfigurationError: those of `node.files.read_secret`.
    """
    secret = read_secret(path, limit=MAX_PASSPHRASE_BYTES + 1, what="passphrase file", exposed=exposed)
    return secret.removesuffix(b"\n")


def _decode_special(kind: type, value: Any) -> Any:
    """Addresses and paths from their strings; `kind` is one of the two."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("Expected a string that is not empty")
    if "\0" in value:
        raise ValueError("Expected a string without a NUL character")
    if issubclass(kind, Path):
        return Path(value)
    try:
        return Address.parse(value)
    except ConfigurationError as error:
        raise ValueError(f"Expected {error.expected}") from error


def _with_absolute_paths(config: NodeConfig) -> NodeConfig:
    base = config.file.parent
    return msgspec.structs.replace(
        config,
        data_dir=base / config.data_dir,
        genesis=base / config.genesis,
        policy=base / config.policy,
        identity=base / config.identity,
        keys=base / config.keys,
        passphrase=None if config.passphrase is None else base / config.passphrase,
        peers=msgspec.structs.replace(
            config.peers, observers=tuple(base / observer for observer in config.peers.observers)
        ),
        tls=TlsConfig(certificate=base / config.tls.certificate, key=base / config.tls.key),
    )


def _explain(path: Path, values: dict[str, Any], text: str) -> ConfigurationError:
    """The decoder's one-line message, as file, key, expected and actual."""
    where = _WHERE.match(text)
    what, key = (where["what"], where["key"] or "") if where else (text, "")
    prefix = f"{key}." if key else ""
    if unknown := _UNKNOWN.match(what):
        return _bad_value(path, prefix + unknown["field"], expected="only known keys", actual="an unknown key")
    if missing := _MISSING.match(what):
        return _bad_value(path, prefix + missing["field"], expected="a value", actual="nothing")
    types = _TYPES.match(what)
    expected = types["expected"] if types else "one of the values that the documentation names"
    return _bad_value(path, key, expected=expected, actual=_value_at(values, key))


def _value_at(values: dict[str, Any], key: str) -> str:
    """What stands in the file at a dotted key, shortened. The decoder writes `[...]` for any key of a table."""
    value: Any = values
    for name in key.removesuffix("[...]").split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return repr(value)[:200]


def _bad_value(path: Path, key: str, *, expected: str, actual: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {key or 'the file'} is not right", expected=expected, actual=actual)
