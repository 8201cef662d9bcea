"""Clients that offer more than the nodes can take, as cheaply as Python can: whole requests made beforehand, sent over open
connections at a steady pace (or as fast as they are answered). Each flood is a process of its own.

A request that was not taken is offered again when its turn comes, whatever the answer asked for: these clients are impolite.
"""

import asyncio
import multiprocessing
import multiprocessing.synchronize
import ssl
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.load import Maker, batch_body
from ledger.genesis import decode_genesis

BATCH_RECORDS = 250
LOTS_PER_BATCH = 4
LOT_WEAPONS = 500
REFUSAL_STATUSES = (429, 503)


class Flood(NamedTuple):
    """One process's part. `weapons`: of each record; `tokens`: secrets, used in turn; `connections`: to each node; `pace`:
    records offered a second, as long as a connection is free, or 0 for as many as are answered."""

    name: str
    party: str
    urls: tuple[str, ...]
    authorities: Path
    genesis: Path
    tokens: tuple[str, ...]
    connections: int
    records: int
    batch: int
    weapons: int = 1
    first: int = 0
    pace: float = 0.0


class Flooded(NamedTuple):
    """What a flood did: records offered, taken and refused for want of room, answers by status, answers that asked to come
    again without saying when, seconds it lasted."""

    name: str
    offered: int
    taken: int
    statuses: dict[int, int]
    codes: dict[str, int]
    without_retry_after: int
    seconds: float


class _Client:
    def __init__(self, flood: Flood, until_s: float) -> None:
        self.flood = flood
        self.until_s = until_s
        self.next_s = 0.0
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.offered = self.taken = self.without_retry_after = 0
        maker = Maker(flood.party, decode_genesis(flood.genesis.read_bytes()), now_ms=int(time.time() * 1000))
        entries = list(maker.lots(flood.records, weapons=flood.weapons, start=flood.first))
        batches = [entries[at : at + flood.batch] for at in range(0, len(entries), flood.batch)]
        self.waiting = deque((len(batch), batch_body(batch)) for batch in batches)

    async def run(self) -> None:
        """Flood all nodes until the time is over or everything was taken."""
        connections = [
            asyncio.create_task(self._connection(url, number))
            for url in self.flood.urls
            for number in range(self.flood.connections)
        ]
        await asyncio.gather(*connections)

    async def _connection(self, url: str, number: int) -> None:
        context = ssl.create_default_context(cafile=str(self.flood.authorities))
        where = urlsplit(url)
        while self.waiting and time.time() < self.until_s:
            try:
                reader, writer = await asyncio.open_connection(where.hostname, where.port, ssl=context)
            except OSError:
                self.statuses[0] += 1
                await asyncio.sleep(0.05)
                continue
            try:
                while self.waiting and time.time() < self.until_s:
                    await self._turn()
                    token = self.flood.tokens[(number + self.statuses.total()) % len(self.flood.tokens)]
                    await self._post(reader, writer, token)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.statuses[0] += 1
            finally:
                writer.close()

    async def _turn(self) -> None:
        """Wait until the next request is due. One that comes late is not made up for: the pace is never exceeded."""
        if self.flood.pace:
            due_s = max(self.next_s, time.time())
            self.next_s = due_s + self.flood.batch / self.flood.pace
            await asyncio.sleep(due_s - time.time())

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        if not self.waiting:
            return
        count, body = self.waiting.popleft()
        taken = False
        try:
            head = (
                f"POST /v1/records?wait=none HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            self.offered += count
            status, headers, answer = await self._answer(reader)
            taken = status in (200, 202)
            self.statuses[status] += 1
            if status in REFUSAL_STATUSES and b"\r\nretry-after:" not in headers.lower():
                self.without_retry_after += 1
            if not taken:
                self.codes[code_of(answer)] += 1
                if status == 429:  # a part of it may have been taken
                    self.taken += answer.count(b'"status":"pending"')
            else:
                self.taken += count
        finally:
            if not taken:
                self.waiting.append((count, body))

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
        headers = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(headers[9:12]), headers, await reader.readexactly(length)


def code_of(problem: bytes) -> str:
    """The code of a problem, wherever it stands in it."""
    return problem.partition(b'"code":"')[2].partition(b'"')[0].decode() or "-"


def _flood(
    flood: Flood,
    seconds: float,
    ready: multiprocessing.synchronize.Barrier,
    go: multiprocessing.synchronize.Event,
    results: "multiprocessing.SimpleQueue[Flooded]",
) -> None:
    client = _Client(flood, 0.0)
    ready.wait()
    go.wait()
    started_s = time.time()
    client.until_s = started_s + seconds
    asyncio.run(client.run())
    results.put(
        Flooded(
            flood.name,
            client.offered,
            client.taken,
            dict(client.statuses),
            dict(client.codes),
            client.without_retry_after,
            time.time() - started_s,
        )
    )


class Floods:
    """Floods in processes: `prepare` waits until their records are signed, `start` lets them go, `end` collects."""

    def __init__(self, floods: Sequence[Flood], seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready = context.Barrier(len(floods) + 1)
        self._go = context.Event()
        self._results: multiprocessing.SimpleQueue[Flooded] = context.SimpleQueue()
        self._seconds = seconds
        self._processes = [
            context.Process(target=_flood, args=(flood, seconds, self._ready, self._go, self._results), daemon=True)
            for flood in floods
        ]
        for process in self._processes:
            process.start()

    def prepare(self) -> None:
        """Wait until all are ready."""
        self._ready.wait(timeout=300)

    def start(self) -> None:
        """Let them go."""
        self._go.set()

    def end(self) -> list[Flooded]:
        """Wait until they have ended."""
        for process in self._processes:
            process.join(self._seconds + 60)
            assert process.exitcode == 0, f"a flood ended with {process.exitcode}"
        return sorted(self._results.get() for _ in self._processes)
