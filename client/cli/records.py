"""What all commands share that issue a record: sign, submit, wait for the receipt, say so, keep it."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args

import msgspec
import typer
from rich.text import Text

from client.answers import Submitted
from client.author import Author
from client.cli.common import Context
from client.cli.layout import labelled
from client.describe import submitted_json
from client.errors import NotAllowedError
from client.files import create_file, read_file, require_absent
from ledger.errors import EncodingError, InputError
from ledger.limits import (
    MAX_CODE_CHARS,
    MAX_MARKED_CHARS,
    MAX_NAME_CHARS,
    MAX_ROLES,
    MAX_TEXT_CHARS,
    MAX_TRANSFER_WEAPONS,
)
from ledger.records.base import Body, RecordBase
from ledger.records.envelope import parse_entry
from ledger.records.fields import PartyRole, parse_time

T = TypeVar("T")

MAX_LIST_BYTES: Final = 1024 * 1024
_RECORD_ID: Final = re.compile("[0-9a-f]{64}")
_WEAPON_ID: Final = re.compile("w[a-z2-7]{32}")
_FIELD: Final = re.compile(r"\$\.(\w+)")
_PARTY_ID: Final = "an id of 2 to 40 lower-case letters, digits and hyphens, first a letter"
_TIME: Final = "a time in UTC such as 2026-11-20T22:00:00Z"
_EXPECTED: Final = {
    "advance_timeout_ms": "100 to 600,000 milliseconds",
    "case": f"1 to {MAX_MARKED_CHARS} characters on one line",
    "country": "an ISO 3166 alpha-2 code in capitals, such as XA",
    "expires_at": _TIME,
    "heartbeat_s": "1 to 86,400 seconds",
    "height": "a block's height, 1 or more",
    "jurisdiction": "an ISO 3166 alpha-2 code in capitals, such as XA",
    "lead_timeout_ms": "50 to 600,000 milliseconds",
    "makes": f"make codes of 1 to {MAX_CODE_CHARS} capitals and digits",
    "name": f"1 to {MAX_NAME_CHARS} characters on one line",
    "occurred_at": _TIME,
    "party": _PARTY_ID,
    "public": "64 hex digits, as `tracemark party show` prints a key",
    "remark": f"1 to {MAX_TEXT_CHARS} characters on one line",
    "roles": f"1 to {MAX_ROLES} of {', '.join(get_args(PartyRole))}",
    "suspected_from": _TIME,
    "to": _PARTY_ID,
    "unregistered": "MAKE:SERIAL with a make code of capitals and digits",
    "valid_until": _TIME,
    "version": "a version's number, 1 or more",
    "weapons": f"1 to {MAX_TRANSFER_WEAPONS:,} weapon ids",
}
"""What may stand in the fields of records that options and arguments fill, in words."""

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
    for weapon in ids:
        check_weapon_id(weapon)
    return ids


def check_weapon_id(text: str) -> None:
    """Refuse what can be no weapon's id.

    Raises:
        InputError: code `bad_weapon_id`.
    """
    if _WEAPON_ID.fullmatch(text) is None:
        raise InputError(
            "not a weapon's id",
            code="bad_weapon_id",
            expected="w and 32 lower-case letters and digits 2 to 7",
            actual=text[:80],
            help="`tracemark weapon show --serial SERIAL` prints the id.",
        )


def check_record_id(text: str) -> None:
    """Refuse what can be no record's id.

    Raises:
        InputError: code `bad_record_id`.
    """
    if _RECORD_ID.fullmatch(text) is None:
        raise InputError(
            "not a record's id",
            code="bad_record_id",
            expected="64 hex digits, as the command that issued the record printed them",
            actual=text[:80],
        )


def _time(text: str | None) -> str | None:
    if text is not None:
        try:
            parse_time(text)
        except EncodingError as error:
            raise typer.BadParameter(f"{text[:40]!r} is not {_TIME}.") from error
    return text


def time_option(name: str, help: str) -> Any:  # noqa: A002 - typer's own name
    """An option that is a time in the ledger's one spelling, refused before anything else is done."""
    return typer.Option(name, help=f"{help} (YYYY-MM-DDThh:mm:ssZ).", callback=_time, show_default=False)


def build_body(kind: type[RecordBase], **fields: Any) -> Body:
    """The body of a record, its fields checked against the schema.

    Raises:
        InputError: code `bad_field`, naming the field and what may stand there.
    """
    body: Body = build_part(kind.__annotations__["body"], **fields)
    return body


def build_part(shape: type[T], **fields: Any) -> T:
    """A part of a record, its fields checked against the schema.

    Raises:
        InputError: code `bad_field`, naming the field and what may stand there.
    """
    try:
        return msgspec.convert({name: value for name, value in fields.items() if value is not msgspec.UNSET}, shape)
    except msgspec.ValidationError as error:
        field = found.group(1) if (found := _FIELD.search(str(error))) else ""
        raise InputError(
            f"the record cannot be made: its {field or 'body'} is not acceptable",
            code="bad_field",
            expected=_EXPECTED.get(field, error),
            actual=str(fields.get(field, ""))[:80] or None,
        ) from error


def submit_record(
    context: Context, author: Author, kind: type[RecordBase], body: Body, *, receipt: Path | None
) -> Submitted:
    """Sign and submit one record, and wait until it is final.

    Args:
        context: the invocation.
        author: who signs.
        kind: the record's kind.
        body: its body.
        receipt: where to keep the receipt, if anywhere.

    Raises:
        ConfigurationError: code `file_exists`: something is where the receipt belongs; nothing was submitted.
        RuleError: the ledger refused it; the errors of `Session.submit`.
    """
    kept = None if receipt is None else (receipt.with_name(f"{receipt.name}.entry"), receipt)
    for path in kept or ():
        require_absent(path)
    entry = author.issue(kind, body)
    submitted = context.session().submit([entry])[0].require_final()
    if kept is not None and submitted.receipt is not None:
        for path, data in zip(kept, (entry, submitted.receipt), strict=True):
            create_file(path, data, mode=0o644)
    return submitted


def issue(
    context: Context, author: Author, kind: type[RecordBase], body: Body, *, receipt: Path | None, said: str
) -> Submitted:
    """Sign and submit one record, wait until it is final, and say so: `said` is what has happened then, for people.

    Raises:
        RuleError: as `submit_record`.
    """
    submitted = submit_record(context, author, kind, body, receipt=receipt)
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
        NotAllowedError: code `not_readable`; InputError: `wrong_kind`, `bad_record_id`; NotFoundError.
    """
    check_record_id(record_id)
    submitted, entry = context.session().record(record_id)
    if entry is None:
        raise NotAllowedError(
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
