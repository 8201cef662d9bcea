"""What waits to be sent on one link: two classes, bounded together by frames and bytes (DESIGN 10).

Votes, certificates, blocks and cosignatures go before gossip, in their own order. Frames already handed to the socket are
not overtaken: a vote waits behind at most one gossip frame (`MAX_GOSSIP_BYTES`) and what the socket buffers
(`LINK_UNSENT_BYTES`, and what is under way).
"""

import asyncio
from collections import deque
from typing import Final

from ledger.limits import MAX_PEER_QUEUE_BYTES, MAX_PEER_QUEUE_FRAMES


class SendQueue:
    """Frames in order of their class. One reader; lives on the event loop."""

    def __init__(self, *, limit_frames: int = MAX_PEER_QUEUE_FRAMES, limit_bytes: int = MAX_PEER_QUEUE_BYTES) -> None:
        self._limit_frames: Final = limit_frames
        self._limit_bytes: Final = limit_bytes
        self._urgent: deque[bytes] = deque()
        self._gossip: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._gossip)

    @property
    def size_bytes(self) -> int:
        """Bytes of the frames that wait."""
        return self._bytes

    def offer(self, frame: bytes, *, urgent: bool) -> bool:
        """Add a frame; False, and nothing is added, if a bound would be passed."""
        if len(self) >= self._limit_frames or self._bytes + len(frame) > self._limit_bytes:
            return False
        (self._urgent if urgent else self._gossip).append(frame)
        self._bytes += len(frame)
        self._filled.set()
        return True

    async def take(self) -> bytes:
        """The next frame, when there is one."""
        while not len(self):
            self._filled.clear()
            await self._filled.wait()
        frame = self._urgent.popleft() if self._urgent else self._gossip.popleft()
        self._bytes -= len(frame)
        return frame
