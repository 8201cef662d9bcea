"""Joining by a snapshot from nodes in memory: honest ones, ones that lie about anything, and interruptions."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from ledger.anchor import SnapshotAnchor
from ledger.limits import MAX_SUCCESSION_STEPS, SNAPSHOT_BLOCKS
from node.clock import SystemClock
from node.execution.opening import open_state
from node.execution.overlay import Overlay
from node.joining import join as join_module
from node.joining.join import BLOCKS, DOCUMENTS, EDGE, TILES
from node.joining.sources import NoSourceError, Sources
from node.joining.survey import Target, survey
from node.peers.catchup import PATH as BLOCKS_PATH
from node.peers.catchup import CertifiedBlock, decode_page
from node.peers.stored import StoredBlocks
from node.snapshots.exporter import SnapshotExporter
from node.snapshots.pages import ANCHOR_PATH, DOCUMENTS_PATH, EPOCHS_PATH, ROOTS_PATH, TILES_PATH
from node.storage import Database, LedgerStore
from node.storage.staging import StagingStore
from tests.node.execution.engine import Engine
from tests.node.joining import support
from tests.node.joining.support import GENESIS, PATIENCE_S, Net, Past, Serving, join, make_snapshot
from tests.node.joining.test_sources import SteppingClock
from tests.world import build_genesis

TABLES = ("entries", "records", "tiles", "documents", "history", "serials", "keys", "blocks", "epochs", "floor")
PATHS = (ANCHOR_PATH, EPOCHS_PATH, ROOTS_PATH, DOCUMENTS_PATH, TILES_PATH, BLOCKS_PATH)


class Served(NamedTuple):
    """A past with a change of the validators, a snapshot of it, and some blocks after that."""

    past: Past
    exporter: SnapshotExporter

    def node(self) -> Serving:
        """An honest node that serves it."""
        return Serving(self.past, self.exporter)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Made once for all tests: none changes it."""
    folder = tmp_path_factory.mktemp("past")
    past = Past(folder)
    past.trade()
    past.grow(20)
    past.change_validators()

    async def make() -> SnapshotExporter:
        return await make_snapshot(past, folder / "snapshots")

    return Served(past, asyncio.run(make()))


def run_join(net: Net, staged: Path, sources: Sources | None = None) -> tuple[Target, Sources]:
    """Join within bounded time."""

    async def bounded() -> tuple[Target, Sources]:
        async with asyncio.timeout(PATIENCE_S):
            return await join(net, staged, sources=sources)

    return asyncio.run(bounded())


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All tables of a ledger's database, their rows sorted."""
    connection = sqlite3.connect(path)
    try:
        return {table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in TABLES}
    finally:
        connection.close()


def by_blocks(served: Served, folder: Path, height: int) -> Path:
    """The database of a node that executed every block up to a height."""
    engine = Engine(folder, GENESIS)
    for block, certificate in StoredBlocks(served.past.store).certified_blocks(1, height):
        engine.executor.check(block)
        closing = engine.executor.is_closing(block.digest)
        is_own = certificate.proposal is not None and certificate.proposal.digest == block.digest
        view = certificate.view if is_own else block.header.view
        rows = engine.executor.prepare(
            block,
            epoch=block.header.epoch + closing,
            view=0 if closing else view,
            certificate=msgspec.msgpack.encode(certificate),
            cosign=lambda size, root: None,
            oldest_height=0,
        )
        engine.store.commit(rows)
        engine.executor.advance(block.digest)
    engine.close()
    return folder / "ledger.db"


def without_cosignatures(tables: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """Cosignatures are a node's own."""
    return {**tables, "blocks": [row[:-1] for row in tables["blocks"]]}


def test_a_joined_ledger_is_the_one_that_executing_its_blocks_makes(served: Served, tmp_path: Path) -> None:
    """Row by row, in every table."""
    staged = tmp_path / "joining.db"
    target, sources = run_join(Net(customs=served.node(), police=served.node()), staged)
    assert not sources.refused
    assert target.manifest.depth >= 1, "else nothing is said of chunks"
    assert len(target.epochs) == 2, "else nothing is said of epochs"
    expected = by_blocks(served, tmp_path / "executed", target.manifest.height)
    assert without_cosignatures(contents(staged)) == without_cosignatures(contents(expected))


def test_a_node_that_takes_a_minute_for_an_item_is_hardly_asked_while_others_serve(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that it gives is valid."""
    monkeypatch.setattr(join_module, "JOIN_AHEAD_PAGES", 1)
    monkeypatch.setattr(join_module, "JOIN_BLOCKS_PER_REQUEST", 4)
    clock = SteppingClock()
    net = Net(customs=served.node(), liar=served.node(), police=served.node())

    def delayed(path: str, numbers: dict[str, int], data: bytes) -> bytes:
        clock.now_ms += 59_000
        return data

    net.nodes["liar"].spoil = delayed
    sources = Sources(net.nodes, clock)
    run_join(net, tmp_path / "joining.db", sources)
    assert not sources.refused
    assert len(net.nodes["liar"].asked) <= len({ANCHOR_PATH, EPOCHS_PATH}) + 1
    assert min(len(net.nodes[party].asked) for party in ("customs", "police")) > 3


def test_a_node_goes_on_from_a_joined_ledger(served: Served, tmp_path: Path) -> None:
    """It opens as any other, and executes the blocks that follow."""
    staged = tmp_path / "ledger.db"
    target, _ = run_join(Net(customs=served.node()), staged)
    store = LedgerStore(Database(staged))
    head, _ = open_state(GENESIS, store, lambda size, root: b"")
    store.close()
    assert (head.height, head.epoch) == (target.manifest.height, 1)
    engine = Engine(tmp_path, GENESIS)
    for block, _ in StoredBlocks(served.past.store).certified_blocks(head.height + 1, 64):
        engine.executor.check(block)
        Engine.commit(engine, block)
    assert engine.documents.base.tree.root == served.past.documents.base.tree.root
    assert engine.documents.base.frontier == served.past.documents.base.frontier
    engine.close()


def flip(data: bytes, place: float) -> bytes:
    """The data with one bit of one byte changed; `place` from 0 (the first) to 1 (the last)."""
    at = min(int(len(data) * place), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


Spoil = Callable[[str, dict[str, int], bytes], bytes]


def join_beside_a_liar(served: Served, folder: Path, path: str, spoil: Spoil) -> None:
    """Join with one node of two lying about one kind of page; twice, so that either has the first turn. The liar is refused,
    if it was asked at all, and nobody else; what is joined is what the honest one has."""
    was_asked = False
    for turn in range(2):
        liar, honest = served.node(), served.node()
        liar.spoil = lambda asked, numbers, data: spoil(asked, numbers, data) if asked == path else data
        nodes = {"customs": liar, "police": honest} if turn else {"customs": honest, "police": liar}
        name = next(party for party, node in nodes.items() if node is liar)
        target, sources = run_join(Net(**nodes), folder / f"{turn}.db")
        asked = liar.asked.count(path)
        was_asked = was_asked or asked > 0
        assert list(sources.refused) == ([name] if asked else []), path
        assert asked <= 4, "it is not asked again once it was found out"
        assert target.manifest.hash == served.exporter.kept[-1].manifest.hash
    assert was_asked


@pytest.mark.parametrize("place", [0, 0.07, 0.31, 0.52, 0.77, 0.93, 1])
@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_byte_anywhere_is_refused_and_another_node_asked(
    served: Served, tmp_path: Path, path: str, place: float
) -> None:
    """The manifest, the seal, headers, certificates, epochs, documents, tiles, entries."""
    join_beside_a_liar(served, tmp_path, path, lambda _path, _numbers, data: flip(data, place))


@pytest.mark.parametrize("percent", [0, 1, 40])
@pytest.mark.parametrize("path", PATHS)
def test_a_page_cut_short_or_empty_is_refused(served: Served, tmp_path: Path, path: str, percent: int) -> None:
    join_beside_a_liar(served, tmp_path, path, lambda _path, _numbers, data: data[: len(data) * percent // 100])


@pytest.mark.parametrize("path", [DOCUMENTS_PATH, BLOCKS_PATH])
def test_a_true_page_in_the_wrong_place_is_refused(served: Served, tmp_path: Path, path: str) -> None:
    source = served.node()

    def next_one(_path: str, numbers: dict[str, int], _data: bytes) -> bytes:
        return source.answer(path, {**numbers, "from": numbers["from"] + 1})

    join_beside_a_liar(served, tmp_path, path, next_one)


def test_who_spoils_what_only_the_next_page_decides_is_found_out_and_nobody_else(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last block of a page, which no finalization in it proves: whoever gives the next page is not blamed for it."""
    monkeypatch.setattr("node.joining.join.JOIN_BLOCKS_PER_REQUEST", 4)

    def spoil_last(_path: str, numbers: dict[str, int], data: bytes) -> bytes:
        *items, (block, certificate) = decode_page(data, numbers["from"], numbers["count"])
        header = msgspec.structs.replace(block.header, time=block.header.time + 1)
        return msgspec.msgpack.encode([*items, (msgspec.structs.replace(block, header=header), certificate)])

    for turn in range(2):
        liar, honest = served.node(), served.node()
        liar.spoil = lambda path, numbers, data: spoil_last(path, numbers, data) if path == BLOCKS_PATH else data
        nodes = {"customs": liar, "police": honest} if turn else {"customs": honest, "police": liar}
        name = next(party for party, node in nodes.items() if node is liar)
        target, sources = run_join(Net(**nodes), tmp_path / f"{turn}.db")
        assert list(sources.refused) == [name]
        assert target.manifest.hash == served.exporter.kept[-1].manifest.hash


def test_where_everybody_lies_nothing_is_joined(served: Served, tmp_path: Path) -> None:
    liars = [served.node(), served.node()]
    for liar in liars:
        liar.spoil = lambda path, numbers, data: flip(data, 0.5) if path == DOCUMENTS_PATH else data
    with pytest.raises(NoSourceError) as caught:
        run_join(Net(customs=liars[0], police=liars[1]), tmp_path / "joining.db")
    assert caught.value.code == "no_source"
    staging = StagingStore(tmp_path / "joining.db")
    assert staging.done(DOCUMENTS) == 0
    staging.close()


class ProcessEndedError(Exception):
    """The process ended here."""


@pytest.mark.parametrize("answers", range(6, 22))
def test_joining_goes_on_where_it_was_interrupted(served: Served, tmp_path: Path, answers: int) -> None:
    """Cut off after so many answers, then again after every one more: the end is the same, and what was done stays done."""
    staged = tmp_path / "joining.db"
    left = answers

    def count(path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ProcessEndedError

    done: dict[str, int] = {}
    for _ in range(40):
        net = Net(customs=served.node(), police=served.node())
        net.before_answer = count
        try:
            target, _ = run_join(net, staged)
        except ProcessEndedError:
            staging = StagingStore(staged)
            now = {stage: staging.done(stage) for stage in (DOCUMENTS, EDGE, TILES, BLOCKS)}
            staging.close()
            assert all(now[stage] >= done.get(stage, 0) for stage in now)
            done, left = now, answers
        else:
            break
    else:
        pytest.fail("it never ends")
    store = LedgerStore(Database(staged))
    _, base = open_state(GENESIS, store, lambda size, root: b"")
    store.close()
    assert base.tree.root.hex() == target.manifest.state_root


def test_what_is_done_is_not_fetched_again(served: Served, tmp_path: Path) -> None:
    staged = tmp_path / "joining.db"
    first, second = served.node(), served.node()
    net = Net(customs=first)

    def stop_at_blocks(path: str) -> None:
        if path == BLOCKS_PATH:
            raise ProcessEndedError

    net.before_answer = stop_at_blocks
    with pytest.raises(ProcessEndedError):
        run_join(net, staged)
    assert DOCUMENTS_PATH in first.asked
    run_join(Net(customs=second), staged)
    assert not {ROOTS_PATH, DOCUMENTS_PATH, TILES_PATH} & set(second.asked)


def test_a_snapshot_of_other_validators_is_not_joined(served: Served, tmp_path: Path) -> None:
    """A whole ledger with the same genesis document but for one key: its quorum is not ours."""
    stranger = build_genesis("customs", "interior", "police", version=2)
    sources = Sources(["customs"], SystemClock())
    found = asyncio.run(survey(stranger, Net(customs=served.node()), sources))
    assert found is None
    assert sources.refused == {"customs": "bad_epoch_step"}


def test_a_node_that_shows_no_epoch_is_not_believed(served: Served, tmp_path: Path) -> None:
    node = served.node()
    node.spoil = lambda path, numbers, data: b"\x90" if path == EPOCHS_PATH else data
    sources = Sources(["customs"], SystemClock())
    assert asyncio.run(survey(GENESIS, Net(customs=node), sources)) is None
    assert sources.refused == {"customs": "bad_anchor"}


def claiming_epoch(epoch: int, data: bytes) -> bytes:
    """An anchor whose topmost header is said to be of this epoch."""
    anchor = msgspec.msgpack.decode(data, type=SnapshotAnchor)
    *below, top = anchor.headers
    headers = (*below, msgspec.structs.replace(top, epoch=epoch))
    return msgspec.msgpack.encode(msgspec.structs.replace(anchor, headers=headers))


def test_epochs_without_end_are_found_out_at_the_first_that_does_not_follow(served: Served) -> None:
    """Whoever sends one page over and over is neither listened to nor remembered: each is verified as it comes."""
    node = served.node()
    first = node.answer(EPOCHS_PATH, {"from": 1})
    node.spoil = lambda path, _numbers, data: first if path == EPOCHS_PATH else claiming_epoch(50, data)
    sources = Sources(["customs"], SystemClock())
    assert asyncio.run(survey(GENESIS, Net(customs=node), sources)) is None
    assert sources.refused == {"customs": "bad_epoch_step"}
    assert node.asked.count(EPOCHS_PATH) == 3, "by this test, then for the true page, then for another"


def test_an_anchor_of_an_epoch_that_cannot_be_shown_is_refused_at_once(served: Served) -> None:
    node = served.node()
    too_high = MAX_SUCCESSION_STEPS + 1
    node.spoil = lambda path, _numbers, data: claiming_epoch(too_high, data) if path == ANCHOR_PATH else data
    sources = Sources(["customs"], SystemClock())
    assert asyncio.run(survey(GENESIS, Net(customs=node), sources)) is None
    assert sources.refused == {"customs": "bad_anchor"}
    assert EPOCHS_PATH not in node.asked


def test_every_block_of_a_joined_ledger_has_a_finalization_of_its_own_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the snapshot's block was made final by the next one, which closed the epoch, and the anchor is of a later
    epoch: whoever verifies the ledger epoch by epoch (fsck, a straggler) has only that epoch's validators to ask."""
    monkeypatch.setattr(support, "UNCERTIFIED", SNAPSHOT_BLOCKS - 1)
    past = Past(tmp_path / "past")
    past.trade()
    past.grow(SNAPSHOT_BLOCKS - 3 - past.documents.base.height)
    exporter = SnapshotExporter(past.store, tmp_path / "snapshots", min_entries=1)

    def make(overlay: Overlay) -> None:
        if overlay.height == SNAPSHOT_BLOCKS - 1:
            exporter.make(overlay)

    past.on_committed = make
    past.change_validators()
    assert past.documents.base.height == SNAPSHOT_BLOCKS
    past.grow(3)
    [snapshot] = exporter.kept
    assert snapshot.manifest.height == SNAPSHOT_BLOCKS - 1
    run_join(Net(customs=Serving(past, exporter)), tmp_path / "joining.db")
    assert epochs_of_finalizations(tmp_path / "joining.db") == []


def test_a_closing_block_under_another_epochs_finalization_is_refused(served: Served, tmp_path: Path) -> None:
    """A true finalization, of a true block above it: but nobody who stands in the old epoch could verify it."""

    def spoil(_path: str, numbers: dict[str, int], data: bytes) -> bytes:
        page = list(decode_page(data, numbers["from"], numbers["count"]))
        for at in range(len(page) - 1):
            if page[at].block.header.epoch != page[at + 1].block.header.epoch:
                page[at] = CertifiedBlock(page[at].block, page[at + 1].certificate)
        return msgspec.msgpack.encode(page)

    for turn in range(2):
        liar = served.node()
        liar.spoil = lambda path, numbers, data: spoil(path, numbers, data) if path == BLOCKS_PATH else data
        nodes = {"customs": liar, "police": served.node()} if turn else {"customs": served.node(), "police": liar}
        run_join(Net(**nodes), tmp_path / f"{turn}.db")
    for turn in range(2):
        assert epochs_of_finalizations(tmp_path / f"{turn}.db") == []


def epochs_of_finalizations(path: Path) -> list[tuple[int, int, int]]:
    """Height, epoch and epoch of the finalization of the blocks where these differ."""
    store = LedgerStore(Database(path))
    with store.read() as reader:
        head = reader.head()
        assert head is not None
        found = [reader.header(height) for height in range(1, head.height + 1)]
    store.close()
    return [(h.height, h.epoch, c.epoch) for h, c in (f for f in found if f is not None) if h.epoch != c.epoch]


def test_the_anchors_finalization_proves_no_block_amid_the_log(served: Served, tmp_path: Path) -> None:
    """Else headers that are not the log's would be taken, and whoever serves true ones after them be refused."""
    node = served.node()
    shown = asyncio.run(survey(GENESIS, Net(customs=node), Sources(["customs"], SystemClock())))
    assert shown is not None
    anchor = shown.shown.anchor.certificate
    changed = shown.manifest.height - 1

    def spoil(_path: str, numbers: dict[str, int], data: bytes) -> bytes:
        page = list(decode_page(data, numbers["from"], min(numbers["count"], 64)))
        page = [item for item in page if item.block.header.height <= changed]
        if page and page[-1].block.header.height == changed:
            last = page[-1].block
            header = msgspec.structs.replace(last.header, time=last.header.time + 1)
            page[-1] = CertifiedBlock(msgspec.structs.replace(last, header=header), anchor)
        return msgspec.msgpack.encode(page) if page else data

    node.spoil = lambda path, numbers, data: spoil(path, numbers, data) if path == BLOCKS_PATH else data
    with pytest.raises(NoSourceError):
        run_join(Net(customs=node), tmp_path / "joining.db")
    staging = StagingStore(tmp_path / "joining.db")
    assert staging.done(BLOCKS) <= changed
    staging.close()


def test_a_node_that_is_stuck_does_not_hide_what_the_others_show(served: Served) -> None:
    """A host that drops packets is among four every so often: the snapshot is joined from the other three."""
    net = Net(customs=served.node(), police=served.node())

    class Stuck(Net):
        async def fetch(self, party: str, path: str, **numbers: int) -> bytes:
            if party == "police":
                await asyncio.Event().wait()
            return await net.fetch(party, path, **numbers)

    sources = Sources(["customs", "police"], SystemClock())
    target = asyncio.run(survey(GENESIS, Stuck(), sources, patience_s=0.5))
    assert target is not None
    assert not sources.refused
