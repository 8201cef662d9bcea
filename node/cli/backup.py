"""`tracemark backup`: a node's data in one file, taken while it runs. The work is `node.backup`'s."""

from pathlib import Path
from typing import Annotated

import typer

from node.backup.taking import take_backup
from node.cli.fsck import config_in
from node.cli.output import JsonOption, emit, reporting
from node.config import load_config, load_genesis

app = typer.Typer()


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder: the one with node.toml.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to write; nothing is overwritten.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Back up a node, which may be running: its three databases as of one moment, and its configuration.

    The keys stay sealed; the passphrase and the TLS key are not in it. Keep them elsewhere. The file is made with mode 0600.

    Example: tracemark backup /var/lib/tracemark/customs /mnt/backup/customs-2026-11-21.tar
    """
    with reporting(as_json):
        config = load_config(config_in(folder))
        manifest = take_backup(config, load_genesis(config), file.absolute())
        size = sum(entry.bytes for entry in manifest.files.values())
        values = {
            "file": str(file),
            "ledger": manifest.ledger,
            "party": manifest.party,
            "height": manifest.height,
            "entries": manifest.entries,
            "log_root": manifest.log_root,
            "bytes": size,
            "files": list(manifest.files),
        }
        emit(
            as_json,
            values,
            f"{file}: {manifest.party} at height {manifest.height}, {manifest.entries} log entries, {size} bytes.\n"
            "Not in it: the passphrase, the TLS key, the authority's key.",
        )
