"""The ledger's database against its own log: its structure, then every row against a second ledger made from that log."""

from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from ledger.errors import CorruptionError, StoreError
from ledger.genesis import Genesis
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc, decode_document
from node.integrity.held import ends_at
from node.integrity.rebuild import Rebuild, SecondLedgerError, genesis_validators
from node.integrity.report import STRUCTURE_IS_HURT, Findings, Progress
from node.storage import Database
from node.storage.inspection import HeldLog, Snapshot, differences, snapshot, structure_faults, tables_of

SLICE_BLOCKS: Final = 256
"""Blocks read under one snapshot: a running node's write-ahead log must not grow for as long as a check takes."""
DAMAGE: Final = frozenset({CorruptionError.default_code, StoreError.default_code, "missing_table"})
"""Codes with which a database fails that is hurt, or whose disk is: not one that is locked, or whose disk is full."""
_UNCOMPARED: Final = {"blocks": ("cosignature",)}
"""Columns that do not follow from the log; a cosignature is verified where its block is taken."""


class Epochs:
    """The validators of every epoch of a ledger, and for which sizes of its log they cosign."""

    def __init__(self, genesis: Genesis, rebuild: Rebuild) -> None:
        """As far as the second ledger reaches."""
        self.documents: list[ValidatorsDoc] = [genesis_validators(genesis)]
        self._closing_sizes: list[int] = []
        with rebuild.store.read() as reader:
            for row in reader.epochs():
                document = decode_document(VALIDATORS_KEY.kind, row.validators)
                place = reader.place_at_height(row.height)
                assert isinstance(document, ValidatorsDoc) and place is not None
                self.documents.append(document)
                self._closing_sizes.append(place.size)

    def numbered(self, epoch: int) -> ValidatorsDoc | None:
        """The validators of an epoch that the ledger has reached."""
        return self.documents[epoch] if 0 <= epoch < len(self.documents) else None

    def cosigning(self, size: int) -> ValidatorsDoc:
        """The validators that cosign the log at this size: of the epoch of the block that ends there."""
        return self.documents[sum(closing < size for closing in self._closing_sizes)]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whose databases are checked: the genesis document, the party whose node it is, the folder for a second ledger."""

    genesis: Genesis
    party: str
    scratch: Path


class LedgerCheck(msgspec.Struct, kw_only=True):
    """The second ledger, as far as the first one's log leads; `whole` if that is its end."""

    rebuild: Rebuild
    epochs: Epochs
    whole: bool


def check_ledger(database: Database, subject: Subject, findings: Findings, progress: Progress) -> LedgerCheck:
    """Check one ledger. The caller closes the second ledger.

    Args:
        database: of the schema of this program; only read.
        subject: whose it is; the second ledger takes as much room as the first.
        findings: where problems are named.
        progress: told the height reached.

    Raises:
        StoreError: the second ledger could not be written or read, or the first not for a reason that is no damage.
    """
    rebuild: Rebuild | None = None
    whole = False
    try:
        findings.add_faults("ledger", STRUCTURE_IS_HURT, structure_faults(database), mend="rebuild")
        with snapshot(database) as connection:
            rebuild = Rebuild(subject.genesis, subject.party, subject.scratch, HeldLog(connection), findings)
        whole = _follow(database, rebuild, findings, progress)
    except SecondLedgerError:
        raise
    except StoreError as error:
        if error.code not in DAMAGE:
            raise
        findings.add("ledger", "", "", f"the file cannot be read: {error}", mend="cut")
        if rebuild is None:
            rebuild = Rebuild(subject.genesis, subject.party, subject.scratch, None, findings)
    return LedgerCheck(rebuild=rebuild, epochs=Epochs(subject.genesis, rebuild), whole=whole)


def _follow(database: Database, rebuild: Rebuild, findings: Findings, progress: Progress) -> bool:
    """Bring the second ledger level with the first, then compare them within one snapshot."""
    while True:
        with snapshot(database) as connection:
            log = HeldLog(connection)
            top = log.top() or 0
            to_height = min(top, rebuild.tip.height + SLICE_BLOCKS)
            if not rebuild.extend(log, to_height, partial(_tell, progress, top)):
                return False
            if rebuild.tip.height < top and not ends_at(log, rebuild.tip):
                continue
            if rebuild.awaits_finality:
                findings.notes.append(
                    "The newest blocks are proved by the finalization of one that is not committed yet."
                )
            try:
                _compare(connection, rebuild, findings, progress)
            except StoreError as error:
                findings.add("ledger", "", "", f"the tables cannot be read: {error}", mend="rebuild")
            return True


def _tell(progress: Progress, top: int, height: int) -> None:
    progress("blocks", height, top)


def _compare(held: Snapshot, rebuild: Rebuild, findings: Findings, progress: Progress) -> None:
    with rebuild.database.read() as right:
        tables = tables_of("ledger")
        for done, table in enumerate(tables, start=1):
            for difference in differences(right, held, table, skip=_UNCOMPARED.get(table.name, ())):
                findings.add_difference("ledger", table.name, difference, mend="rebuild")
            progress("tables", done, len(tables))
