"""Fetching and verifying a snapshot and the log before it, stage by stage (PROTOCOL P7.3).

1. Documents, by chunks under the state root.
2. Hash tiles, under the log's root: those of the right edge, which make the root; then full ones from the top down.
3. Blocks from the first on, their entries held against the tiles, with their finalizations and their records' signatures.

Each stage takes up where it was interrupted; what was verified once is never fetched again. Memory holds a few pages.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ledger.anchor import EpochStep
from ledger.block import BlockHeader
from ledger.consensus.messages import Certificate
from ledger.errors import VerificationError
from ledger.genesis import Genesis
from ledger.limits import (
    JOIN_AHEAD_PAGES,
    JOIN_BLOCKS_PER_REQUEST,
    MAX_ANCHOR_BLOCKS,
    MAX_BLOCKS_PER_REQUEST,
    MAX_CHUNKS_PER_REQUEST,
    MAX_TILES_PER_REQUEST,
)
from ledger.merkle.hashing import HASH_BYTES, leaf_hashes
from ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileReader, parent_hash, width_at_size
from ledger.merkle.tree import Frontier, covering_nodes
from ledger.signing import key_id
from ledger.snapshot import KeyedDocument, SnapshotDocument, verify_chunk, verify_chunk_roots
from ledger.statetree import value_hash
from node.execution.opening import genesis_commit
from node.joining.blocks import Claims, Keys, Placing, VerifiedBlock, count_proven, verify_alone
from node.joining.pipeline import UNBELIEVED, ask, in_order
from node.joining.sources import Sources
from node.joining.survey import Target, decoded
from node.peers.catchup import PATH as BLOCKS_PATH
from node.peers.catchup import decode_page
from node.peers.pages import PageFetcher
from node.snapshots.pages import DOCUMENTS_PATH, ROOTS_PATH, TILES_PATH
from node.storage.rows import EpochRow
from node.storage.staging import StagedBlock, StagingStore

DOCUMENTS: Final = "documents"
EDGE: Final = "edge"
TILES: Final = "tiles"
BLOCKS: Final = "blocks"
_CHUNKS_AT_ONCE: Final = 16

_MOST_UNDECIDED: Final = 16
"""Pages in a row that contradict other nodes' before them and prove nothing: with an honest node among those asked, there
are no more than nodes."""

_CHUNKS: Final = msgspec.msgpack.Decoder(
    Annotated[tuple[tuple[SnapshotDocument, ...], ...], Meta(max_length=MAX_CHUNKS_PER_REQUEST)]
)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a stage is."""

    stage: str
    done: int
    of: int


class _Serial(msgspec.Struct, frozen=True):
    make: str
    serial: str


_SERIALS: Final = msgspec.json.Decoder(_Serial)
_Span = tuple[int, int]
"""(first, count) of what is asked for at once."""


class Join:
    """One snapshot being joined. Lives on the event loop; verifying and writing are done in threads, one write at a time."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        target: Target,
        staging: StagingStore,
        client: PageFetcher,
        sources: Sources,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """`staging`: begun for this target, or empty but for its anchor. `on_progress`: told after every step."""
        self._genesis = genesis
        self._target = target
        self._manifest = target.manifest
        self._staging = staging
        self._client = client
        self._sources = sources
        self._on_progress = on_progress

    async def run(self) -> None:
        """All stages; afterwards the staged database is a ledger's.

        Raises:
            NoSourceError: nobody is left who could be asked. VerificationError: code `bad_snapshot`: what nodes agreed on
            is not what the anchor shows: only keys of a former quorum can have made that.
            StoreError: the staged database failed.
        """
        await self._fetch_documents()
        self._sources.renew()
        await self._fetch_edge()
        await self._fetch_tiles()
        await self._fetch_blocks()
        await asyncio.to_thread(self._finish)

    def _tell(self, stage: str, done: int, of: int) -> None:
        self._on_progress(Progress(stage=stage, done=done, of=of))

    async def _fetch(self, party: str, path: str, **numbers: int) -> bytes:
        return await self._sources.timed(party, self._client.fetch(party, path, **numbers))

    # --- documents ------------------------------------------------------------------------------------------------------

    async def _fetch_documents(self) -> None:
        height, depth = self._manifest.height, self._manifest.depth
        end, done = 1 << depth, self._staging.done(DOCUMENTS)
        if done == end:
            return

        async def fetch_roots(party: str) -> list[bytes]:
            return verify_chunk_roots(self._manifest, await self._fetch(party, ROOTS_PATH, height=height))

        _, roots = await ask(self._sources, fetch_roots)

        async def fetch(party: str, span: _Span) -> list[list[KeyedDocument]]:
            first, count = span
            numbers = {"height": height, "from": first, "count": count}
            data = await self._fetch(party, DOCUMENTS_PATH, **numbers)
            return await asyncio.to_thread(_verified_chunks, data, span, depth, roots)

        async def take(span: _Span, chunks: list[list[KeyedDocument]]) -> _Span | None:
            done = span[0] + len(chunks)
            await asyncio.to_thread(self._add_documents, done, [row for chunk in chunks for row in chunk])
            self._tell(DOCUMENTS, done, end)
            return _rest(span, len(chunks))

        await in_order(
            _spans(done, end, _CHUNKS_AT_ONCE), self._sources, fetch=fetch, take=take, ahead=JOIN_AHEAD_PAGES
        )

    def _add_documents(self, done: int, rows: list[KeyedDocument]) -> None:
        serials, keys = [], []
        for _, kind, name, value in rows:
            if kind == "weapon":
                weapon = _SERIALS.decode(value)
                serials.append((weapon.serial, weapon.make, name))
            elif kind == "key":
                keys.append((key_id(bytes.fromhex(name)), name))
        self._staging.add_documents(DOCUMENTS, done, rows, serials=serials, keys=keys)

    # --- hash tiles -----------------------------------------------------------------------------------------------------

    async def _fetch_edge(self) -> None:
        """The partial tile of each level: together they make the root."""
        size, root = self._manifest.size, self._manifest.log_root
        if self._staging.done(EDGE):
            return

        async def fetch(party: str) -> list[tuple[int, int, bytes]]:
            rows = []
            for level in _levels(size):
                number, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
                if width:
                    rows.append((level, number, await self._fetch_hashes(party, level, number, 1)))
            found = {(level, number): hashes for level, number, hashes in rows}

            def tile(wanted: Tile) -> bytes:
                return found.get((wanted.level or 0, wanted.index), b"")

            actual = TileReader(size, tile).root()
            if actual.hex() != root:
                raise VerificationError(
                    "the tiles of the right edge do not make the log's root",
                    code="bad_tile",
                    expected=root,
                    actual=actual.hex(),
                )
            return rows

        _, rows = await ask(self._sources, fetch)
        await asyncio.to_thread(self._staging.add_tiles, EDGE, 1, rows)

    async def _fetch_tiles(self) -> None:
        """The full tiles, from the top level down, each under its hash in the tile above."""
        size = self._manifest.size
        levels = [(level, (size >> (TILE_HEIGHT * level)) // TILE_WIDTH) for level in reversed(_levels(size))]
        end = sum(full for _, full in levels)
        before = 0
        for level, full in levels:
            done = min(max(self._staging.done(TILES) - before, 0), full)
            await self._fetch_level(level, done, full, before=before, end=end)
            before += full

    async def _fetch_level(self, level: int, done: int, full: int, *, before: int, end: int) -> None:
        async def fetch(party: str, span: _Span) -> bytes:
            return await self._fetch_hashes(party, level, *span)

        async def take(span: _Span, hashes: bytes) -> _Span | None:
            first = span[0]
            tiles = [hashes[at : at + _TILE_BYTES] for at in range(0, len(hashes), _TILE_BYTES)]
            await asyncio.to_thread(self._add_tiles, level, first, tiles, before + first + len(tiles))
            self._tell(TILES, before + first + len(tiles), end)
            return _rest(span, len(tiles))

        spans = _spans(done, full, MAX_TILES_PER_REQUEST)
        await in_order(spans, self._sources, fetch=fetch, take=take, ahead=JOIN_AHEAD_PAGES)

    def _add_tiles(self, level: int, first: int, tiles: list[bytes], done: int) -> None:
        with self._staging.read() as reader:
            for number, tile in enumerate(tiles, start=first):
                if parent_hash(tile) != reader.node(TILE_HEIGHT * (level + 1), number):
                    raise VerificationError(f"tile {level}/{number} is not that of the tile above", code="bad_tile")
        rows = [(level, number, tile) for number, tile in enumerate(tiles, start=first)]
        self._staging.add_tiles(TILES, done, rows)

    async def _fetch_hashes(self, party: str, level: int, first: int, count: int) -> bytes:
        """The hashes of `count` tiles, at least one whole.

        Raises:
            PeerError: it cannot be had. VerificationError: code `bad_tile`: not as many as asked for.
        """
        size = self._manifest.size
        numbers = {"level": level, "from": first, "count": count, "size": size}
        hashes = await self._fetch(party, TILES_PATH, **numbers)
        expected = sum(width_at_size(size, level, number) for number in range(first, first + count)) * HASH_BYTES
        if len(hashes) != expected:
            raise VerificationError(
                f"not {count} tiles of level {level}", code="bad_tile", expected=f"{expected} bytes", actual=len(hashes)
            )
        return hashes

    # --- blocks ---------------------------------------------------------------------------------------------------------

    async def _fetch_blocks(self) -> None:
        end, chain = self._manifest.height + 1, self._genesis.chain_id
        if self._staging.done(BLOCKS) == 0:
            await asyncio.to_thread(self._add_genesis)
        keys = Keys(self._staging)
        placing = await asyncio.to_thread(self._take_up, keys)

        def verified(data: bytes, span: _Span) -> list[VerifiedBlock]:
            return verify_alone(decode_page(data, *span), chain, self._target.epochs, keys)

        async def fetch(party: str, span: _Span) -> tuple[str, list[VerifiedBlock]]:
            asked = (span[0], min(span[1], MAX_BLOCKS_PER_REQUEST))
            data = await self._fetch(party, BLOCKS_PATH, **{"from": asked[0], "count": asked[1]})
            blocks = await asyncio.to_thread(verified, data, asked)
            if not blocks:
                raise VerificationError("a node lacks blocks below its snapshot", code="bad_page")
            return party, blocks

        tail: list[VerifiedBlock] = []  # fetched, and not proved by a finalization among them yet
        tail_tellers: set[str] = set()
        claims, undecided = Claims(), 0

        def add(blocks: list[VerifiedBlock]) -> int:
            beyond: set[bytes] = set()
            if blocks[-1].block.header.height + 1 == end:
                if blocks[-1].block.digest != self._target.anchored.digest:
                    raise VerificationError("the last block is not the snapshot's", code="bad_block")
                blocks, beyond = self._certified_from_above(blocks)
            proven = count_proven(blocks, beyond)
            if proven:
                done = blocks[proven - 1].block.header.height + 1
                self._staging.add_blocks(BLOCKS, done, placing.place(blocks[:proven]))
            elif len(blocks) > MAX_ANCHOR_BLOCKS:
                raise VerificationError("many blocks without a finalization among them", code="bad_block")
            return proven

        def again(span: _Span) -> _Span:
            return placing.height + 1, sum(span) - placing.height - 1

        async def take(span: _Span, fetched: tuple[str, list[VerifiedBlock]]) -> _Span | None:
            nonlocal undecided
            party, blocks = fetched
            claims.note(party, blocks)
            waiting, tellers = [*tail, *blocks], {*tail_tellers, party}
            tail.clear()  # if they are refused together, all of them are fetched again
            tail_tellers.clear()
            try:
                proven = await asyncio.to_thread(add, waiting)
            except UNBELIEVED:
                undecided += 1
                if len(tellers) == 1 or undecided > _MOST_UNDECIDED:
                    raise
                return again(span)  # one of them lies: what a single one shows of all this tells which
            undecided = 0 if proven else undecided
            for liar, error in claims.judge(waiting[:proven]).items():
                self._sources.failed(liar, error)
            tail.extend(waiting[proven:])
            if tail:
                tail_tellers.update(tellers)
            self._tell(BLOCKS, placing.height + 1, end)
            return _rest(span, len(blocks))

        await in_order(
            _spans(placing.height + 1, end, JOIN_BLOCKS_PER_REQUEST),
            self._sources,
            fetch=fetch,
            take=take,
            again=again,
            ahead=JOIN_AHEAD_PAGES,
        )

    def _certified_from_above(self, blocks: list[VerifiedBlock]) -> tuple[list[VerifiedBlock], set[bytes]]:
        """The snapshot's block and those below it, the ones that no block among them finalizes being finalized by the
        anchor's, or by what closed their epoch below the anchor; and the digests of what these finalize."""
        shown = self._target.shown
        finals = [*(step.certificate for step in shown.steps), shown.anchor.certificate]
        by_epoch = {certificate.epoch: certificate for certificate in finals}
        own = {block.block.digest for block in blocks}
        certified = [
            block
            if block.finalized_digest in own
            else msgspec.structs.replace(
                block, certificate=by_epoch.get(block.block.header.epoch, shown.anchor.certificate)
            )
            for block in blocks
        ]
        return certified, {final.proposal.digest for final in finals if final.proposal is not None}

    def _add_genesis(self) -> None:
        commit = genesis_commit(self._genesis, lambda _size, _root: b"")
        leaves = leaf_hashes(list(commit.entries))
        with self._staging.read() as reader:
            if reader.leaf_hashes(0, len(leaves)) != b"".join(leaves):
                raise _not_as_anchored("the log does not begin with this genesis document and its seal")
        genesis = StagedBlock(
            height=0,
            digest=commit.digest,
            first_index=0,
            entries=commit.entries,
            records=[],
            history=[],
            header=None,
            certificate=None,
            size=commit.frontier.size,
            log_root=commit.frontier.root,
        )
        self._staging.add_blocks(BLOCKS, 1, [genesis])

    def _take_up(self, keys: Keys) -> Placing:
        """Behind the last block that is there."""
        height = self._staging.done(BLOCKS) - 1
        with self._staging.read() as reader:
            place = reader.place_at_height(height)
            assert place is not None  # what is done is there: one transaction
            seal, _ = reader.seal(place)
            nodes = tuple(reader.node(level, index) for level, index in covering_nodes(0, place.size))
        return Placing(
            self._staging,
            keys,
            height=height,
            size=place.size,
            digest=place.digest,
            seal_hash=value_hash(seal),
            frontier=Frontier(size=place.size, nodes=nodes),
        )

    # --- the end --------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        placing = self._take_up(Keys(self._staging))
        manifest, anchored = self._manifest, self._target.anchored
        found = (placing.digest, placing.size, placing.frontier.root.hex(), placing.seal_hash.hex())
        if found != (anchored.digest, manifest.size, manifest.log_root, manifest.seal):
            raise _not_as_anchored("the last block is not the one of the snapshot")
        with self._staging.read() as reader:
            proved = reader.header(manifest.height)
        assert proved is not None
        header, certificate = proved
        steps = [step for step in self._target.shown.steps if step.block.header.height <= manifest.height]
        epoch, view = _floor_of(header, certificate, steps)
        self._staging.finish(
            epoch=epoch,
            view=view,
            height=manifest.height,
            frontier=placing.frontier,
            epochs=[
                EpochRow(epoch=number, height=step.block.header.height, validators=step.validators, proof=step.proof)
                for number, step in enumerate(steps, start=1)
            ],
        )


_TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES


def _floor_of(header: BlockHeader, certificate: Certificate, steps: list[EpochStep]) -> tuple[int, int]:
    """Epoch and view of the floor at a block (P3.1, P8.2)."""
    if steps and steps[-1].block.header.height == header.height:
        return header.epoch + 1, 0
    is_own = certificate.proposal is not None and certificate.proposal.digest == header.digest
    return header.epoch, certificate.view if is_own else header.view


def _verified_chunks(data: bytes, span: _Span, depth: int, roots: list[bytes]) -> list[list[KeyedDocument]]:
    first, count = span
    chunks = decoded(_CHUNKS, data)
    if not 1 <= len(chunks) <= count:
        raise VerificationError(
            "not the chunks asked for", code="bad_page", expected=f"1 to {count}", actual=len(chunks)
        )
    return [
        verify_chunk(number, depth, roots[number], documents) for number, documents in enumerate(chunks, start=first)
    ]


def _levels(size: int) -> range:
    """The tile levels of a log of this size."""
    return range(next(level for level in itertools.count() if size >> (TILE_HEIGHT * level) == 0))


def _spans(first: int, end: int, count: int) -> Iterator[_Span]:
    return ((at, min(count, end - at)) for at in range(first, end, count))


def _rest(span: _Span, taken: int) -> _Span | None:
    first, count = span
    return None if taken == count else (first + taken, count - taken)


def _not_as_anchored(message: str) -> VerificationError:
    return VerificationError(message, code="bad_snapshot", help="Whoever made this log held keys of a former quorum.")
