"""The seam between the driver and the links to its peers.

The driver sends messages by party and is told what came from whom; that a link is a WebSocket under mutual TLS, that it is
dialled again, and that its queue is bounded, is the transport's business. Tests put an in-memory one here.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from node.membership import Contact
from node.peers.wire import PeerMessage

FORGERIES: Final = "forgeries"
"""The code of a `PeerError` after which a peer gets no link for a while."""


class Handler(Protocol):
    """What the transport tells the driver. Called on the event loop, one message of a link at a time, in order.

    A link reads its next message when the call before has returned: a handler that awaits room in a bounded queue
    thereby slows that peer down, and nobody else.
    """

    async def on_message(self, party: str, message: PeerMessage) -> None:
        """A message of an agency's node: well-formed, blocks checked by `ledger.block.check_block`. Signatures in it
        are not verified. A `PeerError` raised here drops the link and is counted; one of code `FORGERIES` keeps it down
        for `LINK_SHUNNED_MS`."""
        ...

    def on_connect(self, party: str) -> None:
        """A link to the agency's node is up; sending to it works from now on."""
        ...

    def on_disconnect(self, party: str) -> None:
        """The link is gone; what was queued for it is lost."""
        ...


class Transport(Protocol):
    """Links to all other validators, and to whoever else is known. Sending never waits and never fails: what cannot be sent
    is lost (P1.3)."""

    def send(self, party: str, message: PeerMessage) -> None:
        """Queue `message` for one agency's node; lost without a link. An overfull queue costs the peer its link."""
        ...

    def broadcast(self, message: PeerMessage) -> None:
        """Queue `message` for every node with a link; encoded once."""
        ...

    def connected(self) -> set[str]:
        """The agencies with a link."""
        ...

    def set_contacts(self, contacts: Mapping[str, Contact]) -> None:
        """From now on, link to these agencies, by party, known by these keys, and to nobody else."""
        ...

    async def start(self, handler: Handler) -> None:
        """Listen and begin to dial. Returns when listening."""
        ...

    async def stop(self) -> None:
        """Close every link and stop listening."""
        ...
