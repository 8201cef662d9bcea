"""`tracemark node`: run this agency's node, and ask a running one how it is."""

import json
import ssl
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import msgspec
import typer

from ledger.errors import ConfigurationError
from ledger.genesis import Agency
from node.cli.output import EXIT_FAILED, EXIT_UNREACHABLE, JsonOption, UnreachableError, emit, reporting
from node.cli.remains import Remains, look
from node.config import Address, NodeConfig, load_config, load_genesis
from node.files import read_secret
from node.peers.certificates import trusting_context
from node.progress import counted, room, span
from node.service.ceremony import read_identity

app = typer.Typer(no_args_is_help=True, help="Run this agency's node.")

_TIMEOUT_S: Final = 5.0
_MAX_TOKEN_BYTES: Final = 200
_ANY_HOST: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on
_STATES: Final = {
    "ready": "takes part",
    "following": "follows, and does not vote",
    "catching_up": "is catching up",
    "no_quorum": "is not making progress",
    "standstill": "is not making progress",
    "recovering": "does not vote yet",
    "stopped": "has stopped voting",
}

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
        Path | None, typer.Option(help="A file with a token of this node, where it is asked from another machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how the running node is getting on, and why it is not, if so.

    Exit code: 0 it takes part (or follows, where it is no validator); 1 it does not: no quorum, no block though records
    wait, catching up, or stopped; 2 a wrong configuration; 4 it does not answer (then: what its files say).

    Example: tracemark node status --config node.toml
    """
    with reporting(as_json):
        settings = load_config(config)
        agency = own_agency(settings)
        headers = {"Authorization": f"Bearer {_read_token(token_file)}"} if token_file else {}
        try:
            answer = _ask(settings, agency, headers)
        except UnreachableError as error:
            _report_down(as_json, error, look(settings))
            raise typer.Exit(EXIT_UNREACHABLE) from error
        emit(as_json, answer, as_text(answer))
        if not answer["ready"]:
            raise typer.Exit(EXIT_FAILED)


def own_agency(settings: NodeConfig) -> Agency:
    """Who this node is: as the genesis document has it, or its identity file, where it joined or changed keys later."""
    founders = {agency.party: agency for agency in load_genesis(settings).agencies}
    is_founder = settings.party in founders and not settings.rotated
    return founders[settings.party] if is_founder else read_identity(settings.identity)


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
        ) from error
    return answer


def _report_down(as_json: bool, error: UnreachableError, seen: Remains) -> None:
    """Say what there is to say of a node that does not answer."""
    if as_json:
        values = {"error": error.as_dict(), "state": "down", "files": msgspec.to_builtins(seen)}
        typer.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    typer.echo(f"error: {error}", err=True)
    for line in seen.lines():
        typer.echo(f"  {line}", err=True)


def as_text(answer: dict[str, Any]) -> str:
    """What a node answers to GET /v1/network, for people. Of the others' heights it knows what they said last."""
    progress = answer.get("progress") or {}
    lines = [
        f"{answer['agency']}: {_STATES.get(progress.get('state', ''), 'ready' if answer['ready'] else 'not ready')}"
    ]
    if "summary" in progress:
        lines.append(f"  {progress['summary']}")
    said = {progress.get("summary")}
    for finding in progress.get("findings", []):
        if finding["text"] not in said:
            lines.append(f"  {finding['text']}")
        if "help" in finding:
            lines.append(f"    -> {finding['help']}")
    return "\n".join([*lines, "", *_figures(answer)])


def _figures(answer: dict[str, Any]) -> list[str]:
    progress = answer.get("progress") or {}
    cosigned = answer.get("cosigned") or {}
    lines = [
        f"ledger    {answer['ledger']}",
        f"epoch     {answer['epoch']} ({'a validator' if answer['validator'] else 'no validator: follows'}), "
        f"protocol version {answer['protocol']}, software {answer['software']}",
        f"height    {answer['height']} (cosigned by a quorum: {cosigned.get('height', 'none yet')})",
        f"log       {answer['size']} entries, root {answer['root']}",
    ]
    if "pending" in answer:
        since = f", the oldest for {span(progress['pending_s'] * 1000)}" if "pending_s" in progress else ""
        lines.append(f"pending   {counted(answer['pending'], 'record')}{since}")
    if "disk_free_bytes" in progress:
        lines.append(f"disk      {room(progress['disk_free_bytes'])} free")
    for validator in answer.get("validators", []):
        if validator["party"] == answer["agency"]:
            continue
        lines.append(f"peer      {_peer(validator)}")
    lines += [f"observer  {_peer(other)}" for other in answer.get("others", [])]
    return lines


def _peer(peer: dict[str, Any]) -> str:
    link = "linked" if peer["connected"] else "not linked"
    height = f"{peer['height']} when it last said" if "height" in peer else "unknown"
    return f"{peer['party']}: {link}, height {height}"
