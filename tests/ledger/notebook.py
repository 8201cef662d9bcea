"""Keys, checkpoints and policies that the tests of the text formats share."""

import hashlib
from collections.abc import Iterable

from ledger.checkpoint import Checkpoint, Cosigner, SignedCheckpoint, sign_checkpoint
from ledger.notes import NoteSigner
from ledger.policy import GroupEntry, LogEntry, Policy, Threshold, WitnessEntry
from ledger.signing import SigningKey

ORIGIN = "arms.example/ledger"
AGENCIES = ("customs", "interior", "north", "police")
ROOT = hashlib.sha256(b"root").digest()
CHECKPOINT = Checkpoint(origin=ORIGIN, size=1234, root=ROOT)
TIME_S = 1_795_000_000


def key(label: str) -> SigningKey:
    return SigningKey(hashlib.sha256(label.encode()).digest())


LOGS = {agency: NoteSigner(ORIGIN, key(f"{agency}/log")) for agency in AGENCIES}
COSIGNERS = {agency: Cosigner(f"{ORIGIN}/{agency}", key(f"{agency}/cosigner")) for agency in AGENCIES}


def policy(threshold: Threshold = 3) -> Policy:
    """Four agencies, each with a log key and a cosigner key, and a quorum of so many of them."""
    return Policy(
        logs=tuple(LogEntry(verifier=log.verifier) for log in LOGS.values()),
        witnesses=tuple(WitnessEntry(name=name, verifier=cosigner.verifier) for name, cosigner in COSIGNERS.items()),
        groups=(GroupEntry(name="agencies", threshold=threshold, members=AGENCIES),),
        quorum="agencies",
    )


def signed(
    cosigners: Iterable[str] = AGENCIES,
    logs: Iterable[str] = ("interior",),
    checkpoint: Checkpoint = CHECKPOINT,
) -> bytes:
    """A checkpoint with these agencies' log lines, then these agencies' cosignatures."""
    lines = [sign_checkpoint(checkpoint, LOGS[agency]) for agency in logs]
    times = enumerate(cosigners)
    lines += [COSIGNERS[agency].sign(checkpoint.text, time_s=TIME_S + offset) for offset, agency in times]
    return SignedCheckpoint.of(checkpoint, lines).to_bytes()
