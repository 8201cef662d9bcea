"""Running one seed, with signature checks remembered across the machines of the run."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ledger.consensus import certificates, tally
from ledger.errors import SignatureError
from ledger.signing import is_valid, verify
from tests.simulator.cluster import Cluster
from tests.simulator.plan import Plan, draw


def run_plan(plan: Plan, *, transcript: list[str] | None = None) -> Counter[str]:
    """Run a plan; return how often each fault was exercised.

    Raises:
        ViolationError: something of P10 does not hold.
    """
    with remembered_signatures():
        cluster = Cluster(plan, transcript=transcript)
        cluster.run()
    exercised = cluster.world.exercised
    for _, actor in plan.liars:
        exercised[f"actor {actor}"] += 1
    exercised["blocks"] += max(machine.disk.floor.height for machine in cluster.honest)
    exercised["epochs changed"] += max(machine.disk.floor.epoch for machine in cluster.honest)
    return exercised


def run_seed(seed: int, *, transcript: list[str] | None = None) -> Counter[str]:
    """Run the plan of a seed."""
    return run_plan(draw(seed), transcript=transcript)


@contextmanager
def remembered_signatures() -> Iterator[None]:
    """Verification is a pure function: each distinct question is asked of libsodium once, not once a machine."""
    known: dict[tuple[bytes, bytes, bytes], bool] = {}

    def remembered_is_valid(public: bytes, message: bytes, signature: bytes) -> bool:
        key = (public, message, signature)
        if key not in known:
            known[key] = is_valid(public, message, signature)
        return known[key]

    def remembered_verify(public: bytes, message: bytes, signature: bytes) -> None:
        if not remembered_is_valid(public, message, signature):
            raise SignatureError("the signature does not verify")

    tally.is_valid = remembered_is_valid  # type: ignore[attr-defined]
    certificates.verify = remembered_verify  # type: ignore[attr-defined]
    try:
        yield
    finally:
        tally.is_valid = is_valid  # type: ignore[attr-defined]
        certificates.verify = verify  # type: ignore[attr-defined]
