"""`tracemark restore`: a backup put in place. The work is `node.backup`'s."""

from pathlib import Path
from typing import Annotated, Any

import typer

from node.backup.restoring import Restored, restore_backup
from node.cli.output import JsonOption, emit, reporting
from node.recovery import SILENT_UNTIL_SHOWN

app = typer.Typer()


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder; made if absent.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Even if there is data: it is kept in a folder of its own there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Restore a node from a backup, after checking every byte of it. The node must be stopped.

    The node may have voted after the backup was made, and these votes are not in it. So it comes back as one whose votes may
    be lost: it follows the ledger, and signs nothing until enough of the others have shown where they stand. Where there are
    three validators or fewer, nothing becomes final without it, and it never votes again: the ledger can be read and proven,
    no more. A newer table of votes that is still there is used instead of the backup's.

    Example: tracemark restore /mnt/backup/customs-2026-11-21.tar /var/lib/tracemark/customs
    """
    with reporting(as_json):
        restored = restore_backup(file, folder, force=force)
        emit(as_json, _describe(restored), _as_text(restored, folder))


def _describe(restored: Restored) -> dict[str, Any]:
    manifest = restored.manifest
    return {
        "ledger": manifest.ledger,
        "party": manifest.party,
        "created": manifest.created,
        "height": manifest.height,
        "entries": manifest.entries,
        "data_dir": str(restored.data_dir),
        "kept": None if restored.kept is None else str(restored.kept),
        "newer_votes_kept": restored.votes_kept,
        "votes_suspect": True,
        "tokens_as_of": manifest.created,
        "written": [str(path) for path in restored.written],
        "missing": [str(path) for path in restored.missing],
    }


def _as_text(restored: Restored, folder: Path) -> str:
    manifest = restored.manifest
    lines = [
        f"{restored.data_dir}: {manifest.party} as of {manifest.created}, height {manifest.height}, "
        f"{manifest.entries} log entries."
    ]
    if restored.kept is not None:
        lines.append(f"What was there is in {restored.kept}.")
    if restored.votes_kept:
        lines.append("Its table of votes was newer than the backup's, and is used.")
    lines += [f"written: {path}" for path in restored.written]
    lines += [f"still missing: {path}" for path in restored.missing]
    lines.append(f"Votes may be missing: {SILENT_UNTIL_SHOWN}")
    lines.append(
        f"Tokens and query log are as of {manifest.created}: revoke again what was revoked since (tracemark token list)."
    )
    lines.append(f"Check it: tracemark fsck {folder}")
    return "\n".join(lines)
