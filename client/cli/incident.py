"""`tracemark incident`: lost, stolen, found, seized, recovered."""

import time
from typing import Annotated

import typer

from client.cli.common import Context, command
from client.cli.records import (
    ReceiptOption,
    RemarkOption,
    WeaponsArgument,
    WeaponsFileOption,
    absent,
    build_body,
    issue,
    time_option,
    weapon_ids,
)
from ledger.errors import InputError
from ledger.marks import normalise
from ledger.records import IncidentReport
from ledger.records.fields import IncidentKind, format_time
from ledger.records.incidents import UnregisteredWeapon

app = typer.Typer(no_args_is_help=True, help="Incidents: lost, stolen, found, seized, recovered.")


@command(app, "policy", "node", "signer", name="report")
def report(
    context: Context,
    *,
    incident: Annotated[IncidentKind, typer.Argument(help="What happened.")],
    weapons: WeaponsArgument = None,
    weapons_file: WeaponsFileOption = None,
    unregistered: Annotated[
        list[str] | None,
        typer.Option(help="MAKE:SERIAL of a seized or found weapon that is not on the ledger (repeatable)."),
    ] = None,
    occurred_at: Annotated[str | None, time_option("--at", "When it happened, if not now")] = None,
    country: Annotated[str | None, typer.Option(help="Where it happened (ISO 3166).", show_default=False)] = None,
    record_case: Annotated[
        str | None, typer.Option("--record-case", help="Case number that goes into the record.", show_default=False)
    ] = None,
    remark: RemarkOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Report what happened to weapons.

    Example: tracemark incident report stolen wabc...xyz --at 2026-11-20T22:00:00Z --key dealer.key
    """
    unknown = tuple(_unregistered(text) for text in unregistered or ())
    listed = weapon_ids(weapons, weapons_file) if weapons or weapons_file or not unknown else ()
    author = context.author()
    body = build_body(
        IncidentReport,
        incident=incident,
        occurred_at=occurred_at or format_time(int(time.time() * 1000)),
        weapons=listed,
        unregistered=unknown,
        country=absent(country),
        case=absent(record_case),
        remark=absent(remark),
    )
    count = len(listed) + len(unknown)
    said = f"{count} weapon{'s' if count != 1 else ''} reported {incident}."
    issue(context, author, IncidentReport, body, receipt=receipt, said=said)


def _unregistered(text: str) -> UnregisteredWeapon:
    make, colon, marked = text.partition(":")
    if not colon or not make or not marked.strip():
        raise InputError("not MAKE:SERIAL", code="bad_unregistered", expected="such as UNK:AB-1234", actual=text[:80])
    serial = normalise(marked)
    if serial == marked:
        return UnregisteredWeapon(make=make.upper(), serial=serial)
    return UnregisteredWeapon(make=make.upper(), serial=serial, marked=marked)
