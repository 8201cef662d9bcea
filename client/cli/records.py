"""What all commands share that issue a record: sign, submit, wait for the receipt, say so, keep it."""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.text import Text

from client.answers import Submitted
from client.author import Author
from client.cli.common import Context
from client.cli.layout import labelled
from client.describe import submitted_json
from client.files import create_file, read_file
from ledger.errors import EncodingError, InputError
from ledger.records.base import Body, RecordBase
from ledger.records.envelope import parse_entry

MAX_LIST_BYTES: Final = 1024 * 1024

ReceiptOption = Annotated[
    Path | None,
    typer.Option("--receipt", help="Keep the receipt (tlog-proof) in this new file, the record in FILE.entry."),
]
WeaponsArgument = Annotated[
    list[str] | None, typer.Argument(help="Weapon ids.", metavar="WEAPON...", show_default=False)
]
WeaponsFileOption = Annotated[Path | None, typer.Option("--weapons", help="File with further weapon ids, one a line.")]
RemarkOption = Annotated[
    str | None, typer.Option(help="A remark for all to read. Never personal data.", show_default=False)
]


def absent(value: Any) -> Any:
    """None as the absent field of a record."""
    return msgspec.UNSET if value is None else value


def weapon_ids(arguments: list[str] | None, file: Path | None) -> tuple[str, ...]:
    """Weapon ids from arguments and a file, sorted and distinct.

    Raises:
        InputError: code `no_weapons`.
    """
    listed = read_file(file, limit=MAX_LIST_BYTES, what="list of weapons").decode("utf-8", "replace") if file else ""
    ids = tuple(sorted({*(arguments or ()), *listed.split()}))
    if not ids:
        raise InputError("no weapon is given", code="no_weapons", help="Give weapon ids, or --weapons FILE.")
    return ids


def build_body(kind: type[RecordBase], **fields: Any) -> Body:
    """The body of a record, its fields checked against the schema.

    Raises:
        EncodingError: code `bad_field`, naming the field.
    """
    shape = kind.__annotations__["body"]
    try:
        body: Body = msgspec.convert(
            {name: value for name, value in fields.items() if value is not msgspec.UNSET}, shape
        )
    except msgspec.ValidationError as error:
        raise EncodingError(f"the record cannot be made: {error}", code="bad_field") from error
    return body


def issue(
    context: Context, author: Author, kind: type[RecordBase], body: Body, *, receipt: Path | None, said: str
) -> Submitted:
    """Sign and submit one record, wait until it is final, and say so.

    Args:
        context: the invocation.
        author: who signs.
        kind: the record's kind.
        body: its body.
        receipt: where to keep the receipt, if anywhere.
        said: what has happened then, for people.

    Raises:
        RuleError: the ledger refused it; the errors of `Session.submit`.
    """
    entry = author.issue(kind, body)
    submitted = context.session().submit([entry])[0].require_final()
    if receipt is not None and submitted.receipt is not None:
        create_file(receipt.with_name(f"{receipt.name}.entry"), entry, mode=0o644)
        create_file(receipt, submitted.receipt, mode=0o644)
    values = {
        "record": submitted.id,
        "kind": kind.__struct_config__.tag,
        "issuer": author.party,
        **submitted_json(submitted),
    }
    context.emit(
        {**values, "receipt": None if receipt is None else str(receipt)},
        Text(said),
        labelled([("record", submitted.id), ("log index", str(submitted.index)), ("signed by", author.party)]),
    )
    return submitted


def fetch_record(context: Context, record_id: str, *, kind: type[RecordBase] | None = None) -> RecordBase:
    """A record of the log by its id, verified; of this kind, if one is given.

    Raises:
        InputError: code `wrong_kind`, or `not_readable` where the token may not read it; NotFoundError.
    """
    submitted, entry = context.session().record(record_id)
    if entry is None:
        raise InputError(
            "this token may not read the record",
            code="not_readable",
            actual=record_id,
            help="Ask the record's parties.",
        )
    submitted.require_final()
    record: RecordBase = parse_entry(entry).record
    if kind is not None and not isinstance(record, kind):
        raise InputError(
            "the record is of another kind",
            code="wrong_kind",
            expected=kind.__struct_config__.tag,
            actual=record.__struct_config__.tag,
        )
    return record
