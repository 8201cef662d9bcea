"""`tracemark token`: bearer tokens of this node, in its agency's own database (DESIGN 11).

A secret is shown once, or written to a 0600 file; the node keeps its hash. It never stands in a command line.
"""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ledger.records.fields import format_time
from node.cli.output import JsonOption, NotFoundError, emit, reporting
from node.clock import SystemClock
from node.config import load_config
from node.files import SECRET_MODE, write_file
from node.service.admin import IssuedToken, is_on_ledger, prepare_token
from node.storage import AgencyStore, Database, Token

app = typer.Typer(no_args_is_help=True, help="Who may use this node's API: make, list and revoke tokens.")

_DAY_MS: Final = 24 * 3600 * 1000

ConfigOption = Annotated[Path, typer.Option("--config", help="The node's configuration file.")]


@app.command()
def new(
    party: Annotated[str, typer.Option(help="The party that it is for.")],
    role: Annotated[str, typer.Option(help="holder, inquirer, auditor, peer or operator.")],
    *,
    config: ConfigOption = Path("node.toml"),
    label: Annotated[str, typer.Option(help="For people: whose desk it is for.")] = "",
    days: Annotated[
        int | None, typer.Option(min=1, max=3_650, help="It ends after so many days; never if not given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the token to this new file (0600), not to the screen.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token for a party in a role. It is shown this once. A party that the ledger does not know gets one, too, with a
    warning: it may be enrolled a moment later.

    Example: tracemark token new --config node.toml --party maker-a --role holder --out maker-a.token
    """
    with reporting(as_json):
        now_ms = SystemClock().wall_ms()
        issued = prepare_token(
            party=party,
            role=role,
            label=label,
            now_ms=now_ms,
            expires_ms=None if days is None else now_ms + days * _DAY_MS,
        )
        store = _open(config)
        try:
            _store(store, issued, out)
        finally:
            store.close()
        values = _describe(issued.stored)
        if is_on_ledger(load_config(config).data_dir, party) is False:
            values["warning"] = (
                f"the ledger here knows no party {party}: the token lets it in, but there is nothing of its own to see "
                "until it is enrolled (is the name right? `tracemark token revoke` ends the token)"
            )
            typer.echo(f"warning: {values['warning']}", err=True)
        if out is None:
            emit(as_json, {**values, "token": issued.secret}, issued.secret)
        else:
            emit(as_json, {**values, "file": str(out)}, f"Token {issued.stored.id} for {party} ({role}) is in {out}.")


@app.command(name="list")
def list_tokens(
    config: ConfigOption = Path("node.toml"),
    as_json: JsonOption = False,
) -> None:
    """List all tokens ever made at this node, without their secrets.

    Example: tracemark token list --config node.toml
    """
    with reporting(as_json):
        store = _open(config)
        try:
            tokens = [_describe(token) for token in store.tokens()]
        finally:
            store.close()
        if not tokens:
            raise NotFoundError("there are no tokens at this node", help="Make one with `tracemark token new`.")
        emit(as_json, {"tokens": tokens}, "\n".join(map(_line, tokens)))


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="The token's id, as `token list` shows it. Never the secret.")],
    config: ConfigOption = Path("node.toml"),
    as_json: JsonOption = False,
) -> None:
    """End a token. A running node stops believing it within two seconds.

    Example: tracemark token revoke 0f3a91c2d4e5 --config node.toml
    """
    with reporting(as_json):
        store = _open(config)
        try:
            ended = store.revoke_token(token, now_ms=SystemClock().wall_ms())
        finally:
            store.close()
        if not ended:
            raise NotFoundError(
                "there is no such token, or it had been revoked", actual=token[:20], help="See `tracemark token list`."
            )
        emit(as_json, {"id": token, "status": "revoked"}, f"Token {token} is revoked.")


def _store(store: AgencyStore, issued: IssuedToken, out: Path | None) -> None:
    """Write the secret to its new file, if to one, and store the token: in this order, so that no token is believed whose
    secret went nowhere."""
    if out is not None:
        write_file(out, issued.secret.encode() + b"\n", mode=SECRET_MODE)
    try:
        store.add_token(issued.stored)
    except BaseException:
        if out is not None:
            out.unlink(missing_ok=True)
        raise


def _open(config: Path) -> AgencyStore:
    settings = load_config(config)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return AgencyStore(Database(settings.data_dir / "agency.db"))


def _describe(token: Token) -> dict[str, Any]:
    status = "revoked" if token.revoked_ms is not None else "valid"
    if status == "valid" and not token.is_valid(SystemClock().wall_ms()):
        status = "expired"
    described: dict[str, Any] = {
        "id": token.id,
        "party": token.party,
        "role": token.role,
        "label": token.label,
        "status": status,
        "created": format_time(token.created_ms),
    }
    if token.expires_ms is not None:
        described["expires"] = format_time(token.expires_ms)
    return described


def _line(token: dict[str, Any]) -> str:
    until = f", until {token['expires']}" if "expires" in token else ""
    label = f"  {token['label']}" if token["label"] else ""
    return (
        f"{token['id']}  {token['status']:<7}  {token['role']:<8}  {token['party']}  {token['created']}{until}{label}"
    )
