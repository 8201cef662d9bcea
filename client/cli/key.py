"""`tracemark key`: record keys, made and sealed here, announced to the ledger."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from client.cli.common import Context, command
from client.cli.layout import labelled
from client.cli.records import ReceiptOption, RemarkOption, absent, build_body, issue, time_option
from client.keys import create_key, public_path, read_public_half
from ledger.records import KeyAdd, KeyRevoke

app = typer.Typer(no_args_is_help=True, help="Record keys: make one, replace one, end one.")


@command(app, "policy", "node", "signer", name="new")
def new(
    context: Context,
    *,
    file: Annotated[Path, typer.Argument(help="The key file to make; its public half lies beside it.", metavar="FILE")],
    ledger: Annotated[
        str | None, typer.Option(help="The ledger's id, to work offline; else a node is asked.", show_default=False)
    ] = None,
) -> None:
    """Make a party's record key: sealed under a passphrase, with a public half to hand to the sponsoring agency.

    Example: tracemark key new maker.key --party maker-a --ledger registry.example/weapons#0123456789abcdef
    """
    if context.settings.party is None:
        raise typer.BadParameter("give --party ID: whose key it is going to be")
    ledger_id = ledger or context.session().ledger_id()
    half = create_key(file, context.passphrase(new=True), party=context.settings.party, ledger=ledger_id)
    values = {"party": half.party, "public": half.public, "key": str(file), "public_file": str(public_path(file))}
    context.emit(
        values,
        labelled([("party", half.party), ("public key", half.public), ("sealed in", str(file))]),
        Text(f"Hand {public_path(file)} to the agency that enrols {half.party}; keep the key file and its passphrase."),
    )


@command(app, "policy", "node", "signer", name="add")
def add(
    context: Context,
    *,
    new_key: Annotated[Path, typer.Option("--new-key", help="The new key's public half (FILE.public.json).")],
    receipt: ReceiptOption = None,
) -> None:
    """Replace a party's record key: by the party itself at once; by its sponsor (a recovery) after 72 hours.

    Example: tracemark key add --new-key new.key.public.json --key maker.key
    """
    half = read_public_half(new_key)
    author = context.author()
    body = build_body(KeyAdd, party=half.party, key=half.new_key)
    when = "from now on" if author.party == half.party else "in 72 hours, unless the party objects"
    issue(context, author, KeyAdd, body, receipt=receipt, said=f"{half.party} signs with the new key {when}.")


@command(app, "policy", "node", "signer", name="revoke")
def revoke(
    context: Context,
    *,
    public: Annotated[str, typer.Argument(help="The public key (64 hex digits).", metavar="PUBLIC")],
    reason: Annotated[Literal["compromised", "lost", "retired"], typer.Option(help="Why it ends.")],
    of: Annotated[
        str | None, typer.Option("--of", help="The key's party, if not the signer's.", show_default=False)
    ] = None,
    suspected_from: Annotated[str | None, time_option("--suspected-from", "Flag its records since this time")] = None,
    remark: RemarkOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """End a record key: nothing later is accepted under it. What it signed before stays.

    Example: tracemark key revoke 3d40...c2af --reason compromised --of maker-a --key interior.key
    """
    author = context.author()
    body = build_body(
        KeyRevoke,
        party=of or author.party,
        public=public,
        reason=reason,
        suspected_from=absent(suspected_from),
        remark=absent(remark),
    )
    issue(
        context,
        author,
        KeyRevoke,
        body,
        receipt=receipt,
        said=f"The key {public[:16]} of {of or author.party} is ended.",
    )
