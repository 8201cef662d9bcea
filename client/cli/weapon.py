"""`tracemark weapon`: a manifest becomes registered weapons; one weapon is shown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import RenderableType
from rich.text import Text

from client.cli.common import Context, command
from client.cli.layout import columns, labelled
from client.cli.records import check_weapon_id
from client.cli.trace import find_weapon
from client.describe import as_of_json, as_of_text, counted, document_json, submitted_json, weapon_lines
from client.errors import EXIT_USAGE, NotFoundError, exit_code
from client.files import read_file
from client.lots import Lot, split_into_lots
from client.manifest import Manifest, Problem, read_codes, read_manifest
from client.registration import RegisteredLot, register_lots
from ledger.errors import InputError, OverloadError, TracemarkError
from ledger.limits import MAX_MANIFEST_BYTES
from ledger.state.model import WeaponDoc

app = typer.Typer(no_args_is_help=True, help="Weapons: register a manifest, show one.")

_MAX_CODES_BYTES: Final = 16 * 1024 * 1024


@command(app, "policy", "node", "signer", name="register")
def register(
    context: Context,
    *,
    manifest: Annotated[Path, typer.Argument(help="The manifest: CSV in UTF-8 with a header.", metavar="MANIFEST")],
    codes: Annotated[
        Path | None, typer.Option(help="Code list of makes (CSV with a `code` column).", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check; needs no node and signs nothing.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Register the good lines in spite of bad ones.")] = False,
) -> None:
    """Register a manifest's weapons in signed lots. Every bad line is listed first, and then nothing is signed.

    Bad lines end the command with exit code 2, unless --skip-bad is given. Run again after an interruption, it goes on where
    it was: nothing is registered twice.

    Example: tracemark weapon register manifest.csv --codes makes.csv --dry-run
    """
    known = None if codes is None else read_codes(read_file(codes, limit=_MAX_CODES_BYTES, what="code list"))
    data = read_file(manifest, limit=MAX_MANIFEST_BYTES, what="manifest")
    checked = read_manifest(data, today=datetime.now(UTC).date(), codes=known)
    lots = split_into_lots(checked.rows)
    if dry_run or (checked.problems and not skip_bad):
        _emit_checked(context, checked, lots)
        if checked.problems and not skip_bad:
            raise typer.Exit(EXIT_USAGE)
        return
    if not lots:
        raise InputError("the manifest has no good line", code="no_weapons", actual=f"{checked.lines} lines")
    author = context.author()
    size = context.session().checkpoint()[0].checkpoint.size
    with context.progress("weapons", len(checked.rows)) as advance:
        results = register_lots(
            context.session(), author, lots, journal_folder=context.home / "journal", progress=advance
        )
    failure = _failure(results)
    _emit_registered(context, checked, results, failure, size_before=size)
    if failure is not None:
        raise typer.Exit(exit_code(failure))


@command(app, "policy", "node", name="show")
def show(
    context: Context,
    *,
    weapon: Annotated[str | None, typer.Argument(help="The weapon's id.", metavar="WEAPON", show_default=False)] = None,
    serial: Annotated[str | None, typer.Option(help="Or its serial.", show_default=False)] = None,
    make: Annotated[str | None, typer.Option(help="With its make code.", show_default=False)] = None,
) -> None:
    """Show a weapon as the ledger has it now, proven as of the newest checkpoint; `trace` tells its history.

    Example: tracemark weapon show --serial AB-1234 --make ALD
    """
    session = context.session()
    if weapon is None:
        if serial is None:
            raise InputError("which weapon?", code="no_weapons", help="Give its id, or --serial.")
        weapon = find_weapon(session, serial, make=make.upper() if make else None, weapon=None)
    check_weapon_id(weapon)
    proven = session.weapon(weapon)
    if not isinstance(proven.document, WeaponDoc):
        raise NotFoundError("no such weapon was ever registered: its absence is proven", actual=weapon)
    context.emit(
        {"verified": True, "weapon": weapon, **document_json(proven.document), "as_of": as_of_json(proven.as_of)},
        labelled(weapon_lines(weapon, proven.document)),
        Text(as_of_text(proven.as_of)),
    )


def _failure(results: Sequence[RegisteredLot]) -> TracemarkError | None:
    """The first refusal; else that some lot is still pending."""
    errors = [result.submitted.error for result in results if result.submitted.error is not None]
    if errors:
        return errors[0]
    pending = [result.submitted.id for result in results if result.submitted.status != "final"]
    if pending:
        return OverloadError(
            f"{counted(len(pending), 'lot')} not final yet",
            code="still_pending",
            actual=f"records {', '.join(pending[:3])}{', ...' if len(pending) > 3 else ''}",
            help="Running the same command again is safe: it goes on where it was.",
        )
    return None


def _checked_json(checked: Manifest) -> dict[str, Any]:
    return {
        "lines": checked.lines,
        "good": len(checked.rows),
        "problems": [msgspec.to_builtins(problem) for problem in checked.problems],
    }


def _emit_checked(context: Context, checked: Manifest, lots: Sequence[Lot]) -> None:
    counts = f"{len(checked.rows):,} good, {_bad_lines(checked):,} bad"
    summary = f"{counted(checked.lines, 'line')}: {counts}. Nothing was signed."
    context.emit(
        {**_checked_json(checked), "registered": 0, "lots": len(lots)}, *_problem_text(checked.problems), Text(summary)
    )


def _emit_registered(
    context: Context,
    checked: Manifest,
    results: Sequence[RegisteredLot],
    failure: TracemarkError | None,
    *,
    size_before: int,
) -> None:
    """What became of the lots. Those within the log's size before the run were there already."""
    registered = sum(len(result.lot.lines) for result in results if result.submitted.status == "final")
    values = {
        **_checked_json(checked),
        "registered": registered,
        "lots": len(results),
        "records": [
            {
                **submitted_json(item.submitted),
                "weapons": len(item.lot.lines),
                "was_there": _was_there(item, size_before),
            }
            for item in results
        ],
        **({} if failure is None else {"error": failure.as_dict()}),
    }
    told = [
        (item.submitted.id[:16], "was there already" if was_there else item.submitted.status, _lines_of(item.lot), why)
        for item in results
        for was_there, why in [(_was_there(item, size_before), str(item.submitted.error or ""))]
        if was_there or item.submitted.status != "final"
    ]
    refused = sum(item.submitted.status != "final" for item in results)
    there = len(told) - refused
    context.emit(
        values,
        *_problem_text(checked.problems),
        *([columns(("record", "status", "lines", "why"), told)] if told else []),
        Text(
            f"{counted(registered, 'weapon')} registered in {counted(len(results) - refused, 'lot')}, "
            "each with a verified receipt"
            + (f"; {counted(there, 'lot')} of them there already" if there else "")
            + (f"; {counted(_bad_lines(checked), 'bad line')} left out" if checked.problems else "")
            + (f"; {counted(refused, 'lot')} not registered" if refused else "")
            + "."
        ),
    )


def _was_there(item: RegisteredLot, size_before: int) -> bool:
    return item.submitted.status == "final" and item.submitted.index is not None and item.submitted.index < size_before


def _bad_lines(checked: Manifest) -> int:
    return len({problem.line for problem in checked.problems})


def _lines_of(lot: Lot) -> str:
    lines = sorted(lot.lines)
    if len(lines) == 1:
        return f"1, line {lines[0]}"
    return f"{len(lines)} between {lines[0]} and {lines[-1]}"


def _problem_text(problems: Sequence[Problem]) -> list[RenderableType]:
    if not problems:
        return []
    rows = [(str(item.line), item.column or "-", item.defect, _visible(item.value)) for item in problems]
    helps = {item.defect: item.help.split(" Here: ")[0].split(" First on ")[0] for item in problems}
    return [
        columns(("line", "column", "defect", "value"), rows),
        Text(),
        labelled([(defect, text) for defect, text in sorted(helps.items())]),
        Text(),
    ]


def _visible(value: str) -> str:
    """A value with invisible and foreign characters written out, for the eye cannot tell them; spaces as dots."""
    latin = (" " <= character <= "~" or "\u00c0" <= character <= "\u024f" for character in value)
    shown = (char if is_latin else f"<U+{ord(char):04X}>" for char, is_latin in zip(value, latin, strict=True))
    return "".join(shown).replace(" ", "\u00b7")
