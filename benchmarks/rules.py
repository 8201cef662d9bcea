"""Measures check and apply of records, without signatures, storage and the state tree. Prints one JSON line per figure.

Run as `python -m benchmarks.rules`.
"""

import json
import time
from collections.abc import Callable
from typing import Final

import msgspec

from ledger.limits import MAX_LOT_WEAPONS, MAX_TRANSFER_WEAPONS
from ledger.records import Record
from ledger.records.envelope import SignedRecord
from ledger.signing import verify
from ledger.state.transition import apply, check, touches, weapons_of
from tests.world import World, key_named, trading_world

REPEATS: Final = 5


def _best_us(work: Callable[[], object], rounds: int) -> float:
    """The least processor time of one round in us, over some repetitions: what the code costs undisturbed."""
    best_s = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        for _ in range(rounds):
            work()
        best_s = min(best_s, time.process_time() - started)
    return best_s / rounds * 1e6


def _measure(world: World, figure: str, record: Record, rounds: int) -> None:
    _, signed = world.sign(record)

    def work() -> None:
        # A copy has no cached identities: each record of a block is new.
        fresh: SignedRecord = msgspec.structs.replace(signed, record=msgspec.structs.replace(record))
        touches(fresh.record, fresh.id)
        check(world.state, fresh, world.at)
        apply(world.state, fresh, world.at)

    us = _best_us(work, rounds)
    weapons = len(weapons_of(record))
    print(
        json.dumps(
            {
                "benchmark": "rules",
                "figure": figure,
                "weapons": weapons,
                "us_per_record": round(us, 1),
                "us_per_weapon": round(us / weapons, 2),
            }
        )
    )


def main() -> None:
    """Measure one weapon and full lots of each step of a trade, beside the machine's own signature check."""
    key = key_named("reference")
    signature = key.sign(b"reference")
    verify_us = _best_us(lambda: verify(key.public, b"reference", signature), 1_000)
    print(json.dumps({"benchmark": "rules", "figure": "ed25519_verify", "us": round(verify_us, 1)}))
    for weapons, rounds in ((1, 2_000), (MAX_TRANSFER_WEAPONS, 20)):
        world = trading_world()
        lot = world.register("maker", *(f"A{number:06d}" for number in range(weapons)))
        _measure(world, "register", lot, rounds)
        world.submit(lot)
        ids = weapons_of(lot)
        offer = world.offer("maker", "dealer", *ids)
        _measure(world, "offer", offer, rounds)
        accept = world.accept("dealer", world.submit(offer), *ids)
        _measure(world, "accept", accept, rounds)
        world.submit(accept)
        _measure(world, "report", world.report("station", "seized", *ids), rounds)
    world = trading_world()
    _measure(world, "register", world.register("maker", *(f"A{n:06d}" for n in range(MAX_LOT_WEAPONS))), 10)


if __name__ == "__main__":
    main()
