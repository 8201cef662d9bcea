"""Manifests: every bad line is found, at its line and column, and nothing else is."""

import csv
import io
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.countries import ASSIGNED, is_country
from client.lots import split_into_lots
from client.manifest import COLUMNS, HELP, ManifestRow, read_codes, read_manifest
from client.sample import sample_codes, sample_make_codes, sample_manifest
from ledger.codec import b64encode, encode
from ledger.errors import InputError
from ledger.limits import MAX_ENTRY_BYTES, MAX_LOT_WEAPONS
from ledger.marks import weapon_id
from ledger.records import WeaponRegister
from ledger.records.envelope import parse_entry, sign_record
from tests.shared import data
from tests.world import GENESIS, key_named

TODAY = date(2026, 11, 21)
GOOD = {
    "make_code": "SW",
    "make": "SMITH & WESSON",
    "model": "6904",
    "type_code": "SP",
    "calibre": "12",
    "serial": "KD177151",
    "country": "US",
    "year": "1998",
    "component_serials": "barrel=KD177151;slide=KD177151",
}


def manifest(*lines: dict[str, str], columns: tuple[str, ...] = COLUMNS, separator: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        writer.writerow([{**GOOD, **line}[column] for column in columns])
    return text.getvalue().encode()


def found(content: bytes, codes: frozenset[str] | None = None) -> list[tuple[int, str, str]]:
    checked = read_manifest(content, today=TODAY, codes=codes)
    return [(problem.line, problem.column, problem.defect) for problem in checked.problems]


def test_the_messy_manifest_has_exactly_the_expected_defects() -> None:
    codes = read_codes(data("ncic_makes.csv").read_bytes())
    checked = read_manifest(data("manifests", "messy_400.csv").read_bytes(), today=TODAY, codes=codes)
    with data("manifests", "messy_400_expected.csv").open(newline="") as file:
        expected = [(int(row["line"]), row["defect"]) for row in csv.DictReader(file)]
    assert [(problem.line, problem.defect) for problem in checked.problems] == expected
    assert (len(expected), checked.lines, len(checked.rows)) == (50, 400, 350)


@pytest.mark.parametrize("name", ["lot_500.csv", "lot_5000.csv"])
def test_clean_manifests_have_no_defect(name: str) -> None:
    codes = read_codes(data("ncic_makes.csv").read_bytes())
    checked = read_manifest(data("manifests", name).read_bytes(), today=TODAY, codes=codes)
    assert not checked.problems
    assert len(checked.rows) == int(name[4:-4])


@pytest.mark.parametrize(
    ("column", "value", "defect"),
    [
        ("serial", "", "missing_serial"),
        ("serial", "   ", "missing_serial"),
        ("serial", "none", "missing_serial"),
        ("serial", " N/A ", "missing_serial"),
        ("serial", "Unknown", "missing_serial"),
        ("serial", "- -", "missing_serial"),
        ("serial", "UNMARKED7", "missing_serial"),
        ("serial", "A" * 33, "serial_too_long"),
        ("serial", "A-" * 32 + "A", "serial_too_long"),
        ("serial", "АВ123", "look_alike_script"),
        ("serial", "АВ040135", "look_alike_script"),
        ("serial", "Ж12A", "look_alike_script"),
        ("serial", "ΑΒ12", "look_alike_script"),
        ("serial", "А123", "look_alike_script"),
        ("serial", "AB\u200b12", "control_character"),
        ("serial", "AB\t12", "control_character"),
        ("serial", "AB\u202e12", "control_character"),
        ("serial", "AB_12", "bad_character"),
        ("serial", "ÄB12", "bad_character"),
        ("serial", "AB１2", "bad_character"),
        ("make_code", "", "unknown_make_code"),
        ("make_code", "ZQ9", "unknown_make_code"),
        ("make_code", "S W", "unknown_make_code"),
        ("country", "", "bad_country"),
        ("country", "XX", "bad_country"),
        ("country", "UK", "bad_country"),
        ("country", "USA", "bad_country"),
        ("country", "Germany!", "bad_country"),
        ("year", "2027", "future_year"),
        ("year", "99999999", "future_year"),
        ("year", "-4", "negative_year"),
        ("year", "0", "bad_year"),
        ("year", "98", "bad_year"),
        ("year", "1998.0", "bad_year"),
        ("year", "１９９８", "bad_year"),
        ("component_serials", "barrel", "bad_component_list"),
        ("component_serials", "barrel;;=9=,", "bad_component_list"),
        ("component_serials", "barrel=", "bad_component_list"),
        ("component_serials", "grip=A1", "bad_component_list"),
        ("component_serials", "barrel=A=B", "bad_component_list"),
        ("component_serials", "barrel=A1;", "bad_component_list"),
        ("component_serials", ";".join(["barrel=A1"] * 13), "bad_component_list"),
        ("component_serials", "barrel=А1", "look_alike_script"),
        ("type_code", "S-P", "bad_code"),
        ("calibre", "9 mm", "bad_code"),
        ("model", "x" * 101, "text_too_long"),
        ("make", "a\nb", "control_character"),
    ],
)
def test_every_defect_is_found_in_its_cell(column: str, value: str, defect: str) -> None:
    codes = frozenset({"SW"})
    content = manifest({"serial": "X1"}, {column: value}, {"serial": "X2"})
    checked = read_manifest(content, today=TODAY, codes=codes)
    assert [(problem.line, problem.column, problem.defect) for problem in checked.problems] == [(3, column, defect)]
    assert checked.problems[0].value == value[:100]
    assert checked.problems[0].help.startswith(HELP[checked.problems[0].defect])
    assert [row.serial for row in checked.rows] == ["X1", "X2"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("serial", "ЖД1234"),  # wholly Cyrillic, and no Latin reader would take it for Latin
        ("serial", "ΩΨ12"),
        ("serial", "369J257"),
        ("serial", "A-1 2/3.4"),
        ("make_code", "sw"),
        ("make_code", "UNK"),
        ("country", "de"),
        ("country", "SU"),
        ("year", ""),
        ("year", "2026"),
        ("model", ""),
        ("component_serials", ""),
        ("component_serials", " Barrel = A1 ; slide=B2"),
    ],
)
def test_what_is_unusual_is_no_defect(column: str, value: str) -> None:
    assert found(manifest({"year": "1980", column: value}), frozenset({"SW", "UNK"})) == []


def test_a_country_that_is_no_more_made_weapons_while_it_was() -> None:
    assert is_country("SU", 1985)
    assert not is_country("SU", 1999)
    assert len(ASSIGNED) == 249


@pytest.mark.parametrize("again", ["KD177151", "kd177151", " KD177151", "KD-177 151", "\u00a0KD177151 "])
def test_a_serial_stands_once_whatever_its_spelling(again: str) -> None:
    content = manifest({}, {"serial": "OTHER1"}, {"serial": again})
    assert found(content) == [(4, "serial", "duplicate_in_file")]
    assert "line 2" in read_manifest(content, today=TODAY).problems[0].help


def test_leading_zeros_and_other_makes_make_other_weapons() -> None:
    content = manifest(
        {"serial": "0123"}, {"serial": "123"}, {"serial": "00123"}, {"serial": "123", "make_code": "CLT"}
    )
    assert found(content) == []
    assert [row.serial for row in read_manifest(content, today=TODAY).rows] == ["0123", "123", "00123", "123"]


def test_one_line_may_have_several_defects() -> None:
    content = manifest({"serial": "", "country": "XX", "year": "-1"})
    assert found(content) == [
        (2, "year", "negative_year"),
        (2, "serial", "missing_serial"),
        (2, "country", "bad_country"),
    ]


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    broken = manifest({"serial": "A1", "model": "two\nlines"}, {"serial": "A2"}, {"serial": ""})
    assert found(broken) == [(2, "model", "control_character"), (5, "serial", "missing_serial")]
    header, first, *_ = manifest({"serial": "A1"}).split(b"\n")
    spaced = b"\r\n".join([header, b"", first, b",,,,,,,,", first, b""])
    assert found(spaced) == [(5, "serial", "duplicate_in_file")]


def test_a_quote_that_never_closes_is_named_at_its_line() -> None:
    content = manifest({"serial": "A1"}, {"serial": "A2"}) + b'SW,"S & W,6904,SP,12,A3,US,1998,\nSW,,,,,A4,US,,\n'
    assert found(content) == [(4, "", "bad_quoting")]


def test_bytes_that_are_no_utf8_are_named_at_their_cell() -> None:
    content = manifest({"serial": "A1"}, {"serial": "A2", "model": "Stra?e"}).replace(b"?", b"\xdf")
    assert found(content) == [(3, "model", "bad_encoding")]


def test_a_line_with_too_few_or_too_many_cells_is_named() -> None:
    content = (
        manifest({"serial": "A1"})
        + b"SW,S & W,6904,SP,12,A2,US\n"
        + b"SW,,,,,A3,US,,,surplus\n"
        + b"SW,,,,,A4,US,,,,\n"
    )
    assert found(content) == [(3, "", "wrong_cell_count"), (4, "", "wrong_cell_count")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_separators_and_byte_order_marks_are_understood(separator: str) -> None:
    content = b"\xef\xbb\xbf" + manifest({}, separator=separator)
    assert len(read_manifest(content, today=TODAY).rows) == 1


def test_columns_may_stand_in_any_order_and_some_may_be_missing() -> None:
    checked = read_manifest(manifest({}, columns=("country", "serial", "make_code")), today=TODAY)
    assert (checked.rows[0].make, checked.rows[0].serial, checked.rows[0].year) == ("SW", "KD177151", None)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad_header"),
        (b"a,b,c\n1,2,3\n", "bad_header"),
        (manifest({}).replace(b"model", b"remark"), "bad_header"),
        (manifest({}).replace(b"model", b"make"), "bad_header"),
        (manifest({}).decode().encode("utf-16"), "bad_encoding"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_as_a_whole(content: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_manifest(content, today=TODAY)
    assert caught.value.code == code
    assert caught.value.help


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(tail: bytes) -> None:
    checked = read_manifest(manifest({"serial": "A1"}) + tail, today=TODAY)
    assert all(problem.line >= 2 for problem in checked.problems)


@pytest.mark.parametrize("content", [b"", b"nothing\nSW\n", b'code\n"SW', b"\xff\xfec\x00"])
def test_a_code_list_must_be_one(content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_codes(content)
    assert caught.value.code == "bad_code_list"


def test_the_sample_is_clean_and_the_same_for_the_same_seed() -> None:
    content = sample_manifest(500, seed=7, last_year=2026)
    assert content == sample_manifest(500, seed=7, last_year=2026) != sample_manifest(500, seed=8, last_year=2026)
    checked = read_manifest(content, today=TODAY, codes=read_codes(sample_codes()))
    assert (checked.problems, len(checked.rows)) == ((), 500)
    assert {row.make for row in checked.rows} == set(sample_make_codes())


# --- lots -----------------------------------------------------------------------------------------------------------

ROWS = st.builds(
    ManifestRow,
    line=st.integers(2, 10_000),
    make=st.sampled_from(["SW", "CLT", "GLC"]),
    serial=st.from_regex(r"[A-Z0-9]{1,32}", fullmatch=True),
    marked=st.sampled_from(["", "a 1"]),
    make_name=st.sampled_from(["", "MAKER", "Ä" * 100]),
    model=st.text("MODEL ", max_size=100).filter(lambda text: text == text.strip()),
    type=st.sampled_from(["", "PI", "RI"]),
    calibre=st.sampled_from(["", "9", "45"]),
    country=st.sampled_from(["US", "DE"]),
    year=st.sampled_from([None, 1900, 2026]),
    components=st.just(()),
)


SHARED = ("make", "make_name", "model", "type", "calibre", "country", "year")


@given(st.lists(ROWS, min_size=1, max_size=60))
def test_lots_say_of_every_weapon_exactly_what_the_manifest_says(rows: list[ManifestRow]) -> None:
    lots = split_into_lots(rows)
    told = []
    for lot in lots:
        defaults = {name: getattr(lot.body.defaults, name) for name in lot.body.defaults.__struct_fields__}
        for row, line, weapon in zip(lot.body.rows, lot.lines, lot.weapons, strict=True):
            own = {name: getattr(row.differs, name) for name in defaults}
            merged = {name: own[name] or defaults[name] or "" for name in defaults}
            told.append((line, row.serial, merged, weapon))
    expected = [
        (
            row.line,
            row.serial,
            {
                name: getattr(row, name) or ""
                for name in ("make", "make_name", "model", "type", "calibre", "country", "year")
            },
            weapon_id(row.make, row.serial, ""),
        )
        for row in rows
    ]
    assert sorted(told, key=str) == sorted(expected, key=str)


def test_lots_fit_into_entries_and_are_valid_records() -> None:
    rows = read_manifest(sample_manifest(3_000, seed=1, last_year=2026), today=TODAY).rows
    lots = split_into_lots(rows)
    assert sum(len(lot.lines) for lot in lots) == 3_000
    for lot in lots:
        record = WeaponRegister(
            issued_at="2026-11-21T10:00:00Z",
            issuer="maker",
            ledger=GENESIS.ledger_id,
            nonce="A" * 22,
            refs=(),
            schema=1,
            body=lot.body,
        )
        entry = sign_record(record, key_named("maker record"))
        parsed = parse_entry(entry)
        assert len(entry) <= MAX_ENTRY_BYTES
        assert tuple(identity.id for identity in parsed.record.identities) == lot.weapons  # type: ignore[union-attr]
    assert min(len(lot.lines) for lot in lots[:-1]) > 200, "lots are filled"


def test_a_lot_has_at_most_a_thousand_weapons() -> None:
    rows = read_manifest(
        manifest(*({"serial": f"A{number}", "component_serials": ""} for number in range(2_500))), today=TODAY
    ).rows
    sizes = [len(lot.lines) for lot in split_into_lots(rows)]
    assert sizes == [MAX_LOT_WEAPONS, MAX_LOT_WEAPONS, 500]
    assert len(b64encode(encode(split_into_lots(rows)[0].body))) < MAX_ENTRY_BYTES
