"""What honest clients get while somebody else floods the nodes, and what that costs each node in memory."""

import asyncio
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import httpx

from benchmarks.load import Maker, batch_body
from benchmarks.report import percentiles, resident_mb

TICK_S = 0.25
PATIENCE_S = 60.0
"""A record that is not final after so long counts as lost: its client was starved."""


class Sample(NamedTuple):
    """An honest record: when it was first offered, how long until it was final and cosigned, how often it was put off."""

    at_s: float
    took_s: float
    put_off: int
    status: int


class Probe:
    """An honest client of one party at one node: a record at every tick, waited for, offered again when Retry-After says."""

    def __init__(self, name: str, url: str, token: str, authorities: str, entries: Iterator[bytes]) -> None:
        self.name = name
        self._url = f"{url}/v1/records?wait=final"
        self._entries = entries
        self._http = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=authorities),
            timeout=PATIENCE_S,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=200),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            trust_env=False,
        )
        self.samples: list[Sample] = []
        self.refusals: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Offer records for so long, and wait for all of them."""
        offers = []
        began = time.monotonic()
        for tick in range(int(seconds / TICK_S)):
            await asyncio.sleep(max(0.0, began + tick * TICK_S - time.monotonic()))
            offers.append(asyncio.create_task(self._offer(next(self._entries))))
        await asyncio.gather(*offers)

    async def _offer(self, entry: bytes) -> None:
        at_s = time.monotonic()
        body = batch_body([entry])
        put_off = 0
        while True:
            try:
                answer = await self._http.post(self._url, content=body)
                status, pause_s = answer.status_code, float(answer.headers.get("Retry-After", "0"))
                if status not in (200, 202):
                    self.refusals[answer.json()["code"]] += 1
            except httpx.TransportError as error:
                status, pause_s = 0, 0.5
                self.refusals[type(error).__name__] += 1
            if status == 200 or time.monotonic() - at_s > PATIENCE_S:
                self.samples.append(Sample(at_s, time.monotonic() - at_s, put_off, status))
                return
            put_off += status != 202
            await asyncio.sleep(pause_s)

    def latencies(self, since_s: float, until_s: float = float("inf")) -> list[float]:
        """Milliseconds of the records offered in a time."""
        return [sample.took_s * 1e3 for sample in self.samples if since_s <= sample.at_s < until_s]

    def told(self, since_s: float, until_s: float = float("inf")) -> dict[str, float]:
        """Percentiles of them, and how often one was put off."""
        chosen = [sample for sample in self.samples if since_s <= sample.at_s < until_s]
        if not chosen:
            return {"records": 0}
        return {
            **{name: round(value) for name, value in percentiles(self.latencies(since_s, until_s)).items()},
            "records": len(chosen),
            "put_off": sum(sample.put_off for sample in chosen),
            "lost": sum(sample.status != 200 for sample in chosen),
        }


class Memory:
    """Each node's resident memory, sampled until stopped."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self.samples: dict[str, deque[tuple[float, float]]] = {name: deque() for name in pids}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            for name, pid in self._pids.items():
                self.samples[name].append((time.monotonic(), resident_mb(pid)))
            await asyncio.sleep(0.5)

    def told(self, pick: Callable[[list[float]], float] = max) -> dict[str, float]:
        """One figure for each node, in MB: by default the highest."""
        return {name: round(pick([mb for _, mb in samples])) for name, samples in self.samples.items()}


def serial_maker(maker: Maker, start: int) -> Iterator[bytes]:
    """Records of one weapon each, signed when they are asked for, without end."""
    number = start
    while True:
        yield from maker.lots(1, weapons=1, start=number)
        number += 1
