"""`tracemark party`: who takes part. Agencies enrol and update parties; everybody may look."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import typer
from rich.text import Text

from client.cli.common import Context, command
from client.cli.layout import labelled
from client.cli.records import ReceiptOption, absent, build_body, issue, time_option
from client.describe import as_of_json, as_of_text, document_json, party_lines
from client.errors import NotFoundError
from client.keys import read_public_half
from ledger.errors import ConfigurationError
from ledger.records import PartyEnrol, PartyUpdate
from ledger.records.fields import PartyRole
from ledger.state.model import PartyDoc

app = typer.Typer(no_args_is_help=True, help="Parties: enrol, update, show.")

RolesOption = Annotated[
    list[str] | None,
    typer.Option("--role", help=f"A role (repeatable): {', '.join(get_args(PartyRole))}.", show_default=False),
]
MakesOption = Annotated[
    list[str] | None, typer.Option("--make", help="Make codes it may register, comma-separated (repeatable).")
]
UntilOption = Annotated[str | None, time_option("--valid-until", "Its enrolment ends then")]


def _listed(values: list[str] | None) -> Any:
    """Sorted and distinct, as records have them; absent if there is none."""
    found = sorted({part.strip() for value in values or () for part in value.split(",") if part.strip()})
    return tuple(found) if found else msgspec.UNSET


@command(app, "policy", "node", "signer", name="enrol")
def enrol(
    context: Context,
    *,
    party_id: Annotated[
        str, typer.Argument(help="Its id, for good: lower-case letters, digits, hyphens.", metavar="PARTY")
    ],
    name: Annotated[str, typer.Option(help="Its full name.")],
    jurisdiction: Annotated[str, typer.Option(help="ISO 3166 alpha-2 code.")],
    new_key: Annotated[Path, typer.Option("--new-key", help="Its key's public half (FILE.public.json).")],
    roles: RolesOption = None,
    makes: MakesOption = None,
    any_make: Annotated[bool, typer.Option("--any-make", help="It may register weapons of any make.")] = False,
    valid_until: UntilOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Enrol a party, as its sponsoring agency.

    Example: tracemark party enrol maker-a --name "Maker A" --jurisdiction XA --role maker --make ALD,BRK
    --new-key maker.key.public.json
    """
    half = read_public_half(new_key)
    author = context.author()
    if (half.party, half.ledger) != (party_id, author.ledger):
        raise ConfigurationError(
            "the new key was made for another party or ledger",
            code="wrong_public_key",
            expected=f"{party_id} on {author.ledger}",
            actual=f"{half.party} on {half.ledger}",
        )
    listed_roles = _listed(roles)
    body = build_body(
        PartyEnrol,
        party=party_id,
        name=name,
        roles=() if listed_roles is msgspec.UNSET else listed_roles,
        jurisdiction=jurisdiction,
        key=half.new_key,
        makes=_listed(makes),
        any_make=any_make,
        valid_until=absent(valid_until),
    )
    issue(context, author, PartyEnrol, body, receipt=receipt, said=f"{party_id} is enrolled by {author.party}.")


@command(app, "policy", "node", "signer", name="update")
def update(
    context: Context,
    *,
    party_id: Annotated[str, typer.Argument(help="The party's id.", metavar="PARTY")],
    name: Annotated[str | None, typer.Option(help="Its new name.", show_default=False)] = None,
    roles: RolesOption = None,
    makes: MakesOption = None,
    any_make: Annotated[
        bool | None,
        typer.Option("--any-make/--listed-makes", help="Any make, or only those listed.", show_default=False),
    ] = None,
    status: Annotated[
        Literal["active", "suspended", "ended"] | None, typer.Option(help="Its standing.", show_default=False)
    ] = None,
    valid_until: UntilOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Change a party, as its sponsor. What is not given stays as it is; lists are replaced whole.

    Example: tracemark party update maker-a --status suspended --key interior.key
    """
    author = context.author()
    body = build_body(
        PartyUpdate,
        party=party_id,
        name=absent(name),
        roles=_listed(roles),
        makes=_listed(makes),
        any_make=absent(any_make),
        status=absent(status),
        valid_until=absent(valid_until),
    )
    issue(context, author, PartyUpdate, body, receipt=receipt, said=f"{party_id} is updated.")


@command(app, "policy", "node", name="show")
def show(context: Context, party_id: Annotated[str, typer.Argument(help="The party's id.", metavar="PARTY")]) -> None:
    """Show what the ledger says of a party, proven as of the newest checkpoint.

    Example: tracemark party show maker-a
    """
    proven = context.session().party(party_id)
    if not isinstance(proven.document, PartyDoc):
        raise NotFoundError("there is no such party: its absence is proven", actual=party_id)
    context.emit(
        {"verified": True, "party": party_id, **document_json(proven.document), "as_of": as_of_json(proven.as_of)},
        labelled(party_lines(party_id, proven.document)),
        Text(as_of_text(proven.as_of)),
    )
