"""What four nodes are put through, and what must hold of it."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.load import Maker, agency_record_key, api_urls
from benchmarks.report import emit, processor_seconds
from client.localnet import LocalNetwork
from ledger.genesis import decode_genesis
from node.clock import SystemClock
from node.service.admin import issue_token
from node.storage import AgencyStore, Database
from tests.overload.flood import BATCH_RECORDS, LOT_WEAPONS, LOTS_PER_BATCH, Flood, Flooded, Floods
from tests.overload.loris import Loris
from tests.overload.watch import Memory, Probe, serial_maker

AGENCIES: Final = ("interior", "customs", "police", "neighbour")
QUIET_S: Final = 8.0
"""How long honest clients are measured before a flood."""
AFTER_S: Final = 15.0
"""And after it."""
RECORDS_PER_S: Final = 1_000
"""How many fresh records each flood has for a second; what was not taken is offered again."""
SUSTAINABLE_PER_S: Final = 2_200
"""Single records a second that four nodes and their clients on two cores make final (`python -m benchmarks network`)."""
TIMES: Final = 11
"""The floods of single records together are to offer so many times that; what comes late is not made up for."""
CONNECTIONS: Final = 48
"""Of each such flood: a request may wait for a second before it is answered, and 30 of 250 records are due in each."""
MEMORY_MB: Final = 1_500.0
"""What a node may hold. Of the bounds in `ledger.limits`: 64 MiB of pending entries and 48 MiB of verified ones take about
four times that decoded; 64 MiB of frames for each of three peers; bodies and documents. The interpreter itself takes 90."""
RECOVERED_S: Final = 10.0
"""So soon after a flood, honest latency must be as before: what was under way is looked at first. Less than `AFTER_S`, or
nobody would see that it is not."""


class Stage:
    """A running network with enrolled makers, and what is measured on it."""

    def __init__(self, folder: Path, makers: tuple[str, ...], agencies: tuple[str, ...] = AGENCIES) -> None:
        self.network = LocalNetwork.create(folder, AGENCIES)
        self.agencies = agencies
        self.network.start(*agencies)
        self.network.wait_ready(*agencies)
        self.urls = api_urls(folder)
        self.genesis_file = folder / "genesis.json"
        genesis = decode_genesis(self.genesis_file.read_bytes())
        self.makers = {party: Maker(party, genesis, now_ms=int(time.time() * 1000)) for party in makers}
        key = agency_record_key(folder / "interior")
        jurisdiction = next(agency.jurisdiction for agency in genesis.agencies if agency.party == "interior")
        body = [maker.enrolment("interior", key, jurisdiction=jurisdiction) for maker in self.makers.values()]
        token = self.token("interior", "interior", "operator")
        with httpx.Client(verify=str(self.network.authorities), timeout=60) as http:
            http.post(
                f"{self.urls['interior']}/v1/records?wait=final",
                content=b'{"envelopes":[' + b",".join(body) + b"]}",
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            ).raise_for_status()
        self.started_s = time.monotonic()

    def token(self, agency: str, party: str, role: str) -> str:
        """A fresh token's secret."""
        store = AgencyStore(Database(self.network.folder / agency / "data" / "agency.db"))
        try:
            return issue_token(store, party=party, role=role, now_ms=SystemClock().wall_ms()).secret
        finally:
            store.close()

    def probe(self, agency: str, party: str, start: int) -> Probe:
        """An honest client of a party at an agency's node."""
        token = self.token(agency, party, "holder")
        entries = serial_maker(self.makers[party], start)
        return Probe(party, self.urls[agency], token, str(self.network.authorities), entries)

    def flood(self, name: str, agencies: tuple[str, ...], party: str, *, tokens: int = 1, **named: Any) -> Flood:
        """A flood of one party at some nodes, each of which knows its tokens."""
        assert len(agencies) == 1, "a token is one node's"
        secrets = tuple(self.token(agencies[0], party, "holder") for _ in range(tokens))
        urls = tuple(self.urls[agency] for agency in agencies)
        return Flood(name, party, urls, self.network.authorities, self.genesis_file, secrets, **named)

    def memory(self) -> Memory:
        """Of every node that runs."""
        return Memory({agency: self.network.pid(agency) for agency in self.agencies})

    def sizes(self) -> dict[str, int]:
        """Each node's log."""
        return {agency: self.network.network_status(agency)["size"] for agency in self.agencies}

    def processor_s(self) -> float:
        """Of all nodes."""
        return sum(processor_seconds(self.network.pid(agency)) for agency in self.agencies)


async def measure(
    stage: Stage,
    probes: list[Probe],
    seconds: float,
    *others: Callable[[float], Coroutine[Any, Any, None]],
    floods: Floods | None = None,
) -> tuple[list[Flooded], list[str]]:
    """Quiet, flood, quiet: the floods' accounts, and what did not hold."""
    if floods is not None:
        floods.prepare()
    memory = stage.memory()
    sampling = asyncio.create_task(memory.run())
    probing = [asyncio.create_task(probe.run(QUIET_S + seconds + AFTER_S)) for probe in probes]
    quiet_s = time.monotonic()
    await asyncio.sleep(QUIET_S)
    before = (stage.sizes(), stage.processor_s())
    emit("phase", name="flood")
    if floods is not None:
        floods.start()
    flood_s = time.monotonic()
    meanwhile = [asyncio.create_task(other(seconds)) for other in others]
    await asyncio.sleep(seconds)
    end_s = time.monotonic()
    emit("phase", name="after")
    after = (stage.sizes(), stage.processor_s())
    done = [] if floods is None else await asyncio.to_thread(floods.end)
    await asyncio.gather(*probing, *meanwhile)
    sampling.cancel()
    failures: list[str] = []
    grown = {agency: round((after[0][agency] - before[0][agency]) / (end_s - flood_s)) for agency in stage.agencies}
    emit("throughput", entries_per_s=grown, node_cpu=round((after[1] - before[1]) / (end_s - flood_s), 2))
    for probe in probes:
        calm, busy = probe.told(quiet_s, flood_s - 1), probe.told(flood_s, end_s - 1)
        emit("honest", name=probe.name, before=calm, during=busy, refusals=dict(probe.refusals))
        settled = settled_after_s(probe, end_s, as_before_ms(calm))
        emit("recovery", name=probe.name, seconds=settled, after=probe.told(end_s + 1))
        if busy["lost"] or busy["p50"] > 30_000:
            failures.append(f"{probe.name} was starved: {busy}")
        if settled > RECOVERED_S:
            failures.append(f"{probe.name} had its latency of before only after {settled} s")
    peak = memory.told()
    emit("memory_mb", peak=peak, before=memory.told(lambda samples: samples[0]), end=memory.told(lambda s: s[-1]))
    failures += [f"{name} held {mb} MB" for name, mb in peak.items() if mb > MEMORY_MB]
    if len(set(stage.sizes().values())) > 1:
        await asyncio.sleep(3)
    if len(set(stage.sizes().values())) > 1:
        failures.append(f"the nodes are not level: {stage.sizes()}")
    return done, failures


def as_before_ms(calm: dict[str, float]) -> float:
    """Latency that tells of no flood: three times the usual, or hardly more than the longest (a dead leader's turn)."""
    return max(3 * calm["p50"], 1.5 * calm["max"], 500)


def settled_after_s(probe: Probe, end_s: float, bound_ms: float) -> float:
    """How long after the flood the last record was offered that took longer than the bound."""
    late = [sample.at_s for sample in probe.samples if sample.at_s >= end_s and sample.took_s * 1e3 > bound_ms]
    return round(max(late, default=end_s) - end_s, 2)


def check_floods(done: list[Flooded]) -> list[str]:
    """Tell what the floods met; what of it is not as it must be."""
    failures = []
    for flood in done:
        emit("flood", **flood._asdict(), offered_per_s=round(flood.offered / flood.seconds))
        if flood.without_retry_after:
            failures.append(f"{flood.name}: {flood.without_retry_after} refusals without Retry-After")
        if unexpected := flood.statuses.keys() - {200, 202, 429, 503}:
            failures.append(f"{flood.name}: answered {unexpected}")
    offered = sum(flood.offered / flood.seconds for flood in done if flood.name != "lots-of-it")
    emit("load", single_records_per_s=round(offered), times_sustainable=round(offered / SUSTAINABLE_PER_S, 1))
    if not any(flood.statuses.get(429) for flood in done):
        failures.append("nobody was refused: this was no overload")
    return failures


def clients(folder: Path, seconds: float) -> list[str]:
    """Greedy parties with single records, one with lots, one with many tokens, slow clients; and two honest ones."""
    # The first letters of a party's name begin its weapons' serials: these differ.
    parties = ("calm-one", "fair-two", "gulp-one", "swig-two", "lots-of-it", "many-tokens")
    stage = Stage(folder, parties)
    with stage.network:
        records = int(RECORDS_PER_S * seconds)
        single: dict[str, Any] = {
            "connections": CONNECTIONS,
            "records": records,
            "batch": BATCH_RECORDS,
            "pace": TIMES * SUSTAINABLE_PER_S / 3,
        }
        floods = Floods(
            [
                stage.flood("gulp-one", ("interior",), "gulp-one", **single),
                stage.flood("swig-two", ("customs",), "swig-two", **single),
                stage.flood(
                    "lots-of-it",
                    ("police",),
                    "lots-of-it",
                    connections=4,
                    records=records // 50,
                    batch=LOTS_PER_BATCH,
                    weapons=LOT_WEAPONS,
                ),
                stage.flood("many-tokens", ("interior",), "many-tokens", tokens=16, **single),
            ],
            seconds,
        )
        probes = [stage.probe("interior", "calm-one", 0), stage.probe("neighbour", "fair-two", 0)]
        token = stage.token("interior", "gulp-one", "holder")
        loris = Loris(stage.urls["interior"], token, str(stage.network.authorities), 200)
        done, failures = asyncio.run(measure(stage, probes, seconds, loris.run, floods=floods))
        emit("loris", **loris.counts)
        return failures + check_floods(done)


WAYS: Final = ("forge", "talk", "gossip", "spoil", "garbage", "stare", "ask", "knock")
"""What a hostile peer does; see `tests.overload.peer`."""


def peer(folder: Path, seconds: float, *ways: str) -> list[str]:
    """One of four validators attacks the other three in every way, while two honest clients go on."""
    stage = Stage(folder, ("calm-one", "fair-two", "gossip-all"), agencies=tuple(sorted(AGENCIES))[1:])
    with stage.network:
        records = folder / "gossip"
        records.write_bytes(b"\n".join(stage.makers["gossip-all"].lots(10_000, weapons=1)))
        probes = [stage.probe("interior", "calm-one", 0), stage.probe("neighbour", "fair-two", 0)]
        told: dict[str, Any] = {}

        async def attack(lasting_s: float) -> None:
            command = ["-m", "tests.overload.peer", str(folder), min(AGENCIES), str(lasting_s), str(records), *ways]
            process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=subprocess.PIPE)
            async with asyncio.timeout(lasting_s + 60):
                said, _ = await process.communicate()
            assert process.returncode == 0
            told.update(json.loads(said))

        _, failures = asyncio.run(measure(stage, probes, seconds, attack))
        emit("hostile", ways=ways, **told)
        return failures


SCENARIOS: Final[dict[str, Callable[[Path, float], list[str]]]] = {
    "clients": clients,
    "peer": lambda folder, seconds: peer(folder, seconds, *WAYS),
    "peer-signatures": lambda folder, seconds: peer(folder, seconds, "forge"),
    "peer-gossip": lambda folder, seconds: peer(folder, seconds, "gossip", "spoil"),
    "peer-connections": lambda folder, seconds: peer(folder, seconds, "garbage", "stare", "ask", "knock"),
}
