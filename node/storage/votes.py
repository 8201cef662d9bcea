"""What consensus must not forget (P3.1), and peers' cosignatures: a small database of their own, so that a vote never waits
behind a block's transaction.

A record is kept under what makes it unique, and the first of a key stays, as `ledger.consensus.durable` defines.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
import sqlalchemy as sa

from ledger.block import Block
from ledger.consensus.messages import (
    Certificate,
    DurableRecord,
    Evidence,
    Finalize,
    Notarize,
    Nullify,
    kind_of,
)
from ledger.errors import CorruptionError
from node.storage.schema import migrate
from node.storage.sqlite import Database, RowWriter, compile_sql, raise_sql
from node.storage.sums import row_sum
from node.storage.tables import CLOSINGS, CONSENSUS, COSIGNATURES, MARKS

SIGNING_FLOOR: Final = "signing_floor"
VOTES_SUSPECT: Final = "votes_suspect"
VOTES_UNASKED: Final = "votes_unasked"
_BLOCK: Final = "block"
_EVIDENCE: Final = "evidence"

_CONSENSUS: Final = RowWriter(CONSENSUS, ignore=True)
_COSIGNATURES: Final = RowWriter(COSIGNATURES, ignore=True)
_CLOSINGS: Final = RowWriter(CLOSINGS, ignore=True)
_ENCODER: Final = msgspec.msgpack.Encoder()
_BLOCKS: Final = msgspec.msgpack.Decoder(Block)
_OTHERS: Final = msgspec.msgpack.Decoder(Notarize | Nullify | Finalize | Certificate | Evidence)

_HIGHEST: Final = CONSENSUS.alias("highest")
_SQL_PRUNE: Final = compile_sql(
    sa.delete(CONSENSUS).where(
        CONSENSUS.c.kind != _EVIDENCE,
        sa.tuple_(CONSENSUS.c.epoch, CONSENSUS.c.view) <= sa.tuple_(sa.bindparam("epoch"), sa.bindparam("view")),
        sa.or_(
            CONSENSUS.c.kind != "finalization",
            CONSENSUS.c.view
            < sa.select(sa.func.max(_HIGHEST.c.view))
            .where(_HIGHEST.c.kind == "finalization", _HIGHEST.c.epoch == CONSENSUS.c.epoch)
            .scalar_subquery(),
        ),
    )
)
_SQL_FORGET: Final = compile_sql(sa.delete(COSIGNATURES).where(COSIGNATURES.c.size < sa.bindparam("size")))
_SQL_CONSENSUS: Final = compile_sql(sa.select(*CONSENSUS.c))
_SQL_EVIDENCE: Final = compile_sql(sa.select(*CONSENSUS.c).where(CONSENSUS.c.kind == sa.bindparam("kind")))
_SQL_CLOSINGS: Final = compile_sql(
    sa.select(CLOSINGS.c.size, CLOSINGS.c.signer, CLOSINGS.c.line).order_by(CLOSINGS.c.size, CLOSINGS.c.signer)
)
_SQL_COSIGNATURES: Final = compile_sql(
    sa.select(COSIGNATURES.c.size, COSIGNATURES.c.signer, COSIGNATURES.c.line).order_by(
        COSIGNATURES.c.size, COSIGNATURES.c.signer
    )
)
_SQL_RAISE: Final = raise_sql(MARKS, MARKS.c.epoch, MARKS.c.view)
_SQL_UNMARK: Final = compile_sql(sa.delete(MARKS).where(MARKS.c.name == sa.bindparam("name")))
_SQL_MARK: Final = compile_sql(sa.select(*MARKS.c).where(MARKS.c.name == sa.bindparam("name")))

CosignatureRow = tuple[int, int, bytes]
"""(checkpoint size, validator's index, opaque bytes)."""


class VoteStore:
    """The votes database. `append` belongs to one thread."""

    def __init__(self, database: Database, *, has_ledger: bool = False) -> None:
        """Bring the tables to this program's schema. Made anew beside a ledger (`has_ledger`), they lack votes (P7.5).

        Raises:
            ConfigurationError: code `newer_schema`.
            StoreError: the database could not be opened.
        """
        self._database = database
        migrate(database, "votes", on_new=_mark_suspect if has_ledger else None)

    def append(
        self,
        records: Iterable[DurableRecord] = (),
        *,
        cosignatures: Iterable[CosignatureRow] = (),
        closings: Iterable[CosignatureRow] = (),
        prune: tuple[int, int] | None = None,
        forget_below: int = 0,
        votes_suspect: bool | None = None,
    ) -> None:
        """Keep records and cosignatures, in one transaction. Durable on return.

        Args:
            records: votes, certificates, blocks and evidence to keep.
            cosignatures: of peers, verified.
            closings: those among them that close an epoch: these never go.
            prune: (epoch, view) at or below which votes, certificates and blocks go (P3.5), but for the highest finalization
                of each epoch, and evidence.
            forget_below: cosignatures of smaller sizes go.
            votes_suspect: remember, or forget, that votes may be missing.

        Raises:
            StoreError: they are not known to be durable.
        """
        rows = [row_of(record) for record in records]
        with self._database.write() as connection:
            _CONSENSUS.write(connection, rows)
            _COSIGNATURES.write(connection, cosignatures)
            _CLOSINGS.write(connection, closings)
            if prune is not None:
                connection.exec_driver_sql(_SQL_RAISE, mark_row(SIGNING_FLOOR, *prune))
                connection.exec_driver_sql(_SQL_PRUNE, (_EVIDENCE, *prune, "finalization", "finalization"))
            if forget_below:
                connection.exec_driver_sql(_SQL_FORGET, (forget_below,))
            if votes_suspect is not None:
                (_mark_suspect if votes_suspect else _unmark_suspect)(connection)

    def load(self) -> tuple[DurableRecord, ...]:
        """Every record kept and not pruned.

        Raises:
            CorruptionError: one of them cannot be read, or is filed under another key than its content's.
            StoreError: the database could not be read.
        """
        return self._load(_SQL_CONSENSUS, ())

    def _load(self, sql: str, parameters: tuple[str, ...]) -> tuple[DurableRecord, ...]:
        with self._database.read() as connection:
            rows = connection.exec_driver_sql(sql, parameters).all()
        records = []
        for *key, data in rows:
            record = decode_record(data)
            if record is None or key_of(record) != tuple(key):
                raise CorruptionError(
                    f"the votes' database holds a {key[0]} that is not what was written",
                    expected=None if record is None else key_of(record)[:3],
                    actual=tuple(key[:3]),
                    help="`tracemark fsck` names the rows and mends what can be mended.",
                )
            records.append(record)
        return tuple(records)

    def evidence(self) -> tuple[Evidence, ...]:
        """Conflicting votes of others, of every epoch.

        Raises:
            CorruptionError: one of them cannot be read.
        """
        return tuple(record for record in self._load(_SQL_EVIDENCE, (_EVIDENCE,)) if isinstance(record, Evidence))

    def signing_floor(self) -> tuple[int, int]:
        """(epoch, view) at or below which own votes may have been pruned, so that nothing there is ever signed again (P4.1),
        even should the ledger's floor be lower, because its database was cut back or restored; (0, 0) at first.

        Raises:
            CorruptionError: it is not what was written.
        """
        return self._mark(SIGNING_FLOOR) or (0, 0)

    def raise_signing_floor(self, epoch: int, view: int) -> None:
        """Settle that nothing at or below (epoch, view) is signed again. Never lowers it. Durable on return.

        Raises:
            StoreError: it is not known to be durable.
        """
        with self._database.write() as connection:
            connection.exec_driver_sql(_SQL_RAISE, mark_row(SIGNING_FLOOR, epoch, view))

    def votes_suspect(self) -> bool:
        """Whether votes of ours may be missing here: this table was restored from a backup, or damaged (P7.5).

        Raises:
            CorruptionError: the mark is not what was written.
        """
        return self._mark(VOTES_SUSPECT) is not None

    def votes_unasked(self) -> bool:
        """Whether that is so only because the node began empty, and nobody has shown yet whether it voted before.

        Raises:
            CorruptionError: the mark is not what was written.
        """
        return self._mark(VOTES_UNASKED) is not None

    def set_votes_unasked(self) -> None:
        """Remember that votes may be missing because nobody could be asked yet. Durable on return.

        Raises:
            StoreError: it is not known to be durable.
        """
        with self._database.write() as connection:
            _mark_suspect(connection)
            connection.exec_driver_sql(_SQL_RAISE, mark_row(VOTES_UNASKED, 0, 0))

    def set_votes_suspect(self, suspect: bool) -> None:
        """Remember, or forget, that votes may be missing; either way somebody was asked. Durable on return.

        Raises:
            StoreError: it is not known to be durable.
        """
        with self._database.write() as connection:
            (_mark_suspect if suspect else _unmark_suspect)(connection)

    def _mark(self, name: str) -> tuple[int, int] | None:
        with self._database.read() as connection:
            row = connection.exec_driver_sql(_SQL_MARK, (name,)).first()
        if row is None:
            return None
        if tuple(row) != mark_row(row.name, row.epoch, row.view):
            raise CorruptionError(
                f"the mark {name} is not what was written", actual=f"epoch {row.epoch}, view {row.view}"
            )
        return row.epoch, row.view

    def cosignatures(self) -> list[CosignatureRow]:
        """All that are kept, by rising size and signer."""
        with self._database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(_SQL_COSIGNATURES)]

    def closings(self) -> list[CosignatureRow]:
        """Those of checkpoints that closed an epoch, by rising size and signer."""
        with self._database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(_SQL_CLOSINGS)]

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def decode_record(data: object) -> DurableRecord | None:
    """A record from its stored bytes, whatever its kind; None if it is none."""
    if not isinstance(data, bytes):
        return None
    for decoder in (_OTHERS, _BLOCKS):
        try:
            record: DurableRecord = decoder.decode(data)
        except (msgspec.MsgspecError, ValueError):
            continue
        return record
    return None


def mark_row(name: str, epoch: int, view: int) -> tuple[str, int, int, bytes]:
    """The row of a mark."""
    return name, epoch, view, row_sum(name, epoch, view)


def row_of(record: DurableRecord) -> tuple[str, int, int, bytes, bytes]:
    """The row of a record: its key, and its bytes."""
    return (*key_of(record), _ENCODER.encode(record))


def key_of(record: DurableRecord) -> tuple[str, int, int, bytes]:
    """Under what a record is kept: kind, epoch, view, and a block's digest; evidence under its signer for the view."""
    if isinstance(record, Block):
        return (_BLOCK, record.header.epoch, record.header.view, record.digest)
    if isinstance(record, Certificate):
        return (record.kind, record.epoch, record.view, b"")
    if isinstance(record, Evidence):
        return (_EVIDENCE, record.first.epoch, record.first.signer, b"")
    return (kind_of(record), record.epoch, record.view, b"")


def _mark_suspect(connection: sa.Connection) -> None:
    connection.exec_driver_sql(_SQL_UNMARK, (VOTES_UNASKED,))
    connection.exec_driver_sql(_SQL_RAISE, mark_row(VOTES_SUSPECT, 0, 0))


def _unmark_suspect(connection: sa.Connection) -> None:
    connection.exec_driver_sql(_SQL_UNMARK, (VOTES_UNASKED,))
    connection.exec_driver_sql(_SQL_UNMARK, (VOTES_SUSPECT,))
