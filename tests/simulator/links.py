"""What the links do to a message: in some runs it becomes a frame and is read again, as production nodes do it.

What an honest machine sends must be readable, and read as what it was. A liar's message that does not fit a frame, or is
refused when it is read, was not received; nothing else may come of it.
"""

from collections.abc import Callable, Iterator

from ledger.consensus.messages import Message, block_in
from ledger.errors import InternalError, PeerError
from node.peers.catchup import CertifiedBlock, decode_page, encode_page
from node.peers.wire import Gossip, check_peer_block, decode_frame, encode_frame, gossip_frames
from tests.simulator.lies import Page
from tests.simulator.oracle import ViolationError
from tests.simulator.world import World


class _Served:
    """Blocks that a peer answers with."""

    def __init__(self, blocks: Page) -> None:
        self._blocks = blocks

    def certified_blocks(self, first_height: int, count: int) -> Iterator[CertifiedBlock]:
        return (CertifiedBlock(block, certificate) for block, certificate in self._blocks)


class Links:
    """The encoding of one run's links, if it has any: without it, only blocks are looked at."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sent: tuple[Message, bytes | None] | None = None

    def carry(
        self, origin: int, target: int, message: Message, take: Callable[[Message], None], *, honest: bool
    ) -> None:
        """Send a message; what arrives of it, if anything, is given to `take`."""
        frame = self._frame(message, honest=honest) if self._world.plan.encoded else None

        def deliver() -> None:
            received = self._read(message, frame, honest=honest) if self._world.plan.encoded else message
            if received is not None and self._is_well_formed(received, honest=honest):
                take(received)

        self._world.carry(origin, target, deliver)

    def carry_gossip(
        self, origin: int, target: int, entries: tuple[bytes, ...], take: Callable[[tuple[bytes, ...]], None]
    ) -> None:
        """Send records, in as many frames as they need."""
        if not self._world.plan.encoded:
            self._world.carry(origin, target, lambda: take(entries))
            return
        for page in gossip_frames(entries):
            data = encode_frame(page)

            def deliver(page: Gossip = page, data: bytes = data) -> None:
                if decode_frame(data) != page:
                    raise ViolationError("P1.3 gossip is not read as what was sent")
                take(page.entries)

            self._world.exercised["gossip frames"] += 1
            self._world.carry(origin, target, deliver)

    def page(self, blocks: Page, first_height: int, count: int, *, honest: bool) -> Page:
        """What arrives of fetched blocks: nothing, if they are refused."""
        if not self._world.plan.encoded or not blocks:
            return blocks
        data = encode_page(_Served(blocks), first_height, count)
        try:
            received = tuple((item.block, item.certificate) for item in decode_page(data, first_height, count))
        except PeerError as error:
            if honest:
                raise ViolationError(f"P7.2 a page of blocks cannot be read: {error}") from error
            self._world.exercised["pages refused by the link"] += 1
            return ()
        if received != blocks[: len(received)]:
            raise ViolationError("P7.2 a page of blocks is not read as what was sent")
        return received

    def _frame(self, message: Message, *, honest: bool) -> bytes | None:
        """A message to several is one frame."""
        if self._sent is None or self._sent[0] is not message:
            self._sent = message, self._encoded(message, honest=honest)
        return self._sent[1]

    def _encoded(self, message: Message, *, honest: bool) -> bytes | None:
        self._world.exercised["frames"] += 1
        try:
            return encode_frame(message)
        except InternalError as error:
            if honest:
                raise ViolationError(f"P1.3 a {type(message).__name__} cannot be sent: {error}") from error
            self._world.exercised["lies that fit no frame"] += 1
            return None

    def _read(self, message: Message, frame: bytes | None, *, honest: bool) -> Message | None:
        if frame is None:
            return None
        try:
            received = decode_frame(frame)
        except PeerError as error:
            if honest:
                raise ViolationError(f"P1.3 a {type(message).__name__} cannot be read: {error}") from error
            self._world.exercised["frames refused by the link"] += 1
            return None
        if type(received) is not type(message) or received != message:
            raise ViolationError(f"P1.3 a {type(message).__name__} is not read as what was sent")
        return received

    def _is_well_formed(self, message: Message, *, honest: bool) -> bool:
        """What the link asks of a block before anybody sees it (P5.3)."""
        block = block_in(message)
        if block is None or (honest and not self._world.plan.encoded):
            return True
        try:
            check_peer_block(block)
        except PeerError as error:
            if honest:
                raise ViolationError(f"P5.3 an honest machine's block is refused by the link: {error}") from error
            self._world.exercised["blocks refused by the link"] += 1
            return False
        return True
