"""Where a user's settings come from: options, then a profile file, then the environment (DESIGN 11, 12).

The profile is TOML under `$TRACEMARK_HOME` (by default `~/.config/tracemark`), named `profile.toml`; paths in it are
relative to its folder. Secrets stand in files of their own, never in the profile, an option's value or a URL.

    node = ["https://registry.example:8443"]    # one or several of one agency, in the order of preference
    policy = "policy.txt"
    ca = "ca.pem"
    token_file = "token"
    key = "maker.key"
    party = "maker"
    passphrase_file = "passphrase"
    purpose = "criminal investigation"
    case = "26-1178"
A token is sent to every node that the profile names, and to no other. A node knows its own tokens alone, and another agency
that gets to see one can use it: so one profile is for nodes of one agency, and other agencies have profiles of their own.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from client.files import read_file, read_secret
from ledger.errors import ConfigurationError
from ledger.limits import MAX_POLICY_BYTES, MAX_SUCCESSION_BYTES
from ledger.policy import Policy
from ledger.succession import SUCCESSION_FORMAT, FollowedPolicy, Succession, decode_succession, follow

HOME_VARIABLE: Final = "TRACEMARK_HOME"
PASSPHRASE_VARIABLE: Final = "TRACEMARK_PASSPHRASE_FILE"  # noqa: S105 - a variable's name, not a secret
MAX_PROFILE_BYTES: Final = 64 * 1024
MAX_TOKEN_BYTES: Final = 4_096
_PATHS: Final = ("policy", "succession", "ca", "token_file", "key", "passphrase_file")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a command was told. Every field may be absent; the properties below say what is missing."""

    node: tuple[str, ...] = ()
    policy: Path | None = None
    succession: Path | None = None
    ca: Path | None = None
    token_file: Path | None = None
    key: Path | None = None
    party: str | None = None
    passphrase_file: Path | None = None
    purpose: str | None = None
    case: str | None = None

    def require_policy(self) -> Policy:
        """The policy, parsed.

        Raises:
            ConfigurationError: `no_policy`, or those of `Policy.parse`.
        """
        if self.policy is None:
            raise ConfigurationError(
                "no policy is given: without one nothing can be believed",
                code="no_policy",
                help="Give --policy FILE, or `policy` in the profile; it is policy.txt of the ceremony.",
            )
        return Policy.parse(read_file(self.policy, limit=MAX_POLICY_BYTES, what="policy"))

    def read_succession(self) -> Succession | None:
        """The file of validators' changes, parsed and not verified yet; None if none is given.

        Raises:
            ConfigurationError: those of `read_file`.
            VerificationError: code `succession_form`.
        """
        if self.succession is None:
            return None
        return decode_succession(read_file(self.succession, limit=MAX_SUCCESSION_BYTES, what="succession"))

    def require_judge(self) -> FollowedPolicy:
        """The policy with those that succeeded it, as far as the file of a succession shows: for work offline.

        Raises:
            ConfigurationError, VerificationError: as `require_policy`, `read_succession` and `ledger.succession.follow`.
        """
        succession = self.read_succession() or Succession(format=SUCCESSION_FORMAT, steps=())
        return follow(self.require_policy(), succession)

    def read_token(self) -> str | None:
        """The bearer token, from a file that only its owner may read.

        Raises:
            ConfigurationError: those of `read_secret`; `bad_token`.
        """
        if self.token_file is None:
            return None
        data = read_secret(self.token_file, limit=MAX_TOKEN_BYTES, what="token file")
        token = data.decode("ascii", "replace").strip()
        if not token or "\ufffd" in token or any(character.isspace() for character in token):
            raise ConfigurationError(f"{self.token_file} holds no token", code="bad_token")
        return token


def home_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the profile, remembered checkpoints and unfinished work lie."""
    given = environment.get(HOME_VARIABLE)
    return Path(given) if given else Path.home() / ".config" / "tracemark"


def load_settings(
    options: Mapping[str, Any], *, profile: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Settings from options (None where not given), over the profile, over the environment.

    A token is known to the node that made it alone, and another one must not get to see it: the profile's goes to the
    profile's nodes only, so it is left out where the options name another node and no token. (A profile that names no node
    leaves that to the options.)

    Args:
        options: by the names of `Settings`' fields.
        profile: the profile file; by default the home folder's, which may be absent.
        environment: the process environment.

    Raises:
        ConfigurationError: `cannot_read`, `bad_profile`.
    """
    path = profile if profile is not None else home_folder(environment) / "profile.toml"
    values: dict[str, Any] = {}
    if profile is not None or path.exists():
        values = _read_profile(path)
    if environment.get(PASSPHRASE_VARIABLE):
        values.setdefault("passphrase_file", environment[PASSPHRASE_VARIABLE])
    given = {name: value for name, value in options.items() if value not in (None, (), [])}
    if "token_file" not in given and not are_among(given.get("node", ()), _urls(values.get("node"))):
        values.pop("token_file", None)
    values.update(given)
    if isinstance(values.get("node"), str):
        values["node"] = (values["node"],)
    try:
        return msgspec.convert(values, Settings, dec_hook=_to_path)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}", code="bad_profile") from error


def are_among(asked: Sequence[str], known: Sequence[str]) -> bool:
    """Whether all these nodes' URLs are among those, whatever slash they end with; where none is known, any may be meant."""
    return not known or {url.rstrip("/") for url in asked} <= {url.rstrip("/") for url in known}


def _urls(known: Any) -> list[str]:
    """The URLs in a profile's `node`, which is checked later: one, or several."""
    listed = known if isinstance(known, list | tuple) else [known]
    return [url for url in listed if isinstance(url, str)]


def _read_profile(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(read_file(path, limit=MAX_PROFILE_BYTES, what="profile").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}", code="bad_profile") from error
    for name in _PATHS:
        if isinstance(values.get(name), str):
            values[name] = str(path.parent / values[name])
    return values


def _to_path(shape: type[Any], value: Any) -> Any:
    if shape is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, shape):
        return value
    raise TypeError(f"expected a path, got {type(value).__name__}")
