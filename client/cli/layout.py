"""How answers look on a terminal: labelled lines and plain tables that fold, never cut, what they show."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from client.answers import Candidate
from client.describe import as_of_text, hop_text, weapon_line, weapon_lines
from ledger.bundle import VerifiedTrace


def labelled(lines: Iterable[tuple[str, str]]) -> RenderableType:
    """Two columns: labels and values."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in lines:
        table.add_row(Text(label), Text(value))
    return table


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    """A table with a header."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def trace_story(trace: VerifiedTrace) -> list[RenderableType]:
    """A trace as an investigator reads it: the weapon, who ever held it, and how sure that is."""
    rows = [
        (
            str(number),
            hop.record.record.issued_at.replace("T", " ").rstrip("Z"),
            hop_text(hop),
            hop.after.owner or "-",
            hop.after.possessor or "-",
            hop.after.status,
        )
        for number, hop in enumerate(trace.hops, start=1)
    ]
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
        columns(("#", "signed at", "what happened", "owner", "possessor", "status"), rows),
        Text(),
        Text(f"{complete}, {signed}; every proof was verified."),
        Text(as_of_text(trace.as_of)),
    ]


def candidate_table(candidates: Sequence[Candidate]) -> RenderableType:
    """Search hits to choose from."""
    return columns(
        ("weapon", "identity", "status", "owner"),
        [(hit.id, weapon_line(hit), hit.status, hit.owner or "-") for hit in candidates],
    )
