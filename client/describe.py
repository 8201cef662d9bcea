"""Verified things in words and in JSON, in one place, so that every command says the same."""

from typing import Any, assert_never

import msgspec

from client.answers import Candidate, Submitted
from ledger.bundle import AsOf, Hop, VerifiedTrace
from ledger.policy import VerifiedCheckpoint
from ledger.records import (
    CorrectionDeclare,
    EquivocationReport,
    IncidentReport,
    KeyAdd,
    KeyRevoke,
    PartyEnrol,
    PartyUpdate,
    ProposalOpen,
    ProposalVote,
    TransferAccept,
    TransferCancel,
    TransferDecline,
    TransferOffer,
    WeaponRegister,
)
from ledger.records.fields import format_time
from ledger.state.model import KeyDoc, PartyDoc, WeaponDoc

_MOVES = {"title": "ownership", "custody": "custody", "both": "ownership and custody"}


def as_of_json(as_of: AsOf) -> dict[str, Any]:
    """The moment of a proof."""
    return {
        "origin": as_of.origin,
        "height": as_of.height,
        "time": format_time(as_of.time_ms),
        "size": as_of.size,
        "root": as_of.root,
        "state_root": as_of.state_root,
        "cosignatures": cosignatures_json(as_of.cosignatures),
    }


def as_of_text(as_of: AsOf) -> str:
    """The moment of a proof in one sentence."""
    names = ", ".join(name for name, _ in as_of.cosignatures) or "nobody"
    return (
        f"As of block {as_of.height}, {format_time(as_of.time_ms)} (log size {as_of.size:,}); cosigned by {names}"
        + (f" at {format_time(max(time_s for _, time_s in as_of.cosignatures) * 1000)}" if as_of.cosignatures else "")
        + "."
    )


def cosignatures_json(cosignatures: tuple[tuple[str, int], ...]) -> list[dict[str, str]]:
    """Who cosigned, and when."""
    return [{"name": name, "time": format_time(time_s * 1000)} for name, time_s in cosignatures]


def checkpoint_json(verified: VerifiedCheckpoint) -> dict[str, Any]:
    """A verified checkpoint."""
    checkpoint = verified.checkpoint
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "cosignatures": cosignatures_json(verified.cosignatures),
    }


def document_json(document: WeaponDoc | PartyDoc | KeyDoc) -> dict[str, Any]:
    """A document of the state as it is hashed, read as JSON."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def weapon_line(weapon: WeaponDoc | Candidate) -> str:
    """What identifies and describes a weapon, in one line."""
    described = (weapon.make_name, weapon.model, weapon.calibre and f"calibre {weapon.calibre}", weapon.country)
    return ", ".join(
        part
        for part in (f"{weapon.make} {weapon.serial}", *described, str(weapon.year) if weapon.year else None)
        if part
    )


def weapon_lines(weapon: str, document: WeaponDoc) -> list[tuple[str, str]]:
    """A weapon's document as labelled lines."""
    components = "; ".join(f"{part.component} {part.serial}" for part in document.components or ())
    lines = [
        ("weapon", weapon),
        ("identity", weapon_line(document)),
        ("marked", document.marked),
        ("components", components),
        ("registered by", document.registrar or ("" if document.registered else "nobody")),
        ("status", document.status),
        ("owner", document.owner or "nobody"),
        ("possessor", document.possessor or "nobody"),
        *_offer_lines(document),
        ("replaced by", document.superseded_by),
        ("records", str(document.history_count)),
    ]
    return [(label, value) for label, value in lines if value]


def _offer_lines(document: WeaponDoc) -> list[tuple[str, str]]:
    """The offers in which a weapon stands, by the ids under which they are accepted."""
    title, custody = document.offer_title, document.offer_custody
    if title is not None and title == custody:
        return [("offered in", title)]
    return [("title offered in", title or ""), ("custody offered in", custody or "")]


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def trace_json(trace: VerifiedTrace) -> dict[str, Any]:
    """A verified trace."""
    document = trace.document
    return {
        "verified": True,
        "ledger": trace.ledger,
        "weapon": trace.weapon,
        "make": document.make,
        "serial": document.serial,
        "status": document.status,
        "owner": document.owner,
        "possessor": document.possessor,
        "document": document_json(document),
        "as_of": as_of_json(trace.as_of),
        "hops": [hop_json(hop) for hop in trace.hops],
    }


def hop_json(hop: Hop) -> dict[str, Any]:
    """One record of a trace."""
    record = hop.record.record
    return {
        "index": hop.index,
        "record": hop.record.id,
        "kind": record.__struct_config__.tag,
        "issuer": record.issuer,
        "issued_at": record.issued_at,
        "signer": hop.signer,
        "summary": hop_text(hop),
        "status": hop.after.status,
        "owner": hop.after.owner,
        "possessor": hop.after.possessor,
    }


def hop_text(hop: Hop) -> str:
    """What a record of a trace says, in a few words."""
    record = hop.record.record
    match record:
        case WeaponRegister():
            return f"registered by {record.issuer}"
        case TransferOffer():
            return f"{_MOVES[record.body.moves]} offered by {record.issuer} to {record.body.to}"
        case TransferAccept():
            return f"offer accepted by {record.issuer}"
        case TransferDecline():
            return f"offer declined by {record.issuer}"
        case TransferCancel():
            return f"offer withdrawn by {record.issuer}"
        case IncidentReport():
            case = "" if record.body.case is msgspec.UNSET else f", case {record.body.case}"
            return f"reported {record.body.incident} by {record.issuer} (on {record.body.occurred_at[:10]}{case})"
        case CorrectionDeclare():
            return f"declared by {record.issuer} not to have occurred: record {record.body.record[:12]}"
        case PartyEnrol() | PartyUpdate() | KeyAdd() | KeyRevoke():
            return f"membership record of {record.issuer}"
        case ProposalOpen() | ProposalVote():
            return f"decision of {record.issuer} as a validator"
        case EquivocationReport():
            return f"evidence against a validator, reported by {record.issuer}"
        case _:
            assert_never(record)


def holding_text(document: WeaponDoc) -> str:
    """Who owns and who holds a weapon, and in which status it is."""
    owner, possessor = document.owner or "nobody", document.possessor or "nobody"
    whose = f"owner and possessor {owner}" if owner == possessor else f"owner {owner}, possessor {possessor}"
    return f"{whose}; {document.status}"


def party_lines(party: str, document: PartyDoc) -> list[tuple[str, str]]:
    """A party's document as labelled lines."""
    makes = "any" if document.any_make else ", ".join(document.makes)
    lines = [
        ("party", party),
        ("name", document.name),
        ("roles", ", ".join(document.roles)),
        ("jurisdiction", document.jurisdiction),
        ("status", document.status + (", by the validators" if document.suspended_by else "")),
        ("sponsor", document.sponsor or "none: an agency"),
        ("may grant", ", ".join(document.grants or ())),
        ("may register", makes),
        ("valid until", format_time(document.valid_until) if document.valid_until is not None else ""),
        ("record key", document.record_key or "none"),
        ("recovery key", document.recovery.public if document.recovery is not None else ""),
    ]
    return [(label, value) for label, value in lines if value]


def submitted_json(submitted: Submitted) -> dict[str, Any]:
    """What became of a record."""
    values: dict[str, Any] = {"id": submitted.id, "status": submitted.status}
    for name in ("index", "height"):
        value = getattr(submitted, name)
        if value is not None:
            values[name] = value
    if submitted.error is not None:
        values["error"] = submitted.error.as_dict()
    return values
