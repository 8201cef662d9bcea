"""`tracemark evidence`: what is held against agencies' nodes; every piece proves itself, and is believed only then."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.cli.common import Context, command
from client.cli.layout import columns, labelled
from client.cli.records import ReceiptOption, build_body, issue
from client.errors import NotAllowedError
from client.evidence import (
    MEANING,
    evidence_json,
    headline,
    keys_of_genesis,
    keys_of_policy,
    place,
    read_genesis,
    statements,
)
from client.files import create_file, read_file
from ledger.checkpoint import SignedCheckpoint
from ledger.errors import ConfigurationError, VerificationError
from ledger.evidence import (
    KnownKey,
    attribute,
    decode_evidence,
    encode_evidence,
    forks_between,
    subject_of,
    verify_evidence,
)
from ledger.limits import MAX_EVIDENCE_BYTES, MAX_NOTE_BYTES
from ledger.records import EquivocationReport
from ledger.records.evidence import EVIDENCE_FORMAT, Evidence
from ledger.state.model import KeyDoc

app = typer.Typer(no_args_is_help=True, help="Evidence against agencies' nodes: list, fetch, report, compare.")

MARK = f'"format":"{EVIDENCE_FORMAT}"'.encode()
"""By which a file of evidence is known."""
_FileArgument = Annotated[Path, typer.Argument(help="A file of evidence.", metavar="FILE")]
GenesisOption = Annotated[
    Path | None, typer.Option("--genesis", help="The ledger's genesis document.", show_default=False)
]


@command(app, "policy", "node", name="list")
def list_(context: Context) -> None:
    """List what a node holds against agencies' nodes. Each piece is verified, and whose key it is; none is believed
    unproven.

    Example: tracemark evidence list --node https://registry.example:8443
    """
    rows, values = [], []
    for evidence in context.session().evidence():
        verdict, shown = "proven", {"subject": subject_of(evidence), "party": evidence.party, "verified": True}
        try:
            verify_evidence(evidence)
            shown = evidence_json(evidence, _attribute_online(context, evidence))
        except VerificationError as error:
            verdict = f"not proven: {error.message} [{error.code}]"
            shown |= {"verified": False, "error": error.as_dict()}
        values.append(shown)
        rows.append((evidence.party, place(evidence), headline(evidence), verdict))
    text = columns(("agency", "where", "what", "verdict"), rows) if rows else Text("Nothing is held against anybody.")
    context.emit({"evidence": values}, text)


@command(app, "policy", "node", name="fetch")
def fetch(
    context: Context,
    out: Annotated[Path, typer.Option(help="Folder for the files; made if absent.")] = Path("evidence"),
) -> None:
    """Fetch what a node holds against agencies' nodes, one file each. What does not prove itself is not kept.

    Example: tracemark evidence fetch --out evidence --node https://registry.example:8443
    """
    kept, refused = [], []
    for evidence in context.session().evidence():
        try:
            verify_evidence(evidence)
            _attribute_online(context, evidence)
        except VerificationError as error:
            refused.append({"subject": subject_of(evidence), "error": error.as_dict()})
            continue
        kept.append(str(_keep(evidence, out)))
    text = Text("\n".join(kept) if kept else "Nothing is held against anybody.")
    context.emit({"files": kept, "refused": refused}, text)
    if refused:
        raise VerificationError(
            f"the node showed {len(refused)} pieces that prove nothing",
            code="evidence_unproven",
            actual=", ".join(str(each["subject"]) for each in refused),
            help="Ask its agency why; `evidence list` says what is wrong with each.",
        )


@command(app, "policy", "node", "signer", name="report")
def report(context: Context, file: _FileArgument, receipt: ReceiptOption = None) -> None:
    """Put evidence on the ledger, for good and for all to see. Issued by an agency; every node verifies it again.

    Example: tracemark evidence report police-0.json --key customs/agency.sealed
    """
    evidence = _read(file)
    _attribute_online(context, evidence)
    author = context.author()
    body = build_body(EquivocationReport, evidence=evidence)
    issue(context, author, EquivocationReport, body, receipt=receipt, said=f"{headline(evidence)} It is on the ledger.")


@command(app, "policy", name="compare")
def compare(
    context: Context,
    *,
    first: Annotated[Path, typer.Argument(help="A signed checkpoint.", metavar="NOTE")],
    second: Annotated[Path, typer.Argument(help="Another of the same size.", metavar="NOTE")],
    genesis: GenesisOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the files; made if absent.")] = Path("evidence"),
) -> None:
    """Make evidence of two checkpoints that contradict each other: against every agency that signed both. Offline.

    Example: tracemark evidence compare old.note new.note --genesis genesis.json --policy policy.txt
    """
    if genesis is None:
        raise typer.BadParameter("give --genesis FILE: it says of which ledger the evidence is.")
    document = read_genesis(genesis)
    keys = {(key.role, key.public): key for key in (*keys_of_genesis(document), *_keys_of_settings(context))}
    notes = [SignedCheckpoint.parse(read_file(path, limit=MAX_NOTE_BYTES, what="note")) for path in (first, second)]
    found = list(forks_between(document.ledger_id, notes[0], notes[1], keys.values()))
    if not found:
        raise VerificationError(
            "the two notes prove nothing against anybody",
            code="evidence_lawful",
            expected="one size, two roots, and a key whose lines stand under both",
            actual=" and ".join(
                f"size {note.checkpoint.size}, root {note.checkpoint.root.hex()[:16]}..." for note in notes
            ),
            help="Checkpoints of different sizes contradict each other only by the log's tiles; keep both notes.",
        )
    kept = [str(_keep(evidence, out)) for evidence in found]
    context.emit(
        {"files": kept, "evidence": [subject_of(evidence) for evidence in found]},
        *(Text(f"{headline(evidence)}  {path}") for evidence, path in zip(found, kept, strict=True)),
    )


def show_verified(context: Context, file: Path, genesis: Path | None) -> None:
    """`tracemark verify` of a file of evidence, offline.

    Raises:
        VerificationError: it proves nothing, or nothing shows whose key it is; the code says which.
    """
    evidence = _read(file)
    keys: list[KnownKey] = []
    if genesis is not None:
        document = read_genesis(genesis)
        if document.ledger_id != evidence.ledger:
            raise VerificationError(
                "the evidence is of another ledger than the genesis document",
                code="evidence_ledger",
                expected=document.ledger_id,
                actual=evidence.ledger,
            )
        keys += keys_of_genesis(document)
    keys += _keys_of_settings(context)
    key = attribute(evidence, keys)
    first, second = statements(evidence)
    context.emit(
        evidence_json(evidence, key),
        Text(f"Proven. {headline(evidence)}"),
        labelled(
            [
                ("agency", evidence.party),
                ("ledger", evidence.ledger),
                ("where", place(evidence)),
                ("it signed", first),
                ("and", second),
                ("key", f"{evidence.public}, its {key.role} key by {key.source}"),
            ]
        ),
        Text(MEANING),
    )


def _read(file: Path) -> Evidence:
    evidence = decode_evidence(read_file(file, limit=MAX_EVIDENCE_BYTES, what="evidence"))
    verify_evidence(evidence)
    return evidence


def _keep(evidence: Evidence, folder: Path) -> Path:
    """Write the file, unless evidence of the same is there already.

    Raises:
        ConfigurationError: code `file_exists`: something else is.
    """
    path = folder / f"{subject_of(evidence).replace(':', '-')}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        create_file(path, encode_evidence(evidence), mode=0o644)
        return path
    try:
        there = _read(path)
        is_same = (there.ledger, subject_of(there)) == (evidence.ledger, subject_of(evidence))
    except VerificationError:
        is_same = False
    if not is_same:
        raise ConfigurationError(
            f"{path} is there already, and is no evidence of {subject_of(evidence)} on {evidence.ledger}",
            code="file_exists",
            help="Name another folder with --out, or move the file.",
        )
    return path


def _keys_of_settings(context: Context) -> list[KnownKey]:
    """Those that a policy and a succession show, if a policy is given."""
    settings = context.settings
    return [] if settings.policy is None else list(keys_of_policy(settings.require_judge()))


def _attribute_online(context: Context, evidence: Evidence) -> KnownKey:
    """Whose key it is, by the ledger's own document about it, proven."""
    session = context.session()
    if evidence.ledger != session.ledger_id():
        raise VerificationError(
            "the evidence is of another ledger",
            code="evidence_ledger",
            expected=session.ledger_id(),
            actual=evidence.ledger,
        )
    try:
        document = session.key(evidence.public).document
    except NotAllowedError:  # without a token: by what is open to all
        _, followed = session.succession()
        return attribute(evidence, (*keys_of_genesis(session.genesis()), *keys_of_policy(followed)))
    known: list[KnownKey] = []
    if isinstance(document, KeyDoc):
        known.append(
            KnownKey(party=document.party, role=document.role, public=evidence.public, source="the ledger's state")
        )
    return attribute(evidence, known)
