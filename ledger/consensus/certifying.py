"""Taking in votes and certificates, and what follows at once: the next view, evidence, alarms (P5.1, P5.4-P5.6, P5.9)."""

from collections.abc import Iterable

from ledger.consensus.certificates import verify_certificate, verify_evidence, votes_in
from ledger.consensus.effects import Charge, Persist, ReportEvidence, Timer, VotesSuspected
from ledger.consensus.fetching import want_certificates
from ledger.consensus.messages import (
    Certificate,
    CertificateMessage,
    Evidence,
    EvidenceMessage,
    Finalize,
    Notarize,
    Nullify,
    Vote,
    VoteMessage,
    conflict,
    kind_of,
    proposal_of,
    signed_bytes,
)
from ledger.consensus.state import State
from ledger.errors import PeerError, SignatureError
from ledger.limits import VIEW_RETENTION, VIEW_WINDOW
from ledger.signing import is_valid


def take_vote(state: State, vote: Vote, sender: int) -> None:
    """Count a vote that came over the link of `sender` (P5.9), within the window of P5.10."""
    if vote.epoch != state.epoch.number:
        return
    if vote.signer == state.own and state.guard.holds(kind_of(vote), vote.view, proposal_of(vote)):
        return
    if not in_window(state, vote.view):
        if vote.view > state.floor.view:  # P7.5 has no window: a node that lost its votes may be far behind their views
            look_for_own_votes(state, (vote,))
        return
    if vote.signer >= state.epoch.size:
        charge(state, sender, "bad_vote", "a vote of no member of the epoch")
        return
    proposes = isinstance(vote, Notarize) and vote.signer == state.epoch.leader(vote.view)
    _count(state, vote, sender, verify_now=proposes or vote.signer == state.own)
    counted = state.tally.vote_of(vote.view, kind_of(vote), vote.signer) == vote
    if counted and vote.signer == state.own:
        _own_vote_shown(state, vote.view)
    if counted and proposes and isinstance(vote, Notarize) and vote.view >= state.view:
        _take_proposal(state, vote)


def cast(state: State, vote: Notarize | Nullify | Finalize) -> None:
    """Count an own vote just granted by the guard, and send it (its Persist stands before, P4.5)."""
    state.changes += 1
    state.broadcast(VoteMessage(vote=vote))
    _count(state, vote, None, verify_now=False)


def count_own(state: State, vote: Vote) -> None:
    """Count an own vote that was sent otherwise, or is reloaded after a restart (P3.4)."""
    _count(state, vote, None, verify_now=False)


def count_loaded(state: State) -> None:
    """P3.4: own stored votes of the epoch count as any other; a leader's is the view's proposal still."""
    for vote in list(state.guard.votes_above(state.floor.view)):
        if isinstance(vote, Notarize) and vote.view >= state.view and vote.signer == state.epoch.leader(vote.view):
            state.proposals[vote.view] = vote
        count_own(state, vote)


def in_window(state: State, view: int) -> bool:
    """Whether votes of this view are listened to (P5.10). What is settled needs none, though the floor be far below it."""
    return state.settled_view - VIEW_RETENTION <= view <= state.view + VIEW_WINDOW


def charge(state: State, sender: int, code: str, text: str) -> None:
    """Hold something against a peer."""
    state.emit(Charge(sender, code, text))


def take_certificate(state: State, certificate: Certificate, sender: int) -> bool:
    """Take in a certificate of this epoch above the floor (P5.10), verified unless held. Returns whether it holds good.

    Certificates of other epochs, and those at or below the floor, are ignored as good.
    """
    if certificate.epoch != state.epoch.number or certificate.view <= state.floor.view:
        return True
    held = state.certificates.get(certificate.kind, certificate.view)
    if held is not None and held.proposal == certificate.proposal:
        look_for_own_votes(state, votes_in(certificate))
        return True
    try:
        verify_certificate(state.chain, state.epoch, certificate, state.tally)
    except (PeerError, SignatureError) as error:
        charge(state, sender, "bad_certificate", str(error))
        return False
    look_for_own_votes(state, votes_in(certificate))
    _look_for_liars(state, certificate)
    accept(state, certificate)
    return True


def accept(state: State, certificate: Certificate) -> None:
    """Act on a verified certificate above the floor: persist, forward once, and leave its view (P5.4-P5.6)."""
    if certificate.view <= state.floor.view:
        return
    against = state.certificates.contradicts(certificate)
    if against is not None:
        _accuse_signers_of_both(state, against, certificate)
        state.stop(
            "contradiction",
            f"view {certificate.view} has a valid {certificate.kind} and a valid {against.kind} that exclude each other: "
            "more validators lie than are tolerated",
        )
        return
    if state.certificates.get(certificate.kind, certificate.view) is not None:
        return
    keep(state, certificate)
    state.emit(Persist(certificate))
    state.broadcast(CertificateMessage(certificate=certificate))
    if certificate.kind == "finalization":
        state.tally.prune(state.settled_view - VIEW_RETENTION)
        state.standstill_cursor = 0
        if state.busy:
            state.set_timer(Timer.STANDSTILL, state.now_ms + state.parameters.standstill_ms)
    if certificate.kind != "notarization" and certificate.view >= state.view:
        enter(state, certificate)


def keep(state: State, certificate: Certificate) -> None:
    """Hold a certificate of this epoch above the floor."""
    state.certificates.add(certificate)
    state.changes += 1
    if certificate.kind == "notarization":
        state.open_notarizations.append(certificate.view)
        state.open_notarizations.sort()


def enter(state: State, certificate: Certificate) -> None:
    """Enter the view after a certificate's (P5.1). Requires that it is above the current one. Timers are the pacemaker's."""
    assert certificate.view >= state.view
    state.view = certificate.view + 1
    state.entry = certificate
    state.changes += 1
    state.building = None
    state.nothing_to_include = False
    state.empty_due = False
    for timer in (Timer.LEAD, Timer.ADVANCE, Timer.EMPTY, Timer.RETRY, Timer.CLOCK):
        state.cancel_timer(timer)
    state.proposals = {view: vote for view, vote in state.proposals.items() if view >= state.view}
    want_certificates(state, [], None)


def take_evidence(state: State, evidence: Evidence, sender: int) -> None:
    """Take in evidence from a peer: verified, persisted, passed on once; one per signer and epoch (P5.9)."""
    if evidence.first.epoch != state.epoch.number or evidence.first.signer in state.accused:
        return
    try:
        verify_evidence(state.chain, state.epoch, evidence)
    except (PeerError, SignatureError) as error:
        charge(state, sender, "bad_evidence", str(error))
        return
    _accuse(state, evidence)
    look_for_own_votes(state, (evidence.first, evidence.second))


def note_evidence(state: State, evidence: Evidence) -> None:
    """Remember verified evidence, new or reloaded: its signer, and its view if the leader signed two proposals (P5.4)."""
    first = evidence.first
    state.accused.add(first.signer)
    both_notarize = isinstance(first, Notarize) and isinstance(evidence.second, Notarize)
    if both_notarize and first.signer == state.epoch.leader(first.view):
        state.equivocated.add(first.view)


def _count(state: State, vote: Vote, sender: int | None, *, verify_now: bool) -> None:
    counted = state.tally.add(vote, sender=sender, verify_now=verify_now)
    for signer in counted.failed:
        charge(state, signer, "bad_signature", f"a vote of view {vote.view} does not verify")
    if counted.evidence is not None:
        if counted.evidence.first.signer == state.own:
            _own_vote_shown(state, vote.view)
        if counted.evidence.first.signer not in state.accused:
            _accuse(state, counted.evidence)
        else:
            note_evidence(state, counted.evidence)
    if counted.certificate is not None:
        accept(state, counted.certificate)


def _look_for_liars(state: State, certificate: Certificate) -> None:
    """A signature in a verified certificate may contradict a vote that its signer sent us."""
    for vote in votes_in(certificate):
        if vote.signer != state.own and vote.signer not in state.accused:
            evidence = state.tally.conflict_with(vote)
            if evidence is not None:
                _accuse(state, evidence)


def _accuse_signers_of_both(state: State, one: Certificate, other: Certificate) -> None:
    """Two certificates that exclude each other share signers, more than f of them: each has signed both."""
    first = {vote.signer: vote for vote in votes_in(one)}
    for vote in votes_in(other):
        before = first.get(vote.signer)
        if before is not None and conflict(before, vote) and vote.signer not in (state.own, *state.accused):
            _accuse(state, Evidence(first=before, second=vote))


def _accuse(state: State, evidence: Evidence) -> None:
    note_evidence(state, evidence)
    state.emit(Persist(evidence))
    state.emit(ReportEvidence(evidence))
    state.broadcast(EvidenceMessage(evidence=evidence))


def look_for_own_votes(state: State, votes: Iterable[Vote]) -> None:
    """P7.5: among votes of any view, in whatever they came, may be valid ones of ours in this epoch that we do not hold."""
    for vote in votes:
        if vote.signer != state.own or vote.epoch != state.epoch.number:
            continue
        if state.guard.holds(kind_of(vote), vote.view, proposal_of(vote)):
            continue
        if is_valid(state.epoch.validators[vote.signer], signed_bytes(state.chain, vote), vote.signature):
            _own_vote_shown(state, vote.view)


def _own_vote_shown(state: State, view: int) -> None:
    """P7.5: somebody shows a valid own vote that is not in our table: another holder of the key, or a table lost.

    Where it is known that votes are missing, that is one of them. Else nothing is signed until an operator has looked; a
    restart then goes on as one whose table is lost.
    """
    settled = (state.epoch.number, view) <= max((state.epoch.number, state.floor.view), state.guard.signing_floor)
    if settled or state.guard.stopped:
        return
    if state.guard.suspect:
        state.own_view_shown = max(state.own_view_shown, view)
        if state.unasked:  # we did vote before: no word of others makes us new
            state.unasked = False
            state.emit(VotesSuspected())
    else:
        state.guard.suspect = True
        state.emit(VotesSuspected())
        state.stop(
            "unknown_own_vote",
            f"a valid vote by our own key in view {view} is not in our table: the votes' store was lost or restored, or the "
            "key is used twice",
        )


def _take_proposal(state: State, vote: Notarize) -> None:
    """The leader's first proposal of a view stops the lead timer (P5.1)."""
    if vote.view not in state.proposals:
        state.proposals[vote.view] = vote
        state.changes += 1
        if vote.view == state.view:
            state.cancel_timer(Timer.LEAD)
