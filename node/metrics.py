"""The node's figures for Prometheus. Parts of the node count in plain integers; here they get names, read when asked.

A figure is a function that is called at every scrape, in the thread that scrapes: it must be cheap and must not block.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from node.node import Node
from node.peers.directory import PeerDirectory
from node.progress import State

PREFIX: Final = "tracemark_"

_REQUEST_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FINALITY_BUCKETS_S: Final = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

Reading = Callable[[], float]
Readings = Callable[[], Mapping[str, float]]
ReadingsBy = Callable[[], Mapping[tuple[str, ...], float]]


class Metrics:
    """One registry a node; nothing is global."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry(auto_describe=False)
        self._figures: Final = _Figures()
        self.registry.register(self._figures)
        self._requests: Final = Histogram(
            f"{PREFIX}request_seconds",
            "API requests by method, route and status.",
            ("method", "route", "status"),
            buckets=_REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self._finality: Final = Histogram(
            f"{PREFIX}finality_seconds",
            "From a record's admission at this node to its block's commit here.",
            buckets=_FINALITY_BUCKETS_S,
            registry=self.registry,
        )

    def gauge(self, name: str, documentation: str, read: Reading) -> None:
        """A figure that goes up and down, named `tracemark_<name>`."""
        self._figures.add(_family(GaugeMetricFamily, name, documentation, read))

    def counter(self, name: str, documentation: str, read: Reading) -> None:
        """A total that only grows, named `tracemark_<name>_total`."""
        self._figures.add(_family(CounterMetricFamily, name, documentation, read))

    def labelled_gauge(self, name: str, documentation: str, label: str, read: Readings) -> None:
        """Figures that go up and down, one for each value of a label."""
        self._figures.add(_labelled_family(GaugeMetricFamily, name, documentation, label, read))

    def gauge_by(self, name: str, documentation: str, labels: Sequence[str], read: ReadingsBy) -> None:
        """Figures that go up and down, one for each combination of labels' values."""

        def family() -> Metric:
            metric = GaugeMetricFamily(PREFIX + name, documentation, labels=labels)
            for values, reading in sorted(dict(read()).items()):
                metric.add_metric(values, reading)
            return metric

        self._figures.add(family)

    def labelled_counter(self, name: str, documentation: str, label: str, read: Readings) -> None:
        """Totals, one for each value of a label. The values must be of a bounded set."""
        self._figures.add(_labelled_family(CounterMetricFamily, name, documentation, label, read))

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One API request answered; `route` is the path's template, so that labels are bounded."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def observe_finality(self, seconds: float) -> None:
        """One record final."""
        self._finality.observe(seconds)

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)


class _Figures(Collector):
    """Makes the families anew at every scrape."""

    def __init__(self) -> None:
        self._families: list[Callable[[], Metric]] = []

    def add(self, family: Callable[[], Metric]) -> None:
        self._families.append(family)

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead: figures may be read only once the node runs."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family with its values of now."""
        for family in self._families:
            yield family()


_Kind = type[GaugeMetricFamily] | type[CounterMetricFamily]


def _family(kind: _Kind, name: str, documentation: str, read: Reading) -> Callable[[], Metric]:
    return lambda: kind(PREFIX + name, documentation, value=read())


def _labelled_family(kind: _Kind, name: str, documentation: str, label: str, read: Readings) -> Callable[[], Metric]:
    def family() -> Metric:
        metric = kind(PREFIX + name, documentation, labels=(label,))
        for value, reading in sorted(dict(read()).items()):
            metric.add_metric((value,), reading)
        return metric

    return family


def watch_peers(metrics: Metrics, directory: PeerDirectory) -> None:
    """Give the peer links' figures their names."""
    counters = directory.counters
    metrics.gauge("peers_connected", "Other agencies' nodes with a link.", lambda: len(directory.connected()))
    metrics.labelled_gauge(
        "peer_queue_bytes",
        "Bytes that wait to be sent, by peer.",
        "peer",
        lambda: {party: size for party, (_, size) in directory.waiting.items()},
    )
    metrics.counter("peer_links_opened", "Links whose opening succeeded.", lambda: counters.links_opened)
    metrics.labelled_counter(
        "peer_links_refused",
        "Connections and openings refused, by either side, by reason.",
        "reason",
        lambda: counters.links_refused,
    )
    metrics.labelled_counter(
        "peer_links_ended", "Links that ended, by reason.", "reason", lambda: counters.links_dropped
    )
    metrics.counter("peer_dials_failed", "Dials that reached nobody.", lambda: counters.dials_failed)
    metrics.counter("peer_frames_sent", "Frames sent.", lambda: counters.frames_sent)
    metrics.counter("peer_bytes_sent", "Bytes of frames sent.", lambda: counters.bytes_sent)
    metrics.counter("peer_frames_received", "Frames received.", lambda: counters.frames_received)
    metrics.counter("peer_bytes_received", "Bytes of frames received.", lambda: counters.bytes_received)
    metrics.counter("peer_frames_lost", "Frames for a peer that had no link, or lost it.", lambda: counters.frames_lost)
    metrics.counter(
        "link_pauses", "Times that a link was read more slowly for its share of time.", lambda: counters.pauses
    )
    metrics.counter("catchup_pages_served", "Pages of blocks served to peers.", lambda: counters.catchup_served)
    metrics.labelled_counter(
        "catchup_pages_refused", "Catch-up requests refused, by reason.", "reason", lambda: counters.catchup_refused
    )


def watch_node(metrics: Metrics, node: Node) -> None:
    """Give the node's own figures their names."""
    counters = node.counters
    metrics.gauge("height", "Height of the newest final block.", lambda: node.status().height)
    metrics.gauge("log_size", "Entries of the log.", lambda: node.status().size)
    metrics.gauge("cosigned_size", "Entries under the newest quorum-cosigned checkpoint.", lambda: _cosigned_size(node))
    metrics.gauge("ready", "1 if the node takes records and votes.", lambda: float(not node.reasons()))
    metrics.gauge("pending_records", "Records that wait for a block.", lambda: len(node.mempool))
    metrics.gauge("pending_bytes", "Entry bytes in the mempool.", lambda: node.mempool.total_bytes)
    metrics.counter("blocks_committed", "Blocks committed.", lambda: counters.blocks_committed)
    metrics.counter("blocks_built", "Blocks built by this node as leader.", lambda: counters.blocks_built)
    metrics.counter("blocks_invalid", "Proposed blocks found invalid.", lambda: counters.blocks_invalid)
    metrics.counter("records_final", "Records in committed blocks.", lambda: counters.records_final)
    metrics.counter("records_submitted", "Records received by the API.", lambda: counters.records_submitted)
    metrics.counter("records_gossiped", "Records received from peers.", lambda: counters.records_gossiped)
    metrics.labelled_counter("records_refused", "Records refused, by code.", "code", lambda: counters.records_refused)
    metrics.counter(
        "gossip_dropped", "Records received from peers and dropped: too many waited.", lambda: counters.gossip_dropped
    )
    metrics.counter("consensus_inputs", "Steps of the consensus replica.", lambda: counters.inputs)
    metrics.counter("vote_records", "Consensus records made durable.", lambda: counters.persists)
    metrics.counter("vote_transactions", "Transactions in which they were.", lambda: counters.groups)
    metrics.labelled_counter("peer_charges", "Protocol breaches by peers, by code.", "code", lambda: counters.charges)
    metrics.labelled_counter(
        "cosignatures", "Peers' cosignatures, by verdict.", "verdict", lambda: counters.cosignatures
    )
    metrics.gauge_by(
        "evidence",
        "Pieces of evidence held that an agency's key signed what excludes each other, by kind and agency.",
        ("kind", "party"),
        lambda: node.evidence.counts,
    )
    metrics.gauge(
        "votes_suspect", "1 while votes of this node may be lost and it signs nothing.", lambda: node.votes_suspect
    )
    metrics.labelled_counter("alarms", "Alarms of the consensus replica, by code.", "code", lambda: counters.alarms)


def watch_progress(metrics: Metrics, node: Node) -> None:
    """Give the figures of how the node gets on their names: those from which `node status` makes its words."""
    metrics.labelled_gauge(
        "state",
        "1 for the state that the node is in (see `tracemark node status`), 0 for the others.",
        "state",
        lambda: {state: float(state == node.progress().state) for state in get_args(State)},
    )
    metrics.gauge("epoch", "Epoch of the validators.", lambda: node.status().epoch)
    metrics.gauge("validators", "Validators of the epoch.", lambda: node.progress().validators)
    metrics.gauge("validators_reachable", "Of those, linked, this node included.", lambda: node.progress().reachable)
    metrics.gauge("validators_needed", "Of those, a quorum.", lambda: node.progress().needed)
    metrics.gauge("last_block_age_seconds", "Since the last block was committed.", lambda: node.progress().last_block_s)
    metrics.gauge("blocks_behind", "Blocks that another node has and this one has not.", lambda: node.progress().behind)
    metrics.gauge(
        "pending_age_seconds",
        "For how long the oldest pending record has waited.",
        lambda: node.progress().pending_s or 0,
    )
    metrics.gauge(
        "disk_free_bytes", "Free space on the data directory's disk.", lambda: node.progress().disk_free_bytes or 0
    )
    metrics.gauge(
        "clock_error_seconds",
        "This machine's clock less the other agencies', as far as known.",
        lambda: node.progress().clock_off_s or 0,
    )


def _cosigned_size(node: Node) -> int:
    newest = node.cosigned
    return 0 if newest is None else newest.size
