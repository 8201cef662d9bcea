"""Four real nodes on this machine under load: throughput, finality, absence, provenance, audit, memory.

    python -m benchmarks.network [--weapons N] [--records N] [--seconds N] [--keep DIR]

Records are signed beforehand and posted in batches to all four nodes. Every figure is a JSON line.
"""

import argparse
import asyncio
import json
import os
import random
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.load import Maker, agency_record_key, api_urls, batch_body
from benchmarks.report import emit, emit_machine, percentiles, processor_seconds, resident_mb
from client.localnet import COMMAND, LocalNetwork
from ledger.genesis import Genesis, decode_genesis

AGENCIES = ("interior", "customs", "police", "neighbour")
RECORDS_PER_BATCH = 250
WEAPONS_PER_LOT = 500
LOTS_PER_BATCH = 4
BATCHES_IN_FLIGHT = 4
POLL_S = 0.02
ABSENCE_NOTICED_S = 3.0
"""An agency that went is given so long to be missed by all others."""


class Driver:
    """Posts to a running network and watches what becomes final."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self.urls = api_urls(network.folder)
        context = ssl.create_default_context(cafile=str(network.authorities))
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        self.http = httpx.AsyncClient(verify=context, timeout=60.0, limits=limits)
        self.headers: dict[str, dict[str, str]] = {}
        for agency in AGENCIES:
            token = network.new_token(agency, party=agency, role="inquirer").read_text().strip()
            self.headers[agency] = {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Tracemark-Purpose": "benchmark",
                "Tracemark-Case": "BENCH-1",
            }

    async def post(self, agency: str, entries: list[bytes], *, wait: bool) -> None:
        """Post one batch, again as often as the node says that it is full."""
        url = f"{self.urls[agency]}/v1/records?wait={'final' if wait else 'none'}"
        body = batch_body(entries)
        while True:
            answer = await self.http.post(url, content=body, headers=self.headers[agency])
            if answer.status_code in (429, 503):
                await asyncio.sleep(float(answer.headers.get("Retry-After", "1")) / 4)
                continue
            if answer.status_code not in (200, 202):
                raise RuntimeError(f"{agency} answered {answer.status_code}: {answer.text[:500]}")
            return

    async def status(self, agency: str) -> dict[str, Any]:
        """What the node says of itself."""
        answer = await self.http.get(f"{self.urls[agency]}/v1/network", headers=self.headers[agency])
        status: dict[str, Any] = answer.raise_for_status().json()
        return status

    async def wait_final(self, entries: list[bytes]) -> None:
        """Wait until every node holds the last of these as final (a batch is in order at the node it was posted to)."""
        await asyncio.gather(*(self.post(agency, entries, wait=True) for agency in AGENCIES))

    async def post_all(self, batches: list[list[bytes]]) -> float:
        """Post all batches to the four nodes in turn; seconds from the first post until the last record is final."""
        gate = asyncio.Semaphore(BATCHES_IN_FLIGHT)

        async def one(number: int, entries: list[bytes]) -> None:
            async with gate:
                await self.post(AGENCIES[number % len(AGENCIES)], entries, wait=False)

        started = time.perf_counter()
        await asyncio.gather(*(one(number, entries) for number, entries in enumerate(batches)))
        for entries in batches[-len(AGENCIES) * BATCHES_IN_FLIGHT :]:
            await self.post(AGENCIES[0], entries, wait=True)
        while len({(await self.status(agency))["size"] for agency in AGENCIES}) > 1:
            await asyncio.sleep(POLL_S)
        return time.perf_counter() - started

    def processor_s(self) -> float:
        """Processor time of all nodes so far."""
        return sum(processor_seconds(self.network.pid(agency)) for agency in AGENCIES)


def chunks(entries: list[bytes], size: int) -> list[list[bytes]]:
    """Consecutive pieces of `size`."""
    return [entries[at : at + size] for at in range(0, len(entries), size)]


async def throughput(driver: Driver, maker: Maker, *, records: int) -> None:
    """Singly signed records, one weapon each."""
    entries = list(maker.lots(records, weapons=1, start=5_000_000))
    before_s = driver.processor_s()
    seconds = await driver.post_all(chunks(entries, RECORDS_PER_BATCH))
    used_s = driver.processor_s() - before_s
    emit(
        "single_records_per_s",
        value=round(records / seconds),
        records=records,
        batch=RECORDS_PER_BATCH,
        node_cpu_us_per_record=round(used_s / len(AGENCIES) / records * 1e6),
    )


async def lots(driver: Driver, maker: Maker, *, weapons: int) -> None:
    """Weapons in lots."""
    entries = list(maker.lots(weapons // WEAPONS_PER_LOT, weapons=WEAPONS_PER_LOT))
    before_s = driver.processor_s()
    seconds = await driver.post_all(chunks(entries, LOTS_PER_BATCH))
    used_s = driver.processor_s() - before_s
    emit(
        "lot_weapons_per_s",
        value=round(weapons / seconds),
        weapons=weapons,
        lot=WEAPONS_PER_LOT,
        node_cpu_us_per_weapon=round(used_s / len(AGENCIES) / weapons * 1e6),
    )


async def finality(driver: Driver, maker: Maker, *, per_s: int, seconds: int) -> None:
    """Open loop: a record at every tick, each waited for until final and cosigned by a quorum."""
    entries = list(maker.lots(per_s * seconds, weapons=1, start=8_000_000))
    samples: list[float] = []

    async def one(number: int, entry: bytes) -> None:
        started = time.perf_counter()
        await driver.post(AGENCIES[number % len(AGENCIES)], [entry], wait=True)
        samples.append((time.perf_counter() - started) * 1e3)

    tasks = []
    began = time.perf_counter()
    for number, entry in enumerate(entries):
        await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number, entry)))
    await asyncio.gather(*tasks)
    emit("finality_ms", records_per_s=per_s, seconds=seconds, **percentiles(samples))


async def absence(driver: Driver, maker: Maker, *, seconds: int) -> None:
    """Closed loop, one record after the other at one node: with all agencies, and with one away."""
    asked, away = AGENCIES[0], AGENCIES[-1]
    entries = maker.lots(1_000 * seconds, weapons=1, start=9_000_000)

    async def per_s() -> float:
        count, ends = 0, time.perf_counter() + seconds
        while time.perf_counter() < ends:
            await driver.post(asked, [next(entries)], wait=True)
            count += 1
        return round(count / seconds, 1)

    present = await per_s()
    driver.network.kill(away)
    await asyncio.sleep(ABSENCE_NOTICED_S)
    absent = await per_s()
    driver.network.start(away)
    await asyncio.to_thread(driver.network.wait_ready, away)
    emit("one_after_another_per_s", all=present, one_away=absent, ratio=round(absent / present, 2), seconds=seconds)


async def provenance(driver: Driver, *, queries: int, weapons: int) -> None:
    """Provenance of weapons over HTTP, one at a time, from a node's whole register."""
    agency = "neighbour"
    headers = driver.headers[agency]
    random_source = random.Random(1)
    serials = [f"MAKERA{random_source.randrange(0, weapons):07d}" for _ in range(queries)]
    ids: list[str] = []
    for serial in serials:
        answer = await driver.http.get(
            f"{driver.urls[agency]}/v1/weapons", params={"serial": serial, "make": "BEN"}, headers=headers
        )
        ids += [weapon["id"] for weapon in answer.raise_for_status().json()["weapons"]]
    samples: list[float] = []
    sizes: list[float] = []
    for weapon in ids:
        started = time.perf_counter()
        answer = await driver.http.get(f"{driver.urls[agency]}/v1/weapons/{weapon}/provenance", headers=headers)
        samples.append((time.perf_counter() - started) * 1e3)
        sizes.append(len(answer.raise_for_status().content))
    if not ids:
        raise RuntimeError("the register answers none of the serials")
    emit("provenance_http_ms", **percentiles(samples), bundle_bytes_p50=round(percentiles(sizes)["p50"]))


def audit(network: LocalNetwork) -> None:
    """The audit of a saved log from entry 0, in one process."""
    token = network.new_token("police", party="police", role="auditor")
    saved = network.folder / "audit"
    base = [*COMMAND, "audit"]
    trust = ["--policy", str(network.policy), "--json"]
    online = [network.url("police"), "--token-file", str(token), "--ca", str(network.authorities), "--save", str(saved)]
    env = {**os.environ, "TRACEMARK_HOME": str(network.folder / "home")}
    subprocess.run([*base, *online, *trust], check=True, capture_output=True, env=env)
    done = subprocess.run([*base, str(saved), *trust], check=True, capture_output=True, text=True, env=env)
    result = json.loads(done.stdout)
    emit(
        "audit_with_lots",
        records_per_s=result["records_per_s"],
        weapons_per_s=round(result["weapons"] / result["records"] * result["records_per_s"]),
        records=result["records"],
        weapons=result["weapons"],
        entries=result["size"],
    )


def memory(network: LocalNetwork, *, weapons: int) -> None:
    """Resident memory of each node."""
    emit(
        "node_memory_mb",
        weapons=weapons,
        **{agency: resident_mb(network.pid(agency)) for agency in AGENCIES},
    )


async def measure(network: LocalNetwork, genesis: Genesis, options: argparse.Namespace) -> None:
    """Everything that needs running nodes, in an order that lets the later figures see a full register."""
    driver = Driver(network)
    now_ms = int(time.time() * 1000)
    sponsor = next(agency for agency in genesis.agencies if agency.party == "interior")
    key = agency_record_key(network.folder / "interior")
    makers = [Maker(f"maker-a{number}", genesis, now_ms=now_ms) for number in range(4)]
    enrolments = [maker.enrolment("interior", key, jurisdiction=sponsor.jurisdiction) for maker in makers]
    await driver.post("interior", enrolments, wait=True)
    await finality(driver, makers[1], per_s=50, seconds=options.seconds)
    await absence(driver, makers[3], seconds=options.seconds // 2)
    await throughput(driver, makers[2], records=options.records)
    await lots(driver, makers[0], weapons=options.weapons)
    memory(network, weapons=options.weapons + options.records)
    await provenance(driver, queries=options.queries, weapons=options.weapons)
    memory(network, weapons=options.weapons + options.records)
    await driver.http.aclose()


def main() -> None:
    """Run all figures of a four-node network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weapons", type=int, default=100_000)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    emit_machine()
    with tempfile.TemporaryDirectory(prefix="tracemark-bench-") as temporary:
        folder = (options.keep or Path(temporary)) / "network"
        with LocalNetwork.create(folder, AGENCIES) as network:
            network.start()
            network.wait_ready()
            genesis = decode_genesis((folder / "genesis.json").read_bytes())
            asyncio.run(measure(network, genesis, options))
            audit(network)
    emit_machine()


if __name__ == "__main__":
    main()
