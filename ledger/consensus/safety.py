"""The signing guard (P4): the one place that holds the consensus key, and the one function that signs.

Everything else asks; the guard decides by the clauses of P4 alone, from its own table of votes, whatever the caller
believes. A refusal is None. A granted vote is in the table, and a `Persist` of it in the effects, before the caller has it
(P4.5); a vote asked for again is the stored one, never signed anew (P3.4).
"""

from collections.abc import Iterator
from typing import TypeVar

from ledger.consensus.effects import Effect, Persist
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import (
    Certificate,
    Finalize,
    Kind,
    Notarize,
    Nullify,
    Proposal,
    Vote,
    kind_of,
    proposal_of,
    vote_bytes,
)
from ledger.signing import SigningKey

VoteT = TypeVar("VoteT", Notarize, Nullify, Finalize)


class Guard:
    """Own votes of one epoch, and the key. `own` is the key's place in the epoch, None for an observer."""

    def __init__(self, chain: bytes, key: SigningKey | None, epoch: Epoch, floor_view: int) -> None:
        self._chain = chain
        self._key = key
        self._votes: dict[int, dict[Kind, Vote]] = {}
        self._later: list[Vote] = []
        self.stopped = ""
        self.suspect = False
        """Votes of ours may be missing from the table: nothing is signed until that is over (P7.5, `recovery`)."""
        self.is_over = False
        """The epoch's closing block is final and being committed: nothing more is signed in it (P8.2)."""
        self.signing_floor = (0, 0)
        """(epoch, view) of a floor that was committed once, even if the ledger has lost it since (`Durable`)."""
        self.highest_view = 0
        self.open_epoch(epoch, floor_view)

    def open_epoch(self, epoch: Epoch, floor_view: int) -> None:
        """Begin an epoch with an empty table. Nothing of an earlier epoch is ever signed again (P8.2)."""
        self._epoch = epoch.number
        self._floor_view = floor_view
        self._votes.clear()
        self.highest_view = 0
        self.is_over = False
        self.own = None if self._key is None else epoch.index_of(self._key.public)
        later, self._later = self._later, []
        for vote in later:
            self.load(vote)

    def load(self, vote: Vote) -> None:
        """Take in an own vote from the durable image (P3.4). Those of earlier epochs or below the floor are skipped; those
        of a later one, which a ledger that was cut back has yet to reach again, wait until it opens."""
        if vote.epoch > self._epoch:
            self._later.append(vote)
        if vote.epoch == self._epoch and vote.view > self._floor_view and vote.signer == self.own:
            self._record(vote)

    def raise_floor(self, view: int) -> None:
        """The floor of this epoch is now `view`: votes at or below it are forgotten (P3.5) and never signed again (P4.1)."""
        self._floor_view = max(self._floor_view, view)
        for below in [at for at in self._votes if at <= self._floor_view]:
            del self._votes[below]

    def stop(self, reason: str) -> None:
        """Sign nothing more, until a restart."""
        self.stopped = self.stopped or reason

    @property
    def silent(self) -> bool:
        """Whether nothing is signed at all: stopped, or votes may be missing."""
        return bool(self.stopped) or self.suspect

    def vote(self, view: int, kind: Kind) -> Vote | None:
        """The own vote of this kind and view, if any."""
        return self._votes.get(view, {}).get(kind)

    def votes_above(self, view: int) -> Iterator[Vote]:
        """Own votes above `view`, by view and in the order of signing."""
        for at in sorted(self._votes):
            if at > view:
                yield from self._votes[at].values()

    def holds(self, vote_kind: Kind, view: int, proposal: Proposal | None) -> bool:
        """Whether an own vote of this content is in the table."""
        held = self.vote(view, vote_kind)
        return held is not None and proposal_of(held) == proposal

    def notarize(self, proposal: Proposal, *, current_view: int, effects: list[Effect]) -> Notarize | None:
        """P4.2: at most one proposal per view, ever; only in the current view; not after our nullify.

        Nor if we finalized another proposal of the view, which a restart could otherwise lead to.
        """
        view = proposal.view
        if not self._may_sign(proposal.epoch, view) or view != current_view:
            return None
        held = self.vote(view, "notarize")
        if isinstance(held, Notarize):
            return held if held.proposal == proposal else None
        finalized = self.vote(view, "finalize")
        if self.vote(view, "nullify") is not None or (finalized is not None and proposal_of(finalized) != proposal):
            return None
        signer, signature = self._sign("notarize", view, proposal)
        return self._cast(Notarize(proposal=proposal, signer=signer, signature=signature), effects)

    def nullify(self, view: int, *, current_view: int, effects: list[Effect]) -> Nullify | None:
        """P4.3: only in the current view; not if we finalized it. Idempotent."""
        if not self._may_sign(self._epoch, view) or view != current_view or self.vote(view, "finalize") is not None:
            return None
        held = self.vote(view, "nullify")
        if isinstance(held, Nullify):
            return held
        signer, signature = self._sign("nullify", view, None)
        return self._cast(Nullify(epoch=self._epoch, view=view, signer=signer, signature=signature), effects)

    def finalize(self, notarization: Certificate, *, executed: bytes, effects: list[Effect]) -> Finalize | None:
        """P4.4: with the notarization held and its block (digest `executed`) executed; any view above the floor.

        Refused if we nullified the view or notarized another proposal in it.
        """
        proposal = notarization.proposal
        if notarization.kind != "notarization" or proposal is None or proposal.digest != executed:
            return None
        view = proposal.view
        if not self._may_sign(proposal.epoch, view) or self.vote(view, "nullify") is not None:
            return None
        held = self.vote(view, "finalize")
        if isinstance(held, Finalize):
            return held if held.proposal == proposal else None
        notarized = self.vote(view, "notarize")
        if notarized is not None and proposal_of(notarized) != proposal:
            return None
        signer, signature = self._sign("finalize", view, proposal)
        return self._cast(Finalize(proposal=proposal, signer=signer, signature=signature), effects)

    def _may_sign(self, epoch: int, view: int) -> bool:
        """P4.1: this epoch while it lasts, above the floor, as a member, and not silenced."""
        return (
            self.own is not None
            and not self.silent
            and not self.is_over
            and epoch == self._epoch
            and view > self._floor_view
            and (epoch, view) > self.signing_floor
        )

    def _sign(self, kind: Kind, view: int, proposal: Proposal | None) -> tuple[int, bytes]:
        assert self._key is not None
        assert self.own is not None
        return self.own, self._key.sign(vote_bytes(self._chain, kind, self._epoch, view, proposal))

    def _cast(self, vote: VoteT, effects: list[Effect]) -> VoteT:
        self._record(vote)
        effects.append(Persist(vote))
        return vote

    def _record(self, vote: Vote) -> None:
        self._votes.setdefault(vote.view, {}).setdefault(kind_of(vote), vote)
        self.highest_view = max(self.highest_view, vote.view)
