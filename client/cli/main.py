"""The command `tracemark`: all commands of the client, and those of the node that is installed beside it.

Exit codes: 0 done, 1 a verification or an audit failed, 2 wrong usage or input, 3 the ledger or a node refused, 4 no node
reachable (or none that is level and ready), 5 nothing found; 70 a fault of the program, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from types import ModuleType
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from client.cli import (
    audit,
    checkpoint,
    correction,
    demo,
    evidence,
    incident,
    key,
    party,
    policy,
    proposal,
    trace,
    transfer,
    verify,
    weapon,
)
from client.cli.common import print_json
from client.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, AmbiguousError, ForkError, NotAllowedError, exit_code
from ledger.errors import ConfigurationError, TracemarkError

COMMAND_GROUP: Final = "tracemark.commands"
"""The entry-point group under which the node offers commands on its own files, so that the client never imports it."""

_GROUPS: Final[dict[str, typer.Typer]] = {
    "key": key.app,
    "party": party.app,
    "policy": policy.app,
    "weapon": weapon.app,
    "transfer": transfer.app,
    "incident": incident.app,
    "correction": correction.app,
    "proposal": proposal.app,
    "evidence": evidence.app,
}
_OPTIONS_OF: Final[dict[str, tuple[str, str]]] = {
    "purpose_required": (
        "--purpose and --case",
        'Give both, such as --purpose "criminal investigation" --case 26-1178, or `purpose` and `case` in the profile.',
    ),
    "not_authenticated": (
        "a token of this node",
        "Give --token-file FILE, or `token_file` in the profile; the node's operator makes tokens.",
    ),
}
"""By the code of a node's refusal: what was expected, and what to do."""
_ONE_AGENCY: Final = (
    "A node knows only the tokens that were made at it: name nodes of one agency in one profile, with its token, and other "
    "agencies' in profiles of their own (--profile)."
)
_SINGLE: Final[dict[str, ModuleType]] = {
    "trace": trace,
    "verify": verify,
    "audit": audit,
    "checkpoint": checkpoint,
    "demo": demo,
}


def build_app(wanted: str | None = None) -> typer.Typer:
    """The command tree. With the name of a command that is wanted, no other of the node's is imported: a command of the
    client must work, and start at once, whatever is installed beside it."""
    app = typer.Typer(
        name="tracemark",
        help="Trace serialized weapons on a ledger that several agencies keep together, and prove every answer.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)
    for module in _SINGLE.values():
        module.add_to(app)
    for entry_point in sorted(entry_points(group=COMMAND_GROUP), key=lambda found: found.name):
        own = entry_point.name in _GROUPS or entry_point.name in _SINGLE
        if not own and wanted in (None, entry_point.name):
            _add(app, entry_point.name, _load(entry_point))
    return app


def _tell_version(is_wanted: bool) -> None:
    if is_wanted:
        sys.stdout.write(f"tracemark {version('tracemark')}\n")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What belongs to no command."""


def _add(app: typer.Typer, name: str, loaded: typer.Typer) -> None:
    """A group of commands stands under its name; one command alone, of that name, for itself."""
    names = [command.name or getattr(command.callback, "__name__", "") for command in loaded.registered_commands]
    if names == [name]:
        app.registered_commands += loaded.registered_commands
    else:
        app.add_typer(loaded, name=name)


def _load(entry_point: EntryPoint) -> typer.Typer:
    try:
        group = entry_point.load()
    except ImportError as error:
        return typer.Typer(help=f"(cannot be loaded: {error})", no_args_is_help=True)
    assert isinstance(group, typer.Typer)
    return group


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code.

    Args:
        arguments: without the program's name; by default the process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        result = build_app(_command_of(given))(args=given, prog_name="tracemark", standalone_mode=False)
    except TracemarkError as error:
        _put_in_options(error)
        _report(error, as_json=as_json)
        return exit_code(error)
    except typer.TyperException as error:
        return _report_usage(error, as_json=as_json)
    except OSError as error:
        failure = ConfigurationError(
            f"the system refused: {error.strerror or error}", code="os_error", actual=error.filename
        )
        _report(failure, as_json=as_json)
        return exit_code(failure)
    except (typer.Abort, KeyboardInterrupt):
        Console(stderr=True).print("interrupted")
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else EXIT_OK


def _command_of(arguments: Sequence[str]) -> str | None:
    """The command that is meant; None for help on all of them."""
    first = arguments[0] if arguments else "--help"
    return None if first.startswith("-") else first


def _put_in_options(error: TracemarkError) -> None:
    """What a node says to whoever speaks HTTP, said to whoever gives options."""
    if error.code in _OPTIONS_OF:
        error.expected, error.help = _OPTIONS_OF[error.code]
    if error.code == "bad_token" and isinstance(error, NotAllowedError):
        error.help = _ONE_AGENCY
    if error.code == "bad_parameter" and "pattern" in (error.expected or ""):
        error.expected = None
    if error.help is not None and "/openapi.json" in error.help:
        error.help = None


def _report(error: TracemarkError, *, as_json: bool) -> None:
    """What happened, what was expected, what to do: as JSON where JSON was asked for."""
    if as_json:
        print_json({"error": error.as_dict()})
        return
    console = Console(stderr=True, highlight=False)
    console.print(Text.assemble(("error: ", "bold red"), error.message, (f" [{error.code}]", "dim")))
    for name in ("expected", "actual", "help"):
        value = getattr(error, name)
        if value is not None:
            console.print(Text.assemble((f"  {name:<9}", "dim"), _visible(str(value))))
    if isinstance(error, AmbiguousError):
        for candidate in error.candidates:
            console.print(Text(f"  {candidate['id']}  {_visible(str(candidate['description']))}"))
    if isinstance(error, ForkError):
        for file in error.files:
            console.print(Text(f"  evidence {_visible(file)}"), soft_wrap=True)


def _report_usage(error: typer.TyperException, *, as_json: bool) -> int:
    if as_json:
        print_json({"error": {"code": "usage", "message": error.format_message()}})
    else:
        show = getattr(error, "show", None)
        if show is None:
            Console(stderr=True).print(Text(f"error: {error.format_message()}"))
        else:
            show()
    return error.exit_code or EXIT_USAGE


def _visible(text: str) -> str:
    """Text with its control characters written out, for what came from outside."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)
