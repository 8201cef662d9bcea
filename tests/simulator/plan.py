"""What a seed stands for: the cluster, its liars, and how the world treats it. Drawn once, before the run."""

import random
from typing import Final

import msgspec

SIZES: Final = (1, 4, 4, 4, 4, 5, 5, 7, 7, 10)
ACTORS: Final = (
    "silent",
    "equivocating_leader",
    "conflicting_voter",
    "nullify_and_finalize",
    "nullify_only",
    "wrong_parent_leader",
    "wrong_gap_leader",
    "forger",
    "replayer",
    "withholder",
    "wrong_epoch",
    "bad_block_leader",
    "twins",
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Probabilities are per message or per event; times in ms."""

    seed: int
    size: int
    liars: tuple[tuple[int, str], ...]
    observers: int
    safety_ms: int
    records: int
    loss: float
    duplication: float
    delay_ms: int
    spread_ms: int
    late: float
    """How many messages are delayed tenfold: reordering."""
    partitions: int
    one_way: bool
    crashes: int
    sleeper: bool
    """One machine is down for most of the safety phase while many small blocks are made."""
    all_restart: bool
    """All machines restart at one time."""
    all_restart_apart: bool
    """Before that, all links are cut until everybody has voted in vain: only stored votes are left."""
    skews_ms: tuple[int, ...]
    sync_ms: int
    """The slowest sync of a disk."""
    execute_ms: int
    """The slowest build, check or commit."""
    internal_faults: float
    """Builds and checks that meet a fault of ours."""
    epoch_changes: int


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    size = rng.choice(SIZES)
    tolerated = (size - 1) // 3
    count = rng.randint(0, tolerated) if rng.random() < 0.7 else tolerated
    actors = ACTORS if rng.random() < 0.8 else ("silent",)
    liars = tuple((index, rng.choice(actors)) for index in sorted(rng.sample(range(size), count)))
    gentle = rng.random() < 0.15
    scale = {1: 60, 4: 60, 5: 45, 7: 25, 10: 15}[size]
    observers = 1 if rng.random() < 0.3 else 0
    sleeper = size > 1 and rng.random() < 0.2
    return Plan(
        seed=seed,
        size=size,
        liars=liars,
        observers=observers,
        safety_ms=scale * 1000,
        records=rng.randint(50, 80) if sleeper else rng.randint(4, 40),
        loss=0.0 if gentle else rng.choice((0.0, 0.02, 0.1, 0.25)),
        duplication=0.0 if gentle else rng.choice((0.0, 0.05, 0.2)),
        delay_ms=rng.choice((5, 30, 100)),
        spread_ms=rng.choice((5, 50, 300)),
        late=0.0 if gentle else rng.choice((0.0, 0.02, 0.1)),
        partitions=0 if gentle else rng.choice((0, 1, 3, 6)),
        one_way=rng.random() < 0.4,
        crashes=0 if gentle else rng.choice((0, 1, 4, 12)),
        sleeper=sleeper,
        all_restart=not gentle and rng.random() < 0.4,
        all_restart_apart=rng.random() < 0.6,
        skews_ms=tuple(rng.choice((0, 0, 0, rng.randint(-4000, 4000))) for _ in range(size + observers)),
        sync_ms=rng.choice((1, 5, 40)),
        execute_ms=rng.choice((2, 20, 150, 700)),
        internal_faults=rng.choice((0.0, 0.0, 0.05, 0.3)),
        epoch_changes=rng.choice((0, 0, 0, 1, 2)) if size >= 4 and observers else 0,
    )
