"""`tracemark trace`: from what can be read on a weapon to everyone who ever held it, with proof."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from client.cli.common import Context, command
from client.cli.layout import trace_story
from client.describe import as_of_text, trace_json, weapon_line
from client.errors import AmbiguousError, NotFoundError
from client.files import create_file
from client.session import Session
from ledger.marks import normalise, weapon_id


def add_to(app: typer.Typer) -> None:
    """Make `trace` a command of the app."""
    command(app, "policy", "node", name="trace")(trace)


def trace(
    context: Context,
    *,
    serial: Annotated[str, typer.Argument(help="As read; case, spaces and hyphens do not matter.", metavar="SERIAL")],
    make: Annotated[
        str | None, typer.Option(help="Make code, where several weapons share a serial.", show_default=False)
    ] = None,
    weapon: Annotated[str | None, typer.Option(help="Weapon id, to choose one of several.", show_default=False)] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Keep the evidence bundle in this new file; it verifies offline.", show_default=False),
    ] = None,
) -> None:
    """Trace a weapon by its serial: who registered it, who owned and held it, what happened to it. All of it proven.

    A serial that several weapons carry is ambiguous: all are listed (exit code 2); choose with --make or --weapon.

    Example: tracemark trace AB-1234 --purpose "criminal investigation" --case 26-1178 --bundle trace.bundle
    """
    session = context.session()
    found = find_weapon(session, serial, make=make.upper() if make else None, weapon=weapon)
    verified, data = session.provenance(found)
    if bundle is not None:
        create_file(bundle, data, mode=0o644)
    kept = (
        [] if bundle is None else [Text(f"Evidence: {bundle} ({len(data):,} bytes); check it with `tracemark verify`.")]
    )
    context.emit(
        {**trace_json(verified), "bundle": None if bundle is None else str(bundle)}, *trace_story(verified), *kept
    )


def find_weapon(session: Session, serial: str, *, make: str | None, weapon: str | None) -> str:
    """The one weapon that carries the serial, of a make or with an id where these are given.

    Raises:
        NotFoundError: none that the token may see does; with a make, that none was ever registered is proven where the
            token allows it.
        AmbiguousError: several do; with all of them.
    """
    candidates = [hit for hit in session.search(serial, make=make) if weapon in (None, hit.id)]
    if len(candidates) == 1:
        return candidates[0].id
    if candidates:
        raise AmbiguousError(
            f"{len(candidates)} weapons carry the serial {serial}",
            candidates=[{**msgspec.to_builtins(hit), "description": weapon_line(hit)} for hit in candidates],
            expected="one weapon",
            help="Choose one: --make CODE, or --weapon ID.",
        )
    carries = f"carries the serial {serial}{f' of make {make}' if make else ''}"
    proof = _proof_of_absence(session, make, serial) if make is not None and weapon is None else None
    raise NotFoundError(
        f"no weapon that this token may see {carries}" if proof is None else f"no weapon {carries}. {proof}",
        help="Read the mark again: O and 0, I and 1, S and 5 are easily confused; or leave out the make.",
    )


def _proof_of_absence(session: Session, make: str, serial: str) -> str | None:
    """That no weapon was ever registered under make and serial, in words; None where the token may not learn that."""
    try:
        answer = session.weapon(weapon_id(make, normalise(serial), ""))
    except NotFoundError:
        return None
    if answer.document is not None:
        return None
    return f"That none was ever registered is proven. {as_of_text(answer.as_of)}"
