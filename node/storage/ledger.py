"""The ledger's database: one transaction a block, or a few while catching up, and snapshots for readers (DESIGN 9).

What a block means is decided elsewhere; this module writes the rows it is given and checks what it reads back. Reading
goes through `LedgerReader`, which is one snapshot: everything it returns is as of one height.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ledger.block import Block, BlockHeader, Seal, decode_seal
from ledger.consensus.messages import Certificate
from ledger.errors import CorruptionError, EncodingError, InputError
from ledger.limits import MAX_PAGE_ITEMS
from ledger.merkle.hashing import HASH_BYTES, node_hash
from ledger.merkle.tree import Frontier
from ledger.statetree import StateProof
from node.storage.rows import BlockCommit, BlockPlace, EpochRow, Head, RecordRow, StoredBlock
from node.storage.schema import migrate
from node.storage.sqlite import Database, Lookup, RowWriter, compile_sql, execute_raw
from node.storage.tables import BLOCKS, DOCUMENTS, ENTRIES, EPOCHS, FLOOR, HISTORY, KEYS, RECORDS, SERIALS, TILES
from node.storage.tiles import TILE_HEIGHT, TILE_WIDTH, PartialTiles

_ENTRIES: Final = RowWriter(ENTRIES)
_RECORDS: Final = RowWriter(RECORDS)
_TILES: Final = RowWriter(TILES, replace=True)
_DOCUMENTS: Final = RowWriter(DOCUMENTS, replace=True)
_HISTORY: Final = RowWriter(HISTORY)
_SERIALS: Final = RowWriter(SERIALS)
_KEYS: Final = RowWriter(KEYS)
_BLOCKS: Final = RowWriter(BLOCKS)
_EPOCHS: Final = RowWriter(EPOCHS)
_FLOOR: Final = RowWriter(FLOOR, replace=True)

_FIND_DOCUMENTS: Final = Lookup(DOCUMENTS.c.key, DOCUMENTS.c.key, DOCUMENTS.c.value)
_FIND_RECORDS: Final = Lookup(RECORDS.c.id, RECORDS.c.id, RECORDS.c.index)
_FIND_KEYS: Final = Lookup(KEYS.c.keyid, KEYS.c.keyid, KEYS.c.public)
_FIND_ENTRIES: Final = Lookup(ENTRIES.c.index, ENTRIES.c.index, ENTRIES.c.entry)

_PLACE: Final = (
    BLOCKS.c.height,
    BLOCKS.c.digest,
    BLOCKS.c.first_index,
    BLOCKS.c.size,
    BLOCKS.c.log_root,
    BLOCKS.c.cosignature,
)
_SQL_FLOOR: Final = compile_sql(sa.select(FLOOR.c.epoch, FLOOR.c.view, FLOOR.c.height, FLOOR.c.frontier))
_SQL_PLACE_AT_HEIGHT: Final = compile_sql(sa.select(*_PLACE).where(BLOCKS.c.height == sa.bindparam("height")))
_SQL_PLACE_OF_INDEX: Final = compile_sql(
    sa.select(*_PLACE)
    .where(BLOCKS.c.first_index <= sa.bindparam("index"))
    .order_by(BLOCKS.c.first_index.desc())
    .limit(sa.literal_column("1"))
    .offset(sa.literal_column("0"))
)
_SQL_PLACE_AT_SIZE: Final = compile_sql(sa.select(*_PLACE).where(BLOCKS.c.size == sa.bindparam("size")))
_SQL_PLACE_OF_DIGEST: Final = compile_sql(sa.select(*_PLACE).where(BLOCKS.c.digest == sa.bindparam("digest")))
_SQL_PROOF_OF_BLOCK: Final = compile_sql(
    sa.select(BLOCKS.c.header, BLOCKS.c.certificate).where(BLOCKS.c.height == sa.bindparam("height"))
)
_SQL_ENTRIES: Final = compile_sql(
    sa.select(ENTRIES.c.entry)
    .where(ENTRIES.c.index >= sa.bindparam("first"), ENTRIES.c.index < sa.bindparam("end"))
    .order_by(ENTRIES.c.index)
)
_SQL_TILE: Final = compile_sql(
    sa.select(TILES.c.hashes).where(TILES.c.level == sa.bindparam("level"), TILES.c.number == sa.bindparam("number"))
)
_SQL_HISTORY: Final = compile_sql(
    sa.select(HISTORY.c.index)
    .where(HISTORY.c.weapon == sa.bindparam("weapon"), HISTORY.c.index < sa.bindparam("end"))
    .order_by(HISTORY.c.index)
)
_SQL_ALL_DOCUMENTS: Final = compile_sql(sa.select(DOCUMENTS.c.key, DOCUMENTS.c.kind, DOCUMENTS.c.id, DOCUMENTS.c.value))

_SQL_DOCUMENTS_BY_KEY: Final = compile_sql(
    sa.select(DOCUMENTS.c.key, DOCUMENTS.c.kind, DOCUMENTS.c.id, DOCUMENTS.c.value).order_by(DOCUMENTS.c.key)
)
_SQL_EPOCHS: Final = compile_sql(
    sa.select(EPOCHS.c.epoch, EPOCHS.c.height, EPOCHS.c.validators, EPOCHS.c.proof).order_by(EPOCHS.c.epoch)
)

_PROOF_ENCODER: Final = msgspec.msgpack.Encoder()
_PROOFS: Final = msgspec.msgpack.Decoder(StateProof)
_HEADERS: Final = msgspec.msgpack.Decoder(BlockHeader)
_CERTIFICATES: Final = msgspec.msgpack.Decoder(Certificate)


class LedgerReader:
    """One snapshot of the ledger. Lives in one thread, within `LedgerStore.read`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tiles: dict[tuple[int, int], bytes] = {}

    def head(self) -> Head | None:
        """The newest block; None in a store that nothing was committed to.

        Raises:
            CorruptionError: floor, block, seal and frontier do not fit each other.
        """
        floor = self._one(_SQL_FLOOR)
        if floor is None:
            return None
        epoch, view, height, frontier_nodes = floor
        place = self.place_at_height(height)
        if place is None:
            raise CorruptionError("the newest block is missing", expected=f"a block at height {height}")
        frontier = _frontier(place.size, frontier_nodes)
        if frontier.root != place.log_root:
            raise CorruptionError(
                "the frontier is not the log's", expected=place.log_root.hex(), actual=frontier.root.hex()
            )
        entry, seal = self.seal(place)
        return Head(
            height=height,
            epoch=epoch,
            view=view,
            digest=place.digest,
            seal_hash=hashlib.sha256(entry).digest(),
            size=place.size,
            time_ms=seal.time,
            log_root=place.log_root,
            state_root=bytes.fromhex(seal.state_root),
            frontier=frontier,
        )

    def height(self) -> int:
        """The newest block's height. Requires that there is one."""
        return int(self._one(_SQL_FLOOR)[2])

    def seal(self, place: BlockPlace) -> tuple[bytes, Seal]:
        """The seal entry of a block, and what it says.

        Raises:
            CorruptionError: there is none, or it is no seal.
        """
        entry = self.entry(place.size - 1)
        if entry is None:
            raise CorruptionError("a block's seal is missing", expected=f"entry {place.size - 1}")
        try:
            return entry, decode_seal(entry)
        except EncodingError as error:
            raise CorruptionError(f"entry {place.size - 1} is no seal: {error.message}") from error

    def entry(self, index: int) -> bytes | None:
        """The bytes of one log entry."""
        row = self._one(_SQL_ENTRIES, index, index + 1)
        return None if row is None else _blob(row[0])

    def entries(self, first: int, count: int) -> list[bytes]:
        """Entries [first, first + count), fewer at the log's end."""
        return [_blob(row[0]) for row in self._all(_SQL_ENTRIES, first, first + count)]

    def entries_at(self, indices: Iterable[int]) -> dict[int, bytes]:
        """Scattered entries by index."""
        return {index: _blob(entry) for index, entry in _FIND_ENTRIES.rows(self._connection, indices)}

    def record(self, record_id: str) -> RecordRow | None:
        """Where a record stands. Requires 64 hex digits."""
        found = self.known_ids([bytes.fromhex(record_id)])
        if not found:
            return None
        index = next(iter(found.values()))
        place = self.place_of_index(index)
        return None if place is None else RecordRow(index=index, height=place.height)

    def known_ids(self, ids: Iterable[bytes]) -> dict[bytes, int]:
        """Those of the record ids (32 bytes) that stand in the log, with their indices."""
        return dict(_FIND_RECORDS.rows(self._connection, ids))

    def documents(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Documents by hashed key, as of the newest block; absent ones are left out."""
        return {key: _blob(value) for key, value in _FIND_DOCUMENTS.rows(self._connection, keys)}

    def all_documents(self) -> Iterator[tuple[bytes, str, str, bytes]]:
        """(hashed key, kind, id, bytes) of every document, in no particular order."""
        cursor = execute_raw(self._connection, _SQL_ALL_DOCUMENTS)
        while rows := cursor.fetchmany(1_000):
            for key, kind, name, value in rows:
                yield _blob(key), kind, name, _blob(value)

    def proposals(self, *, after: str, limit: int) -> list[str]:
        """Ids of proposals in their order, those after `after`, as of the newest block."""
        # The kind stands there literally: with a parameter, the index of the proposals alone would not serve.
        query = sa.select(DOCUMENTS.c.id).where(
            DOCUMENTS.c.kind == sa.literal_column("'proposal'"), DOCUMENTS.c.id > after
        )
        query = query.order_by(DOCUMENTS.c.id).limit(limit)
        return [row.id for row in self._connection.execute(query)]

    def documents_by_key(self) -> Iterator[tuple[bytes, str, str, bytes]]:
        """As `all_documents`, in the order of the hashed keys."""
        cursor = execute_raw(self._connection, _SQL_DOCUMENTS_BY_KEY)
        while rows := cursor.fetchmany(256):
            for key, kind, name, value in rows:
                yield _blob(key), kind, name, _blob(value)

    def history(self, weapon: str, *, size: int) -> list[int]:
        """The log indices, below `size`, of the records that wrote the weapon's document, rising."""
        return [row[0] for row in self._all(_SQL_HISTORY, weapon, size)]

    def weapons_by_serial(
        self, serial: str, *, make: str | None = None, after: tuple[str, str] = ("", ""), limit: int = MAX_PAGE_ITEMS
    ) -> list[tuple[str, str]]:
        """(make, weapon id) of weapons with this normalised serial, in that order, those after `after`."""
        query = sa.select(SERIALS.c.make, SERIALS.c.weapon).where(
            SERIALS.c.serial == serial, sa.tuple_(SERIALS.c.make, SERIALS.c.weapon) > after
        )
        if make is not None:
            query = query.where(SERIALS.c.make == make)
        query = query.order_by(SERIALS.c.make, SERIALS.c.weapon).limit(limit)
        return [(row.make, row.weapon) for row in self._connection.execute(query)]

    def publics(self, keyids: Iterable[str]) -> dict[str, list[str]]:
        """Public keys (hex, sorted) by key id, of those that the state has ever named. A key id has 64 bits: whoever makes
        an effort can have two keys of one."""
        found: dict[str, list[str]] = {}
        for keyid, public in sorted(_FIND_KEYS.rows(self._connection, keyids)):
            found.setdefault(keyid, []).append(public)
        return found

    def place_at_height(self, height: int) -> BlockPlace | None:
        """The block at a height."""
        return self._place(_SQL_PLACE_AT_HEIGHT, height)

    def place_of_index(self, index: int) -> BlockPlace | None:
        """The block that holds a log entry."""
        place = self._place(_SQL_PLACE_OF_INDEX, index)
        return place if place is not None and index < place.size else None

    def place_at_size(self, size: int) -> BlockPlace | None:
        """The block after which the log had this size; None for a size that is no block boundary."""
        return self._place(_SQL_PLACE_AT_SIZE, size)

    def place_of_digest(self, digest: bytes) -> BlockPlace | None:
        """The committed block with this digest."""
        return self._place(_SQL_PLACE_OF_DIGEST, digest)

    def block(self, height: int) -> StoredBlock | None:
        """A committed block whole; None above the head, and for the genesis block, which has no header.

        Raises:
            CorruptionError: the parts do not make the block that was committed.
        """
        place, proved = self.place_at_height(height), self.header(height)
        if place is None or proved is None:
            return None
        entries = self.entries(place.first_index, place.size - place.first_index)
        header, certificate = proved
        if len(entries) != place.size - place.first_index or header.digest != place.digest:
            raise CorruptionError(f"block {height} is not what was committed", expected=place.digest.hex())
        block = Block(header=header, entries=tuple(entries[:-1]), seal=entries[-1])
        return StoredBlock(block=block, certificate=certificate)

    def header(self, height: int) -> tuple[BlockHeader, Certificate] | None:
        """The header of a committed block, and the finalization by which it was committed; None as for `block`.

        Raises:
            CorruptionError: they cannot be read.
        """
        proof = self._one(_SQL_PROOF_OF_BLOCK, height)
        if proof is None or proof[0] is None:
            return None
        try:
            return _HEADERS.decode(proof[0]), _CERTIFICATES.decode(proof[1])
        except msgspec.MsgspecError as error:
            raise CorruptionError(f"block {height} cannot be read: {error}") from error

    def epochs(self) -> list[EpochRow]:
        """How each epoch after the first began, in their order.

        Raises:
            CorruptionError: one is missing, or cannot be read.
        """
        rows = []
        for expected, (epoch, height, validators, proof) in enumerate(self._all(_SQL_EPOCHS), start=1):
            if epoch != expected:
                raise CorruptionError("an epoch is missing", expected=f"epoch {expected}", actual=f"epoch {epoch}")
            try:
                decoded = _PROOFS.decode(_blob(proof))
            except msgspec.MsgspecError as error:
                raise CorruptionError(f"the proof of epoch {epoch} cannot be read: {error}") from error
            rows.append(EpochRow(epoch=epoch, height=height, validators=_blob(validators), proof=decoded))
        return rows

    def tile(self, level: int, number: int, width: int = TILE_WIDTH) -> bytes:
        """The first `width` hashes of a tile. Requires 1 <= width <= 256.

        Raises:
            InputError: code `no_such_tile`.
        """
        stored = self._tile(level, number)
        if len(stored) < width * HASH_BYTES:
            raise InputError(
                "there is no such tile",
                code="no_such_tile",
                expected=f"at most {len(stored) // HASH_BYTES} hashes",
                actual=f"level {level}, number {number}, width {width}",
            )
        return stored[: width * HASH_BYTES]

    def node(self, level: int, index: int) -> bytes:
        """The root of one complete subtree of the log: the source of nodes for proofs.

        Raises:
            CorruptionError: the tile that must hold it does not.
        """
        tile_level, rise = divmod(level, TILE_HEIGHT)
        first = index << rise
        number, offset = divmod(first, TILE_WIDTH)
        hashes = self._tile(tile_level, number)[offset * HASH_BYTES : (offset + (1 << rise)) * HASH_BYTES]
        if len(hashes) != HASH_BYTES << rise:
            raise CorruptionError("a hash of the log is missing", expected=f"node ({level}, {index})")
        nodes = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        while len(nodes) > 1:
            nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
        return nodes[0]

    def leaf_hashes(self, first: int, end: int) -> bytes:
        """The hashes of entries [first, end) one after the other, fewer where there are not as many."""
        if first >= end:
            return b""
        numbers = range(first // TILE_WIDTH, -(-end // TILE_WIDTH))
        hashes = b"".join(self._tile(0, number) for number in numbers)
        skipped = numbers.start * TILE_WIDTH
        return hashes[(first - skipped) * HASH_BYTES : (end - skipped) * HASH_BYTES]

    def _tile(self, level: int, number: int) -> bytes:
        tile = self._tiles.get((level, number))
        if tile is None:
            row = self._one(_SQL_TILE, level, number)
            tile = b"" if row is None else _blob(row[0])
            self._tiles[level, number] = tile
        return tile

    def _place(self, sql: str, key: object) -> BlockPlace | None:
        row = self._one(sql, key)
        if row is None:
            return None
        height, digest, first_index, size, log_root, cosignature = row
        return BlockPlace(
            height=height,
            digest=digest,
            first_index=first_index,
            size=size,
            log_root=log_root,
            cosignature=cosignature,
        )

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        return list(execute_raw(self._connection, sql, parameters).fetchall())

    def _one(self, sql: str, *parameters: object) -> Any:
        rows = self._all(sql, *parameters)
        return rows[0] if rows else None


class LedgerStore:
    """The ledger's database. `commit` belongs to one thread; `read` to any."""

    def __init__(self, database: Database) -> None:
        """Bring the tables to this program's schema and take up the log where it ended.

        Raises:
            ConfigurationError: code `newer_schema`.
            StoreError: the database could not be opened.
            CorruptionError: what is in it does not fit together.
        """
        self._database = database
        migrate(database, "ledger")
        with self.read() as reader:
            head = reader.head()
            self._partial = PartialTiles.load(0 if head is None else head.size, reader.tile)

    @contextmanager
    def read(self) -> Iterator[LedgerReader]:
        """A snapshot."""
        with self._database.read() as connection:
            yield LedgerReader(connection)

    def commit(self, *blocks: BlockCommit) -> None:
        """Write everything of these blocks, each the child of the one before, and the new floor, or nothing. Durable on
        return. Several are written for less than each by itself: neighbouring rows share pages, and one sync is for all.

        Requires at least one.

        Raises:
            StoreError: it is not known to be durable; the store must be opened anew before the next commit.
        """
        changed, partial = self._partial.extended(chain.from_iterable(block.nodes for block in blocks))
        documents = {row[0]: row for block in blocks for row in block.documents}  # of each, as the last one leaves it
        with self._database.write() as connection:
            _ENTRIES.write(connection, enumerate(_all(blocks, "entries"), start=blocks[0].first_index))
            _RECORDS.write(connection, _all(blocks, "records"))
            _TILES.write(connection, changed)
            _DOCUMENTS.write(connection, documents.values())
            _HISTORY.write(connection, _all(blocks, "history"))
            _SERIALS.write(connection, _all(blocks, "serials"))
            _KEYS.write(connection, _all(blocks, "keys"))
            _BLOCKS.write(connection, map(_place_row, blocks))
            _EPOCHS.write(connection, (_epoch_row(block.opens) for block in blocks if block.opens is not None))
            last = blocks[-1]
            nodes = b"".join(last.frontier.nodes)
            _FLOOR.write(connection, [(1, last.epoch, last.view, last.height, nodes)])
        self._partial = partial

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _all(blocks: Iterable[BlockCommit], rows: str) -> Iterator[Any]:
    return chain.from_iterable(getattr(block, rows) for block in blocks)


def _place_row(block: BlockCommit) -> tuple[object, ...]:
    return (
        block.height,
        block.digest,
        block.first_index,
        block.frontier.size,
        block.frontier.root,
        block.header,
        block.certificate,
        block.cosignature,
    )


def _epoch_row(opens: EpochRow) -> tuple[object, ...]:
    return opens.epoch, opens.height, opens.validators, _PROOF_ENCODER.encode(opens.proof)


def _blob(value: object) -> bytes:
    """SQLite keeps whatever type a damaged row claims; ours are bytes.

    Raises:
        CorruptionError: it is something else.
    """
    if not isinstance(value, bytes):
        raise CorruptionError(
            "a stored value has another type than was written", expected="bytes", actual=type(value).__name__
        )
    return value


def _frontier(size: int, nodes: bytes) -> Frontier:
    hashes = tuple(nodes[at : at + HASH_BYTES] for at in range(0, len(nodes), HASH_BYTES))
    if len(nodes) != HASH_BYTES * size.bit_count():
        raise CorruptionError("the frontier does not fit the log's size", expected=size.bit_count(), actual=len(hashes))
    return Frontier(size=size, nodes=hashes)
