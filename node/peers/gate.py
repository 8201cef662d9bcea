"""How many connections each agency may hold to the peer port at once, counted from the end of the TLS handshake.

So an agency that opens connections and says nothing takes its own places, never another's. (Before the handshake nobody
has a name; those connections have `OPENING_TIMEOUT_MS`.)
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Final

from cryptography import x509
from websockets.asyncio.server import ServerConnection

from ledger.errors import PeerError
from ledger.limits import MAX_CONNECTIONS_PER_PEER
from node.peers.certificates import issuer_of
from node.peers.counters import PeerCounters
from node.peers.link import peer_certificate


class Gate:
    """Counts connections by agency and cuts what is too many, or under no agency's authority."""

    def __init__(self, counters: PeerCounters) -> None:
        self._authorities: Mapping[str, x509.Certificate] = {}
        self._counters: Final = counters
        self._inside: Final[dict[ServerConnection, str]] = {}
        self._count: Final[Counter[str]] = Counter()

    def admit(self, authorities: Mapping[str, x509.Certificate]) -> None:
        """From now on, let in whoever is under one of these agencies' authorities."""
        self._authorities = authorities

    def enter(self, connection: ServerConnection) -> None:
        """A connection whose TLS handshake is done."""
        try:
            party = issuer_of(peer_certificate(connection), self._authorities)
            if self._count[party] >= MAX_CONNECTIONS_PER_PEER:
                raise PeerError("too many connections of one agency", code="too_many_connections")
        except PeerError as error:
            self._counters.links_refused[error.code] += 1
            connection.transport.abort()
            return
        self._inside[connection] = party
        self._count[party] += 1

    def party_of(self, connection: ServerConnection) -> str | None:
        """Under whose authority a connection came in; None if it was not let in."""
        return self._inside.get(connection)

    def leave(self, connection: ServerConnection) -> None:
        """A connection that has ended, whether it was let in or not."""
        party = self._inside.pop(connection, None)
        if party is not None:
            self._count[party] -= 1

    def connection_class(self) -> type[ServerConnection]:
        """The class of connections that pass this gate, for `websockets.asyncio.server.serve`."""
        gate = self

        class GatedConnection(ServerConnection):
            """A connection that tells the gate of its beginning and end."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                """The TLS handshake is done."""
                super().connection_made(transport)
                gate.enter(self)

            def connection_lost(self, exc: Exception | None) -> None:
                """The connection has ended."""
                gate.leave(self)
                super().connection_lost(exc)

        return GatedConnection
