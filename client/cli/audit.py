"""`tracemark audit`: everything verified and replayed from entry 0."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.audit import audit_folder, audit_session
from client.cli.common import Context, command
from client.cli.layout import labelled
from client.describe import cosignatures_json, counted
from client.files import read_file
from client.replay import Audited
from ledger.checkpoint import SignedCheckpoint
from ledger.errors import ConfigurationError
from ledger.limits import MAX_NOTE_BYTES
from ledger.records.fields import format_time


def add_to(app: typer.Typer) -> None:
    """Make `audit` a command of the app."""
    command(app, "policy", "node", name="audit")(audit)


def audit(
    context: Context,
    *,
    target: Annotated[
        str, typer.Argument(help="A node's URL, or a folder with a saved checkpoint and tiles.", metavar="URL|DIR")
    ],
    save: Annotated[
        Path | None,
        typer.Option(help="Of a node: keep its log in this folder; a second run resumes.", show_default=False),
    ] = None,
) -> None:
    """Audit a log: every hash, signature, rule and seal from entry 0. Of a node, the token's role must be auditor.

    Example: tracemark audit https://registry.example:8443 --policy policy.txt --token-file auditor.token --save log
    """
    if target.startswith(("https://", "http://")):
        session = context.session([target])
        size = session.checkpoint()[0].checkpoint.size
        with context.progress("entries", size) as advance:
            audited = audit_session(session, session.judge, save=save, progress=advance)
    else:
        folder = Path(target)
        if not (folder / "checkpoint").exists():
            raise ConfigurationError(
                f"{target} is neither a URL nor a saved log", code="no_log", expected=str(folder / "checkpoint")
            )
        note = read_file(folder / "checkpoint", limit=MAX_NOTE_BYTES, what="checkpoint")
        with context.progress("entries", SignedCheckpoint.parse(note).checkpoint.size) as advance:
            audited = audit_folder(folder, policy=context.settings.require_judge(), progress=advance)
    _emit(context, audited, saved=save)


def _emit(context: Context, audited: Audited, *, saved: Path | None) -> None:
    values = {
        "verified": True,
        "ledger": audited.ledger,
        "size": audited.size,
        "root": audited.root,
        "height": audited.height,
        "time": format_time(audited.time_ms),
        "state_root": audited.state_root,
        "records": audited.records,
        "weapons": audited.weapons,
        "parties": audited.parties,
        "epoch": audited.epoch,
        "validators": list(audited.validators),
        "cosignatures": cosignatures_json(audited.cosignatures),
        "seconds": round(audited.seconds, 3),
        "records_per_s": round(audited.records_per_s),
        "saved": None if saved is None else str(saved),
    }
    cosigned = ", ".join(name for name, _ in audited.cosignatures) or "nobody"
    context.emit(
        values,
        Text("The log is in order: every hash, signature, rule and seal from entry 0."),
        labelled(
            [
                ("ledger", audited.ledger),
                (
                    "entries",
                    f"{audited.size:,} ({counted(audited.records, 'record')} in {counted(audited.height, 'block')})",
                ),
                ("state", f"{counted(audited.weapons, 'weapon')}, {audited.parties:,} parties"),
                ("root", audited.root),
                ("state root", audited.state_root),
                ("last block", f"{audited.height}, {format_time(audited.time_ms)}"),
                ("validators", f"{', '.join(audited.validators)} (epoch {audited.epoch})"),
                ("cosigned by", cosigned),
                ("took", f"{audited.seconds:.1f} s, {audited.records_per_s:,.0f} records/s"),
                *([("saved in", str(saved))] if saved is not None else []),
            ]
        ),
    )
