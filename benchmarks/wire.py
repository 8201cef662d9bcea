"""Frames between two linked nodes over loopback TLS, both in this process: so every figure is of both ends' work.

python -m benchmarks.wire [--loop uvloop|asyncio]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks.report import emit, emit_machine, percentiles
from ledger.consensus.messages import VoteMessage
from node.logs import configure_logs
from node.peers.directory import PeerDirectory
from node.peers.wire import Gossip, PeerMessage, gossip_frames
from tests.node.peers.support import Net, Recorder, blocks_chain, fetcher, pair, running, vote

_ENTRY_BYTES = 700
"""A singly signed record."""


class Echo(Recorder):
    """Sends every vote back; keeps the rest."""

    def __init__(self, directory: PeerDirectory) -> None:
        super().__init__()
        self._directory = directory

    async def on_message(self, party: str, message: PeerMessage) -> None:
        """Votes go back as they came."""
        if isinstance(message, VoteMessage):
            self._directory.send(party, message)


async def round_trips(net: Net, *, rounds: int, gossip_first: int) -> list[float]:
    """Milliseconds from sending a vote to having it back, each sent behind `gossip_first` frames of gossip."""
    samples: list[float] = []
    gossip = next(gossip_frames([bytes(_ENTRY_BYTES)] * 1_000))
    async with pair(net, handler=Echo) as (first, first_recorder, _, _):
        for view in range(rounds):
            for _ in range(gossip_first):
                first.send("police", gossip)
            started = time.perf_counter()
            first.send("police", vote(view + 1))
            await first_recorder.expect_message()
            samples.append((time.perf_counter() - started) * 1e3)
    return samples


async def throughput(net: Net, message: PeerMessage, *, count: int, window: int) -> float:
    """Seconds for `count` messages one way, at most `window` of them under way."""
    async with pair(net) as (first, _, _, recorder):
        started = time.perf_counter()
        for number in range(count + window):
            if number < count:
                first.send("police", message)
            if number >= window:
                await recorder.expect_message()
        return time.perf_counter() - started


async def catch_up(net: Net, *, heights: int) -> tuple[float, float]:
    """Seconds, and megabytes, of fetching blocks of 100 records each."""
    police = net.directory("police", blocks=blocks_chain(heights, entries=(bytes(_ENTRY_BYTES),) * 100))
    async with running(police), fetcher(net, police) as customs:
        started = time.perf_counter()
        height = 1
        while page := await customs.fetch_blocks("police", height, 64):
            height += len(page)
        return time.perf_counter() - started, heights * 100 * _ENTRY_BYTES / 1e6


async def measure() -> None:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        net = Net(Path(folder), "customs", "police")
        emit("wire_round_trip_ms", **percentiles(await round_trips(net, rounds=3_000, gossip_first=0)))
        emit("wire_round_trip_behind_gossip_ms", **percentiles(await round_trips(net, rounds=300, gossip_first=8)))
        seconds = await throughput(net, vote(1), count=20_000, window=256)
        emit("wire_votes_per_s", value=round(20_000 / seconds), window=256)
        gossip = Gossip(entries=tuple(bytes(_ENTRY_BYTES) for _ in range(350)))
        seconds = await throughput(net, gossip, count=1_000, window=16)
        emit(
            "wire_gossip",
            records_per_s=round(350_000 / seconds),
            megabytes_per_s=round(350_000 * _ENTRY_BYTES / seconds / 1e6),
        )
        seconds, megabytes = await catch_up(net, heights=640)
        emit("catch_up", blocks_per_s=round(640 / seconds), megabytes_per_s=round(megabytes / seconds))


def main() -> None:
    """Run all figures on one event loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    configure_logs("warning")
    emit_machine()
    factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(measure())


if __name__ == "__main__":
    main()
