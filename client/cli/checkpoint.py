"""`tracemark checkpoint`: what the log's newest signed and cosigned state is."""

from pathlib import Path
from typing import Annotated

import typer

from client.cli.common import Context, command
from client.cli.layout import labelled
from client.describe import checkpoint_json, cosignatures_json
from client.files import write_file


def add_to(app: typer.Typer) -> None:
    """Make `checkpoint` a command of the app."""
    command(app, "policy", "node", name="checkpoint")(checkpoint)


def checkpoint(
    context: Context,
    out: Annotated[Path | None, typer.Option(help="Keep the signed note in this file.", show_default=False)] = None,
) -> None:
    """Fetch the newest checkpoint, verify its quorum, and hold it against the one remembered here.

    A log that contradicts what it showed before is a fork: both checkpoints are kept and the exit code is 1.

    Example: tracemark checkpoint --node https://registry.example:8443 --policy policy.txt
    """
    verified, note = context.session().checkpoint()
    if out is not None:
        write_file(out, note, mode=0o644)
    described = checkpoint_json(verified)
    context.emit(
        {"verified": True, **described, "note": note.decode()},
        labelled(
            [
                ("log", verified.checkpoint.origin),
                ("size", f"{verified.checkpoint.size:,}"),
                ("root", verified.checkpoint.root.hex()),
                *((f"cosigned {item['time']}", item["name"]) for item in cosignatures_json(verified.cosignatures)),
            ]
        ),
    )
