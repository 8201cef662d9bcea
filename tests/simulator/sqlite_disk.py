"""The production stores on a simulated disk: real SQLite files, whose unsynced bytes a crash loses or tears.

A write that returned was synced. A crash in the middle of one leaves the files between what they were before it and what
they would be after it: the write-ahead log with any of its newly written sectors missing, or, if SQLite was copying the log
back, the log whole and the database with any of its pages not yet written. The node then starts on those files.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from sqlalchemy.engine import Connection

from ledger.block import Block
from ledger.consensus.durable import Durable
from ledger.consensus.effects import Floor
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate, DurableRecord
from ledger.genesis import Genesis
from ledger.state.model import ValidatorsDoc, decode_document
from ledger.state.validators import consensus_keys
from node.execution.opening import open_state
from node.peers.stored import StoredBlocks
from node.storage import Database, LedgerStore, VoteStore
from node.storage.schema import migrate
from node.storage.sqlite import execute_raw
from tests.simulator.application import Group, Prepared

SECTOR_BYTES: Final = 512
CHECKPOINT_PAGES: Final = 60
"""SQLite copies its log back this often (pages), so that runs of a minute see it happen, and crash in the middle."""
_MEMORY: Final = Path("/dev/shm")


class SqliteDisk:
    """One machine's files, in a new folder after each crash."""

    def __init__(self, folder: Path, genesis: Genesis, rng: random.Random) -> None:
        self._folder = folder
        self._genesis = genesis
        self._rng = rng
        self._life = 0
        self._copy: tuple[DurableRecord, ...] | None = None
        path = self._place()
        path.mkdir(parents=True)
        for name, data in zip(("ledger.db", "votes.db"), _templates(genesis), strict=True):
            (path / name).write_bytes(data)
        self._ledger_database, self._votes_database = self._databases()
        self._open()

    def load(self) -> Durable:
        with self.ledger.read() as reader:
            head = reader.head()
        assert head is not None
        return Durable(floor=head.floor, records=self.votes.load(), signing_floor=self.votes.signing_floor())

    def append(self, group: Group) -> None:
        if group.suspect is not None:
            self.votes.set_votes_suspect(group.suspect)
        self.votes.append(group.records, prune=group.prune)

    @property
    def votes_suspect(self) -> bool:
        return self.votes.votes_suspect()

    def commit(self, *blocks: Prepared) -> None:
        self.ledger.commit(*(prepared.rows for prepared in blocks if prepared.rows is not None))

    def crash(self, votes: Group | None, blocks: tuple[Prepared, ...]) -> tuple[str, str]:
        old = self._place()
        self._life += 1
        new = self._place()
        new.mkdir()
        of_votes = self._survive("votes", old, new, None if votes is None else (lambda: self.append(votes)))
        of_ledger = self._survive("ledger", old, new, (lambda: self.commit(*blocks)) if blocks else None)
        self.close()
        shutil.rmtree(old)
        self._ledger_database, self._votes_database = self._databases()
        self._open()
        return of_votes, of_ledger

    def keep_copy(self) -> None:
        self._copy = self.votes.load()

    def lose_votes(self, *, older: bool, noticed: bool) -> bool:
        if older and self._copy is None:
            return False
        self._votes_database.close()
        for path in self._place().glob("votes.db*"):
            path.unlink()
        (self._place() / "votes.db").write_bytes(_templates(self._genesis)[1])  # as a node makes it where there is none
        self._votes_database = _Watched(self._place() / "votes.db")
        self.votes = VoteStore(self._votes_database)
        if older and self._copy is not None:
            self.votes.append(self._copy)
        self.votes.set_votes_suspect(noticed)
        return True

    def lose_all(self) -> bool:
        return False  # the toy's runs do that

    def epoch_of(self, floor: Floor) -> Epoch:
        """The epoch of a floor, as a node finds it: by the genesis document, or by the block that opened it."""
        number, agencies = floor.epoch, self._genesis.agencies
        if number == 0:
            keys = tuple(bytes.fromhex(agency.node.consensus.public) for agency in agencies)
            return Epoch(number=0, validators=keys, opening_digest=self._genesis.chain_id)
        with self.ledger.read() as reader:
            row = reader.epochs()[number - 1]
            place = reader.place_at_height(row.height)
        assert place is not None
        document = decode_document("validators", row.validators)
        assert isinstance(document, ValidatorsDoc)
        return Epoch(number=number, validators=consensus_keys(document), opening_digest=place.digest)

    def find_block(self, digest: bytes) -> Block | None:
        with self.ledger.read() as reader:
            place = reader.place_of_digest(digest)
            stored = None if place is None else reader.block(place.height)
        return None if stored is None else stored.block

    def certified_blocks(self, first_height: int, count: int) -> tuple[tuple[Block, Certificate], ...]:
        found = StoredBlocks(self.ledger).certified_blocks(first_height, count)
        return tuple((item.block, item.certificate) for item in found if item.certificate is not None)

    def close(self) -> None:
        self._ledger_database.close()
        self._votes_database.close()

    def _place(self) -> Path:
        return self._folder / str(self._life)

    def _databases(self) -> tuple["_Watched", "_Watched"]:
        return _Watched(self._place() / "ledger.db"), _Watched(self._place() / "votes.db")

    def _open(self) -> None:
        self.ledger = LedgerStore(self._ledger_database)
        self.votes = VoteStore(self._votes_database)

    def _survive(self, name: str, old: Path, new: Path, write: Callable[[], None] | None) -> str:
        """Bring one store's files over a crash in the middle of `write`; what became of that."""
        fate = "" if write is None else self._rng.choice(("lost", "torn", "whole"))
        files = _Files.read(old, name)
        if write is not None and fate != "lost":
            states = [files]
            database = self._ledger_database if name == "ledger" else self._votes_database
            database.on_commit = lambda: states.append(_Files.read(old, name))
            write()
            last = len(states) - 1 if fate == "whole" else self._rng.randrange(1, len(states))
            files = states[last] if fate == "whole" else self._tear(states[last - 1], states[last])
        files.write(new, name)
        return fate

    def _tear(self, before: "_Files", after: "_Files") -> "_Files":
        if before.database != after.database and self._rng.random() < 0.5:
            return _Files(_torn(before.database, after.database, 8 * SECTOR_BYTES, self._rng), after.log)
        return _Files(before.database, _torn(before.log, after.log, SECTOR_BYTES, self._rng))


class _Watched(Database):
    """A database that tells of each of its transactions: a crash may come between any two. Nobody else reads it, so one
    connection serves all its snapshots."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.on_commit: Callable[[], None] | None = None
        self._snapshots: Connection | None = None
        self._is_reading = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self._is_reading:
            with super().read() as connection:
                yield connection
            return
        if self._snapshots is None:
            self._snapshots = self._reader.connect()
        self._is_reading = True
        execute_raw(self._snapshots, "BEGIN")
        try:
            yield self._snapshots
        finally:
            execute_raw(self._snapshots, "ROLLBACK")
            self._is_reading = False

    def close(self) -> None:
        if self._snapshots is not None:
            self._snapshots.close()
        super().close()

    def commit(self, connection: Connection) -> None:
        super().commit(connection)
        if self.on_commit is not None:
            self.on_commit()


class _Files:
    """The bytes of a database and of its write-ahead log."""

    def __init__(self, database: bytes, log: bytes) -> None:
        self.database = database
        self.log = log

    @classmethod
    def read(cls, folder: Path, name: str) -> "_Files":
        log = folder / f"{name}.db-wal"
        return cls((folder / f"{name}.db").read_bytes(), log.read_bytes() if log.exists() else b"")

    def write(self, folder: Path, name: str) -> None:
        (folder / f"{name}.db").write_bytes(self.database)
        if self.log:
            (folder / f"{name}.db-wal").write_bytes(self.log)


def _torn(before: bytes, after: bytes, unit: int, rng: random.Random) -> bytes:
    """A file that was being written: cut short in its new part, and of its changed units some are still the old ones."""
    end = rng.randint(min(len(before), len(after)), len(after))
    missing = rng.choice((0.0, 0.1, 0.5, 0.9))
    old = before.ljust(len(after), b"\x00")
    parts = []
    for at in range(0, end, unit):
        stop = min(at + unit, end)
        kept = after[at:stop] == old[at:stop] or rng.random() >= missing
        parts.append((after if kept else old)[at:stop])
    return b"".join(parts)


@contextmanager
def simulated_storage() -> Iterator[Path]:
    """A folder in memory for the disks of one run, whose databases are not looked through for migrations at every start."""
    parent = _MEMORY if _MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="tracemark-simulator-", dir=parent) as name,
        patch("node.storage.ledger.migrate", _nothing),
        patch("node.storage.votes.migrate", _nothing),
        patch("node.storage.sqlite.WAL_AUTOCHECKPOINT_PAGES", CHECKPOINT_PAGES),
    ):
        yield Path(name)


def _nothing(*_: object, **__: object) -> None:
    return None


_MADE: Final[dict[bytes, tuple[bytes, bytes]]] = {}
_FLOORS: Final[dict[bytes, Floor]] = {}


def _templates(genesis: Genesis) -> tuple[bytes, bytes]:
    """The two databases of a node that was just set up, made once for each ledger by the production code."""
    if genesis.chain_id not in _MADE:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ledger, votes = Database(folder / "ledger.db"), Database(folder / "votes.db")
            with patch("node.storage.ledger.migrate", migrate), patch("node.storage.votes.migrate", migrate):
                head, _ = open_state(genesis, LedgerStore(ledger), lambda size, root: b"")
                VoteStore(votes)
            ledger.close()
            votes.close()
            _FLOORS[genesis.chain_id] = head.floor
            _MADE[genesis.chain_id] = ((folder / "ledger.db").read_bytes(), (folder / "votes.db").read_bytes())
    return _MADE[genesis.chain_id]


def genesis_floor(genesis: Genesis) -> Floor:
    """The floor of a node that was just set up."""
    _templates(genesis)
    return _FLOORS[genesis.chain_id]
