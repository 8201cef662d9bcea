"""Certificates of the epoch above the floor (P2, P7.4), and their verification.

Both certificates of a view may exist, a notarization and a nullification; both are kept and served (P7.4).
"""

import itertools
from collections.abc import Iterator

from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import (
    VOTE_OF,
    Certificate,
    CertificateKind,
    Evidence,
    Finalize,
    Notarize,
    Nullify,
    Vote,
    conflict,
    signed_bytes,
    vote_bytes,
)
from ledger.consensus.tally import Tally
from ledger.errors import PeerError
from ledger.signing import verify

_KINDS: tuple[CertificateKind, ...] = ("finalization", "notarization", "nullification")


class Certificates:
    """By kind and view. `version` changes with every change, so that what was looked for in vain is not sought again."""

    def __init__(self) -> None:
        self.by_kind: dict[CertificateKind, dict[int, Certificate]] = {kind: {} for kind in _KINDS}
        self.version = 0
        self.highest_final: Certificate | None = None
        self.highest_notarized_view = 0

    @property
    def final_view(self) -> int:
        """The view of the highest finalization held, 0 if none."""
        return 0 if self.highest_final is None else self.highest_final.view

    def get(self, kind: CertificateKind, view: int) -> Certificate | None:
        """The certificate of this kind and view."""
        return self.by_kind[kind].get(view)

    def of_view(self, view: int) -> list[Certificate]:
        """All certificates of a view, the strongest first."""
        return [self.by_kind[kind][view] for kind in _KINDS if view in self.by_kind[kind]]

    def chosen(self, view: int) -> Certificate | None:
        """The finalization or notarization of a view: what makes it a parent (P5.2, P5.3). Also of the floor's, if held."""
        if view == self.final_view:
            return self.highest_final
        return self.by_kind["finalization"].get(view) or self.by_kind["notarization"].get(view)

    def finalizations(self) -> list[Certificate]:
        """All finalizations above the floor."""
        return list(self.by_kind["finalization"].values())

    def above(self, view: int) -> list[Certificate]:
        """All certificates above `view`, by view."""
        found = [c for kind in _KINDS for at, c in self.by_kind[kind].items() if at > view]
        return sorted(found, key=lambda c: (c.view, c.kind))

    def highest(self) -> Certificate | None:
        """A certificate of the highest view held, at the floor or above it; None where none is held."""
        held = [table[max(table)] for table in self.by_kind.values() if table]
        if self.highest_final is not None:
            held.append(self.highest_final)
        return max(held, key=lambda certificate: certificate.view, default=None)

    def add(self, certificate: Certificate) -> None:
        """Keep a verified certificate. Requires that none of its kind and view is held."""
        assert certificate.view not in self.by_kind[certificate.kind]
        self.by_kind[certificate.kind][certificate.view] = certificate
        self.version += 1
        if certificate.kind == "finalization" and certificate.view > self.final_view:
            self.highest_final = certificate
        if certificate.kind == "notarization":
            self.highest_notarized_view = max(self.highest_notarized_view, certificate.view)

    def keep_final(self, finalization: Certificate) -> None:
        """Remember a finalization at or below the floor, to be shown to those behind (P7.4)."""
        if finalization.view > self.final_view:
            self.highest_final = finalization

    def contradicts(self, certificate: Certificate) -> Certificate | None:
        """A held certificate that cannot exist beside this one while at most f validators lie (P9)."""
        for held in self.of_view(certificate.view):
            if {held.kind, certificate.kind} == {"finalization", "nullification"}:
                return held
            if held.proposal is not None and certificate.proposal not in (None, held.proposal):
                return held
        return None

    def prune(self, view: int) -> None:
        """Forget what lies at or below `view` (P3.5), but for the highest finalization."""
        for table in self.by_kind.values():
            for below in [at for at in table if at <= view]:
                del table[below]
        self.version += 1


def verify_certificate(chain: bytes, epoch: Epoch, certificate: Certificate, tally: Tally | None = None) -> None:
    """Verify a certificate: its form, and exactly q valid signatures of distinct validators of `epoch`.

    Signatures that `tally` has verified as votes are not verified again.

    Raises:
        PeerError: code `bad_certificate`: the form is wrong.
        SignatureError: a signature does not verify.
    """
    proposal, signatures = certificate.proposal, certificate.signatures
    signers = [signer for signer, _ in signatures]
    well_formed = (
        certificate.epoch == epoch.number
        and (proposal is None) == (certificate.kind == "nullification")
        and (proposal is None or (proposal.epoch, proposal.view) == (certificate.epoch, certificate.view))
        and len(signers) == epoch.quorum
        and all(a < b for a, b in itertools.pairwise(signers))
        and signers[-1] < epoch.size
    )
    if not well_formed:
        raise PeerError(
            "not a certificate of this epoch",
            code="bad_certificate",
            expected=f"epoch {epoch.number}, {epoch.quorum} of {epoch.size} validators, sorted",
            actual=f"epoch {certificate.epoch}, {certificate.kind}, validators {signers}",
        )
    kind = VOTE_OF[certificate.kind]
    message = vote_bytes(chain, kind, certificate.epoch, certificate.view, proposal)
    for signer, signature in signatures:
        if tally is None or not tally.has_verified(kind, certificate.view, proposal, signer, signature):
            verify(epoch.validators[signer], message, signature)


def votes_in(certificate: Certificate) -> Iterator[Vote]:
    """The votes that a certificate is made of."""
    proposal = certificate.proposal
    for signer, signature in certificate.signatures:
        if proposal is None:
            yield Nullify(epoch=certificate.epoch, view=certificate.view, signer=signer, signature=signature)
        elif certificate.kind == "notarization":
            yield Notarize(proposal=proposal, signer=signer, signature=signature)
        else:
            yield Finalize(proposal=proposal, signer=signer, signature=signature)


def verify_evidence(chain: bytes, epoch: Epoch, evidence: Evidence) -> None:
    """Verify that both votes are of one member of `epoch`, conflict, and are signed by it (P5.9).

    Raises:
        PeerError: code `bad_evidence`: the two votes are lawful, or not of this epoch.
        SignatureError: a signature does not verify.
    """
    first, second = evidence.first, evidence.second
    if not conflict(first, second) or first.epoch != epoch.number or first.signer >= epoch.size:
        raise PeerError("the two votes prove nothing", code="bad_evidence", expected="conflicting votes of one signer")
    for vote in (first, second):
        verify(epoch.validators[vote.signer], signed_bytes(chain, vote), vote.signature)
