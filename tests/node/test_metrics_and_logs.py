"""What Prometheus reads, and what the log says and does not say."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from node.logs import configure_logs
from node.metrics import Metrics, watch_peers
from tests.node.peers.support import Net


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_figures_are_read_when_asked_for() -> None:
    metrics = Metrics()
    counts = {"records": 1}
    metrics.gauge("height", "Height of the newest block.", lambda: counts["records"])
    metrics.labelled_counter("refused", "By code.", "code", lambda: counts)
    assert values(metrics) | {"tracemark_height": 1, "tracemark_refused_total{code=records}": 1} == values(metrics)
    counts["records"] = 5
    assert values(metrics)["tracemark_height"] == 5
    assert values(metrics)["tracemark_refused_total{code=records}"] == 5


def test_requests_and_finality_are_histograms() -> None:
    metrics = Metrics()
    metrics.observe_request("GET", "/v1/records/{id}", 200, 0.02)
    metrics.observe_finality(0.09)
    found = values(metrics)
    assert found["tracemark_request_seconds_count{method=GET,route=/v1/records/{id},status=200}"] == 1
    assert (
        found["tracemark_finality_seconds_bucket{le=0.08}"],
        found["tracemark_finality_seconds_bucket{le=0.1}"],
    ) == (0, 1)


def test_two_nodes_in_a_process_do_not_share_figures() -> None:
    first, second = Metrics(), Metrics()
    first.observe_finality(1)
    assert values(second)["tracemark_finality_seconds_count"] == 0


def test_peer_links_have_their_figures(tmp_path: Path) -> None:
    directory = Net(tmp_path, "customs", "police").directory("police")
    directory.counters.links_refused["bad_proof"] += 2
    directory.counters.frames_lost += 3
    metrics = Metrics()
    watch_peers(metrics, directory)
    found = values(metrics)
    assert found["tracemark_peer_links_refused_total{reason=bad_proof}"] == 2
    assert found["tracemark_peer_frames_lost_total"] == 3
    assert found["tracemark_peers_connected"] == 0


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """A configured log, and the process's own afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logs("info", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """What was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_log_is_json_lines_of_our_own_and_of_libraries(log: io.StringIO) -> None:
    structlog.get_logger("peers").info("link up", peer="customs", digest=b"\x01")
    logging.getLogger("uvicorn.error").warning("took %d s", 3)
    structlog.get_logger("peers").debug("not at this level")
    logging.getLogger("websockets.server").info("not at this level")
    first, second = lines(log)
    assert (first["event"], first["peer"], first["level"], first["logger"]) == ("link up", "customs", "info", "peers")
    assert str(first["time"]).endswith("Z")
    assert (second["event"], second["logger"], second["level"]) == ("took 3 s", "uvicorn.error", "warning")


def test_a_field_named_like_a_secret_is_blanked(log: io.StringIO) -> None:
    structlog.get_logger("x").warning("odd", token="tmk_abc", Authorization="Bearer tmk_abc", passphrase=b"abc")
    logging.getLogger("library").warning("odd", extra={"secret": "abc"})
    assert "abc" not in log.getvalue()
    assert all("[not logged]" in json.dumps(line) for line in lines(log))


def test_an_exception_is_one_line(log: io.StringIO) -> None:
    try:
        raise RuntimeError("why")
    except RuntimeError as error:
        structlog.get_logger("x").error("failed", exc_info=error)
    (line,) = lines(log)
    assert "RuntimeError: why" in str(line["exception"])
