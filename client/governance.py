"""What the validators decide, for those who propose and vote: changes made of identity files, proposals read in words.

An identity is the file that an agency's `network identity` makes for the others. What it says is checked here as far as a
client can: its form, every proof of possession for this ledger's origin, and that its CA certificate can be read.
"""

import ssl
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from client.files import read_file
from ledger.answer import VerifiedDocument
from ledger.block import NEWEST_VERSION
from ledger.codec import b64decode, decode
from ledger.errors import ConfigurationError, EncodingError, InputError, SignatureError
from ledger.limits import MAX_IDENTITY_BYTES
from ledger.quorum import faults_tolerated, quorum
from ledger.records.agencies import Agency, keys_of
from ledger.records.envelope import verify_possession
from ledger.records.fields import format_time
from ledger.records.governance import (
    Change,
    ParametersSet,
    PartyResume,
    PartySuspend,
    RotatedKeys,
    ValidatorAdd,
    ValidatorRemove,
    ValidatorReplace,
    ValidatorRotate,
    VersionActivate,
    rotated,
)
from ledger.signing import Role
from ledger.state.lookup import Standing, standing_of
from ledger.state.model import ProposalDoc, Validator, ValidatorsDoc

NODE_ROLES: Final = tuple(role for role in get_args(Role) if role != "record")
"""The roles of a node's keys, which a rotation may replace."""


def read_identity(path: Path, *, origin: str) -> Agency:
    """An agency's identity, made for the ledger of this origin.

    Raises:
        ConfigurationError: `cannot_read`; `bad_identity`: malformed, for another origin, or with an unreadable certificate.
    """
    data = read_file(path, limit=MAX_IDENTITY_BYTES, what="identity").removesuffix(b"\n")
    try:
        agency: Agency = decode(data, Agency, limit=MAX_IDENTITY_BYTES)
        for role, key in keys_of(agency):
            verify_possession(key, ledger=origin, party=agency.party, role=role)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=b64decode(agency.ca, what="certificate"))
    except (EncodingError, SignatureError, ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is not the identity of an agency for this ledger: {error}",
            code="bad_identity",
            expected=f"identity.json as `tracemark network identity --origin {origin}` made it",
        ) from error
    return agency


def rotation(
    identity: Agency, standing: ValidatorsDoc, *, roles: Collection[str] = (), ca: bool = True
) -> ValidatorRotate:
    """The change to what of an identity differs from the validator as it stands.

    Args:
        identity: the agency's new identity.
        standing: the epoch's validators.
        roles: only the keys of these roles; all that differ if there are none.
        ca: the CA certificate, too.

    Raises:
        InputError: `unknown_validator`; `empty_change`.
    """
    known = next((each for each in standing.members if each.party == identity.party), None)
    if known is None:
        raise InputError(
            f"{identity.party} is not a validator",
            code="unknown_validator",
            expected=", ".join(each.party for each in standing.members),
            help="Propose to add it.",
        )
    keys = {
        role: key
        for role, key in keys_of(identity)
        if role in (roles or NODE_ROLES) and key.public != getattr(known, role)
    }
    has_new_ca = ca and identity.ca != known.ca
    if not keys and not has_new_ca:
        raise InputError(
            f"the identity has no key and no certificate that {identity.party} does not have already",
            code="empty_change",
            help="Make a new identity with `tracemark network identity`.",
        )
    return ValidatorRotate(
        party=identity.party,
        keys=msgspec.convert(keys, RotatedKeys),
        ca=identity.ca if has_new_ca else msgspec.UNSET,
    )


def require_known_version(change: Change) -> None:
    """Refuse to support a version of the rules that this program does not know: its agency's node would stop there.

    Raises:
        InputError: code `unsupported_version`.
    """
    if isinstance(change, VersionActivate) and change.version > NEWEST_VERSION:
        raise InputError(
            "this program does not know that version of the rules",
            code="unsupported_version",
            expected=f"version {NEWEST_VERSION} at most",
            actual=change.version,
            help="Install a program that knows it, on the node first; a node without it stops at that height.",
        )


def change_lines(change: Change) -> list[tuple[str, str]]:
    """A change in labelled lines."""
    match change:
        case ValidatorAdd():
            return [("change", f"{change.agency.party} joins the validators"), *_agency_lines(change.agency)]
        case ValidatorReplace():
            said = f"{change.agency.party} takes the place of {change.party} among the validators"
            return [("change", said), *_agency_lines(change.agency)]
        case ValidatorRemove():
            return [("change", f"{change.party} leaves the validators")]
        case ValidatorRotate():
            keys = [(f"new {role} key", key.public) for role, key in rotated(change.keys)]
            certificate = [] if change.ca is msgspec.UNSET else [("new certificate", "of its CA")]
            return [("change", f"{change.party} goes on with new keys"), *keys, *certificate]
        case ParametersSet():
            values = msgspec.structs.asdict(change)
            return [("change", "other parameters")] + [
                (name, str(value)) for name, value in values.items() if value is not msgspec.UNSET
            ]
        case VersionActivate():
            return [("change", f"version {change.version} of the rules is in force from block {change.height:,} on")]
        case PartySuspend():
            return [("change", f"{change.party} is suspended: it may issue no records")]
        case PartyResume():
            return [("change", f"{change.party} is active again")]


def _agency_lines(agency: Agency) -> list[tuple[str, str]]:
    return [
        ("name", f"{agency.name} ({agency.jurisdiction})"),
        ("roles", f"{', '.join(agency.roles)}; may grant {', '.join(agency.grants)}"),
        *((f"{role} key", key.public) for role, key in keys_of(agency)),
    ]


def standing_in(proposal: ProposalDoc, validators: VerifiedDocument) -> Standing:
    """What became of a proposal as of a proof of the epoch's validators."""
    assert isinstance(validators.document, ValidatorsDoc)  # every state has it, as `verify_state_answer` proved
    return standing_of(proposal, epoch=validators.document.epoch, time_ms=validators.as_of.time_ms)


def proposal_json(name: str, proposal: ProposalDoc, validators: VerifiedDocument) -> dict[str, Any]:
    """A proposal with what became of it, and how many votes decide while it is open."""
    standing = standing_in(proposal, validators)
    values: dict[str, Any] = {"proposal": name, **msgspec.to_builtins(proposal), "status": standing}
    values["expires_at"] = format_time(proposal.expires_at)
    values.setdefault("votes_against", [])
    if standing == "open":
        size = len(_members(validators))
        values |= {"needed_for": quorum(size), "needed_against": faults_tolerated(size) + 1}
    return values


def proposal_lines(name: str, proposal: ProposalDoc, validators: VerifiedDocument) -> list[tuple[str, str]]:
    """A proposal in labelled lines."""
    standing = standing_in(proposal, validators)
    size = len(_members(validators))
    votes = f"{', '.join(proposal.votes_for)}"
    against = ", ".join(proposal.votes_against) or "nobody"
    if standing == "open":
        votes += f" ({len(proposal.votes_for)} of the {quorum(size)} that enact it)"
        against += f" ({len(proposal.votes_against)} of the {faults_tolerated(size) + 1} that reject it)"
    status = {
        "open": f"open until {format_time(proposal.expires_at)}",
        "lapsed": f"lapsed with epoch {proposal.epoch}, undecided",
        "expired": f"expired on {format_time(proposal.expires_at)}, undecided",
    }.get(standing, f"{standing} by the record at log index {proposal.decided}")
    return [
        ("proposal", name),
        ("opened by", f"{proposal.opened_by}, log index {proposal.opened}, epoch {proposal.epoch}"),
        *change_lines(proposal.change),
        ("for", votes),
        ("against", against),
        ("status", status),
    ]


def _members(validators: VerifiedDocument) -> tuple[Validator, ...]:
    assert isinstance(validators.document, ValidatorsDoc)
    return validators.document.members
