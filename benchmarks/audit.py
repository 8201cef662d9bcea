"""Measures an audit: a log of singly signed records in memory, verified and replayed from entry 0 on one core.

Run as `python -m benchmarks.audit [--records N] [--block N] [--profile]`. Three records of four move a weapon
(offer, accept, offer back), one registers a weapon: nothing is cheap about them, and no lot makes the count look better.
"""

import argparse
import cProfile
import pstats
import time

from benchmarks.report import emit, emit_machine
from client.replay import Audited, audit
from ledger.merkle.tiles import Tile
from tests.toyledger import ToyLedger, toy_policy


class _Memory:
    """A source whose tiles are made beforehand, so that their making is not measured."""

    def __init__(self, ledger: ToyLedger) -> None:
        self._ledger = ledger
        self._note = ledger.checkpoint()
        self._tiles: dict[Tile, bytes] = {}

    def checkpoint(self) -> bytes:
        return self._note

    def tile(self, tile: Tile) -> bytes:
        if tile not in self._tiles:
            self._tiles[tile] = self._ledger.tile(tile)
        return self._tiles[tile]


def _grow(records: int, block: int) -> ToyLedger:
    ledger = ToyLedger()
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC",)))
    ledger.submit(ledger.enrol("interior", "dealer", "dealer"))
    ledger.seal()
    done = 0
    while done < records:
        lot = ledger.register("maker", f"B{done:08d}")
        ledger.submit(lot)
        weapon = lot.identities[0].id
        offer = ledger.submit(ledger.offer("maker", "dealer", weapon))
        ledger.submit(ledger.accept("dealer", offer, weapon))
        ledger.submit(ledger.offer("dealer", "maker", weapon, moves="custody"))
        done += 4
        if done % block < 4:
            ledger.seal()
    ledger.seal()
    return ledger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--block", type=int, default=100, help="records in a block")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    options = parser.parse_args()
    ledger = _grow(options.records, options.block)
    source, policy = _Memory(ledger), toy_policy()
    profiler = cProfile.Profile()
    if options.profile:
        profiler.enable()
    started, started_cpu = time.perf_counter(), time.process_time()
    audited: Audited = audit(source, policy)
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    if options.profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    emit_machine()
    emit(
        "audit",
        records=audited.records,
        entries=audited.size,
        weapons=audited.weapons,
        block_records=options.block,
        seconds=round(elapsed_s, 3),
        records_per_s=round(audited.records / elapsed_s),
        records_per_cpu_s=round(audited.records / cpu_s),
    )


if __name__ == "__main__":
    main()
