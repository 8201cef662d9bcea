"""One figure, one JSON line; and the machine's own verify cost beside it, because machines differ and are noisy."""

import json
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger.signing import SigningKey, verify


def emit(figure: str, **values: Any) -> None:
    """Print one figure as a JSON line."""
    print(json.dumps({"figure": figure, **values}), flush=True)


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and max of the samples, in their unit, rounded to hundredths."""
    ordered = sorted(samples)
    cut = statistics.quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else [ordered[0]] * 99
    return {
        "p50": round(cut[49], 2),
        "p90": round(cut[89], 2),
        "p99": round(cut[98], 2),
        "max": round(ordered[-1], 2),
        "samples": len(ordered),
    }


def verify_cost_us(rounds: int = 2_000) -> float:
    """What one Ed25519 verification of 400 bytes costs here, in microseconds."""
    key = SigningKey(bytes(32))
    message = b"m" * 400
    signature = key.sign(message)
    started = time.perf_counter()
    for _ in range(rounds):
        verify(key.public, message, signature)
    return round((time.perf_counter() - started) / rounds * 1e6, 1)


def emit_machine() -> None:
    """The machine's line: processor count, Python, verify cost."""
    cores = sum(1 for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor"))
    emit("machine", cores=cores, python=platform.python_version(), verify_us=verify_cost_us())


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB (10**6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    raise ProcessLookupError(pid)


def processor_seconds(pid: int) -> float:
    """User and system time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
