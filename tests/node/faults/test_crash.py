"""A crash between any two statements that a node writes with, and within any commit: it starts again and is right.

One run is photographed at every write point; a node is then started on each picture. What the outside had seen by then must
be there: every acknowledged record, every vote sent. Everything is verified anew, and the node must go on.
"""

import asyncio
import itertools
import os
from pathlib import Path
from typing import Final

import pytest

from ledger.consensus.messages import (
    Finalize,
    Notarize,
    Nullify,
    Page,
    ProposalMessage,
    Vote,
    VoteMessage,
    conflict,
)
from node.peers.wire import PeerMessage, encode_frame
from node.storage import open_stores
from tests.node.cluster import Cluster
from tests.node.faults.images import Camera, Image, fresh
from tests.node.faults.points import planned
from tests.node.reverify import Verified, reverify
from tests.node.test_cluster import enrol_maker, entry, weapons
from tests.world import GENESIS, build_genesis

FULL = os.environ.get("FAULTS") == "full"
LONE: Final = build_genesis("interior")
RECORDS: Final = 24
"""One block each: enough for the votes' pruning."""
ALSO_STARTED: Final = 8
"""Images on which a node is started in the short run, beside one of each kind; all are, where the table is run in full."""
OWN: Final = 1
"""The place of interior among the four."""


@pytest.fixture(autouse=True)
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages go to the disk in the middle of transactions, and the write-ahead log is copied home all the time."""
    monkeypatch.setattr("node.storage.sqlite.WRITER_CACHE_KIB", 16)
    monkeypatch.setattr("node.storage.sqlite.WAL_AUTOCHECKPOINT_PAGES", 30)


def lone_images(folder: Path) -> tuple[list[Image], list[object], int]:
    """A lone node's life from its first start: (images, acknowledged record ids in order, kinds of write points)."""
    acknowledged: list[object] = []
    camera = Camera(folder / "interior", acknowledged)

    async def scenario() -> None:
        cluster = Cluster(folder, LONE)
        with planned(camera.plan):
            await cluster.start()
            await enrol_maker(cluster)
            for n in range(RECORDS):
                count = 1 + 40 * (n % 8 == 7)
                acknowledged.extend(outcome.id for outcome in await cluster.final(0, *weapons(cluster, 100 * n, count)))
                if n % 6 == 0:
                    cluster.node(0)._stores.agency.append_queries([b"question"])
            await cluster.stop()

    asyncio.run(scenario())
    return camera.images, acknowledged, len(camera.points)


def chosen(images: list[Image], count: int) -> list[Image]:
    """All images, or some, with every kind of write point and every kind of tear among them."""
    if FULL or len(images) <= count:
        return images
    kinds = {(image.point.name, image.torn): image for image in reversed(images)}
    return [*kinds.values(), *images[:: 1 + len(images) // count]]


async def enrol_again(cluster: Cluster) -> None:
    """The maker of the run is final, from before the crash or anew; the world knows its key either way."""
    cluster.world.time_ms = cluster.clock.wall_ms()
    record = cluster.world.enrol("interior", "maker", "maker", makes=("GLC",))
    [outcome] = await cluster.node(0).submit([entry(cluster, record)], source="test")
    if outcome.status != "refused":
        await cluster.decided(0, outcome.id or "")


def test_a_lone_node_starts_on_every_image_with_all_that_was_acknowledged_and_goes_on(tmp_path: Path) -> None:
    images, acknowledged, kinds = lone_images(tmp_path / "run")
    assert len(images) > 200
    assert kinds > 30

    async def start_on(image: Image, folder: Path) -> None:
        image.restore(folder / "interior")
        cluster = Cluster(folder, LONE)
        await cluster.start()
        assert cluster.node(0).status().reasons == (), image.point
        await enrol_again(cluster)
        await cluster.final(0, *weapons(cluster, 9_000, 2))
        await cluster.stop()
        verified = reverify(folder / "interior", LONE, "interior")
        missing = set(acknowledged[: image.seen]) - verified.record_ids
        assert not missing, (image.point, image.torn)

    tried = chosen(images, ALSO_STARTED)
    for number, image in enumerate(tried):
        asyncio.run(start_on(image, fresh(tmp_path / f"image{number % 2}")))
    print(f"{len(images)} images at {kinds} kinds of write points; {len(tried)} started")


def votes_in(message: PeerMessage) -> list[Vote]:
    """The votes that a message carries."""
    if isinstance(message, VoteMessage):
        return [message.vote]
    if isinstance(message, ProposalMessage):
        return [message.notarize]
    return list(message.votes) if isinstance(message, Page) else []


def network_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Image], list[object], dict[tuple[str, str], int]]:
    """One node of four: (images, its votes in the order in which they left, write points)."""
    sent: list[object] = []
    camera = Camera(folder / "interior", sent)

    def watched(message: PeerMessage) -> bytes:
        sent.extend(vote for vote in votes_in(message) if vote.signer == OWN)
        return encode_frame(message)

    monkeypatch.setattr("tests.node.cluster.encode_frame", watched)

    async def scenario() -> None:
        cluster = Cluster(folder, GENESIS)
        with planned(camera.plan):
            await cluster.start()
            await enrol_maker(cluster)
            await cluster.level()
            for n in range(RECORDS):
                await cluster.final(n % 4, *weapons(cluster, 10 * n, 2))
            await cluster.level()
            await cluster.stop()

    asyncio.run(scenario())
    return camera.images, sent, camera.points


def held_votes(folder: Path) -> list[Vote]:
    """Own votes in a votes database, opened as a node opens it."""
    stores = open_stores(folder)
    votes = [record for record in stores.votes.load() if isinstance(record, Notarize | Nullify | Finalize)]
    stores.close()
    return votes


def test_every_vote_that_left_one_of_four_is_there_on_every_image_and_none_is_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, sent, points = network_images(tmp_path / "run", monkeypatch)
    assert ("votes", "INSERT INTO cosignatures") in points
    assert ("votes", "DELETE FROM consensus") in points
    own = [vote for vote in sent if isinstance(vote, Notarize | Nullify | Finalize)]
    assert not [(a, b) for a, b in itertools.combinations(dict.fromkeys(own), 2) if conflict(a, b)]

    async def start_on(image: Image, folder: Path) -> None:
        cluster = Cluster(folder, GENESIS)
        await cluster.start(OWN)
        reasons = cluster.node(OWN).status().reasons
        assert not [reason for reason in reasons if "stopped" in reason], (image.point, reasons)
        await cluster.stop()

    tried = chosen(images, ALSO_STARTED)
    for number, image in enumerate(tried):
        folder = fresh(tmp_path / f"image{number % 2}")
        image.restore(folder / "interior")
        asyncio.run(start_on(image, folder))
        verified: Verified = reverify(folder / "interior", GENESIS, "interior")
        held = {(vote.epoch, vote.view, type(vote)): vote for vote in held_votes(folder / "interior")}
        for vote in own[: image.seen]:
            if (vote.epoch, vote.view) > verified.floor:
                assert held.get((vote.epoch, vote.view, type(vote))) == vote, (image.point, image.torn)
    print(f"{len(images)} images at {len(points)} kinds of write points; {len(tried)} started")
