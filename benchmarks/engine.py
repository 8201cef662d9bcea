"""How fast the node's engine is, without HTTP and links: records and weapons made final a second.

    python -m benchmarks.engine [--nodes 1|4] [--records N] [--lots N] [--without-signatures] [--profile FILE]

Nodes run in this one process with real stores in a temporary folder; the records are signed beforehand. Each figure is a
JSON line, with this machine's own cost of one signature verification beside it. `--without-signatures` leaves the verifying
out, to show what the code around it costs.
"""

import argparse
import asyncio
import contextlib
import cProfile
import json
import logging
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

import structlog

from ledger.consensus.parameters import Parameters
from ledger.records.envelope import ParsedRecord, SignedRecord, sign_record
from ledger.records.items import Attributes, LotRow, RowAttributes
from ledger.signing import SigningKey, verify
from node.node import tune_interpreter
from tests.node.cluster import Cluster, cluster_of
from tests.world import GENESIS, World, build_genesis

MAKERS: Final = 8
BATCH: Final = 500
IN_FLIGHT: Final = 8
"""Batches submitted and not final yet: enough to keep every stage busy."""
LOT: Final = 200
"""Weapons of one lot: about 9 KiB."""
SLOW: Final = Parameters(lead_timeout_ms=4_000, advance_timeout_ms=8_000, heartbeat_s=3_600)
"""Timers that a busy shared core does not reach."""


def verify_cost_us() -> float:
    """This machine's cost of verifying one signature of a record's size, the best of some rounds."""
    key = SigningKey(bytes(32))
    message = bytes(500)
    signature = key.sign(message)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(200):
            verify(key.public, message, signature)
        best = min(best, (time.perf_counter() - begin) / 200)
    return best * 1e6


def enrolments(world: World) -> list[bytes]:
    """The enrolment of the makers, signed."""
    records = [world.enrol("interior", f"maker-{n}", "maker", makes=(f"M{n}",)) for n in range(MAKERS)]
    return [sign_record(record, world.keys["interior"]) for record in records]


def single_records(world: World, count: int) -> list[bytes]:
    """Registrations of one weapon each."""
    entries = []
    for n in range(count):
        maker = f"maker-{n % MAKERS}"
        record = world.register(maker, f"A{n:07d}", make=f"M{n % MAKERS}", calibre="9X19", type="PI", country="AT")
        entries.append(sign_record(record, world.keys[maker]))
    return entries


def lots(world: World, count: int) -> list[bytes]:
    """Registrations of `LOT` weapons each."""
    entries = []
    for n in range(count):
        maker = f"maker-{n % MAKERS}"
        defaults = Attributes(
            make=f"M{n % MAKERS}", model="Model 1", calibre="9X19", type="PI", country="AT", year=2026
        )
        rows = [LotRow(serial=f"B{n * LOT + row:07d}", differs=RowAttributes()) for row in range(LOT)]
        entries.append(sign_record(world.lot(maker, defaults, *rows), world.keys[maker]))
    return entries


async def drive(cluster: Cluster, entries: Sequence[bytes], batch: int) -> float:
    """Submit everything, round robin over the nodes, `IN_FLIGHT` batches at a time; seconds until all is final."""
    batches = [entries[at : at + batch] for at in range(0, len(entries), batch)]
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int, part: Sequence[bytes]) -> None:
        async with gate:
            await cluster.final(number % len(cluster.nodes), *part)

    begin = time.perf_counter()
    await asyncio.gather(*(one(number, part) for number, part in enumerate(batches)))
    return time.perf_counter() - begin


def trust(parsed: ParsedRecord, signers: tuple[str, ...]) -> SignedRecord:
    """A record taken as verified."""
    return SignedRecord(
        record=parsed.record, id=parsed.id, entry=parsed.entry, issued_ms=parsed.issued_ms, signers=signers
    )


@contextlib.contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    """Profile every thread that starts within, and this one, into `path` and `path`.<thread>."""
    if path is None:
        yield
        return
    profiles: dict[str, cProfile.Profile] = {}
    run = threading.Thread.run

    def run_profiled(thread: threading.Thread) -> None:
        profile = profiles[thread.name] = cProfile.Profile()
        profile.runcall(run, thread)

    main = profiles["main"] = cProfile.Profile()
    with mock.patch.object(threading.Thread, "run", run_profiled):
        main.enable()
        yield
        main.disable()
    for name, profile in profiles.items():
        profile.dump_stats(f"{path}.{name}")


async def measure(options: argparse.Namespace) -> None:
    """Run both workloads and print their figures."""
    genesis = GENESIS if options.nodes == 4 else build_genesis("interior")
    figures: dict[str, Any] = {"nodes": options.nodes, "signatures": not options.without_signatures}
    figures["verify_us"] = round(verify_cost_us(), 1)
    with tempfile.TemporaryDirectory() as folder:
        async with cluster_of(Path(folder), genesis, parameters=SLOW) as cluster:
            tune_interpreter()
            world = cluster.world
            world.time_ms = cluster.clock.wall_ms()
            await cluster.final(0, *enrolments(world))
            for name, entries, weight, batch in (
                ("records_per_s", single_records(world, options.records), 1, BATCH),
                ("weapons_per_s", lots(world, options.lots), LOT, 5),
            ):
                if not entries:
                    continue
                before, cpu = cluster.node(0).status().height, time.process_time()
                seconds = await drive(cluster, entries, batch)
                cpu = time.process_time() - cpu
                count = len(entries) * weight
                blocks = cluster.node(0).status().height - before
                line = {"figure": name, "value": round(count / seconds), "count": count, "blocks": blocks, **figures}
                print(json.dumps({**line, "cpu_us_each": round(cpu / count * 1e6, 1)}), flush=True)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, choices=(1, 4), default=1)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--lots", type=int, default=200)
    parser.add_argument("--without-signatures", action="store_true")
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    trusting = mock.patch("node.execution.signatures.verify_entry", trust)
    with trusting if options.without_signatures else contextlib.nullcontext(), profiled(options.profile):
        asyncio.run(measure(options))


if __name__ == "__main__":
    main()
