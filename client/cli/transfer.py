"""`tracemark transfer`: a weapon changes hands in two signed steps, an offer and its acceptance."""

import time
from typing import Annotated, Literal

import typer

from client.cli.common import Context, command
from client.cli.records import (
    ReceiptOption,
    RemarkOption,
    WeaponsArgument,
    WeaponsFileOption,
    absent,
    build_body,
    fetch_record,
    issue,
    weapon_ids,
)
from ledger.records import TransferAccept, TransferCancel, TransferDecline, TransferOffer
from ledger.records.fields import format_time

app = typer.Typer(no_args_is_help=True, help="Transfers of ownership and custody: offer, accept, decline, cancel.")

TransferArgument = Annotated[
    str, typer.Argument(help="The offer's record id; `weapon show` tells it.", metavar="OFFER")
]

_DAY_S = 24 * 3600


@command(app, "policy", "node", "signer", name="offer")
def offer(
    context: Context,
    *,
    to: Annotated[str, typer.Option(help="The party that is to get them.")],
    weapons: WeaponsArgument = None,
    weapons_file: WeaponsFileOption = None,
    moves: Annotated[
        Literal["title", "custody", "both"], typer.Option(help="Title (ownership), custody, or both.")
    ] = "both",
    days: Annotated[int, typer.Option(min=1, max=366, help="The offer expires after so many days.")] = 30,
    remark: RemarkOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Offer weapons to another party. Nothing changes hands until it accepts.

    Example: tracemark transfer offer wabc...xyz --to dealer-b --key maker.key
    """
    listed = weapon_ids(weapons, weapons_file)
    author = context.author()
    expires_at = format_time(int((time.time() + days * _DAY_S) * 1000))
    body = build_body(TransferOffer, weapons=listed, to=to, moves=moves, expires_at=expires_at, remark=absent(remark))
    issue(
        context,
        author,
        TransferOffer,
        body,
        receipt=receipt,
        said=f"{len(listed)} weapon{'s' if len(listed) != 1 else ''} offered to {to} until {expires_at}.",
    )


def _answer(
    context: Context,
    kind: type[TransferAccept] | type[TransferDecline] | type[TransferCancel],
    transfer: str,
    *,
    said: str,
    receipt: ReceiptOption,
    remark: str | None = None,
) -> None:
    """One step on an offer: its weapons are read from the offer itself, so that the signer signs exactly these."""
    offered = fetch_record(context, transfer, kind=TransferOffer)
    assert isinstance(offered, TransferOffer)
    author = context.author()
    body = build_body(kind, transfer=transfer, weapons=offered.body.weapons, remark=absent(remark))
    count = len(offered.body.weapons)
    issue(context, author, kind, body, receipt=receipt, said=f"{said}: {count} weapon{'s' if count != 1 else ''}.")


@command(app, "policy", "node", "signer", name="accept")
def accept(context: Context, transfer: TransferArgument, receipt: ReceiptOption = None) -> None:
    """Accept an offer, all of it: what was offered is yours from then on.

    Example: tracemark transfer accept 5f0c...91 --key dealer.key
    """
    _answer(context, TransferAccept, transfer, said="The offer is accepted", receipt=receipt)


@command(app, "policy", "node", "signer", name="decline")
def decline(
    context: Context, transfer: TransferArgument, remark: RemarkOption = None, receipt: ReceiptOption = None
) -> None:
    """Decline an offer made to you.

    Example: tracemark transfer decline 5f0c...91 --remark "two cases were opened" --key dealer.key
    """
    _answer(context, TransferDecline, transfer, said="The offer is declined", receipt=receipt, remark=remark)


@command(app, "policy", "node", "signer", name="cancel")
def cancel(
    context: Context, transfer: TransferArgument, remark: RemarkOption = None, receipt: ReceiptOption = None
) -> None:
    """Withdraw your own offer, while it is pending.

    Example: tracemark transfer cancel 5f0c...91 --key maker.key
    """
    _answer(context, TransferCancel, transfer, said="The offer is withdrawn", receipt=receipt, remark=remark)
