"""Evidence against agencies' nodes: kept as files that prove themselves, counted, told loudly (PROTOCOL P5.9, DESIGN
6).

What reaches the replica as two conflicting votes, and the cosigning as two roots of one size under one key, becomes a
file of `data_dir/evidence`, which anybody verifies. What shows only that somebody is wrong (another root than ours,
of which its cosigner never cosigned ours) is kept beside it as two notes: if the same agency's line under the other
root turns up elsewhere, `tracemark evidence compare` makes evidence of them.

The files are written where they are found, on the event loop: there are few, by the bounds here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import structlog

from ledger.consensus.messages import Evidence as ConflictingVotes
from ledger.consensus.messages import Vote, kind_of, proposal_of
from ledger.errors import ConfigurationError, VerificationError
from ledger.evidence import (
    KnownKey,
    attribute,
    cosigned_fork,
    decode_evidence,
    encode_evidence,
    equivocation,
    kind_of_evidence,
    subject_of,
    verify_evidence,
)
from ledger.limits import MAX_EVIDENCE_BYTES, MAX_EVIDENCE_OF_AGENCY
from ledger.records.evidence import Evidence
from ledger.signing import Role
from ledger.vote import VoteKind
from node.cosigning import Contradiction
from node.files import PUBLIC_MODE, read_file, write_file
from node.membership import Members
from node.recovery import ONE_KEY

_log: Final = structlog.get_logger("node.evidence")
FOLDER: Final = "evidence"
"""In the data directory."""
_THEIRS: Final = "-theirs.note"
_OURS: Final = "-ours.note"
_HELP: Final = (
    "Either the agency lied, or its key is in other hands or in use twice. Tell it and the others; the file convinces "
    "anybody (`tracemark verify FILE --genesis genesis.json`). `tracemark evidence report FILE` puts it on the ledger; "
    "whether the agency stays is for `tracemark proposal`."
)
_HELP_FORK: Final = (
    "One of the two logs is not what all agreed on. Compare both notes with the other agencies' "
    "(`tracemark evidence compare`)."
)


class EvidenceBook:
    """All that this node holds against others. Lives on the event loop; `all` may be read from any thread."""

    def __init__(self, folder: Path, *, ledger: str, chain: bytes, own: str, epochs: Iterable[Members]) -> None:
        """Take up what earlier runs kept; a file that does not prove itself, or that names another agency than its key's, is
        passed over, and said to be.

        Args:
            folder: `FOLDER` of the data directory; made when there is something to keep.
            ledger: the ledger's id.
            chain: its chain id, 32 bytes.
            own: this node's agency.
            epochs: the validators so far, by whom a file's key is known.
        """
        self._folder = folder
        self._ledger = ledger
        self._chain = chain
        self._own = own
        self.all: dict[str, Evidence] = {}
        """By subject. Replaced whole, never changed."""
        self.counts: Counter[tuple[str, ...]] = Counter()
        """Pieces of evidence by kind and agency."""
        self._noted: set[str] = {path.name for path in folder.glob(f"*{_THEIRS}")}
        """The notes of checkpoints under other roots that are kept, by the names of their files."""
        keys = tuple(_keys_of(epochs))
        for path in sorted(folder.glob("*.json")):
            self._load(path, keys)

    def take_votes(self, votes: ConflictingVotes, epochs: Iterable[Members]) -> None:
        """Two conflicting votes that the replica has verified; `epochs` name the epoch's validators."""
        first = votes.first
        members = next((members for members in epochs if members.epoch == first.epoch), None)
        if members is None:
            return
        self._keep(
            equivocation(
                ledger=self._ledger,
                chain=self._chain,
                party=members.parties[first.signer],
                public=members.consensus_keys[first.signer],
                epoch=first.epoch,
                view=first.view,
                votes=(_said(votes.first), _said(votes.second)),
            )
        )

    def take_contradiction(self, found: Contradiction) -> None:
        """Another root of a size, cosigned by an agency: evidence where it has cosigned the other one, too."""
        if found.both is not None:
            self._keep(
                cosigned_fork(
                    ledger=self._ledger,
                    party=found.party,
                    public=found.public,
                    size=found.size,
                    cosignatures=found.both,
                )
            )
            return
        names = [f"{found.party}-{found.size}{which}" for which in (_THEIRS, _OURS)]
        of_party = sum(name.rsplit("-", 2)[0] == found.party for name in self._noted)
        if names[0] in self._noted or of_party >= MAX_EVIDENCE_OF_AGENCY:
            return  # it may cosign any root of any size, as often as it likes
        self._noted.add(names[0])
        for name, note in zip(names, (found.theirs, found.ours), strict=True):
            self._write(name, note)
        _log.critical(
            "a validator cosigned another root than this log has",
            party=found.party,
            size=found.size,
            files=[str(self._folder / name) for name in names],
            help=_HELP_FORK,
        )

    def _keep(self, evidence: Evidence) -> None:
        subject, tally = subject_of(evidence), (kind_of_evidence(evidence), evidence.party)
        if subject in self.all or self.counts[tally] >= MAX_EVIDENCE_OF_AGENCY:
            return
        verify_evidence(evidence)
        self._remember(evidence)
        name = f"{subject.replace(':', '-')}.json"
        self._write(name, encode_evidence(evidence))
        _log.critical(
            "an agency's key signed two things that exclude each other",
            kind=tally[0],
            party=evidence.party,
            subject=subject,
            file=str(self._folder / name),
            help=ONE_KEY if evidence.party == self._own else _HELP,
        )

    def _remember(self, evidence: Evidence) -> None:
        self.all = {**self.all, subject_of(evidence): evidence}
        self.counts[kind_of_evidence(evidence), evidence.party] += 1

    def _load(self, path: Path, keys: tuple[KnownKey, ...]) -> None:
        try:
            evidence = decode_evidence(read_file(path, limit=MAX_EVIDENCE_BYTES, what="evidence"))
            verify_evidence(evidence)
            if evidence.ledger == self._ledger:
                attribute(evidence, keys)  # the agency's name is not signed
        except (ConfigurationError, VerificationError) as error:
            _log.warning("a kept file of evidence proves nothing", file=str(path), **error.as_dict())
            return
        if evidence.ledger == self._ledger and subject_of(evidence) not in self.all:
            self._remember(evidence)

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_file(self._folder / name, data, mode=PUBLIC_MODE, replace=True)
        except ConfigurationError as error:
            _log.error("evidence could not be written: it is only in memory", **error.as_dict())


def _keys_of(epochs: Iterable[Members]) -> Iterator[KnownKey]:
    for members in epochs:
        for each in members.validators:
            roles: tuple[tuple[Role, str], ...] = (
                ("consensus", each.consensus),
                ("cosigner", each.cosigner),
                ("log", each.log),
            )
            for role, public in roles:
                yield KnownKey(party=each.party, role=role, public=public, source=f"epoch {members.epoch}")


def _said(vote: Vote) -> tuple[VoteKind, tuple[int, bytes] | None, bytes]:
    proposal = proposal_of(vote)
    return kind_of(vote), None if proposal is None else (proposal.parent_view, proposal.digest), vote.signature
