"""The command: `python -m tests.conformance KIND PATH...`. See the package's docstring."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ledger.errors import ConfigurationError
from ledger.notes import COSIGNATURE_V1, ED25519, NoteVerifier
from tests.conformance.cases import Case, MalformedCaseError, UnreadableError, from_hex
from tests.conformance.ed25519 import cctv_cases, speccheck_cases, wycheproof_cases
from tests.conformance.jcs import jcs_cases
from tests.conformance.merkle import consistency_cases, inclusion_cases
from tests.conformance.smt import smt_cases
from tests.conformance.tlog import cosignature_cases, log_cases, proof_cases

PLAIN_KINDS: Final[dict[str, Callable[[Sequence[Path]], Iterator[Case]]]] = {
    "merkle-inclusion": inclusion_cases,
    "merkle-consistency": consistency_cases,
    "ed25519-cctv": cctv_cases,
    "ed25519-speccheck": speccheck_cases,
    "ed25519-wycheproof": wycheproof_cases,
    "jcs": jcs_cases,
    "smt": smt_cases,
}
KEY_TYPES: Final = {"tlog-log": ED25519, "tlog-proof": ED25519, "cosignature": COSIGNATURE_V1}
"""Kinds that need a verifier key, with its signature type."""

EXAMPLE: Final = "example: python -m tests.conformance merkle-inclusion ../shared/vectors/merkle/inclusion.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases of one kind; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description="Run other people's test vectors: one line a case, then `N passed, N failed`.",
        epilog=EXAMPLE,
    )
    parser.add_argument("kind", choices=[*PLAIN_KINDS, *KEY_TYPES])
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument(
        "--vkey", help="verifier key: of the log (tlog-log, tlog-proof) or of the witness (cosignature)"
    )
    parser.add_argument("--leaf-hash", metavar="HEX", help="the proven entry's leaf hash (tlog-proof)")
    options = parser.parse_args(arguments)
    try:
        return report(cases_of(options.kind, options.paths, options.vkey, options.leaf_hash))
    except (UnreadableError, ConfigurationError, MalformedCaseError) as error:
        print(f"python -m tests.conformance: {error}", file=sys.stderr)
        return 2


def cases_of(kind: str, paths: Sequence[Path], vkey: str | None, leaf_hash: str | None) -> Iterator[Case]:
    """The outcomes of one kind, lazily."""
    if kind in PLAIN_KINDS:
        return PLAIN_KINDS[kind](paths)
    if vkey is None:
        raise UnreadableError(f"{kind} needs --vkey")
    verifier = NoteVerifier.parse(vkey)
    if verifier.key_type != KEY_TYPES[kind]:
        raise UnreadableError(f"{kind} needs a key of signature type {KEY_TYPES[kind]}, not {verifier.key_type}")
    if kind == "cosignature":
        return cosignature_cases(paths, witness=verifier)
    if kind == "tlog-log":
        return log_cases(paths, log=verifier)
    if leaf_hash is None:
        raise UnreadableError("tlog-proof needs --leaf-hash")
    return proof_cases(paths, log=verifier, leaf=from_hex(leaf_hash, "--leaf-hash"))


def report(cases: Iterator[Case]) -> int:
    """Print each case and the closing line; 0 if all passed, 1 if not."""
    passed = failed = 0
    for case in cases:
        print(case.line())
        passed += case.passed
        failed += not case.passed
    print(f"{passed} passed, {failed} failed")
    if passed + failed == 0:
        raise UnreadableError("no cases in these paths")
    return 1 if failed else 0


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
