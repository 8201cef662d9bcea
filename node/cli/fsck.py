"""`tracemark fsck`: are a node's databases what was written, and if not, mend them. The work is `node.integrity`'s."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ledger.errors import ConfigurationError
from node.cli.output import EXIT_FAILED, JsonOption, emit, reporting
from node.config import load_config, load_genesis
from node.integrity.fsck import SCRATCH, Fsck, Mended
from node.integrity.ledger import Subject
from node.integrity.report import Findings
from node.recovery import SILENT_UNTIL_SHOWN

app = typer.Typer()

CONFIG: Final = "node.toml"
_SAY_EVERY_S: Final = 2.0


@app.command()
def fsck(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder: the one with node.toml.")],
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found. The node must be stopped.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a node's databases against its log: entries, tree, blocks, finalizations, state, read models, votes, query log.

    The ledger is made a second time from its log and compared row by row: that takes as much room again, and signatures
    take the time. Without --repair nothing is written but that second ledger, and the node may run. Interrupted, it goes
    on where it was. With --repair the old files are kept in a folder damaged-TIME; a log that is hurt is cut below the
    damage, and the node catches up from its peers.

    Exit codes: 0 sound, or all mended; 1 problems found or left.

    Example: tracemark fsck /var/lib/tracemark/customs --repair
    """
    with reporting(as_json):
        settings = load_config(config_in(folder))
        genesis = load_genesis(settings)
        subject = Subject(genesis=genesis, party=settings.party, scratch=settings.data_dir / SCRATCH)
        teller = _Teller()
        mended: Mended | None = None
        with Fsck(subject, settings.data_dir, repair=repair, progress=teller) as check:
            try:
                findings = check.check()
            except KeyboardInterrupt:
                typer.echo("interrupted; run it again: it goes on where it was", err=True)
                raise
            tip = check.ledger.rebuild.tip
            if repair and findings.count:
                mended = check.mend()
        values = _describe(findings, mended, height=tip.height, size=tip.size, seconds=teller.elapsed_s)
        emit(as_json, values, _as_text(findings, mended, values))
    is_left = bool(findings.count) and (mended is None or bool(mended.left))
    raise typer.Exit(EXIT_FAILED if is_left else 0)


class _Teller:
    """Says every few seconds how far it is, to people."""

    def __init__(self) -> None:
        self._started = self._said = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._said >= _SAY_EVERY_S:
            self._said = now
            typer.echo(f"{what}: {done} of {total}", err=True)


def _describe(findings: Findings, mended: Mended | None, *, height: int, size: int, seconds: float) -> dict[str, Any]:
    values: dict[str, Any] = {
        "sound": findings.count == 0,
        "height": height,
        "entries": size,
        "seconds": round(seconds, 3),
        "problems": [
            {name: value for name in problem.__struct_fields__ if (value := getattr(problem, name)) not in (None, "")}
            for problem in findings.problems
        ],
        "problem_count": findings.count,
        "notes": findings.notes,
    }
    if mended is not None:
        values["mended"] = {
            "databases": list(mended.stores),
            "kept": None if mended.kept is None else str(mended.kept),
            "cut_to": mended.cut_to,
            "votes_suspect": mended.votes_suspect,
            "left": list(mended.left),
        }
    return values


def _as_text(findings: Findings, mended: Mended | None, values: dict[str, Any]) -> str:
    lines = [str(problem) for problem in findings.problems]
    if findings.count > len(findings.problems):
        lines.append(f"... and {findings.count - len(findings.problems)} more")
    lines += findings.notes
    checked = f"height {values['height']}, {values['entries']} log entries, {values['seconds']:.1f} s"
    if not findings.count:
        return "\n".join([*lines, f"sound: {checked}"])
    lines.append(f"{findings.count} problem{'' if findings.count == 1 else 's'} ({checked})")
    if mended is None:
        lines.append("Stop the node, then: tracemark fsck DIR --repair")
        return "\n".join(lines)
    if mended.stores:
        lines.append(f"mended: {', '.join(mended.stores)}; the old files are in {mended.kept}")
    if mended.cut_to is not None:
        lines.append(f"The log was cut to height {mended.cut_to}: start the node, it fetches the rest from its peers.")
    if mended.votes_suspect:
        lines.append(f"Own votes may be missing: {SILENT_UNTIL_SHOWN}")
    lines += [f"not mended: {text}" for text in mended.left]
    return "\n".join(lines)


def config_in(folder: Path) -> Path:
    """The configuration file of a node's folder.

    Raises:
        ConfigurationError: code `missing_file`.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ConfigurationError(
            f"{folder} is no node's folder", code="missing_file", expected=f"a file at {path}", actual="nothing"
        )
    return path
