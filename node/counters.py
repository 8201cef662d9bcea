"""What the node counts of its own work; read by the metrics, never by the protocol. Lives on the event loop."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class NodeCounters:
    """Totals since the start. The keys of a `Counter` are the stable codes of errors or verdicts."""

    blocks_built: int = 0
    blocks_checked: int = 0
    blocks_invalid: int = 0
    blocks_committed: int = 0
    records_final: int = 0
    records_submitted: int = 0
    records_gossiped: int = 0
    """Entries received from peers as gossip."""
    records_refused: Counter[str] = field(default_factory=Counter)
    gossip_dropped: int = 0
    """Entries of them dropped because too many of the peer's still waited for admission."""
    inputs: int = 0
    """Steps of the consensus replica."""
    persists: int = 0
    groups: int = 0
    """Transactions of consensus records: `persists / groups` is the size of a group."""
    charges: Counter[str] = field(default_factory=Counter)
    cosignatures: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
