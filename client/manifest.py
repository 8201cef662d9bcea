"""A maker's manifest: a spreadsheet's CSV of weapons, read and checked before anything is signed.

Every bad line is found in one pass and named by its line number in the file (the header is line 1; a line is what an
editor numbers, also where a quoted cell holds line breaks), its column, a stable defect name, the value and what to do.
Nothing is guessed and nothing repaired beyond outer spaces and the case of codes. Cutting the good rows into records is
`client.lots`'.
"""

import csv
import io
import re
from collections.abc import Iterator
from datetime import date
from typing import Final, Literal, get_args

import msgspec

from client.countries import is_country
from ledger.errors import InputError, RuleError
from ledger.limits import (
    MAX_CODE_CHARS,
    MAX_COMPONENTS,
    MAX_MANIFEST_BYTES,
    MAX_MANIFEST_LINES,
    MAX_MARKED_CHARS,
    MAX_NAME_CHARS,
    MAX_SERIAL_CHARS,
)
from ledger.marks import (
    CYRILLIC,
    GREEK,
    UNKNOWN_MAKE,
    UNMARKED_PREFIX,
    check_serial,
    look_alikes,
    normalise,
)
from ledger.records.fields import ComponentKind
from ledger.records.items import Component

COLUMNS: Final = (
    "make_code",
    "make",
    "model",
    "type_code",
    "calibre",
    "serial",
    "country",
    "year",
    "component_serials",
)
REQUIRED_COLUMNS: Final = ("make_code", "serial", "country")
Defect = Literal[
    "bad_character",
    "bad_code",
    "bad_component_list",
    "bad_country",
    "bad_encoding",
    "bad_quoting",
    "bad_year",
    "control_character",
    "duplicate_in_file",
    "future_year",
    "look_alike_script",
    "missing_serial",
    "negative_year",
    "serial_too_long",
    "text_too_long",
    "unknown_make_code",
    "wrong_cell_count",
]

HELP: Final[dict[Defect, str]] = {
    "bad_character": "A serial holds letters, digits, '/' and '.'; read the mark again and type only what is on it.",
    "bad_code": f"Give a code of 1 to {MAX_CODE_CHARS} letters and digits, or leave the cell empty.",
    "bad_component_list": 'Write component=serial pairs: "barrel=X;slide=Y"; components are '
    "frame, receiver, upper, lower, barrel, slide, cylinder, bolt, breech.",
    "bad_country": "Give the ISO 3166 alpha-2 code of the country of manufacture, such as US or DE.",
    "bad_encoding": "Save the file as UTF-8 (in a spreadsheet: 'CSV UTF-8').",
    "bad_quoting": "A quotation mark is not closed, or text follows it; from here on the file cannot be read.",
    "bad_year": "Give the year of manufacture with four digits, or leave the cell empty.",
    "control_character": "Delete the invisible character and type the cell again.",
    "duplicate_in_file": "The make and serial stand on an earlier line (case, spaces and hyphens do not count).",
    "future_year": "The year of manufacture lies in the future.",
    "look_alike_script": "Letters of another script that look like Latin ones; type the serial again in Latin letters.",
    "missing_serial": "Every weapon of a manifest needs its serial. Leave the line out, and tell your agency of the weapon.",
    "negative_year": "A year of manufacture is not negative.",
    "serial_too_long": f"A serial has at most {MAX_SERIAL_CHARS} letters and digits; two may have run together.",
    "text_too_long": f"At most {MAX_NAME_CHARS} characters.",
    "unknown_make_code": "Not on the code list of makes; look up the maker's code.",
    "wrong_cell_count": "The line has more or fewer cells than the header; look for a missing or extra separator.",
}

_MISSING: Final = frozenset({"", "NONE", "N/A", "UNKNOWN"})
_CODE: Final = re.compile(rf"[A-Z0-9]{{1,{MAX_CODE_CHARS}}}")
_YEAR: Final = re.compile(r"-?[0-9]{1,9}")
_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\U000e0000-\U000e0fff]"
)
"""The characters that no name or mark of a record may have (`ledger.records.fields`), surrogates apart."""
_UNDECODABLE: Final = re.compile("[\ud800-\udfff]")
_OUTER: Final = " \u00a0"
"""What spreadsheets put around a value: spaces, and spaces that do not break."""
_COMPONENTS: Final[dict[str, ComponentKind]] = {kind: kind for kind in get_args(ComponentKind)}
_MIN_YEAR: Final = 1500
_MAX_VALUE_CHARS: Final = 100


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One defect of one cell. `line` is the file's own line number; `column` is empty where the whole line is meant;
    `value` is the cell as it stands in the file, at most 100 characters of it."""

    line: int
    column: str
    defect: Defect
    value: str
    help: str


class ManifestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One good line. `serial` is normalised, `marked` as the file has it without outer spaces; '' and None are absent."""

    line: int
    make: str
    serial: str
    marked: str
    make_name: str
    model: str
    type: str
    calibre: str
    country: str
    year: int | None
    components: tuple[Component, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds: its good rows and its problems, both in line order. `lines` counts the lines with weapons."""

    rows: tuple[ManifestRow, ...]
    problems: tuple[Problem, ...]
    lines: int


def read_codes(data: bytes) -> frozenset[str]:
    """The make codes of a code list: CSV in UTF-8 with a `code` column.

    Raises:
        InputError: code `bad_code_list`.
    """
    text = _decode(data, code="bad_code_list")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"the code list is not CSV: {error}", code="bad_code_list") from error
    header = [cell.strip(_OUTER).lower() for cell in rows[0]] if rows else []
    if "code" not in header:
        raise InputError(
            "the code list has no 'code' column", code="bad_code_list", expected="code,definition", actual=header[:10]
        )
    column = header.index("code")
    codes = {row[column].strip(_OUTER).upper() for row in rows[1:] if len(row) > column}
    return frozenset(code for code in codes if _CODE.fullmatch(code)) | {UNKNOWN_MAKE}


def read_manifest(data: bytes, *, today: date, codes: frozenset[str] | None = None) -> Manifest:
    """Read and check a manifest: CSV in UTF-8 (with or without a byte order mark), separated by comma, semicolon or tab.

    Args:
        data: the file, at most `MAX_MANIFEST_BYTES`.
        today: a weapon made in a later year than this is a defect.
        codes: the acceptable make codes; None checks only their form.

    Raises:
        InputError: the file as a whole cannot be read: `too_large`, `bad_encoding` (UTF-16 or such), `bad_header`.
    """
    text = _decode(data, code="bad_encoding")
    if len(data) > MAX_MANIFEST_BYTES:
        raise InputError(
            "the manifest is too large", code="too_large", expected=f"<= {MAX_MANIFEST_BYTES} bytes", actual=len(data)
        )
    return _Reader(today=today, codes=codes).read(text)


def _decode(data: bytes, *, code: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00\x00" in data[:64]:
        raise InputError("the file is not UTF-8", code=code, help=HELP["bad_encoding"])
    return data.decode("utf-8-sig", errors="surrogateescape")


class _Reader:
    """One pass over one file."""

    def __init__(self, *, today: date, codes: frozenset[str] | None) -> None:
        self._today = today
        self._codes = codes
        self._problems: list[Problem] = []
        self._first_lines: dict[tuple[str, str], int] = {}
        self._cells: dict[str, str] = {}

    def read(self, text: str) -> Manifest:
        separator, columns = _header(text)
        rows: list[ManifestRow] = []
        lines = 0
        for line, cells in self._records(text, separator):
            lines += 1
            if lines > MAX_MANIFEST_LINES:
                raise InputError("the manifest has too many lines", code="too_large", expected=MAX_MANIFEST_LINES)
            found = len(self._problems)
            values = self._values(line, cells, columns)
            if values is None:
                continue
            row = self._row(line, values)
            if len(self._problems) == found:
                rows.append(row)
        return Manifest(rows=tuple(rows), problems=tuple(self._problems), lines=lines)

    def _records(self, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
        """Each record with the number of the line that it begins on; blank ones are left out."""
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        next(reader)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._add(line, "", "bad_quoting", str(error))
                return
            if any(cell.strip(_OUTER) for cell in cells):
                yield line, cells

    def _values(self, line: int, cells: list[str], columns: list[str]) -> dict[str, str] | None:
        while len(cells) > len(columns) and not cells[-1].strip(_OUTER):
            cells = cells[:-1]
        if len(cells) != len(columns):
            self._cells = {}
            self._add(line, "", "wrong_cell_count", f"{len(cells)} cells, the header has {len(columns)}")
            return None
        self._cells = dict(zip(columns, cells, strict=True))
        values = dict.fromkeys(COLUMNS, "")
        values.update((column, cell.strip(_OUTER)) for column, cell in self._cells.items())
        return values

    def _row(self, line: int, values: dict[str, str]) -> ManifestRow:
        clean = {column: self._clean(line, column, value) for column, value in values.items()}
        make = self._make(line, clean["make_code"])
        year = self._year(line, clean["year"])
        marked = clean["serial"]
        return ManifestRow(
            line=line,
            make=make,
            serial=self._serial(line, make, marked),
            marked="" if marked is None else marked,
            make_name=self._name(line, "make", clean["make"]),
            model=self._name(line, "model", clean["model"]),
            type=self._code(line, "type_code", clean["type_code"]),
            calibre=self._code(line, "calibre", clean["calibre"]),
            country=self._country(line, clean["country"], year),
            year=year,
            components=self._components(line, clean["component_serials"]),
        )

    def _clean(self, line: int, column: str, value: str) -> str | None:
        """The value, or None where its characters are a defect already; then nothing else is said of the cell."""
        if _UNDECODABLE.search(value):
            self._add(line, column, "bad_encoding", value)
            return None
        if _CONTROLS.search(value):
            self._add(line, column, "control_character", value)
            return None
        return value

    def _make(self, line: int, value: str | None) -> str:
        if value is None:
            return ""
        make = value.upper()
        if not _CODE.fullmatch(make) or (self._codes is not None and make not in self._codes):
            self._add(line, "make_code", "unknown_make_code", value)
        return make

    def _serial(self, line: int, make: str, marked: str | None) -> str:
        if marked is None:
            return ""
        serial = normalise(marked)
        if marked.upper() in _MISSING or not serial or serial.startswith(UNMARKED_PREFIX):
            self._add(line, "serial", "missing_serial", marked)
            return ""
        defect = _serial_defect(serial, marked)
        if defect is not None:
            self._add(line, "serial", defect, marked, help_text=_serial_help(defect, serial))
            return ""
        first = self._first_lines.setdefault((make, serial), line)
        if first != line:
            help_text = f"{HELP['duplicate_in_file']} First on line {first}."
            self._add(line, "serial", "duplicate_in_file", marked, help_text=help_text)
        return serial

    def _name(self, line: int, column: str, value: str | None) -> str:
        if value is not None and len(value) > MAX_NAME_CHARS:
            self._add(line, column, "text_too_long", value)
        return value or ""

    def _code(self, line: int, column: str, value: str | None) -> str:
        code = (value or "").upper()
        if code and not _CODE.fullmatch(code):
            self._add(line, column, "bad_code", code)
        return code

    def _country(self, line: int, value: str | None, year: int | None) -> str:
        country = (value or "").upper()
        if value is not None and not is_country(country, year):
            self._add(line, "country", "bad_country", value)
        return country

    def _year(self, line: int, value: str | None) -> int | None:
        if not value:
            return None
        if not _YEAR.fullmatch(value):
            self._add(line, "year", "bad_year", value)
            return None
        year = int(value)
        if year < 0:
            self._add(line, "year", "negative_year", value)
        elif year > self._today.year:
            self._add(line, "year", "future_year", value)
        elif year < _MIN_YEAR:
            self._add(line, "year", "bad_year", value)
        return year

    def _components(self, line: int, value: str | None) -> tuple[Component, ...]:
        if not value:
            return ()
        parts = [tuple(side.strip(_OUTER) for side in part.partition("=")) for part in value.split(";")]
        components = []
        for kind, equals, marked in parts:
            serial = normalise(marked)
            component = _COMPONENTS.get(kind.lower())
            if component is None or not equals or not serial or "=" in marked:
                self._add(line, "component_serials", "bad_component_list", value)
                return ()
            defect = _serial_defect(serial, marked)
            if defect is not None:
                self._add(line, "component_serials", defect, value)
                return ()
            components.append(Component(component=component, serial=marked))
        if len(components) > MAX_COMPONENTS:
            self._add(line, "component_serials", "bad_component_list", value)
        return tuple(components)

    def _add(self, line: int, column: str, defect: Defect, value: str, *, help_text: str | None = None) -> None:
        shown = _UNDECODABLE.sub("\ufffd", self._cells.get(column, value))[:_MAX_VALUE_CHARS]
        self._problems.append(
            Problem(line=line, column=column, defect=defect, value=shown, help=help_text or HELP[defect])
        )


def _serial_defect(serial: str, marked: str) -> Defect | None:
    """What is wrong with a serial that is there and has no control characters.

    A serial wholly in Greek or Cyrillic is lawful, but one whose every letter passes for a Latin one was typed on the
    wrong keyboard.
    """
    if len(serial) > MAX_SERIAL_CHARS or len(marked) > MAX_MARKED_CHARS:
        return "serial_too_long"
    try:
        check_serial(serial)
    except RuleError as error:
        return "look_alike_script" if error.code == "serial_mixed_scripts" else "bad_character"
    foreign = [letter for letter in serial if letter in GREEK or letter in CYRILLIC]
    return "look_alike_script" if foreign and len(look_alikes(serial)) == len(foreign) else None


def _serial_help(defect: Defect, serial: str) -> str:
    """The defect's help; where letters look like others, with those letters named, for the eye does not see them."""
    if defect != "look_alike_script":
        return HELP[defect]
    letters = dict.fromkeys(f"{found.code_point} {found.name} for {found.looks_like}" for found in look_alikes(serial))
    return " ".join([HELP[defect], *([f"Here: {', '.join(letters)}."] if letters else [])])


def _header(text: str) -> tuple[str, list[str]]:
    """The separator and the columns: the first separator with which the header has all that is needed."""
    first = next(iter(io.StringIO(text, newline="")), "")
    best: list[str] = []
    for separator in (",", ";", "\t"):
        try:
            cells = next(csv.reader([first], delimiter=separator), [])
        except csv.Error:
            continue
        columns = [cell.strip(_OUTER).lower() for cell in cells]
        while columns and not columns[-1]:
            columns.pop()
        if len(columns) > len(best):
            best = columns
        if set(REQUIRED_COLUMNS) <= set(columns) <= set(COLUMNS) and len(set(columns)) == len(columns):
            return separator, columns
    raise InputError(
        "the first line is not a manifest's header",
        code="bad_header",
        expected=",".join(COLUMNS),
        actual=_UNDECODABLE.sub("\ufffd", ",".join(best))[:200],
        help=f"Needed are {', '.join(REQUIRED_COLUMNS)}; other columns than these nine must be taken out.",
    )
