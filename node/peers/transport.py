"""The seam between the driver and the links to its peers.

The driver sends messages by validator index and is told what came from whom; that a link is a WebSocket under mutual
TLS, that it is dialled again, and that its queue is bounded, is the transport's business. Tests put an in-memory one here.
"""

from typing import Protocol

from node.peers.wire import PeerMessage


class Handler(Protocol):
    """What the transport tells the driver. Called on the event loop, one message of a link at a time, in order.

    A link reads its next message when the call before has returned: a handler that awaits room in a bounded queue
    thereby slows that peer down, and nobody else.
    """

    async def on_message(self, index: int, message: PeerMessage) -> None:
        """A message of validator `index`: well-formed, blocks checked by `ledger.block.check_block`. Signatures in it
        are not verified. A `PeerError` raised here drops the link and is counted."""
        ...

    def on_connect(self, index: int) -> None:
        """A link to validator `index` is up; sending to it works from now on."""
        ...

    def on_disconnect(self, index: int) -> None:
        """The link is gone; what was queued for it is lost."""
        ...


class Transport(Protocol):
    """Links to all other validators. Sending never waits and never fails: what cannot be sent is lost (P1.3)."""

    def send(self, index: int, message: PeerMessage) -> None:
        """Queue `message` for validator `index`; lost without a link. An overfull queue costs the peer its link."""
        ...

    def broadcast(self, message: PeerMessage) -> None:
        """Queue `message` for every connected validator; encoded once."""
        ...

    def connected(self) -> set[int]:
        """Indices of the validators with a link."""
        ...

    async def start(self, handler: Handler) -> None:
        """Listen and begin to dial. Returns when listening."""
        ...

    async def stop(self) -> None:
        """Close every link and stop listening."""
        ...
