"""`tracemark node`: run this agency's node, and ask a running one how it is."""

import ssl
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer

from ledger.errors import ConfigurationError
from ledger.genesis import Agency
from node.cli.output import JsonOption, UnreachableError, emit, reporting
from node.config import Address, NodeConfig, load_config, load_genesis
from node.files import read_secret
from node.peers.certificates import trusting_context
from node.service.ceremony import read_identity

app = typer.Typer(no_args_is_help=True, help="Run this agency's node.")

_TIMEOUT_S: Final = 5.0
_MAX_TOKEN_BYTES: Final = 200
_ANY_HOST: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on

ConfigOption = Annotated[Path, typer.Option("--config", help="The node's configuration file.")]


@app.command()
def run(config: ConfigOption = Path("node.toml"), *, as_json: JsonOption = False) -> None:
    """Run the node until SIGTERM. It logs JSON lines to standard error; with --json a refusal to start is JSON, too.

    Example: tracemark node run --config node.toml
    """
    from node.app import run as run_node  # the whole server: no other command should wait for its import

    with reporting(as_json):
        raise typer.Exit(run_node(load_config(config)))


@app.command()
def status(
    config: ConfigOption = Path("node.toml"),
    token_file: Annotated[
        Path | None, typer.Option(help="A file with a token of this node: shows peers and reasons too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the running node where it stands.

    Example: tracemark node status --config node.toml
    """
    with reporting(as_json):
        settings = load_config(config)
        founders = {agency.party: agency for agency in load_genesis(settings).agencies}
        is_founder = settings.party in founders and not settings.rotated
        agency = founders[settings.party] if is_founder else read_identity(settings.identity)
        headers = {"Authorization": f"Bearer {_read_token(token_file)}"} if token_file else {}
        answer = _ask(settings, agency, headers)
        emit(as_json, answer, as_text(answer))


def _read_token(path: Path) -> str:
    try:
        return read_secret(path, limit=_MAX_TOKEN_BYTES, what="token file").decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} holds no token", code="bad_token_file", expected="ASCII text") from error


def _ask(settings: NodeConfig, agency: Agency, headers: dict[str, str]) -> dict[str, Any]:
    """What the node says on the address that it listens on here.

    Raises:
        UnreachableError: nobody answers there, or not as this agency's node would.
    """
    listen = settings.api.listen
    address = Address(host="localhost" if listen.host in _ANY_HOST else listen.host, port=listen.port)
    context: ssl.SSLContext = trusting_context(agency)
    try:
        with httpx.Client(verify=context, trust_env=False, timeout=_TIMEOUT_S) as client:
            response = client.get(
                f"https://{address}/v1/network", headers=headers, extensions={"sni_hostname": agency.party}
            )
            response.raise_for_status()
            answer: dict[str, Any] = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise UnreachableError(
            f"the node of {settings.party} does not answer on {address}",
            expected="a running node",
            actual=str(error) or type(error).__name__,
            help=f"Start it: tracemark node run --config {settings.file}",
        ) from error
    return answer


def as_text(answer: dict[str, Any]) -> str:
    """What a node answers to GET /v1/network, for people. Of the others' heights it knows what they said last."""
    cosigned = answer.get("cosigned") or {}
    lines = [
        f"agency    {answer['agency']}",
        f"ledger    {answer['ledger']}",
        f"ready     {'yes' if answer['ready'] else 'no'}",
        f"height    {answer['height']} (cosigned by a quorum: {cosigned.get('height', 'none yet')})",
        f"log       {answer['size']} entries, root {answer['root']}",
    ]
    lines += [f"          not ready: {reason}" for reason in answer.get("reasons", [])]
    if "pending" in answer:
        lines.append(f"pending   {answer['pending']} records")
    for validator in answer.get("validators", []):
        if validator["party"] == answer["agency"]:
            continue
        link = "linked" if validator["connected"] else "not linked"
        height = f"{validator['height']} when it last said" if "height" in validator else "unknown"
        lines.append(f"peer      {validator['party']}: {link}, height {height}")
    return "\n".join(lines)
