"""Evidence against an agency's node: whose key it is, and what it shows in words.

That two statements under one key contradict each other is `ledger.evidence`'s to verify. Whose key that is, is shown
offline by the genesis document, by a succession that a policy vouches for, or (for cosigner keys) by the policy
itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET

from client.files import read_file
from ledger.checkpoint import Checkpoint
from ledger.errors import EncodingError, SignatureError, VerificationError
from ledger.evidence import KnownKey, kind_of_evidence, role_of, subject_of
from ledger.genesis import Genesis, decode_genesis
from ledger.limits import MAX_GENESIS_BYTES
from ledger.policy import Policy
from ledger.records.evidence import CosignedFork, Equivocation, Evidence, SignedFork, SignedVote
from ledger.state.model import Validator
from ledger.state.validators import validator_of
from ledger.succession import FollowedPolicy

MEANING: Final = (
    "No honest holder of the key signs both. So the agency lied, or its key is in other hands or in use twice; which of "
    "these, the file does not show. It shows nothing against anybody else, nor that anything final is wrong."
)
_WHAT: Final[dict[type[Evidence], str]] = {
    Equivocation: "two votes that exclude each other",
    CosignedFork: "two roots of the log at one size",
    SignedFork: "two roots of the log at one size",
}


def read_genesis(path: Path) -> Genesis:
    """The genesis document out of a file.

    Raises:
        ConfigurationError: `cannot_read`; VerificationError: code `bad_genesis`.
    """
    try:
        return decode_genesis(read_file(path, limit=MAX_GENESIS_BYTES, what="genesis document"))
    except (EncodingError, SignatureError) as error:
        raise VerificationError(
            f"{path} is not a genesis document: {error.message}", code="bad_genesis", actual=error.actual
        ) from error


def keys_of_genesis(genesis: Genesis) -> Iterator[KnownKey]:
    """The node keys of the first validators."""
    for agency in genesis.agencies:
        yield from _keys_of(validator_of(agency), "the genesis document")


def keys_of_policy(judge: FollowedPolicy) -> Iterator[KnownKey]:
    """The node keys of validators that a succession shows, and the cosigner keys that the policy names."""
    for era in judge.eras:
        if era.validators is not None:
            for validator in era.validators.members:
                yield from _keys_of(validator, f"the succession of validators (epoch {era.validators.epoch})")
    yield from _cosigners_of(judge.eras[0].policy, judge.origin)


def _cosigners_of(policy: Policy, origin: str) -> Iterator[KnownKey]:
    for witness in policy.witnesses:
        name = witness.verifier.name
        if name.startswith(f"{origin}/"):
            party, public = name.removeprefix(f"{origin}/"), witness.verifier.public.hex()
            yield KnownKey(party=party, role="cosigner", public=public, source="the policy")


def _keys_of(validator: Validator, source: str) -> Iterator[KnownKey]:
    yield KnownKey(party=validator.party, role="consensus", public=validator.consensus, source=source)
    yield KnownKey(party=validator.party, role="cosigner", public=validator.cosigner, source=source)
    yield KnownKey(party=validator.party, role="log", public=validator.log, source=source)


def evidence_json(evidence: Evidence, key: KnownKey) -> dict[str, Any]:
    """Verified evidence for programs."""
    place: dict[str, Any]
    if isinstance(evidence, Equivocation):
        place = {"epoch": evidence.epoch, "view": evidence.view}
    else:
        place = {"size": evidence.size}
    return {
        "verified": True,
        "format": "evidence",
        "kind": kind_of_evidence(evidence),
        "subject": subject_of(evidence),
        "ledger": evidence.ledger,
        "party": evidence.party,
        "role": role_of(evidence),
        "public": evidence.public,
        "shown_by": key.source,
        **place,
        "statements": list(statements(evidence)),
    }


def headline(evidence: Evidence) -> str:
    """Who did what, in one sentence."""
    signed = "cosigned" if isinstance(evidence, CosignedFork) else "signed"
    return f"The {role_of(evidence)} key of {evidence.party} {signed} {_WHAT[type(evidence)]}."


def place(evidence: Evidence) -> str:
    """Where: view and epoch, or size."""
    if isinstance(evidence, Equivocation):
        return f"view {evidence.view} of epoch {evidence.epoch}"
    return f"size {evidence.size}"


def statements(evidence: Evidence) -> tuple[str, str]:
    """The two, each in words. Requires verified evidence."""
    if isinstance(evidence, Equivocation):
        return _vote(evidence.first), _vote(evidence.second)
    first, second = (Checkpoint.parse(signed.text.encode()) for signed in (evidence.first, evidence.second))
    return f"root {first.root.hex()}", f"root {second.root.hex()}"


def _vote(vote: SignedVote) -> str:
    if vote.proposal is UNSET:
        return "nullify: the view be left without a decision"
    on = f"block {vote.proposal.digest} on view {vote.proposal.parent_view}"
    return f"{vote.vote}: {'final be' if vote.vote == 'finalize' else 'for'} {on}"
