"""Serials and identities. The interpreter's Unicode tables serve as a second opinion here, and only here."""

import base64
import hashlib
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import marks
from ledger.errors import RuleError
from ledger.marks import check_serial, describe, is_unmarked_serial, look_alikes, normalise, weapon_id

LETTERS = marks.LATIN + marks.GREEK + marks.CYRILLIC


def test_the_names_are_those_of_unicode() -> None:
    for letter in LETTERS:
        assert describe(letter) == f"U+{ord(letter):04X} {unicodedata.name(letter)}"
    assert describe("é") == "U+00E9"


def test_lower_case_maps_to_the_capitals_of_the_tables() -> None:
    for letter in LETTERS:
        assert normalise(letter.lower()) == letter
        assert normalise(letter) == letter
    assert normalise("ς") == "Σ"


def test_every_space_and_hyphen_of_unicode_is_dropped() -> None:
    for code_point in range(sys.maxunicode + 1):
        character = chr(code_point)
        if unicodedata.category(character) == "Zs" and character != "\u1680":
            assert normalise(f"A{character}1") == "A1", f"U+{code_point:04X}"
    for hyphen in "-\u2010\u2011\u2012\u2013\u2014\u2212":
        assert normalise(f"A{hyphen}1") == "A1"


@pytest.mark.parametrize(
    ("marked", "serial"),
    [("ab 12-34", "AB1234"), ("007", "007"), (" a/1.b ", "A/1.B"), ("ая-12", "АЯ12"), ("\u00df1", "\u00df1")],
)
def test_normalising(marked: str, serial: str) -> None:
    assert normalise(marked) == serial
    assert normalise(serial) == serial


@given(st.text(max_size=40))
def test_a_serial_is_accepted_if_and_only_if_it_is_of_one_script(text: str) -> None:
    signs = set("0123456789/.")
    lawful = 1 <= len(text) <= 32 and any(
        set(text) <= signs | set(script) for script in (marks.LATIN, marks.GREEK, marks.CYRILLIC)
    )
    _expect(text, lawful=lawful)


@given(st.text(alphabet=LETTERS + "01/.", max_size=6))
def test_a_mix_of_letters_is_accepted_if_and_only_if_it_is_of_one_script(text: str) -> None:
    scripts = {name for name in ("LATIN", "GREEK", "CYRILLIC") for c in text if unicodedata.name(c).startswith(name)}
    _expect(text, lawful=bool(text) and len(scripts) <= 1)


def _expect(text: str, *, lawful: bool) -> None:
    if lawful:
        check_serial(text)
    else:
        with pytest.raises(RuleError):
            check_serial(text)


def test_the_odd_letter_is_named() -> None:
    for serial, named in (("AВC1", "U+0412"), ("АВC1", "U+0043"), ("ΑBC", "U+0391")):
        with pytest.raises(RuleError) as caught:
            check_serial(serial)
        assert caught.value.code == "serial_mixed_scripts"
        assert named in caught.value.message
        assert caught.value.help is not None


def test_look_alikes_are_named_with_what_they_pass_for() -> None:
    found = look_alikes("АВ12Ж")
    assert [(f.position, f.code_point, f.looks_like) for f in found] == [(0, "U+0410", "A"), (1, "U+0412", "B")]
    assert found[0].name == "CYRILLIC CAPITAL LETTER A"
    assert look_alikes("AB12") == ()


def test_unmarked_serials() -> None:
    assert is_unmarked_serial("UNMARKED1")
    assert is_unmarked_serial("UNMARKED120")
    for serial in ("UNMARKED", "UNMARKED0", "UNMARKED01", "UNMARKEDX", "AUNMARKED1", "UNMARKED1\n"):
        assert not is_unmarked_serial(serial)


@given(st.text(alphabet=LETTERS + "0123456789", min_size=1, max_size=10), st.text(alphabet="123", max_size=2))
def test_the_identity_is_as_specified(serial: str, discriminator: str) -> None:
    written = json.dumps(["GLC", serial, discriminator], ensure_ascii=False, separators=(",", ":")).encode()
    digest = hashlib.sha256(b"tracemark/weapon/1\x00" + written).digest()[:20]
    assert weapon_id("GLC", serial, discriminator) == "w" + base64.b32encode(digest).decode().lower()


def test_a_known_identity() -> None:
    # Fixed here so that no change of the code can change the identity of weapons on a ledger.
    assert weapon_id("GLC", "A1", "") == "wwcbvtitdcejhkhfuxogn4z5nqmdsm7wa"
