"""What the peer links count; read by the metrics, never by the protocol. Lives on the event loop."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class PeerCounters:
    """Totals since the start, over all peers. The keys of a `Counter` are the stable codes of errors."""

    links_opened: int = 0
    links_refused: Counter[str] = field(default_factory=Counter)
    links_dropped: Counter[str] = field(default_factory=Counter)
    dials_failed: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0
    bytes_received: int = 0
    frames_lost: int = 0
    """Frames for a peer without a link, or that waited when its link was lost."""
    pauses: int = 0
    """Times that a link was not read for a while, because its messages took more than their share (`pace`)."""
    catchup_served: int = 0
    catchup_refused: Counter[str] = field(default_factory=Counter)
    catchup_fetched: int = 0
