"""Ed25519's edge cases from three sources, each with libsodium's verdict: the one rule of `ledger.signing`."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ledger.signing import verify
from tests.conformance.cases import Case, Fields, UnreadableError, json_files, judge, objects, read_json

REJECTED_FLAGS: Final = frozenset(
    {"non_canonical_A", "non_canonical_R", "low_order_A", "low_order_R", "low_order_residue"}
)
"""Flags of C2SP/CCTV whose cases libsodium rejects."""

SPECCHECK_ACCEPTED: Final = 3
"""The one case of ed25519-speccheck, counting from 0, that libsodium accepts."""

WYCHEPROOF_VERDICTS: Final = {"valid": True, "invalid": False, "acceptable": None}


def cctv_cases(paths: Sequence[Path]) -> Iterator[Case]:
    """Cases {number, key, sig, msg, flags}: hexadecimal, but `msg` is text."""
    for path in json_files(paths):
        for case in objects(path):
            fields = Fields(case)
            flags = fields.value("flags")
            held = {flag for flag in flags if isinstance(flag, str)} if isinstance(flags, list) else set()
            name = f"{path.name}#{fields.value('number')}"
            yield judge(name, accept=not held & REJECTED_FLAGS, check=partial(_check_cctv, fields))


def speccheck_cases(paths: Sequence[Path]) -> Iterator[Case]:
    """Cases {message, pub_key, signature} in hexadecimal, known by their place in the file."""
    for path in json_files(paths):
        for number, case in enumerate(objects(path)):
            fields = Fields(case)
            accept = number == SPECCHECK_ACCEPTED
            yield judge(f"{path.name}#{number}", accept=accept, check=partial(_check_speccheck, fields))


def wycheproof_cases(paths: Sequence[Path]) -> Iterator[Case]:
    """Test groups with a public key and tests {tcId, msg, sig, result} in hexadecimal."""
    for path in json_files(paths):
        document = read_json(path)
        groups = document.get("testGroups") if isinstance(document, dict) else None
        if not isinstance(groups, list):
            raise UnreadableError(f"{path}: no testGroups")
        for group in groups:
            key = Fields(Fields(group).value("publicKey"))
            tests = Fields(group).value("tests")
            for test in tests if isinstance(tests, list) else ():
                fields = Fields(test)
                result = fields.value("result")
                if not isinstance(result, str) or result not in WYCHEPROOF_VERDICTS:
                    raise UnreadableError(f"{path}: a test without result")
                name = f"{path.name}#{fields.value('tcId')}"
                yield judge(name, accept=WYCHEPROOF_VERDICTS[result], check=partial(_check_wycheproof, key, fields))


def _check_cctv(fields: Fields) -> None:
    verify(fields.hex("key"), fields.text("msg").encode("utf-8", "surrogatepass"), fields.hex("sig"))


def _check_speccheck(fields: Fields) -> None:
    verify(fields.hex("pub_key"), fields.hex("message"), fields.hex("signature"))


def _check_wycheproof(key: Fields, fields: Fields) -> None:
    verify(key.hex("pk"), fields.hex("msg"), fields.hex("sig"))
