"""The succession of validator sets: how a pinned policy stays good when the agencies that keep the ledger change (P8).

Whoever verifies offline has a policy of some day: these log keys, this quorum of cosigners. When a block closes an epoch,
its checkpoint is cosigned by the quorum of the *old* validators, and the state that its seal names holds the document of
the *new* ones. So each change is one state answer (`ledger.answer`), which the policy before it judges and which makes the
policy after it; from the genesis document's own policy they lead to any later one. Nothing else needs to be believed.

An era ends with its closing block: keys of earlier validators vouch for the sizes of their own era and for nothing after
it, so that a key that leaks after its agency has left is worth nothing.

Where successions are kept and fetched is left to the node and the client.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledger.answer import StateAnswer, verify_answer
from ledger.checkpoint import SignedCheckpoint
from ledger.codec import b64decode, decode, encode
from ledger.errors import InputError, VerificationError
from ledger.genesis import Genesis
from ledger.limits import MAX_SUCCESSION_BYTES, MAX_SUCCESSION_STEPS
from ledger.notes import COSIGNATURE_V1, ED25519, NoteVerifier
from ledger.policy import GroupEntry, LogEntry, Policy, VerifiedCheckpoint, WitnessEntry
from ledger.quorum import quorum
from ledger.signing import public_from_hex
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc, decode_document
from ledger.state.validators import validator_of

SUCCESSION_FORMAT: Final = "tracemark-succession/1"
COSIGNERS_GROUP: Final = "agencies"
"""The group of all agencies' cosigner keys in a ledger's own policy; its threshold is q."""


class Succession(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The changes of the validators, oldest first; canonical JSON.

    Each step is a state answer about the validators' document as of the checkpoint of a closing block, that checkpoint in
    strict minimal form (`Policy.minimal`) under the policy before the change.
    """

    format: Literal["tracemark-succession/1"]
    steps: Annotated[tuple[StateAnswer, ...], Meta(max_length=MAX_SUCCESSION_STEPS)]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return encode(self)


class Era(msgspec.Struct, frozen=True, kw_only=True):
    """For which sizes of the log one policy speaks: above `after_size`, up to `last_size` (None: no end is known).

    `epoch` is None for a pinned policy that no step says the epoch of, `validators` for any pinned policy.
    """

    epoch: int | None
    validators: ValidatorsDoc | None = None
    policy: Policy
    after_size: int
    last_size: int | None


class FollowedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A pinned policy and those that succeeded it, for one origin: judges a checkpoint by the era of its size."""

    origin: str
    eras: Annotated[tuple[Era, ...], Meta(min_length=1)]

    @property
    def newest(self) -> Policy:
        """The policy of the newest era known."""
        return self.eras[-1].policy

    def era_of(self, size: int) -> Era:
        """The era whose validators vouch for the log at `size`; before the first, the pinned policy's own."""
        return next((era for era in reversed(self.eras) if size > era.after_size), self.eras[0])

    def verify_checkpoint(self, data: bytes, *, strict: bool = False) -> VerifiedCheckpoint:
        """`Policy.verify_checkpoint` by the policy of the checkpoint's era (`ledger.policy.Judge`).

        Raises:
            VerificationError: as there.
        """
        checkpoint = SignedCheckpoint.parse(data).checkpoint
        policy = self.era_of(checkpoint.size).policy if checkpoint.origin == self.origin else self.eras[0].policy
        return policy.verify_checkpoint(data, strict=strict)


def decode_succession(data: bytes) -> Succession:
    """Parse a succession file. Nothing in it is verified yet.

    Raises:
        VerificationError: code `succession_form`.
    """
    try:
        succession: Succession = decode(data, Succession, limit=MAX_SUCCESSION_BYTES)
    except InputError as error:
        raise VerificationError(
            f"not a succession of validators: {error.message}",
            code="succession_form",
            expected=error.expected,
            actual=error.actual,
        ) from error
    return succession


def follow(policy: Policy, succession: Succession) -> FollowedPolicy:
    """Follow a pinned policy through the changes of the validators, each verified by the policy before it.

    A policy that was pinned later than the succession begins is found in it by its cosigners: steps that lie before it are
    not needed and not judged. What the pinned policy asks for besides the agencies (an auditor, a higher threshold) is asked
    for in every era.

    Raises:
        VerificationError: `succession_broken`, with the number of the step and the check that failed;
            `cannot_follow`: the policy does not rest on a quorum of one log's agencies.
    """
    if not succession.steps:
        return FollowedPolicy(origin=_origin_of(policy), eras=(_pinned(policy),))
    agencies = _agencies_of(policy)
    start = _start_of(policy, agencies, succession.steps)
    return _follow_from(start, policy, agencies.origin, succession.steps)


def policy_of(origin: str, validators: ValidatorsDoc) -> Policy:
    """The ledger's own policy under these validators: all log keys under the origin, and q of all cosigner keys, named
    `<origin>/<party>` (DESIGN 12).

    Raises:
        EncodingError: a key of the document is none.
    """
    witnesses = tuple(
        WitnessEntry(name=verifier.name, verifier=verifier) for verifier in _cosigners(origin, validators)
    )
    members = tuple(witness.name for witness in witnesses)
    group = GroupEntry(name=COSIGNERS_GROUP, threshold=quorum(len(members)), members=members)
    return Policy(
        logs=tuple(LogEntry(verifier=verifier) for verifier in _logs(origin, validators)),
        witnesses=witnesses,
        groups=(group,),
        quorum=COSIGNERS_GROUP,
    )


def founding_policy(genesis: Genesis) -> Policy:
    """The ledger's own policy as it begins: that of the genesis document's validators."""
    founders = tuple(map(validator_of, genesis.agencies))
    return policy_of(genesis.origin, ValidatorsDoc(epoch=0, members=founders))


class _Agencies(msgspec.Struct, frozen=True, kw_only=True):
    """What of a policy names the agencies of a ledger: the group, and its members' verifiers."""

    origin: str
    group: GroupEntry
    cosigners: frozenset[NoteVerifier]


def _origin_of(policy: Policy) -> str:
    return policy.logs[0].verifier.name if policy.logs else ""


def _pinned(policy: Policy) -> Era:
    return Era(epoch=None, policy=policy, after_size=0, last_size=None)


def _agencies_of(policy: Policy) -> _Agencies:
    """The group of a ledger's agencies in a policy: the one all of whose members' key names are `<origin>/...`.

    Raises:
        VerificationError: `cannot_follow`: there is none or more than one; the quorum can do without it; or fewer members
            suffice than the ledger's own quorum, so that a few liars could appoint their successors.
    """
    origin = _origin_of(policy)
    own = {w.name: w.verifier for w in policy.witnesses if w.verifier.name.startswith(f"{origin}/")}
    groups = [group for group in policy.groups if all(member in own for member in group.members)]
    if len(groups) != 1 or len({log.verifier.name for log in policy.logs}) != 1:
        raise _cannot_follow(
            "one origin, and one group with exactly the agencies' cosigners", f"{len(groups)} such groups"
        )
    group = groups[0]
    if policy.is_quorum([w.name for w in policy.witnesses if w.name not in group.members]):
        raise _cannot_follow(f"a quorum that needs the group {group.name}", "one that can do without it")
    if group.needed < quorum(len(group.members)):
        raise _cannot_follow(
            f"at least {quorum(len(group.members))} of {len(group.members)} members of {group.name}", group.needed
        )
    return _Agencies(origin=origin, group=group, cosigners=frozenset(own[member] for member in group.members))


def _start_of(policy: Policy, agencies: _Agencies, steps: tuple[StateAnswer, ...]) -> int:
    """How many steps lie before a pinned policy: none if it vouches for the first, else all up to the first after which
    its cosigners are the validators. What is not judged is not believed either: the policy is pinned as it is."""
    try:
        _verify_step(1, steps[0], _pinned(policy))
    except VerificationError:
        for number, step in enumerate(steps, start=1):
            if _appoints(step, agencies):
                return number
    return 0


def _appoints(step: StateAnswer, agencies: _Agencies) -> bool:
    try:
        return frozenset(_cosigners(agencies.origin, _decode_validators(step))) == agencies.cosigners
    except InputError:
        return False  # not judged: if it is on the way, it fails there


def _follow_from(start: int, policy: Policy, origin: str, steps: tuple[StateAnswer, ...]) -> FollowedPolicy:
    eras = [_pinned(policy)]
    if start > 0:
        eras[0] = msgspec.structs.replace(eras[0], epoch=_decode_validators(steps[start - 1]).epoch)
    for number, step in enumerate(steps[start:], start=start + 1):
        before = eras[-1]
        size, validators = _verify_step(number, step, before)
        if before.epoch is None:
            before = msgspec.structs.replace(before, epoch=validators.epoch - 1)
        eras[-1] = msgspec.structs.replace(before, last_size=size)
        successor = _succeed(before.policy, origin, validators)
        eras.append(
            Era(epoch=validators.epoch, validators=validators, policy=successor, after_size=size, last_size=None)
        )
    return FollowedPolicy(origin=origin, eras=tuple(eras))


def _verify_step(number: int, step: StateAnswer, before: Era) -> tuple[int, ValidatorsDoc]:
    """The closing size and the validators that a step proves to whoever believes the era before.

    Raises:
        VerificationError: `succession_broken`.
    """
    try:
        verified = verify_answer(
            step, kind=VALIDATORS_KEY.kind, id=VALIDATORS_KEY.id, policy=before.policy, strict=True
        )
    except VerificationError as error:
        raise _broken(number, f"{error.message} [{error.code}]", error.expected, error.actual) from error
    size, validators = verified.as_of.size, verified.document
    if not isinstance(validators, ValidatorsDoc):
        raise _broken(number, "it proves that there are no validators")
    if size <= before.after_size:
        raise _broken(number, "it does not come after the one before", f"a size above {before.after_size}", size)
    expected = None if before.epoch is None else before.epoch + 1
    if expected is not None and validators.epoch != expected:
        raise _broken(number, "an epoch is missing, or shown twice", f"epoch {expected}", f"epoch {validators.epoch}")
    return size, validators


def _succeed(policy: Policy, origin: str, validators: ValidatorsDoc) -> Policy:
    """The policy with the agencies' keys replaced. A threshold above the ledger's own quorum stays as far above it.

    Raises:
        VerificationError: `cannot_follow`.
    """
    old = _agencies_of(policy)
    names = {witness.verifier: witness.name for witness in policy.witnesses}
    urls = {log.verifier: log.url for log in policy.logs} | {w.verifier: w.url for w in policy.witnesses}
    witnesses = tuple(
        WitnessEntry(name=names.get(verifier, verifier.name), verifier=verifier, url=urls.get(verifier))
        for verifier in _cosigners(origin, validators)
    )
    count = len(witnesses)
    threshold = old.group.threshold
    if threshold != "all":
        extra = old.group.needed - quorum(len(old.group.members))
        threshold = min(count, quorum(count) + extra)
    group = GroupEntry(name=old.group.name, threshold=threshold, members=tuple(w.name for w in witnesses))
    return Policy(
        logs=tuple(LogEntry(verifier=log, url=urls.get(log)) for log in _logs(origin, validators)),
        witnesses=(*(w for w in policy.witnesses if w.verifier not in old.cosigners), *witnesses),
        groups=tuple(group if each.name == group.name else each for each in policy.groups),
        quorum=policy.quorum,
    )


def _cosigners(origin: str, validators: ValidatorsDoc) -> list[NoteVerifier]:
    return [
        NoteVerifier(name=f"{origin}/{member.party}", key_type=COSIGNATURE_V1, public=public_from_hex(member.cosigner))
        for member in validators.members
    ]


def _logs(origin: str, validators: ValidatorsDoc) -> list[NoteVerifier]:
    return [
        NoteVerifier(name=origin, key_type=ED25519, public=public_from_hex(member.log)) for member in validators.members
    ]


def _decode_validators(step: StateAnswer) -> ValidatorsDoc:
    """What a step says the validators are, unverified.

    Raises:
        InputError: it is not of its form.
    """
    data = b"" if step.document is msgspec.UNSET else b64decode(step.document, what="document")
    document = decode_document(VALIDATORS_KEY.kind, data)
    assert isinstance(document, ValidatorsDoc)  # what decode_document makes of this kind
    return document


def _broken(number: int, reason: str, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(
        f"step {number} of the succession does not hold: {reason}",
        code="succession_broken",
        expected=expected,
        actual=actual,
        help="Ask another agency's node; if all show the same, compare the policy's fingerprint with the agencies.",
    )


def _cannot_follow(expected: str, actual: object) -> VerificationError:
    return VerificationError(
        "this policy does not say how the agencies' successors are appointed",
        code="cannot_follow",
        expected=expected,
        actual=actual,
        help="Pin a policy of the ledger's own, or one that adds to it; see policy.txt of the ceremony.",
    )
