"""How answers look on a terminal: labelled lines and plain tables that fold, never cut, what they show."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from client.describe import as_of_text, holding_text, hop_text, weapon_lines
from ledger.bundle import VerifiedTrace


def labelled(lines: Iterable[tuple[str, str]]) -> RenderableType:
    """Two columns: labels and values."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in lines:
        table.add_row(Text(label), Text(value))
    return table


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table with a header."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def trace_story(trace: VerifiedTrace) -> list[RenderableType]:
    """A trace as an investigator reads it: the weapon, who ever held it, and how sure that is."""
    table = columns(("#", "signed at", "what happened"), [])
    previous = ""
    for number, hop in enumerate(trace.hops, start=1):
        signed_at = hop.record.record.issued_at.replace("T", " ")[:16]
        holding = holding_text(hop.after)
        said = Text(hop_text(hop))
        if holding != previous:
            said.append(f"\n{holding}", style="dim")
        table.add_row(Text(str(number)), Text(signed_at), said)
        previous = holding
    records, signers = len(trace.hops), len({hop.signer for hop in trace.hops})
    complete = (
        "The one record of this weapon is here"
        if records == 1
        else f"All {records} records of this weapon are here, in order"
    )
    signed = f"signed by {signers} key{'s' if signers != 1 else ''}"
    return [
        labelled(weapon_lines(trace.weapon, trace.document)),
        Text(),
        table,
        Text(),
        Text(f"{complete}, {signed}; every proof was verified."),
        Text(as_of_text(trace.as_of)),
    ]
