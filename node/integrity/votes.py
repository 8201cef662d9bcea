"""The votes' database: every record by its signatures and under the key that its content gives, every mark by its sum.

A damaged certificate, block or cosignature is dropped, for peers send it again. A damaged vote of our own is another matter:
what it said is not known any more, so the table is suspect and nothing is signed until P7.5 is satisfied.
"""

from collections.abc import Iterator
from typing import Any, Final, get_args

import msgspec

from ledger.block import Block, check_block
from ledger.consensus.certificates import verify_certificate, verify_evidence
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import (
    Certificate,
    DurableRecord,
    Evidence,
    Kind,
    Vote,
    conflict,
    signed_bytes,
)
from ledger.errors import EncodingError, PeerError, SignatureError
from ledger.signing import is_valid
from node.cosigning import decode_cosignature
from node.integrity.held import is_cosignature
from node.integrity.ledger import LedgerCheck, Subject
from node.integrity.rebuild import epoch_of
from node.integrity.report import Findings
from node.storage.inspection import Snapshot, rows_of
from node.storage.tables import CLOSINGS, CONSENSUS, COSIGNATURES, MARKS
from node.storage.votes import SIGNING_FLOOR, VOTES_SUSPECT, VOTES_UNASKED, decode_record, mark_row, row_of

_VOTE_KINDS: Final = get_args(Kind)
_MARKS: Final = (SIGNING_FLOOR, VOTES_SUSPECT, VOTES_UNASKED)

Row = tuple[Any, ...]


class SoundVotes(msgspec.Struct, kw_only=True):
    """What of a votes' database is as it was written, and what follows for signing."""

    records: list[DurableRecord]
    cosignatures: list[Row]
    closings: list[Row]
    signing_floor: tuple[int, int] = (0, 0)
    suspect: bool = False

    def settled(self) -> tuple[int, int]:
        """(epoch, view) at or below which nothing needs to be signed any more, by the highest finalization held."""
        finals = [(r.epoch, r.view) for r in self.records if isinstance(r, Certificate) and r.kind == "finalization"]
        return max([self.signing_floor, *finals])


class VotesCheck:
    """Goes through one votes' database beside a ledger that was checked before."""

    def __init__(self, subject: Subject, ledger: LedgerCheck, findings: Findings) -> None:
        self._chain = subject.genesis.chain_id
        self._origin = subject.genesis.origin
        self._party = subject.party
        self._epochs = ledger.epochs
        self._rebuild = ledger.rebuild
        self._findings = findings
        self.sound = SoundVotes(records=[], cosignatures=[], closings=[])

    def check(self, connection: Snapshot) -> None:
        """Check all tables. `connection`: of `node.storage.inspection.snapshot`.

        Raises:
            StoreError: the file cannot be read further; what was sound until there is in `sound`.
        """
        for row in rows_of(connection, MARKS):
            self._mark(row)
        for row in rows_of(connection, CONSENSUS):
            self._record(row)
        self._conflicts()
        for table, kept in ((COSIGNATURES, self.sound.cosignatures), (CLOSINGS, self.sound.closings)):
            for row in rows_of(connection, table):
                problem = self._cosignature_problem(row)
                if problem is None:
                    kept.append(row)
                else:
                    self._findings.add("votes", table.name, row[:2], problem, mend="drop")
        self._settled()

    def _mark(self, row: Row) -> None:
        name, epoch, view, _ = row
        if name not in _MARKS or not isinstance(epoch, int) or not isinstance(view, int) or row != mark_row(*row[:3]):
            self._findings.add("votes", "marks", name, "the mark is not what was written", mend="suspect")
            self.sound.suspect = True
        elif name == VOTES_SUSPECT:
            self.sound.suspect = True
            self._findings.notes.append(
                "Own votes may be missing (restored or mended): nothing is signed until the others show where they are."
            )
        elif name == SIGNING_FLOOR:
            self.sound.signing_floor = (epoch, view)

    def _record(self, row: Row) -> None:
        kind, key, data = row[0], row[:4], row[4]
        record = decode_record(data)
        is_vote = kind in _VOTE_KINDS or isinstance(record, Vote)
        known = kind in _VOTE_KINDS or kind in ("notarization", "nullification", "finalization", "block", "evidence")
        if record is None:
            lost = is_vote or not known
            text = f"the {kind if known else 'record'} cannot be read"
            self._findings.add("votes", "consensus", key, text, mend="suspect" if lost else "drop")
            self.sound.suspect |= lost
            return
        problem = self._record_problem(record)
        if problem is not None:
            self._findings.add("votes", "consensus", key, problem, mend="suspect" if is_vote else "drop")
            self.sound.suspect |= is_vote
            return
        self.sound.records.append(record)
        if row_of(record) != row:
            text = "filed under another key than its content's"
            expected = row_of(record)[:4]
            self._findings.add("votes", "consensus", key, text, mend="rebuild", expected=expected, actual=key)

    def _record_problem(self, record: DurableRecord) -> str | None:
        if isinstance(record, Block):
            try:
                check_block(record)
            except EncodingError as error:
                return f"the block is not whole: {error.message}"
            return None if record.header.chain == self._chain else "the block is of another ledger"
        number = record.first.epoch if isinstance(record, Evidence) else record.epoch
        document = self._epochs.numbered(number)
        if document is None:
            return None  # of an epoch that this ledger has not reached again: nothing to hold it against
        epoch = epoch_of(document)
        parties = [entry.party for entry in document.members]
        try:
            if isinstance(record, Certificate):
                verify_certificate(self._chain, epoch, record)
            elif isinstance(record, Evidence):
                verify_evidence(self._chain, epoch, record)
            else:
                return self._vote_problem(record, epoch, parties)
        except (PeerError, SignatureError) as error:
            return f"the {type(record).__name__.lower()} does not hold: {error.message}"
        return None

    def _vote_problem(self, vote: Vote, epoch: Epoch, parties: list[str]) -> str | None:
        if vote.signer >= epoch.size or parties[vote.signer] != self._party:
            return "the vote is not this node's own"
        if not is_valid(epoch.validators[vote.signer], signed_bytes(self._chain, vote), vote.signature):
            return "the vote's signature does not hold: what was signed is not known any more"
        return None

    def _conflicts(self) -> None:
        """No honest node signs two votes that conflict, whatever was damaged."""
        votes: dict[tuple[int, int], list[Vote]] = {}
        for record in self.sound.records:
            if isinstance(record, Vote):
                votes.setdefault((record.epoch, record.view), []).append(record)
        for place, cast in votes.items():
            if any(conflict(a, b) for a in cast for b in cast if a is not b):
                self._findings.add("votes", "consensus", place, "two own votes of this view conflict", mend="restore")

    def _cosignature_problem(self, row: Row) -> str | None:
        size, signer, line = row
        if not (isinstance(size, int) and isinstance(signer, int) and isinstance(line, bytes)):
            return "a column has another type than was written"
        try:
            held = decode_cosignature(line)
        except EncodingError:
            return "line cannot be read"
        if size > self._rebuild.tip.size:  # above a log that is cut: nobody can say whose epoch that was
            return None if held.size == size else "filed under another key than its content's"
        document = self._epochs.cosigning(size)
        if not is_cosignature(line, origin=self._origin, size=size, signer=signer, document=document):
            return "line is not this validator's cosignature of that size"
        with self._rebuild.store.read() as reader:
            place = reader.place_at_size(size)
        return "the cosignature is of another root" if place is not None and place.log_root != held.root else None

    def _settled(self) -> None:
        """P7.5: every commit's finalization is durable before it, and the highest of an epoch is never pruned."""
        floor = self._rebuild.floor
        document = self._epochs.numbered(floor[0])
        is_member = document is not None and any(entry.party == self._party for entry in document.members)
        finals = [r for r in self.sound.records if isinstance(r, Certificate) and r.kind == "finalization"]
        highest = max((r.view for r in finals if r.epoch == floor[0]), default=0)
        if is_member and highest < floor[1]:
            text = "no finalization is held that led to the ledger's floor: votes are lost with it"
            self._findings.add(
                "votes", "consensus", "", text, mend="suspect", expected=f"view {floor[1]}", actual=highest
            )
            self.sound.suspect = True


def records_to_keep(sound: SoundVotes, newest: Certificate | None) -> Iterator[DurableRecord]:
    """The records of a mended database: the sound ones, and the finalization by which the ledger's newest block was
    committed, in case it was among the damaged."""
    yield from sound.records
    if newest is not None:
        yield newest
