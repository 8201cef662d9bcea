"""Whoever sends slowly is cut off, whoever leaves is no fault of ours, and whoever only waits is left in peace."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from structlog.testing import capture_logs

from node.api import body
from node.api.connection import ApiConnection
from tests.node.api.support import OneAgency

PATIENCE_S: Final = 10.0
PAUSE_S: Final = 0.05


@contextmanager
def _connected(agency: OneAgency) -> Iterator[socket.socket]:
    host, port = agency.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        yield connection


def _head(agency: OneAgency, *, token: str, length: int) -> bytes:
    return (
        f"POST /v1/records HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _trickle(connection: socket.socket, data: bytes) -> bytes:
    """Send a byte now and then until the node hangs up; what it said."""
    connection.settimeout(PAUSE_S)
    said = b""
    deadline = time.monotonic() + PATIENCE_S
    for at in range(len(data)):
        assert time.monotonic() < deadline, "it listens for ever"
        try:
            connection.sendall(data[at : at + 1])
            got = connection.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not got:
            return said
        said += got
    raise AssertionError("it took everything")


def _ask(connection: socket.socket) -> None:
    """One whole request and its whole answer."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
    said = b""
    while not said.endswith(b'{"status":"ok"}'):
        got = connection.recv(65_536)
        assert got, said
        said += got


@pytest.mark.parametrize("data", [b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"a" * 1_000, b"\r\n" * 500])
@pytest.mark.parametrize("is_first", [True, False])
def test_headers_that_trickle_are_cut_off(
    agency: OneAgency, monkeypatch: pytest.MonkeyPatch, data: bytes, is_first: bool
) -> None:
    monkeypatch.setattr(ApiConnection, "header_timeout_s", 0.4)
    with _connected(agency) as connection:
        if not is_first:
            _ask(connection)
        assert _trickle(connection, data) == b""


def test_a_connection_that_asks_nothing_is_cut_off(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiConnection, "header_timeout_s", 0.2)
    with _connected(agency) as connection:
        assert connection.recv(1) == b""


def test_a_body_that_trickles_is_408_and_the_end(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "REQUEST_BODY_TIMEOUT_S", 0.4)
    with _connected(agency) as connection:
        connection.sendall(_head(agency, token=agency.secret("operator"), length=1_000))
        said = _trickle(connection, b" " * 1_000)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in said
    assert b'"code":"request_timeout"' in said


def test_a_body_that_nobody_reads_is_cut_off_too(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiConnection, "body_timeout_s", 0.4)
    with _connected(agency) as connection:
        connection.sendall(_head(agency, token="tmk_unknown", length=1_000))
        assert _trickle(connection, b" " * 1_000).startswith(b"HTTP/1.1 401 ")


def test_deadlines_end_with_the_request(agency: OneAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiConnection, "header_timeout_s", 0.2)
    monkeypatch.setattr(ApiConnection, "body_timeout_s", 0.2)
    with _connected(agency) as connection:
        for _ in range(2):
            _ask(connection)
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):  # idle between requests: uvicorn's own deadline is longer
                connection.recv(1)
            connection.settimeout(PATIENCE_S)


def test_who_leaves_in_the_middle_is_one_quiet_line(agency: OneAgency) -> None:
    with capture_logs() as lines:
        with _connected(agency) as connection:
            connection.sendall(_head(agency, token=agency.secret("operator"), length=1_000) + b"{")
            time.sleep(PAUSE_S)
        deadline = time.monotonic() + PATIENCE_S
        while not lines and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
        assert agency.client().get("/healthz").status_code == 200
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("info", "a client left before its request was whole")
    ]
