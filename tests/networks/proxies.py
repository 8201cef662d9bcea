"""Links as user-space proxies: one listening port for each agency's way to each other one.

What is cut stands still in the proxy and goes on when the cut ends, as TCP would send it again; a connection that is made
meanwhile is answered by nobody. What is late is held for so long. One thread runs all of them.

Weaker than `namespaces`: the two ends' kernels speak to the proxy, so no retransmission, backoff or unreachable host is
ever seen by a node; only silence is.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Coroutine, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.networks.layout import read_addresses

T = TypeVar("T")

_CHUNK_BYTES: Final = 64 * 1024
_CHUNKS_HELD: Final = 64
"""In one direction of one connection, before its sender must wait."""
_CALL_TIMEOUT_S: Final = 10.0


class Proxies:
    """See the module."""

    name = "user-space proxies"

    def __init__(self, agencies: Sequence[str]) -> None:
        self._agencies = tuple(agencies)
        self._delay_s = 0.0
        self._passable: dict[tuple[str, str], asyncio.Event] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def lay(self, folder: Path) -> None:
        peers = {agency: known["peer"] for agency, known in read_addresses(folder).items()}
        self._thread.start()
        ports = self._call(self._listen(peers))
        for agency in self._agencies:
            path = folder / agency / "node.toml"
            head, mark, rest = path.read_text().partition("[peers.addresses]")
            for other in self._agencies:
                if other != agency:
                    line = f'{other} = "127.0.0.1:{ports[agency, other]}"'
                    rest = re.sub(rf'(?m)^{other} = "{peers[other]}"$', line, rest)
            path.write_text(head + mark + rest)

    def command(self, agency: str, command: Sequence[str]) -> list[str]:
        return list(command)

    def cut(self, sender: str, receiver: str) -> None:
        self._loop.call_soon_threadsafe(self._passable[sender, receiver].clear)

    def mend(self, sender: str, receiver: str) -> None:
        self._loop.call_soon_threadsafe(self._passable[sender, receiver].set)

    def delay(self, delay_ms: int) -> None:
        self._delay_s = delay_ms / 1000

    def close(self) -> None:
        if self._thread.is_alive():
            self._call(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT_S)

    async def _listen(self, peers: dict[str, str]) -> dict[tuple[str, str], int]:
        """Start every proxy; its port by (dialling agency, dialled agency)."""
        ports: dict[tuple[str, str], int] = {}
        for way in permutations(self._agencies, 2):
            self._passable[way] = asyncio.Event()
            self._passable[way].set()
        for dialling, dialled in permutations(self._agencies, 2):

            def accept(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                way: tuple[str, str] = (dialling, dialled),
            ) -> None:
                task = self._loop.create_task(self._connect(reader, writer, way, peers[way[1]]))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            self._servers.append(server)
            ports[dialling, dialled] = server.sockets[0].getsockname()[1]
        return ports

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: tuple[str, str], address: str
    ) -> None:
        """One connection: made only once a packet can go there and one back."""
        back = (way[1], way[0])
        far: asyncio.StreamWriter | None = None
        try:
            await self._passable[way].wait()
            await self._passable[back].wait()
            host, _, port = address.rpartition(":")
            far_reader, far = await asyncio.open_connection(host, int(port))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, far, way))
                both.create_task(self._carry(far_reader, writer, back))
        except (OSError, ExceptionGroup):
            pass  # one side is gone: so is the other, below
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: tuple[str, str]) -> None:
        """Bytes of one direction, each chunk no earlier than its delay, none while the way is cut."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_HELD)

        async def read() -> None:
            with contextlib.suppress(OSError):  # a connection that was reset has ended, too
                while data := await reader.read(_CHUNK_BYTES):
                    await held.put((self._loop.time() + self._delay_s, data))
            await held.put((self._loop.time() + self._delay_s, b""))

        reading = self._loop.create_task(read())
        try:
            while True:
                due, data = await held.get()
                await asyncio.sleep(due - self._loop.time())
                await self._passable[way].wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        raise ConnectionResetError("the sender has closed")
