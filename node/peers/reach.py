"""TCP as links need it: who does not answer is soon given up, so that a network that works again is soon noticed; and what
waits does so in the link's queue, where votes overtake, not in the kernel.

Left alone, TCP repeats what nobody acknowledges at doubling intervals: after a line has been broken for ten seconds, the
next attempt may be ten seconds away. A new connection tries at once.
"""

import asyncio
import socket
from typing import Final

import httpx
from websockets.asyncio.connection import Connection

from ledger.limits import (
    CATCHUP_SLOW_MS,
    CATCHUP_TIMEOUT_MS,
    CONNECT_TIMEOUT_MS,
    FETCH_SILENCE_MS,
    LINK_SILENCE_MS,
    LINK_UNSENT_BYTES,
    MAX_FRAME_BYTES,
)
from node.config import Address

_HAS_USER_TIMEOUT: Final = hasattr(socket, "TCP_USER_TIMEOUT")  # Linux; elsewhere pings alone notice a dead link
_HAS_LOW_WATER: Final = hasattr(socket, "TCP_NOTSENT_LOWAT")


async def reach(address: Address, *, timeout_ms: int = CONNECT_TIMEOUT_MS) -> socket.socket:
    """A TCP connection to an address: to the first of those that its host name stands for that answers in time.

    Raises:
        OSError: none does (TimeoutError among them).
    """
    loop = asyncio.get_running_loop()
    failure = OSError(f"{address.host} stands for no address")
    for family, kind, protocol, _, place in await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        connecting = socket.socket(family, kind, protocol)
        connecting.setblocking(False)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await loop.sock_connect(connecting, place)
        except OSError as error:
            connecting.close()
            failure = error
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting
    raise failure


def notice_silence(connection: Connection, *, silence_ms: int = LINK_SILENCE_MS) -> None:
    """End this connection when what was sent has not been acknowledged by the other's kernel for so long. (A link always has
    something to send: its pings.)"""
    connected = connection.transport.get_extra_info("socket")
    if _HAS_USER_TIMEOUT and connected is not None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)


def hold_little(connection: Connection, *, unsent_bytes: int = LINK_UNSENT_BYTES) -> None:
    """Let the kernel take no more of this connection's bytes while it has about so many that it has not sent."""
    connected = connection.transport.get_extra_info("socket")
    if _HAS_LOW_WATER and connected is not None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)


def patience(timeout_ms: int) -> httpx.Timeout:
    """How long to wait for each part of an answer over HTTP of which the whole may take `timeout_ms`: who says nothing is
    not waited for so long, because another may be asked."""
    silence_s = min(FETCH_SILENCE_MS, timeout_ms) / 1000
    return httpx.Timeout(silence_s, connect=min(LINK_SILENCE_MS, timeout_ms) / 1000)


def is_too_slow(size_bytes: int, taken_ms: float) -> bool:
    """Whether a page of this size took longer than over the slowest line that a full one comes over in time; none does that
    took no more than `CATCHUP_SLOW_MS`."""
    return taken_ms > CATCHUP_SLOW_MS and size_bytes * CATCHUP_TIMEOUT_MS < taken_ms * MAX_FRAME_BYTES
