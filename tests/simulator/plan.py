"""What a seed stands for: the cluster, its liars, and how the world treats it. Drawn once, before the run."""

import random
from typing import Final, Literal

import msgspec

SIZES: Final = (1, *(4,) * 10, *(5,) * 4, *(7,) * 3, 10)
SAFETY_S: Final = {1: 40, 4: 30, 5: 24, 7: 14, 10: 8}
MOST_STORIES: Final = {1: 14, 4: 12, 5: 10, 7: 6, 10: 3}
"""The safety phase and what clients want, by size: about the same work for the machine that simulates it."""
ACTORS: Final = (
    "silent",
    "equivocating_leader",
    "wrong_parent_leader",
    "wrong_gap_leader",
    "bad_block_leader",
    "conflicting_voter",
    "nullify_and_finalize",
    "nullify_only",
    "replayer",
    "wrong_epoch",
    "forger",
    "block_withholder",
    "certificate_withholder",
    "twins",
    "amnesiac",
)
TOY_SHARE: Final = 0.25
"""Of the seeds, how many run the toy application: it alone changes epochs at will, and runs at several times the speed."""


ENCODED_SHARE: Final = 0.33
"""Of the seeds, how many send what machines say as production nodes do: in frames."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Probabilities are per message or per event; times in ms."""

    seed: int
    application: Literal["production", "toy"]
    size: int
    liars: tuple[tuple[int, str], ...]
    observers: int
    safety_ms: int
    stories: int
    """What clients want, in stories of one to five records each."""
    block_records: int
    """How many records a leader takes into a block."""
    loss: float
    duplication: float
    delay_ms: int
    spread_ms: int
    late: float
    """How many messages are delayed tenfold: reordering."""
    partitions: int
    one_way: bool
    crashes: int
    write_faults: int
    """Durable writes that a crash or a failing disk meets."""
    amnesia: int
    """Honest machines that lose their votes (P7.5)."""
    sleeper: bool
    """One machine is down for most of the safety phase while many small blocks are made."""
    all_restart: bool
    """All machines restart at one time."""
    all_restart_apart: bool
    """Before that, all links are cut until everybody has voted in vain: only stored votes are left."""
    skews_ms: tuple[int, ...]
    clock_steps: int
    """How often some machine's wall clock is set."""
    sync_ms: int
    """The slowest sync of a disk."""
    execute_ms: int
    """The slowest build, check or preparation of a commit."""
    internal_faults: float
    """Builds and checks of the toy that meet a fault of ours."""
    epoch_changes: int
    """How often the validators change: by decision of the validators, or at the will of a toy's record."""
    encoded: bool = False
    """Whether what is sent becomes a frame and is read again, as between production nodes."""
    decisions: tuple[str, ...] = ()
    """What else the validators of a production run decide: `replace`, `rotate`, `parameters`, `suspend`."""
    group_faults: int = 0
    """Transactions of several blocks that a crash or a failing disk meets."""
    relied_on: bool = False
    """After healing, once a machine's lost votes are made up for, another goes down: the quorum needs the first (P7.5)."""


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    toy = rng.random() < TOY_SHARE
    size = rng.choice(SIZES)
    tolerated = (size - 1) // 3
    count = rng.randint(0, tolerated) if rng.random() < 0.7 else tolerated
    actors = ACTORS if rng.random() < 0.85 else ("silent",)
    liars = tuple((index, rng.choice(actors)) for index in sorted(rng.sample(range(size), count)))
    gentle = rng.random() < 0.15
    decides = not toy and size == 4 and rng.random() < 0.25
    observers = 3 if decides else 1 if rng.random() < 0.3 else 0
    sleeper = size in (4, 5) and rng.random() < 0.2
    plan = Plan(
        seed=seed,
        application="toy" if toy else "production",
        size=size,
        liars=liars,
        observers=observers,
        safety_ms=SAFETY_S[size] * 1000,
        stories=_stories(rng, size, toy=toy, sleeper=sleeper),
        block_records=2 if sleeper else rng.choice((2, 4, 4096)),
        loss=0.0 if gentle else rng.choice((0.0, 0.02, 0.1, 0.25)),
        duplication=0.0 if gentle else rng.choice((0.0, 0.05, 0.2)),
        delay_ms=rng.choice((5, 30, 100)),
        spread_ms=rng.choice((5, 50, 300)),
        late=0.0 if gentle else rng.choice((0.0, 0.02, 0.1)),
        partitions=0 if gentle else rng.choice((0, 1, 3, 6)),
        one_way=rng.random() < 0.4,
        crashes=0 if gentle else rng.choice((0, 1, 4, 12)),
        write_faults=0 if gentle else rng.choice((0, 1, 3)),
        amnesia=1 if count < tolerated and rng.random() < 0.3 else 0,
        sleeper=sleeper,
        all_restart=not gentle and rng.random() < 0.4,
        all_restart_apart=rng.random() < 0.6,
        skews_ms=tuple(rng.choice((0, 0, 0, rng.randint(-4000, 4000))) for _ in range(size + observers)),
        clock_steps=0 if gentle else rng.choice((0, 0, 2)),
        sync_ms=rng.choice((1, 5, 40)),
        execute_ms=rng.choice((2, 20, 150, 700)),
        internal_faults=rng.choice((0.0, 0.0, 0.05, 0.3)),
        epoch_changes=rng.choice((1, 2, 3, 6))
        if decides
        else rng.choice((0, 1, 2))
        if toy and observers and size >= 4
        else 0,
    )
    return _further(plan, gentle=gentle)


def _further(plan: Plan, *, gentle: bool) -> Plan:
    """What was thought of later is drawn apart, so that the seeds before keep their plans."""
    rng = random.Random(f"plan more {plan.seed}")
    group_faults = 0 if gentle else rng.choice((0, 1, 3))
    decisions: list[str] = []
    if plan.application == "production" and rng.random() < (0.5 if plan.observers else 0.15):
        decisions = rng.choices(("rotate", "rotate", "replace", "replace", "parameters"), k=rng.randint(1, 3))
        if rng.random() < 0.3:
            decisions.append("suspend")
        if plan.size > 5:
            decisions = decisions[:1]
    encoded = rng.random() < ENCODED_SHARE
    relied_on = plan.amnesia > 0 and rng.random() < 0.7
    return msgspec.structs.replace(
        plan, group_faults=group_faults, decisions=tuple(decisions), encoded=encoded, relied_on=relied_on
    )


def _stories(rng: random.Random, size: int, *, toy: bool, sleeper: bool) -> int:
    """One that sleeps must miss more blocks than are fetched one by one."""
    if toy:
        return rng.randint(50, 80) if sleeper else rng.randint(4, 40)
    return rng.randint(16, 24) if sleeper else rng.randint(1, MOST_STORIES[size])
