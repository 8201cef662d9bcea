"""`tracemark proposal`: what the validators decide together. Signed with the governance keys of their nodes."""

import time
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.text import Text

from client.answers import Submitted
from client.author import Author
from client.cli.common import Context, command
from client.cli.layout import columns, labelled
from client.cli.records import (
    ReceiptOption,
    absent,
    build_body,
    build_part,
    check_record_id,
    submit_record,
    time_option,
)
from client.describe import as_of_json, as_of_text
from client.errors import NotFoundError
from client.governance import (
    NODE_ROLES,
    proposal_json,
    proposal_lines,
    read_identity,
    require_known_version,
    rotation,
)
from ledger.answer import VerifiedDocument
from ledger.records import ProposalOpen, ProposalVote
from ledger.records.fields import format_time
from ledger.records.governance import (
    Change,
    ParametersSet,
    PartyResume,
    PartySuspend,
    ProposalOpenBody,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    VersionActivate,
)
from ledger.state.model import ProposalDoc, ValidatorsDoc

app = typer.Typer(no_args_is_help=True, help="What the validators decide: propose, vote, look.")
opening = typer.Typer(no_args_is_help=True, help="Propose a change; opening counts as your agency's vote for it.")
app.add_typer(opening, name="open")

DAYS: Final = 30
_DAY_MS: Final = 24 * 3600 * 1000

ProposalArgument = Annotated[str, typer.Argument(help="The proposal's id: that of its opening.", metavar="PROPOSAL")]
PartyArgument = Annotated[str, typer.Argument(help="The party's id.", metavar="PARTY")]
IdentityArgument = Annotated[Path, typer.Argument(help="The agency's identity.json.", metavar="IDENTITY")]
UntilOption = Annotated[str | None, time_option("--expires-at", f"Nobody votes any more then; else in {DAYS} days")]


def _open(context: Context, author: Author, change: Change, *, expires_at: str | None, receipt: Path | None) -> None:
    """Open a proposal; say what became of it, which is all decided where the opener is a quorum alone."""
    require_known_version(change)
    until = expires_at or format_time(int(time.time() * 1000) + DAYS * _DAY_MS)
    body = ProposalOpenBody(change=change, expires_at=until)
    submitted = submit_record(context, author, ProposalOpen, body, receipt=receipt)
    _emit(context, submitted.id, submitted, said=f"The proposal is opened, with the vote of {author.party} for it.")


@command(opening, "policy", "node", "signer", name="add")
def add(
    context: Context, identity: IdentityArgument, expires_at: UntilOption = None, receipt: ReceiptOption = None
) -> None:
    """Propose that an agency joins the validators. Its node can be started beforehand and follows the ledger until then.

    Example: tracemark proposal open add coast/identity.json --key customs/keys.sealed
    """
    agency = read_identity(identity, origin=_origin(context))
    change = ValidatorAdd(agency=agency)
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(opening, "policy", "node", "signer", name="remove")
def remove(
    context: Context, party_id: PartyArgument, expires_at: UntilOption = None, receipt: ReceiptOption = None
) -> None:
    """Propose that an agency leaves the validators. It stays an agency; to stop it, propose to suspend it.

    Example: tracemark proposal open remove neighbour --key customs/keys.sealed
    """
    change = build_part(ValidatorRemove, party=party_id)
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(opening, "policy", "node", "signer", name="replace")
def replace(
    context: Context,
    party_id: PartyArgument,
    identity: IdentityArgument,
    expires_at: UntilOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Propose that another agency takes a validator's place, in one step.

    Example: tracemark proposal open replace neighbour coast/identity.json --key customs/keys.sealed
    """
    agency = read_identity(identity, origin=_origin(context))
    change = build_part(ValidatorReplace, party=party_id, agency=agency)
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(opening, "policy", "node", "signer", name="rotate")
def rotate(
    context: Context,
    *,
    identity: IdentityArgument,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", help=f"Only this key (repeatable): {', '.join(NODE_ROLES)}.", show_default=False),
    ] = None,
    keep_ca: Annotated[bool, typer.Option("--keep-ca", help="Leave the CA certificate as it is.")] = False,
    expires_at: UntilOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Propose that a validator goes on with the node keys and the CA certificate of a new identity, as far as they differ.

    Example: tracemark proposal open rotate customs-new/identity.json --role consensus --key police/keys.sealed
    """
    unknown = sorted(set(roles or ()) - set(NODE_ROLES))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)} is not among {', '.join(NODE_ROLES)}.")
    agency = read_identity(identity, origin=_origin(context))
    standing = context.session().validators().document
    assert isinstance(standing, ValidatorsDoc)  # the answer was verified to be about it
    change = rotation(agency, standing, roles=roles or (), ca=not keep_ca)
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(opening, "policy", "node", "signer", name="parameters")
def parameters(
    context: Context,
    *,
    heartbeat_s: Annotated[
        int | None, typer.Option(help="Seconds until an idle ledger makes an empty block.", show_default=False)
    ] = None,
    lead_timeout_ms: Annotated[
        int | None, typer.Option(help="Milliseconds that a leader has for its proposal.", show_default=False)
    ] = None,
    advance_timeout_ms: Annotated[
        int | None, typer.Option(help="Milliseconds until a view is given up.", show_default=False)
    ] = None,
    expires_at: UntilOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Propose other timers for all nodes. What is not given stays as it is.

    Example: tracemark proposal open parameters --heartbeat-s 600 --key customs/keys.sealed
    """
    change = build_part(
        ParametersSet,
        heartbeat_s=absent(heartbeat_s),
        lead_timeout_ms=absent(lead_timeout_ms),
        advance_timeout_ms=absent(advance_timeout_ms),
    )
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(opening, "policy", "node", "signer", name="version")
def version(
    context: Context,
    *,
    number: Annotated[int, typer.Argument(help="The next version of the rules.", metavar="VERSION")],
    height: Annotated[int, typer.Option(help="The block from which on it is in force.")],
    expires_at: UntilOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Propose that the next version of the rules is in force from a height on. All nodes need a program that knows it.

    Example: tracemark proposal open version 2 --height 250000 --key customs/keys.sealed
    """
    change = build_part(VersionActivate, version=number, height=height)
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(opening, "policy", "node", "signer", name="suspend")
def suspend(
    context: Context, party_id: PartyArgument, expires_at: UntilOption = None, receipt: ReceiptOption = None
) -> None:
    """Propose that a party, an agency too, may issue no records until the validators resume it.

    Example: tracemark proposal open suspend dealer-b --key customs/keys.sealed
    """
    change = build_part(PartySuspend, party=party_id)
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(opening, "policy", "node", "signer", name="resume")
def resume(
    context: Context, party_id: PartyArgument, expires_at: UntilOption = None, receipt: ReceiptOption = None
) -> None:
    """Propose to lift a suspension that the validators decided.

    Example: tracemark proposal open resume dealer-b --key customs/keys.sealed
    """
    change = build_part(PartyResume, party=party_id)
    _open(context, context.author("governance"), change, expires_at=expires_at, receipt=receipt)


@command(app, "policy", "node", "signer", name="vote")
def vote(
    context: Context,
    *,
    proposal: ProposalArgument,
    choice: Annotated[Literal["for", "against"], typer.Argument(help="Your agency's vote; it cannot be taken back.")],
    receipt: ReceiptOption = None,
) -> None:
    """Vote on a proposal as a validator. `proposal show` tells what it would change.

    Example: tracemark proposal vote 5f0c...91 for --key police/keys.sealed
    """
    document = _find(context, proposal)[0]
    if choice == "for":
        require_known_version(document.change)
    author = context.author("governance")
    body = build_body(ProposalVote, proposal=proposal, vote=choice)
    submitted = submit_record(context, author, ProposalVote, body, receipt=receipt)
    _emit(context, proposal, submitted, said=f"{author.party} has voted {choice} it.")


@command(app, "policy", "node", name="show")
def show(context: Context, proposal: ProposalArgument) -> None:
    """Show a proposal, its votes and what became of it, proven as of the newest checkpoint.

    Example: tracemark proposal show 5f0c...91
    """
    _emit(context, proposal)


@command(app, "policy", "node", name="list")
def list_(
    context: Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that were decided or have lapsed, too.")] = False,
) -> None:
    """List the proposals that can be voted on, newest first. The list is the node's word; `show` proves one.

    Example: tracemark proposal list --all --json
    """
    validators = context.session().validators()
    assert isinstance(validators.document, ValidatorsDoc)
    now = format_time(validators.as_of.time_ms)
    found = []
    for each in sorted(context.session().proposals(), key=lambda each: each.opened, reverse=True):
        standing = each.status
        if standing == "open" and each.epoch != validators.document.epoch:
            standing = "lapsed"
        elif standing == "open" and each.expires_at <= now:
            standing = "expired"
        if every or standing == "open":
            found.append((each, standing))
    context.emit(
        {
            "verified": False,
            "epoch": validators.document.epoch,
            "proposals": [
                {
                    "proposal": each.id,
                    "opened_by": each.opened_by,
                    "opened": each.opened,
                    "epoch": each.epoch,
                    "change": each.change,
                    "party": each.party,
                    "expires_at": each.expires_at,
                    "status": standing,
                    "votes_for": list(each.votes_for),
                    "votes_against": list(each.votes_against),
                }
                for each, standing in found
            ],
        },
        columns(
            ("proposal", "change", "by", "for", "against", "status"),
            [
                (
                    each.id,
                    each.change + (f" {each.party}" if each.party else ""),
                    each.opened_by,
                    ", ".join(each.votes_for),
                    ", ".join(each.votes_against),
                    standing,
                )
                for each, standing in found
            ],
        )
        if found
        else Text("There is no proposal." if every else "There is no open proposal."),
    )


def _origin(context: Context) -> str:
    return context.session().genesis().origin


def _find(context: Context, proposal: str) -> tuple[ProposalDoc, VerifiedDocument]:
    """A proposal, and the proof of it.

    Raises:
        InputError: code `bad_record_id`; NotFoundError: no such proposal was opened.
    """
    check_record_id(proposal)
    session = context.session()
    proven = session.proposal(proposal)
    if not isinstance(proven.document, ProposalDoc):
        raise NotFoundError("no such proposal was ever opened: its absence is proven", actual=proposal)
    return proven.document, proven


def _emit(context: Context, proposal: str, submitted: Submitted | None = None, *, said: str | None = None) -> None:
    """A proposal as it stands, after a record of ours if one was submitted."""
    document, proven = _find(context, proposal)
    validators = context.session().validators()
    issued = {} if submitted is None else {"record": submitted.id, "index": submitted.index}
    context.emit(
        {
            "verified": True,
            **issued,
            **proposal_json(proposal, document, validators),
            "as_of": as_of_json(proven.as_of),
        },
        *([] if said is None else [Text(said)]),
        labelled(proposal_lines(proposal, document, validators)),
        Text(as_of_text(proven.as_of)),
    )
