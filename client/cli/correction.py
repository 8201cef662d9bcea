"""`tracemark correction`: nothing is erased; a record is declared not to have been so."""

from typing import Annotated

import typer

from client.cli.common import Context, command
from client.cli.records import ReceiptOption, RemarkOption, absent, build_body, fetch_record, issue
from ledger.errors import InputError
from ledger.records import CorrectionDeclare, IncidentReport, WeaponRegister
from ledger.state.transition import weapons_of

app = typer.Typer(no_args_is_help=True, help="Corrections: declare that a record did not occur.")


@command(app, "policy", "node", "signer", name="declare")
def declare(
    context: Context,
    *,
    record: Annotated[str, typer.Argument(help="The registration or incident, which you issued.", metavar="RECORD")],
    remark: RemarkOption = None,
    receipt: ReceiptOption = None,
) -> None:
    """Declare that your own registration or incident report did not occur, while it is each weapon's last record.

    Example: tracemark correction declare 5f0c...91 --remark "wrong manifest" --key maker.key
    """
    corrected = fetch_record(context, record)
    if not isinstance(corrected, WeaponRegister | IncidentReport):
        raise InputError(
            "only a registration or an incident can be declared not to have occurred",
            code="wrong_kind",
            actual=corrected.__struct_config__.tag,
            help="An accepted transfer is undone by a transfer back.",
        )
    author = context.author()
    weapons = tuple(sorted(weapons_of(corrected)))
    body = build_body(CorrectionDeclare, record=record, reason="did_not_occur", weapons=weapons, remark=absent(remark))
    said = f"Record {record[:12]} is declared not to have occurred: {len(weapons)} weapon{'s' if len(weapons) != 1 else ''}."
    issue(context, author, CorrectionDeclare, body, receipt=receipt, said=said)
