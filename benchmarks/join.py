"""A node with nothing joins a long ledger: by blocks, and by a snapshot. Real processes, mutual TLS, on this machine.

    python -m benchmarks.join [--records N] [--weapons N] [--block N] [--servers N] [--by blocks|snapshot] [--folder DIR]

Three validators serve, the fourth starts with an empty data directory; the time is from the start of its process until it
is level with the others. The ledger is made once and kept in the folder.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.ledgers import AGENCIES, deal, found
from benchmarks.report import emit, emit_machine, processor_seconds
from client.localnet import LocalNetwork

JOINER = "police"
PATIENCE_S = 600
POLL_S = 0.1


def peak_mb(pid: int) -> float:
    """The most memory that a process has had resident, in MB (10**6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    raise ProcessLookupError(pid)


def status(network: LocalNetwork, agency: str) -> dict[str, Any] | None:
    """What a node says of itself; None while it does not listen."""
    try:
        return network.network_status(agency)
    except httpx.HTTPError:
        return None


def choose(network: LocalNetwork, *, by: str) -> None:
    """Write into the joiner's configuration how it is to get level."""
    path = network.folder / JOINER / "node.toml"
    kept = path.read_text().partition("\n[catch_up]")[0]
    path.write_text(f'{kept}\n[catch_up]\nsnapshot = "{"auto" if by == "snapshot" else "never"}"\n')


def join(network: LocalNetwork, *, servers: int, by: str) -> dict[str, Any]:
    """Let the joiner join; its figures."""
    choose(network, by=by)
    serving = [party for party in AGENCIES if party != JOINER][:servers]
    for party in serving:  # one after the other: each reads its whole state
        network.start(party)
    target = network.network_status(serving[0])
    before_s = sum(processor_seconds(network.pid(party)) for party in serving)
    started = time.perf_counter()
    with (network.folder / JOINER / "node.log").open("ab") as log:
        process = subprocess.Popen(network.command(JOINER), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and process.poll() is None:
            joined = status(network, JOINER)
            if joined is not None and joined["size"] >= target["size"]:
                break
            time.sleep(POLL_S)
        else:
            raise RuntimeError((network.folder / JOINER / "node.log").read_text()[-2_000:])
        seconds = time.perf_counter() - started
        if joined["root"] != target["root"]:
            raise RuntimeError("the joiner has another log")
        return {
            "entries": target["size"],
            "height": target["height"],
            "seconds": round(seconds, 2),
            "cpu_s": round(processor_seconds(process.pid), 2),
            "servers_cpu_s": round(sum(processor_seconds(network.pid(p)) for p in serving) - before_s, 2),
            "peak_mb": peak_mb(process.pid),
        }
    finally:
        process.terminate()
        process.wait()
        network.stop()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--weapons", type=int, default=1, help="weapons of one record")
    parser.add_argument("--block", type=int, default=200, help="records of one block")
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--by", choices=("blocks", "snapshot", "both"), default="both")
    parser.add_argument("--folder", type=Path, help="where the ledger is made, and kept for the next time")
    options = parser.parse_args()
    emit_machine()
    with tempfile.TemporaryDirectory() as temporary:
        network = found(
            options.folder or Path(temporary) / "network",
            records=options.records,
            weapons=options.weapons,
            block_records=options.block,
        )
        for by in ("blocks", "snapshot") if options.by == "both" else (options.by,):
            deal(network, *(party for party in AGENCIES if party != JOINER))
            figures = join(network, servers=options.servers, by=by)
            rate = round(options.records / figures["seconds"])
            emit(f"join_by_{by}", records=options.records, weapons=options.weapons, **figures, records_per_s=rate)


if __name__ == "__main__":
    main()
