"""`tracemark demo`: the whole main job on this machine, told as a story. What happens is `client.demo.run`'s."""

import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx
import msgspec
import typer
from rich.console import Console

from client.cli.common import print_json
from client.demo.run import Demonstration
from client.demo.story import Story
from client.errors import EXIT_FAILED, EXIT_USAGE
from ledger.errors import ConfigurationError, InternalError, TracemarkError


class _UsageError(ConfigurationError):
    """Nothing was tried: the command cannot mean this."""


def add_to(app: typer.Typer) -> None:
    """Make `demo` a command of the app."""
    app.command("demo")(demo)


def demo(
    *,
    manifest: Annotated[
        Path | None, typer.Option(help="A maker's manifest (CSV) instead of 5,000 made-up weapons.")
    ] = None,
    codes: Annotated[
        Path | None, typer.Option(help="The list of make codes that the manifest is checked against.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Leave the network, DIR/evidence/trace.bundle and policy.txt in this new folder."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Four agencies, one ledger, a weapon traced and proved: real processes, real keys, on loopback only.

    Ends with 0 only if every check held, with 2 if DIR is in use; the last line has the figures.

    Example: tracemark demo --keep /tmp/first-light
    """
    console = Console(stderr=True) if as_json else Console()
    try:
        _require_empty(keep)
        with TemporaryDirectory(prefix="tracemark-demo-") if keep is None else nullcontext(str(keep)) as folder:
            figures = Demonstration(_made(Path(folder)), Story(console), manifest=manifest, codes=codes).run()
    except _UsageError as error:
        _failed(error, console, as_json=as_json)
        raise typer.Exit(EXIT_USAGE) from error
    except (TracemarkError, OSError, httpx.HTTPError) as error:
        _failed(error, console, as_json=as_json)
        raise typer.Exit(EXIT_FAILED) from error
    if as_json:
        print_json(msgspec.to_builtins(figures))
    else:
        _last_line(figures.line())


def _failed(error: Exception, console: Console, *, as_json: bool) -> None:
    """Say why: an error of ours in full, one of the system's (a file, a connection) by its own words."""
    ours = (
        error if isinstance(error, TracemarkError) else InternalError(f"{type(error).__name__}: {error}", code="system")
    )
    if as_json:
        print_json({"failed": ours.as_dict()})
        return
    console.print(str(ours), markup=False, highlight=False)
    _last_line(f"demo: failed {ours.code}: {ours.message}")


def _last_line(text: str) -> None:
    """One line whatever the terminal's width: programs read it."""
    sys.stdout.write(f"\n{' '.join(text.split())}\n")


def _require_empty(folder: Path | None) -> None:
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise _UsageError(
            "the folder is not empty", code="folder_not_empty", expected="a new folder", actual=str(folder)
        )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
