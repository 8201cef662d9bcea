"""How the node's own commands speak: one JSON object with `--json`, else text; errors to people on standard error.

Exit codes: 0 done, 1 a verification failed, 2 wrong usage, input or configuration, 3 refused, 4 no node reachable, 5 nothing
found.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from ledger.errors import ConfigurationError, InputError, RuleError, TracemarkError, VerificationError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_NOTHING: Final = 5

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


class UnreachableError(TracemarkError):
    """No node answers where one was expected."""

    default_code = "unreachable"


class NotFoundError(TracemarkError):
    """What was asked for does not exist."""

    default_code = "not_found"


_EXIT_CODES: Final[tuple[tuple[type[TracemarkError], int], ...]] = (
    (VerificationError, EXIT_FAILED),
    (ConfigurationError, EXIT_USAGE),
    (InputError, EXIT_USAGE),
    (RuleError, EXIT_REFUSED),
    (UnreachableError, EXIT_UNREACHABLE),
    (NotFoundError, EXIT_NOTHING),
)


def emit(as_json: bool, values: Mapping[str, Any], text: str) -> None:
    """Print a command's result: `values` with `--json`, else `text`."""
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text)


@contextmanager
def reporting(as_json: bool) -> Iterator[None]:
    """Turn our errors into a message and an exit code: what happened, what was expected, what to do."""
    try:
        yield
    except TracemarkError as error:
        if as_json:
            typer.echo(json.dumps({"error": error.as_dict()}, indent=2, ensure_ascii=False))
        else:
            typer.echo(f"error: {error}", err=True)
        raise typer.Exit(exit_code(error)) from error


def exit_code(error: TracemarkError) -> int:
    """The exit code that an error ends a command with."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_FAILED)
