"""What every command has in common: its options, its settings, how it speaks, and the one decorator that gives it these.

A command is a function whose first parameter is a `Context`; the rest are its own options. It prints one JSON object with
`--json`, else text for people within the terminal's width. It raises our errors; `client.cli.main` makes exit codes of
them.
"""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from client.author import Author
from client.keys import SignerRole, open_key, read_passphrase
from client.profile import Settings, are_among, home_folder, load_settings
from client.session import Session
from ledger.errors import ConfigurationError
from ledger.limits import MAX_PASSPHRASE_BYTES

T = TypeVar("T")
Need = Literal["policy", "node", "signer"]

FIRST_PATIENCE_S: Final = 5.0
"""How long somebody at a terminal waits for the first answer of any node."""
_PANEL_NODE: Final = "Whom to ask and whom to believe"
_PANEL_SIGNER: Final = "Who signs"


def _option(kind: Any, *names: str, help: str, panel: str | None = None) -> Any:  # noqa: A002 - typer's own name
    return Annotated[kind, typer.Option(*names, help=help, rich_help_panel=panel, show_default=False)]


_PROFILE: Final[dict[str, Any]] = {
    "profile": _option(Path | None, "--profile", help="Settings (TOML) instead of profile.toml in $TRACEMARK_HOME."),
    "as_json": _option(bool, "--json", help="Print one JSON object instead of text."),
}
_OPTIONS: Final[dict[Need, dict[str, Any]]] = {
    "policy": {
        "policy": _option(Path | None, "--policy", help="Policy file: whose signatures count.", panel=_PANEL_NODE),
        "succession": _option(
            Path | None, "--succession", help="How the agencies changed since that policy.", panel=_PANEL_NODE
        ),
    },
    "node": {
        "node": _option(
            list[str] | None, "--node", help="A node's URL (repeatable: tried in turn).", panel=_PANEL_NODE
        ),
        "ca": _option(Path | None, "--ca", help="The agencies' CA certificates (PEM).", panel=_PANEL_NODE),
        "token_file": _option(Path | None, "--token-file", help="File with the token (0600).", panel=_PANEL_NODE),
        "purpose": _option(str | None, "--purpose", help="An inquirer's purpose; it is logged.", panel=_PANEL_NODE),
        "case": _option(str | None, "--case", help="An inquirer's case number; it is logged.", panel=_PANEL_NODE),
    },
    "signer": {
        "key": _option(Path | None, "--key", help="The sealed key file (0600).", panel=_PANEL_SIGNER),
        "party": _option(str | None, "--party", help="Whose key of the file is meant.", panel=_PANEL_SIGNER),
        "passphrase_file": _option(
            Path | None,
            "--passphrase-file",
            help="File with the passphrase (0600); else $TRACEMARK_PASSPHRASE_FILE, else asked for.",
            panel=_PANEL_SIGNER,
        ),
    },
}


class Context:
    """One invocation: its settings, and where its answer goes. Sessions it opened are closed with it."""

    def __init__(self, settings: Settings, *, home: Path, as_json: bool, is_token_given: bool) -> None:
        """`is_token_given`: by an option, so for whatever node is asked; a profile's token is for the profile's nodes."""
        self.settings = settings
        self._is_token_given = is_token_given
        self.home = home
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=False)
        self.notes = Console(stderr=True, highlight=False)
        self._session: Session | None = None

    def session(self, urls: Sequence[str] | None = None) -> Session:
        """A session with the node or nodes of the settings (or these); the same one at every call.

        Raises:
            ConfigurationError: no policy, no node, or one of their files cannot be used.
        """
        if self._session is None:
            settings = self.settings
            is_trusted = self._is_token_given or are_among(urls or (), settings.node)
            self._session = Session(
                urls or settings.node,
                policy=settings.require_policy(),
                succession=settings.read_succession(),
                home=self.home,
                ca=settings.ca,
                token=settings.read_token() if is_trusted else None,
                purpose=settings.purpose,
                case=settings.case,
                first_patience_s=FIRST_PATIENCE_S,
                tell=self.tell,
            )
        return self._session

    def author(self, role: SignerRole = "record") -> Author:
        """Who signs: the party's record key (or governance key), opened with its passphrase, for the proven ledger.

        Raises:
            ConfigurationError: no key, no passphrase, or the wrong one.
        """
        if self.settings.key is None:
            raise ConfigurationError(
                "no key is given",
                code="no_key",
                help="Give --key FILE, or `key` in the profile; see `tracemark key new`.",
            )
        party, key = open_key(self.settings.key, self.passphrase(), party=self.settings.party, role=role)
        return Author(party, key, ledger=self.session().ledger_id())

    def passphrase(self, *, new: bool = False) -> bytes:
        """The key file's passphrase: from its file, else asked for at the terminal (twice, if it is a new one).

        Raises:
            ConfigurationError: `no_passphrase` without a file or a terminal; those of `read_passphrase`.
        """
        if self.settings.passphrase_file is not None:
            return read_passphrase(self.settings.passphrase_file)
        if not sys.stdin.isatty():
            raise ConfigurationError(
                "nothing says where the passphrase is",
                code="no_passphrase",
                help="Give --passphrase-file, set $TRACEMARK_PASSPHRASE_FILE, or run this at a terminal.",
            )
        typed: str = typer.prompt("Passphrase of the key file", hide_input=True, confirmation_prompt=new, err=True)
        if not 1 <= len(typed.encode()) <= MAX_PASSPHRASE_BYTES:
            raise ConfigurationError("the passphrase is empty or too long", code="bad_passphrase")
        return typed.encode()

    def emit(self, values: Mapping[str, Any], *text: RenderableType) -> None:
        """Print the command's answer: `values` with `--json`, else the text, line by line."""
        if self.as_json:
            print_json(values)
            return
        for part in text:
            self.console.print(part, markup=False)

    def tell(self, line: str) -> None:
        """Say on standard error what is being waited for; not to a program that reads JSON."""
        if self.notes.is_terminal or not self.as_json:
            self.notes.print(line, style="dim", markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar on standard error, where somebody watches; call what it gives with the steps just done."""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.notes,
            transient=True,
            disable=self.as_json or not self.notes.is_terminal,
        ) as progress:
            task = progress.add_task(what, total=total)
            yield lambda steps: progress.advance(task, steps)

    def close(self) -> None:
        """Close the session, if one was opened."""
        if self._session is not None:
            self._session.close()


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False))


def _flowing(text: str) -> str:
    """Help whose paragraphs wrap to the terminal, not to the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def command(
    app: typer.Typer, *needs: Need, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`, with the options that its needs bring and `--json` and `--profile`.

    The function gets a `Context`, then its own parameters by keyword.
    """
    shared = {option: kind for need in needs for option, kind in _OPTIONS[need].items()} | _PROFILE

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            options = {option: values.pop(option) for option in shared}
            as_json, profile = bool(options.pop("as_json")), options.pop("profile")
            home = home_folder()
            settings = load_settings(options, profile=profile)
            is_token_given = options.get("token_file") is not None
            context = Context(settings, home=home, as_json=as_json, is_token_given=is_token_given)
            try:
                function(context, **values)
            finally:
                context.close()

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + [
            inspect.Parameter(
                option, inspect.Parameter.KEYWORD_ONLY, default=False if option == "as_json" else None, annotation=kind
            )
            for option, kind in shared.items()
        ]
        setattr(run, "__signature__", inspect.Signature(parameters))  # noqa: B010 - what typer reads; no declared name
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, help=_flowing(inspect.getdoc(function) or ""))(run)
        return function

    return decorate
