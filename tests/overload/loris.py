"""Clients that take their time: connections that send a byte now and then, half a body, or nothing after the handshake."""

import asyncio
import ssl
from collections import Counter
from urllib.parse import urlsplit

_TRICKLE_S = 1.0


class Loris:
    """Many such connections to one node, opened again whenever they are cut off."""

    def __init__(self, url: str, token: str, authorities: str, connections: int) -> None:
        self._where = urlsplit(url)
        self._token = token
        self._context = ssl.create_default_context(cafile=authorities)
        self._connections = connections
        self.counts: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Hold on for so long."""
        ways = (self._headers, self._body, self._silence, self._no_handshake)
        tasks = [asyncio.create_task(self._again(ways[at % len(ways)])) for at in range(self._connections)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _again(self, way: object) -> None:
        while True:
            try:
                context = None if way == self._no_handshake else self._context
                reader, writer = await asyncio.open_connection(self._where.hostname, self._where.port, ssl=context)
            except OSError:
                self.counts["not connected"] += 1
                await asyncio.sleep(0.5)
                continue
            self.counts["opened"] += 1
            try:
                await way(reader, writer)  # type: ignore[operator]
            except OSError:
                pass
            finally:
                self.counts["ended"] += 1
                writer.transport.abort()

    async def _trickle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(_TRICKLE_S)

    async def _headers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /v1/records HTTP/1.1\r\nX-Slow: ")
        await self._trickle(reader, writer)

    async def _body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"POST /v1/records HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer " + self._token.encode() + b"\r\n"
            b'Content-Type: application/json\r\nContent-Length: 4000000\r\n\r\n{"envelopes":["' + b"a" * 1_000_000
        )
        await self._trickle(reader, writer)

    async def _silence(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def _no_handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
