"""The durable image of a replica (P3.1): what its driver must be able to hand back after a crash.

The driver keeps the records of `Persist` effects in a table of its own choosing and the floor with the state (P3.3). This
module says what that table means: how records fold into it, which of them `Prune` may delete, and what is handed to
`Replica.restore`. A driver that keeps too much (pruning is lazy) or repeats itself does no harm.
"""

from collections.abc import Iterable

import msgspec

from ledger.block import Block
from ledger.consensus.effects import Floor
from ledger.consensus.messages import (
    Certificate,
    CertificateKind,
    DurableRecord,
    Evidence,
    Kind,
    Vote,
    kind_of,
)


class Durable(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart loads: the floor as last committed, and every record persisted and not pruned, in any order.

    `signing_floor`: (epoch, view) of the highest `Prune` carried out. Above the floor only where the ledger's store was cut
    back since; own votes up to there may be gone, and nothing there is ever signed again (P3.5, P4.1).
    """

    floor: Floor
    records: tuple[DurableRecord, ...] = ()
    signing_floor: tuple[int, int] = (0, 0)


class Image:
    """Records folded into tables, each keyed by what makes it unique."""

    def __init__(self, records: Iterable[DurableRecord] = ()) -> None:
        self.votes: dict[tuple[int, int, Kind], Vote] = {}
        self.certificates: dict[tuple[int, int, CertificateKind], Certificate] = {}
        self.blocks: dict[bytes, Block] = {}
        self.evidence: dict[tuple[int, int], Evidence] = {}
        for record in records:
            self.fold(record)

    def fold(self, record: DurableRecord) -> None:
        """Take in one record. Folding one twice changes nothing; the first of a key stays."""
        if isinstance(record, Block):
            self.blocks.setdefault(record.digest, record)
        elif isinstance(record, Certificate):
            self.certificates.setdefault((record.epoch, record.view, record.kind), record)
        elif isinstance(record, Evidence):
            self.evidence.setdefault((record.first.epoch, record.first.signer), record)
        else:
            self.votes.setdefault((record.epoch, record.view, kind_of(record)), record)

    def prune(self, epoch: int, view: int) -> None:
        """Drop what lies at or below (epoch, view) (P3.5), but for the highest finalization of each epoch, and evidence."""
        highest: dict[int, int] = {}
        for at_epoch, at_view, kind in self.certificates:
            if kind == "finalization":
                highest[at_epoch] = max(at_view, highest.get(at_epoch, 0))
        self.votes = {key: vote for key, vote in self.votes.items() if key[:2] > (epoch, view)}
        self.certificates = {
            key: certificate
            for key, certificate in self.certificates.items()
            if key[:2] > (epoch, view) or (key[2] == "finalization" and highest[key[0]] == key[1])
        }
        self.blocks = {
            digest: block
            for digest, block in self.blocks.items()
            if (block.header.epoch, block.header.view) > (epoch, view)
        }

    def records(self) -> tuple[DurableRecord, ...]:
        """Everything held, for `Durable`."""
        return (
            *self.votes.values(),
            *self.certificates.values(),
            *self.blocks.values(),
            *self.evidence.values(),
        )
