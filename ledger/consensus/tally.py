"""Counting votes (P5.9): lazily verified, each signer once per kind and view, until a quorum makes a certificate.

The tally decides nothing about views. It keeps a vote unverified while it only lies there, verifies at the quorum, forgets
what fails, and reports conflicts as evidence.
"""

import msgspec

from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import (
    Certificate,
    CertificateKind,
    Evidence,
    Kind,
    Proposal,
    Vote,
    conflict,
    kind_of,
    proposal_of,
    signed_bytes,
)
from ledger.signing import is_valid

_CERTIFICATE_OF: dict[Kind, CertificateKind] = {
    "notarize": "notarization",
    "nullify": "nullification",
    "finalize": "finalization",
}
_KINDS: tuple[Kind, ...] = ("notarize", "nullify", "finalize")


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What one vote led to. `failed` are validators whose votes, taken from their own links, did not verify."""

    certificate: Certificate | None = None
    evidence: Evidence | None = None
    failed: tuple[int, ...] = ()


class _Held:
    """A vote and whether its signature was found good."""

    __slots__ = ("verified", "vote")

    def __init__(self, vote: Vote, verified: bool) -> None:
        self.vote = vote
        self.verified = verified


class Tally:
    """Votes of one epoch, by view, kind and signer. Memory: at most 3 votes a validator in each view that is kept."""

    def __init__(self, chain: bytes, epoch: Epoch) -> None:
        self._chain = chain
        self._epoch = epoch
        self._views: dict[int, dict[Kind, dict[int, _Held]]] = {}
        self._highest: list[int] = [0] * epoch.size

    def vote_of(self, view: int, kind: Kind, signer: int) -> Vote | None:
        """The counted vote of this view, kind and signer."""
        table = self._views.get(view)
        held = table[kind].get(signer) if table is not None else None
        return held.vote if held is not None else None

    def has_verified(self, kind: Kind, view: int, proposal: Proposal | None, signer: int, signature: bytes) -> bool:
        """Whether exactly this vote was verified already, so that a certificate's copy of it need not be."""
        table = self._views.get(view)
        held = table[kind].get(signer) if table is not None else None
        return (
            held is not None
            and held.verified
            and held.vote.signature == signature
            and proposal_of(held.vote) == proposal
        )

    def voters_at_or_above(self, view: int) -> int:
        """How many validators have voted at `view` or higher (P6.2)."""
        return sum(1 for highest in self._highest if highest >= view)

    def highest_of(self, signer: int) -> int:
        """The highest view in which a validator's vote was counted; 0 if none was."""
        return self._highest[signer]

    def prune(self, below_view: int) -> None:
        """Forget views below `below_view`."""
        for view in [view for view in self._views if view < below_view]:
            del self._views[view]

    def add(self, vote: Vote, *, sender: int | None, verify_now: bool = False) -> Counted:
        """Count a vote of this epoch.

        Args:
            vote: its signer is below the epoch's size.
            sender: the link it came over, None for an own vote (known to be good). Only the signer's own link is believed
                without verification.
            verify_now: verify it even so.
        """
        kind, signer = kind_of(vote), vote.signer
        table = self._views.setdefault(vote.view, {"notarize": {}, "nullify": {}, "finalize": {}})
        held = table[kind].get(signer)
        if held is not None and held.vote == vote:
            if verify_now and not self._confirm(held):
                del table[kind][signer]
                return Counted(failed=(signer,))
            return Counted()
        verified = sender is None
        if not verified and (sender != signer or verify_now):
            if not self._is_valid(vote):
                return Counted(failed=() if sender is None else (sender,))
            verified = True
        new = _Held(vote, verified)
        evidence: Evidence | None = None
        failed: tuple[int, ...] = ()
        for other_kind in _KINDS:
            other = table[other_kind].get(signer)
            if other is None or not (other_kind == kind or conflict(other.vote, vote)):
                continue
            if not self._confirm(other):
                del table[other_kind][signer]
                failed = (signer,)
            elif not self._confirm(new):
                return Counted(failed=(signer,))
            elif conflict(other.vote, vote) and evidence is None:
                evidence = Evidence(first=other.vote, second=vote)
        if signer in table[kind]:  # the first valid one of each kind counts
            return Counted(evidence=evidence, failed=failed)
        table[kind][signer] = new
        self._highest[signer] = max(self._highest[signer], vote.view)
        certificate, failed_at_count = self._complete(kind, vote, table[kind])
        return Counted(certificate=certificate, evidence=evidence, failed=(*failed, *failed_at_count))

    def conflict_with(self, vote: Vote) -> Evidence | None:
        """Evidence that the signer of `vote`, which is known to be valid, has cast another that contradicts it.

        A counted vote that turns out not to verify is forgotten.
        """
        table = self._views.get(vote.view)
        if table is None:
            return None
        for kind in _KINDS:
            other = table[kind].get(vote.signer)
            if other is None or not conflict(other.vote, vote):
                continue
            if self._confirm(other):
                return Evidence(first=other.vote, second=vote)
            del table[kind][vote.signer]
        return None

    def _complete(self, kind: Kind, vote: Vote, table: dict[int, _Held]) -> tuple[Certificate | None, tuple[int, ...]]:
        """The certificate that `vote` completed, if any, and the signers whose votes failed at the count."""
        if len(table) < self._epoch.quorum:
            return None, ()
        proposal = proposal_of(vote)
        alike = [held for _, held in sorted(table.items()) if proposal_of(held.vote) == proposal]
        if len(alike) < self._epoch.quorum:
            return None, ()
        good: list[_Held] = []
        failed: list[int] = []
        for held in alike:
            if self._confirm(held):
                good.append(held)
            else:
                del table[held.vote.signer]
                failed.append(held.vote.signer)
        if len(good) < self._epoch.quorum:
            return None, tuple(failed)
        certificate = Certificate(
            kind=_CERTIFICATE_OF[kind],
            epoch=self._epoch.number,
            view=vote.view,
            proposal=proposal,
            signatures=tuple((held.vote.signer, held.vote.signature) for held in good[: self._epoch.quorum]),
        )
        return certificate, tuple(failed)

    def _confirm(self, held: _Held) -> bool:
        if not held.verified:
            held.verified = self._is_valid(held.vote)
        return held.verified

    def _is_valid(self, vote: Vote) -> bool:
        public = self._epoch.validators[vote.signer]
        return is_valid(public, signed_bytes(self._chain, vote), vote.signature)
