"""A ledger made by hand with real finalizations, and nodes that serve it: honest ones, and ones that do not."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from ledger.block import Block
from ledger.consensus.messages import Certificate, Proposal, vote_bytes
from ledger.errors import PeerError
from ledger.genesis import Genesis
from ledger.limits import SNAPSHOT_BLOCKS
from ledger.quorum import quorum
from ledger.records.governance import ValidatorAdd
from ledger.records.items import Attributes, LotRow, RowAttributes
from ledger.state.lookup import validators
from node.clock import SystemClock
from node.execution.overlay import Overlay
from node.joining.join import Join, Progress
from node.joining.sources import Sources
from node.joining.survey import Shown, Target, survey
from node.peers.catchup import PATH as BLOCKS_PATH
from node.peers.catchup import encode_page
from node.peers.pages import Page
from node.peers.stored import StoredBlocks
from node.snapshots.exporter import SnapshotExporter
from node.snapshots.pages import SnapshotPages
from node.storage.staging import StagingStore
from tests.node.execution.engine import Engine
from tests.world import build_agency, build_genesis, key_named

GENESIS: Final = build_genesis(version=2)
PATIENCE_S: Final = 30.0
UNCERTIFIED: Final = 5
"""Every so many heights a block has no finalization of its own: it was committed by the next block's."""


class Past(Engine):
    """An engine whose blocks are finalized by a quorum of their epoch's validators."""

    def __init__(self, folder: Path, genesis: Genesis = GENESIS) -> None:
        super().__init__(folder, genesis)
        self._waiting: list[Block] = []
        self.on_committed: Callable[[Overlay], None] = lambda _: None

    def certify(self, block: Block) -> Certificate:
        """The block's finalization."""
        header = block.header
        members = validators(self.state()).members
        proposal = Proposal(epoch=header.epoch, view=header.view, parent_view=header.parent_view, digest=header.digest)
        message = vote_bytes(self.genesis.chain_id, "finalize", header.epoch, header.view, proposal)
        signatures = tuple(
            (index, key_named(f"{member.party} consensus").sign(message))
            for index, member in enumerate(members[: quorum(len(members))])
        )
        return Certificate(
            kind="finalization", epoch=header.epoch, view=header.view, proposal=proposal, signatures=signatures
        )

    def commit(self, block: Block) -> None:
        """Commit a block, or let it wait for the next one's finalization."""
        if block.header.height % UNCERTIFIED == 0 and not self.executor.is_closing(block.digest):
            self._waiting.append(block)
            return
        certificate = self.certify(block)
        for each in (*self._waiting, block):
            self._commit(each, certificate)
        self._waiting.clear()

    def _commit(self, block: Block, certificate: Certificate) -> None:
        closing = self.executor.is_closing(block.digest)
        header = block.header
        rows = self.executor.prepare(
            block,
            epoch=header.epoch + closing,
            view=0 if closing else header.view,
            certificate=msgspec.msgpack.encode(certificate),
            cosign=lambda size, root: None,
            oldest_height=0,
        )
        self.store.commit(rows)
        overlay, _ = self.executor.advance(block.digest)
        self.admission.refresh(overlay)
        self.on_committed(overlay)

    def next_block(self, *records: object) -> None:
        """One more block, final or waiting for the next."""
        self.admit(*records)
        parent = self._waiting[-1] if self._waiting else None
        self.clock.now_ms += 10
        self.world.time_ms = self.clock.now_ms
        self.commit(self.build(parent, allow_empty=True))

    def grow(self, heights: int, *, lot: int = 10) -> None:
        """Blocks of one lot each."""
        for _ in range(heights):
            number = self.world.fresh()
            rows = (LotRow(serial=f"S{number:05d}N{row:03d}", differs=RowAttributes()) for row in range(lot))
            self.next_block(self.world.lot("maker", Attributes(make="GLC", type="PI"), *rows))

    def change_validators(self) -> None:
        """Another agency becomes a validator."""
        proposal = self.world.propose("interior", ValidatorAdd(agency=build_agency("coast")))
        self.next_block(proposal)
        name = self.admission_id(proposal)
        for party in ("customs", "neighbour"):
            self.next_block(self.world.vote(party, name))

    def admission_id(self, record: object) -> str:
        """A record's id."""
        from ledger.records.envelope import parse_entry

        return parse_entry(self.sign(record)).id


class Serving:
    """A node that serves what a past made; `spoil` may change, or refuse, what it answers."""

    def __init__(self, past: Past, exporter: SnapshotExporter) -> None:
        self._blocks = StoredBlocks(past.store)
        self._pages: Mapping[str, Page] = SnapshotPages(past.store, lambda: exporter.kept).pages()
        self.asked: list[str] = []
        self.spoil: Callable[[str, dict[str, int], bytes], bytes] = lambda path, numbers, data: data

    def answer(self, path: str, numbers: dict[str, int]) -> bytes:
        """As the peer port would."""
        self.asked.append(path)
        if path == BLOCKS_PATH:
            data: bytes | None = encode_page(self._blocks, numbers["from"], numbers["count"])
        else:
            assert numbers.keys() == self._pages[path].fields
            data = self._pages[path].make(numbers)
        if data is None:
            raise PeerError("there is none", code="no_such_page")
        return self.spoil(path, numbers, data)


class Net:
    """Nodes by party, asked in memory (`node.peers.pages.PageFetcher`)."""

    def __init__(self, **nodes: Serving) -> None:
        self.nodes = nodes
        self.before_answer: Callable[[str], None] = lambda path: None

    async def fetch(self, party: str, path: str, **numbers: int) -> bytes:
        self.before_answer(path)
        await asyncio.sleep(0)
        return self.nodes[party].answer(path, numbers)


def with_snapshot(past: Past, folder: Path) -> SnapshotExporter:
    """Grow until a snapshot is made and anchored. Call within an event loop."""
    return SnapshotExporter(past.store, folder, min_entries=1)


async def make_snapshot(past: Past, folder: Path) -> SnapshotExporter:
    """A snapshot of a past that is just below the height whose seal names one; then that block and some more."""
    exporter = SnapshotExporter(past.store, folder, min_entries=1)
    past.on_committed = lambda overlay: exporter.follow(overlay, is_behind=False)
    while (past.documents.base.height + 1) % SNAPSHOT_BLOCKS:
        past.grow(1)
    past.on_committed = lambda _: None
    async with asyncio.timeout(PATIENCE_S):
        while not exporter.kept:
            await asyncio.sleep(0)
    past.grow(3)
    return exporter


async def join(
    net: Net, staged: Path, *, genesis: Genesis = GENESIS, sources: Sources | None = None, shown: Shown | None = None
) -> tuple[Target, Sources]:
    """Join by what the net's nodes show; leaves the staged database closed."""
    sources = sources or Sources(net.nodes, SystemClock())
    target = await survey(genesis, net, sources)
    assert target is not None
    staging = StagingStore(staged)
    try:
        if staging.anchor() is None:
            staging.begin(msgspec.msgpack.encode(target.shown))
        progress: list[Progress] = []
        await Join(
            genesis=genesis,
            target=target,
            staging=staging,
            client=net,
            sources=sources,
            on_progress=progress.append,
        ).run()
        assert progress
    finally:
        staging.close()
    return target, sources
