"""Snapshots on disk: what is there after one was made, could not be made, or was damaged; and who is told."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ledger.errors import StoreError
from ledger.limits import MAX_PAGE_BYTES, SNAPSHOT_BLOCKS, SNAPSHOTS_KEPT
from ledger.snapshot import SnapshotDocument, SnapshotManifest, manifest_of
from node.execution.overlay import Overlay
from node.snapshots.exporter import SnapshotExporter
from node.snapshots.files import read_snapshots, write_snapshot
from node.storage import Database, LedgerStore
from tests.node.joining.support import Past

CHUNKS: list[list[SnapshotDocument]] = [[("party", "a", b"{}"), ("party", "b", b"{}")]]


def manifest(height: int = 63) -> SnapshotManifest:
    return manifest_of(
        height=height, size=9, log_root=bytes(32), state_root=bytes(32), documents=2, seal_hash=bytes(32)
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def exporter_in(folder: Path) -> SnapshotExporter:
    return SnapshotExporter(LedgerStore(Database(folder.parent / "ledger.db")), folder)


def failing(error: Exception) -> Iterator[list[SnapshotDocument]]:
    yield CHUNKS[0]
    raise error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), StoreError("the store failed")])
def test_a_snapshot_that_cannot_be_made_takes_up_no_room(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        write_snapshot(tmp_path, manifest(), bytes(33), failing(error))
    assert names(tmp_path) == set()


def test_a_snapshot_with_a_chunk_that_nobody_could_fetch_is_none(tmp_path: Path) -> None:
    assert write_snapshot(tmp_path, manifest(), bytes(33), [[("party", "a", bytes(MAX_PAGE_BYTES))]]) is None
    assert names(tmp_path) == set()


@pytest.mark.parametrize("damage", ["index", "documents", "gone"])
def test_a_damaged_snapshot_does_not_keep_a_node_from_starting(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "snapshots"
    for height in (63, 127):
        assert write_snapshot(folder, manifest(height), bytes(33), CHUNKS) is not None
    if damage == "gone":
        (folder / "127.documents").unlink()
    else:
        path = folder / f"127.{damage}"
        path.write_bytes(path.read_bytes()[:-1])
    with capture_logs() as lines:
        kept = exporter_in(folder).kept
    assert [each.manifest.height for each in kept] == [63]
    assert [line["code"] for line in lines] == ["store_corrupt"]
    assert names(folder) == {"63.documents", "63.index"}
    assert read_snapshots(folder)[1] == []


@pytest.mark.parametrize("what", ["index", "documents"])
def test_a_snapshot_that_cannot_be_read_does_not_keep_a_node_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = tmp_path / "snapshots"
    for height in (63, 127):
        assert write_snapshot(folder, manifest(height), bytes(33), CHUNKS) is not None
    name, stat, read = f"127.{what}", Path.stat, Path.read_bytes

    def failing_at(path: Path) -> Path:
        if path.name == name:
            raise OSError(5, "Input/output error", str(path))
        return path

    monkeypatch.setattr(Path, "read_bytes", lambda path: read(failing_at(path)))
    monkeypatch.setattr(Path, "stat", lambda path, **options: stat(failing_at(path), **options))
    with capture_logs() as lines:
        kept = exporter_in(folder).kept
    assert [each.manifest.height for each in kept] == [63]
    assert [line["code"] for line in lines] == ["store_corrupt"]


def test_what_somebody_put_beside_the_snapshots_does_not_keep_a_node_from_starting(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    assert write_snapshot(folder, manifest(), bytes(33), CHUNKS) is not None
    for foreign in ("lost+found", "127.index"):
        (folder / foreign).mkdir()
    (folder / "999.new").write_bytes(b"half of it")
    assert [each.manifest.height for each in exporter_in(folder).kept] == [63]
    assert names(folder) == {"63.documents", "63.index", "lost+found", "127.index"}


def test_a_file_that_cannot_be_deleted_does_not_keep_the_others_nor_a_node_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "snapshots"
    assert write_snapshot(folder, manifest(), bytes(33), CHUNKS) is not None
    for left in ("127.documents", "191.documents"):
        (folder / left).write_bytes(b"half of it")
    unlink = Path.unlink

    def stuck(path: Path, missing_ok: bool = False) -> None:
        if path.name == "127.documents":
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", stuck)
    with capture_logs() as lines:
        kept = exporter_in(folder).kept
    assert [each.manifest.height for each in kept] == [63]
    assert names(folder) == {"63.documents", "63.index", "127.documents"}
    assert len(lines) == 1


def test_a_file_in_the_folders_place_does_not_keep_a_node_from_starting(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    folder.write_bytes(b"")
    with capture_logs() as lines:
        assert exporter_in(folder).kept == ()
    assert len(lines) == 1


def test_what_a_crash_left_of_one_goes_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    assert exporter_in(folder).kept == ()
    assert not folder.exists()
    for height in range(63, 63 + 64 * (SNAPSHOTS_KEPT + 1), 64):
        write_snapshot(folder, manifest(height), bytes(33), CHUNKS)
    for left in ("999.documents", "999.new"):
        (folder / left).write_bytes(b"half of it")
    kept = exporter_in(folder).kept
    assert len(kept) == SNAPSHOTS_KEPT
    assert names(folder) == {f"{each.manifest.height}.{part}" for each in kept for part in ("documents", "index")}


def test_a_node_that_stops_leaves_nothing_of_a_snapshot_and_does_not_complain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = Past(tmp_path / "past")
    past.trade()
    past.grow(SNAPSHOT_BLOCKS - 2 - past.documents.base.height)
    exporter = SnapshotExporter(past.store, tmp_path / "snapshots", min_entries=1)
    made = exporter.make

    def stopped_meanwhile(overlay: Overlay) -> object:
        exporter._is_stopping = True
        return made(overlay)

    monkeypatch.setattr(exporter, "make", stopped_meanwhile)

    async def scenario() -> None:
        past.on_committed = lambda overlay: exporter.follow(overlay, is_behind=False)
        past.grow(1)
        assert exporter._task is not None
        async with asyncio.timeout(20):
            await exporter.stop()

    with capture_logs() as lines:
        asyncio.run(scenario())
    assert names(tmp_path / "snapshots") == set()
    assert lines == []
