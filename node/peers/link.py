"""One link to one peer: an open WebSocket whose other end has proved who it is.

A link carries frames both ways until one side closes, breaks the protocol, or is too slow; it never comes back to life.
Dialling again is the directory's business.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable
from typing import Final

import websockets.exceptions
from websockets.asyncio.connection import Connection
from websockets.frames import CloseCode

from ledger.errors import PeerError
from node.peers.counters import PeerCounters
from node.peers.opening import Opening, Side
from node.peers.pace import Pace
from node.peers.queue import SendQueue
from node.peers.transport import Handler
from node.peers.wire import receive_frame

CLOSED: Final = "closed"
"""The other side ended the link in good order, or we did."""
LOST: Final = "lost"
"""The connection broke, or the other side fell silent."""
_REASON_BYTES: Final = 100  # a close frame has room for 123


class Link:
    """Frames to and from an agency's node."""

    def __init__(
        self, party: str, connection: Connection, queue: SendQueue, counters: PeerCounters, pace: Pace
    ) -> None:
        self.party: Final = party
        self._pace: Final = pace
        self._connection: Final = connection
        self._queue: Final = queue
        self._counters: Final = counters
        self._end: str | None = None

    @property
    def waiting_frames(self) -> int:
        """Frames that wait to be sent."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Their bytes."""
        return self._queue.size_bytes

    def send(self, frame: bytes, *, urgent: bool) -> None:
        """Queue a frame; a link whose queue is full is cut at once, with what waits in it."""
        if self._end is not None or not self._queue.offer(frame, urgent=urgent):
            self._counters.frames_lost += 1
            self.cut("slow_peer")

    def cut(self, reason: str) -> None:
        """End the link now, without the closing handshake that a peer who does not read cannot take part in."""
        if self._end is None:
            self._end = reason
            self._connection.transport.abort()

    async def run(self, handler: Handler) -> str:
        """Carry frames until the link ends; returns why: `closed`, `lost`, `slow_peer` or `replaced`.

        Raises:
            PeerError: the peer sent what no honest peer sends; the connection is still to be closed.
        """
        writer = asyncio.create_task(self._write())
        try:
            await self._read(handler)
        finally:
            self._end = self._end or CLOSED
            writer.cancel()
            await asyncio.wait([writer])
            self._counters.frames_lost += len(self._queue)
        if not writer.cancelled() and (failure := writer.exception()) is not None:
            raise failure
        return self._end

    async def _read(self, handler: Handler) -> None:
        while True:
            try:
                data = await self._connection.recv(decode=False)
            except websockets.exceptions.ConnectionClosed as closed:
                if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                    raise PeerError("the frame is too large", code="bad_frame") from closed
                if closed.rcvd is None:
                    self._end = self._end or LOST
                return
            self._counters.frames_received += 1
            self._counters.bytes_received += len(data)
            began_s = time.thread_time()
            await handler.on_message(self.party, await receive_frame(data))
            pause_s = self._pace.spend(time.thread_time() - began_s)
            if pause_s:
                self._counters.pauses += 1
                await asyncio.sleep(pause_s)

    async def _write(self) -> None:
        while True:
            frame = await self._queue.take()
            try:
                await self._connection.send(frame)
            except websockets.exceptions.ConnectionClosed:
                return  # the reader sees it too, and ends the link
            self._counters.frames_sent += 1
            self._counters.bytes_sent += len(frame)


async def open_link(connection: Connection, opening: Opening, side: Side) -> None:
    """Carry out the opening on a connection, in the order of `node.peers.opening`.

    Raises:
        PeerError: the peer is to be refused, or code `opening_broken` if it went away.
    """
    try:
        await connection.send(opening.hello())
        opening.receive_hello(await connection.recv(decode=False))
        if side == "initiator":
            await connection.send(opening.proof())
            opening.receive_proof(await connection.recv(decode=False))
        else:
            opening.receive_proof(await connection.recv(decode=False))
            await connection.send(opening.proof())
    except websockets.exceptions.ConnectionClosed as closed:
        said = closed.rcvd.reason if closed.rcvd is not None else ""
        raise PeerError(
            "the peer ended the opening", code="opening_broken", actual=said or "a connection cut without a word"
        ) from closed


async def refuse(connection: Connection, error: PeerError) -> None:
    """Close a connection and tell the peer the error's code."""
    await connection.close(CloseCode.POLICY_VIOLATION, error.code[:_REASON_BYTES])


def peer_certificate(connection: Connection) -> bytes:
    """The DER certificate that the peer presented in the TLS handshake.

    Raises:
        PeerError: code `wrong_certificate`, where there is none.
    """
    tls = connection.transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject | ssl.SSLSocket) else None
    if certificate is None:
        raise PeerError("the peer presented no certificate", code="wrong_certificate")
    return certificate


async def within(timeout_ms: int, work: Awaitable[None]) -> None:
    """Await `work` for at most `timeout_ms`.

    Raises:
        PeerError: code `opening_timeout`.
    """
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await work
    except TimeoutError as error:
        raise PeerError("the peer took too long", code="opening_timeout", expected=f"<= {timeout_ms} ms") from error
