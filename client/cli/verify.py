"""`tracemark verify`: evidence checked offline, with nothing but the file and a policy."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.cli.common import Context, command
from client.cli.evidence import MARK, GenesisOption, show_verified
from client.cli.layout import labelled, trace_story
from client.describe import checkpoint_json, trace_json
from client.files import read_file
from ledger.bundle import verify_bundle
from ledger.errors import ConfigurationError, VerificationError
from ledger.limits import MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, MAX_EVIDENCE_BYTES
from ledger.merkle.hashing import leaf_hash
from ledger.policy import Judge
from ledger.proof import HEADER, LogProof

_OF_COSIGNERS = frozenset({"no_log_signature", "no_quorum", "not_minimal"})
"""Checks that also fail where agencies joined or changed keys after the policy was pinned."""
_FOLLOW = (
    "If agencies joined, left or changed keys since the policy was pinned, give --succession FILE, which `tracemark policy "
    "follow --keep FILE` writes."
)


def add_to(app: typer.Typer) -> None:
    """Make `verify` a command of the app."""
    command(app, "policy", name="verify")(verify)


def verify(
    context: Context,
    *,
    file: Annotated[
        Path, typer.Argument(help="An evidence bundle, a receipt (tlog-proof), or evidence.", metavar="FILE")
    ],
    entry: Annotated[
        Path | None, typer.Option(help="Of a receipt: the record that it proves; else FILE.entry.", show_default=False)
    ] = None,
    leaf: Annotated[
        str | None, typer.Option("--leaf-hash", help="Of a receipt: the leaf hash in hex instead.", show_default=False)
    ] = None,
    genesis: GenesisOption = None,
) -> None:
    """Verify an evidence bundle or a receipt against a policy, offline; or evidence against an agency's node.

    Exit code 1 names the check that failed. Evidence against an agency needs --genesis to show whose key it is.

    What agencies cosigned that joined after the policy was made needs --succession; see `policy follow`.

    Example: tracemark verify trace.bundle --policy policy.txt
    """
    data = read_file(file, limit=MAX_BUNDLE_BYTES, what="evidence")
    if MARK in data[:MAX_EVIDENCE_BYTES]:
        show_verified(context, file, genesis)
        return
    policy = context.settings.require_judge()
    try:
        _verify_against(context, data, policy, file=file, entry=entry, leaf=leaf)
    except VerificationError as error:
        if error.code in _OF_COSIGNERS and error.help is None and context.settings.succession is None:
            error.help = _FOLLOW
        raise


def _verify_against(
    context: Context, data: bytes, policy: Judge, *, file: Path, entry: Path | None, leaf: str | None
) -> None:
    if data.startswith(HEADER.encode()):
        _verify_receipt(context, data, _leaf_hash(file, entry=entry, leaf=leaf), policy)
        return
    if not (data.startswith(b"{") and b'"checkpoint"' in data):
        raise VerificationError(
            "this file is neither an evidence bundle nor a receipt",
            code="not_evidence",
            expected="a file that `trace --bundle`, `evidence fetch` or an option --receipt kept",
            actual=str(file),
        )
    trace = verify_bundle(data, policy)
    context.emit(
        {**trace_json(trace), "format": "bundle"}, Text("The bundle is genuine and complete.\n"), *trace_story(trace)
    )


def _verify_receipt(context: Context, data: bytes, leaf: bytes, policy: Judge) -> None:
    proof = LogProof.parse(data)
    verified = proof.verify(leaf, policy)
    described = checkpoint_json(verified)
    names = ", ".join(name for name, _ in verified.cosignatures) or "nobody"
    context.emit(
        {"verified": True, "format": "tlog-proof", "index": proof.head.index, "leaf_hash": leaf.hex(), **described},
        Text("The receipt is genuine: the record stands in the log."),
        labelled(
            [
                ("log", verified.checkpoint.origin),
                ("index", str(proof.head.index)),
                ("size", str(verified.checkpoint.size)),
                ("root", verified.checkpoint.root.hex()),
                ("cosigned by", names),
            ]
        ),
    )


def _leaf_hash(file: Path, *, entry: Path | None, leaf: str | None) -> bytes:
    if leaf is not None:
        try:
            decoded = bytes.fromhex(leaf)
        except ValueError:
            decoded = b""
        if len(decoded) != 32:
            raise ConfigurationError(
                "not a leaf hash", code="bad_leaf_hash", expected="64 hex digits", actual=leaf[:80]
            )
        return decoded
    path = entry or file.with_name(f"{file.name}.entry")
    if not path.exists():
        raise ConfigurationError(
            "a receipt proves a record: which?",
            code="no_entry",
            expected=str(path),
            help="Give --entry or --leaf-hash.",
        )
    return leaf_hash(read_file(path, limit=MAX_ENTRY_BYTES, what="record"))
