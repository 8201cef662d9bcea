"""Marks on steel as text: which code points a serial may have, and what makes a weapon's identity (DESIGN 4.5).

The tables stand here letter by letter, because every node must agree on them whatever Unicode version its interpreter
knows. Nodes check (`check_serial`); clients normalise what was read (`normalise`) and warn of letters that pass for
others (`look_alikes`). Matching a vague description against the ledger is left to those who search.
"""

import base64
import hashlib
import re
from typing import Final

import msgspec

from ledger.codec import encode
from ledger.errors import RuleError
from ledger.limits import MAX_SERIAL_CHARS

_IDENTITY_DOMAIN: Final = b"tracemark/weapon/1\x00"
_IDENTITY_BYTES: Final = 20

UNKNOWN_MAKE: Final = "UNK"
"""The make code where the make is unknown."""
UNMARKED_PREFIX: Final = "UNMARKED"
"""Serial of a weapon without a readable one: this and a number that the registering party assigns."""

LATIN: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
GREEK: Final = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ"
CYRILLIC: Final = "ЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯҐ"
DIGITS_AND_SIGNS: Final = "0123456789/."

_GREEK_LOWER: Final = "αβγδεζηθικλμνξοπρστυφχψω"
_CYRILLIC_LOWER: Final = "ѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюяґ"
_SEPARATORS: Final = " \t\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000" + (
    "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
)
"""Spaces and hyphens that forms, spreadsheets and scanners put between the groups of a serial."""

_GREEK_NAMES: Final = (
    "ALPHA BETA GAMMA DELTA EPSILON ZETA ETA THETA IOTA KAPPA LAMDA MU NU XI OMICRON PI RHO SIGMA TAU UPSILON PHI CHI "
    "PSI OMEGA"
)
_CYRILLIC_NAMES: Final = (
    "IE WITH GRAVE,IO,DJE,GJE,UKRAINIAN IE,DZE,BYELORUSSIAN-UKRAINIAN I,YI,JE,LJE,NJE,TSHE,KJE,I WITH GRAVE,SHORT U,"
    "DZHE,A,BE,VE,GHE,DE,IE,ZHE,ZE,I,SHORT I,KA,EL,EM,EN,O,PE,ER,ES,TE,U,EF,HA,TSE,CHE,SHA,SHCHA,HARD SIGN,YERU,"
    "SOFT SIGN,E,YU,YA,GHE WITH UPTURN"
)

# What a reader takes for a Latin letter or a digit. Written as pairs: the letter, what it passes for.
_LOOK_ALIKE_PAIRS: Final = (
    "ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX ЅS ІI ЇI ЈJ ЀE ЁE ЌK АA ВB ЕE З3 КK МM НH ОO РP СC ТT УY ЎY ХX Б6 ЬB"
)

_NAMES: Final[dict[str, str]] = {
    **{letter: f"LATIN CAPITAL LETTER {letter}" for letter in LATIN},
    **{letter: f"GREEK CAPITAL LETTER {name}" for letter, name in zip(GREEK, _GREEK_NAMES.split(), strict=True)},
    **{
        letter: f"CYRILLIC CAPITAL LETTER {name}"
        for letter, name in zip(CYRILLIC, _CYRILLIC_NAMES.split(","), strict=True)
    },
}
_LOOK_ALIKES: Final[dict[str, str]] = {pair[0]: pair[1] for pair in _LOOK_ALIKE_PAIRS.split()}

_SCRIPTS: Final[tuple[tuple[str, str], ...]] = (("Latin", LATIN), ("Greek", GREEK), ("Cyrillic", CYRILLIC))
_SCRIPT_OF: Final[dict[str, str]] = {letter: script for script, letters in _SCRIPTS for letter in letters}
_ONE_SCRIPT: Final = re.compile("|".join(rf"[{letters}{DIGITS_AND_SIGNS}]+" for _, letters in _SCRIPTS))
_UNMARKED: Final = re.compile(rf"{UNMARKED_PREFIX}[1-9][0-9]*")

_NORMALISE: Final[dict[int, str | None]] = {
    **{ord(small): large for small, large in zip(LATIN.lower(), LATIN, strict=True)},
    **{ord(small): large for small, large in zip(_GREEK_LOWER, GREEK, strict=True)},
    ord("ς"): "Σ",
    **{ord(small): large for small, large in zip(_CYRILLIC_LOWER, CYRILLIC, strict=True)},
    **{ord(separator): None for separator in _SEPARATORS},
}


class LookAlike(msgspec.Struct, frozen=True, kw_only=True):
    """One letter of a serial that passes for another: where (from 0), which, its code point and name, and for what."""

    position: int
    character: str
    code_point: str
    name: str
    looks_like: str


def weapon_id(make: str, serial: str, discriminator: str) -> str:
    """The identity of a weapon (DESIGN 4.5).

    `w` + lower-case unpadded base32 of the first 20 bytes of SHA-256("tracemark/weapon/1" 0x00 canonical JSON
    [make, serial, discriminator]).
    """
    digest = hashlib.sha256(_IDENTITY_DOMAIN + encode((make, serial, discriminator))).digest()
    return "w" + base64.b32encode(digest[:_IDENTITY_BYTES]).decode("ascii").lower()


def normalise(marked: str) -> str:
    """The serial of a mark as read: upper case by the tables here, without spaces and hyphens, leading zeros kept.

    What the tables do not know stays as it is, for `check_serial` to refuse by name.
    """
    return marked.translate(_NORMALISE)


def check_serial(serial: str) -> None:
    """Check that a serial is 1 to 32 digits, `/`, `.` and capitals of one script: Latin, Greek or Cyrillic.

    Raises:
        RuleError: code `serial_size`, `serial_character` (one that no serial has) or `serial_mixed_scripts`; the
        message names the character and its code point.
    """
    if not 1 <= len(serial) <= MAX_SERIAL_CHARS:
        raise RuleError(
            "the serial is empty or too long",
            code="serial_size",
            expected=f"1 to {MAX_SERIAL_CHARS} characters",
            actual=len(serial),
        )
    if _ONE_SCRIPT.fullmatch(serial):
        return
    for character in serial:
        if character not in _SCRIPT_OF and character not in DIGITS_AND_SIGNS:
            raise RuleError(
                f"the serial has a character that no serial has: {describe(character)}",
                code="serial_character",
                expected="capitals A-Z, Greek or Cyrillic capitals, digits, / and .",
                actual=describe(character),
                help="Normalise the mark: upper case, no spaces or hyphens. Keep the original in `marked`.",
            )
    raise _mixed_scripts(serial)


def _mixed_scripts(serial: str) -> RuleError:
    """The refusal, which names the letter that differs from most: that is the one typed on the wrong keyboard."""
    letters = [character for character in serial if character in _SCRIPT_OF]
    counts = {script: sum(_SCRIPT_OF[letter] == script for letter in letters) for script, _ in _SCRIPTS}
    usual = max(counts, key=lambda script: counts[script])
    odd = next(letter for letter in letters if _SCRIPT_OF[letter] != usual)
    like = _LOOK_ALIKES.get(odd)
    return RuleError(
        f"the serial mixes scripts: {describe(odd)} among {usual} letters",
        code="serial_mixed_scripts",
        expected=f"letters of one script ({usual})",
        actual=f"{describe(odd)} at position {serial.index(odd) + 1}",
        help=f"It looks like {like}; type it again on the right keyboard." if like else "Type it again in one script.",
    )


def is_unmarked_serial(serial: str) -> bool:
    """Whether a serial stands for "no readable serial": UNMARKED and a number without leading zeros."""
    return _UNMARKED.fullmatch(serial) is not None


def look_alikes(serial: str) -> tuple[LookAlike, ...]:
    """The Greek and Cyrillic letters of a serial that pass for Latin letters or digits, in order.

    A serial wholly in one of these scripts is lawful and has them too; what to make of it is the client's choice.
    """
    return tuple(
        LookAlike(
            position=position,
            character=character,
            code_point=f"U+{ord(character):04X}",
            name=_NAMES[character],
            looks_like=_LOOK_ALIKES[character],
        )
        for position, character in enumerate(serial)
        if character in _LOOK_ALIKES
    )


def describe(character: str) -> str:
    """A character as a refusal names it: code point and, where the tables know it, its Unicode name."""
    code_point = f"U+{ord(character):04X}"
    return f"{code_point} {_NAMES[character]}" if character in _NAMES else code_point
