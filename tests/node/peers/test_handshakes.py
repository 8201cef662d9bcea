"""Handshakes that TLS refuses: their reasons, how they are counted, and how seldom they are told."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from node.clock import SystemClock
from node.peers.certificates import client_context, issue_certificate, server_context
from node.peers.counters import PeerCounters
from node.peers.handshakes import TELL_EVERY_MS, Handshakes
from tests.node.peers.support import NOW_MS, Net

_YEARS_MS = 30 * 365 * 24 * 3600 * 1000


class SetClock(SystemClock):
    """Monotonic time that a test sets."""

    now_ms = 0

    def monotonic_ms(self) -> int:
        return self.now_ms


def no_tls() -> ssl.SSLError:
    """As OpenSSL reports it."""
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


def unknown_authority() -> ssl.SSLCertVerificationError:
    """As OpenSSL reports it."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
    return error


def test_whoever_knocks_a_thousand_times_is_told_once_a_minute_with_how_often() -> None:
    counters, clock = PeerCounters(), SetClock()
    handshakes = Handshakes(counters, clock)
    with capture_logs() as lines:
        for clock.now_ms in range(0, 2 * TELL_EVERY_MS + 1, TELL_EVERY_MS // 500):
            handshakes.refused(no_tls())
    assert counters.links_refused == {"no_tls": 1_001}
    assert [line["times"] for line in lines] == [1, 500, 500]


def test_one_reason_does_not_silence_another() -> None:
    handshakes = Handshakes(PeerCounters(), SetClock())
    with capture_logs() as lines:
        handshakes.refused(no_tls())
        handshakes.refused(unknown_authority())
    assert [line["code"] for line in lines] == ["no_tls", "unknown_authority"]


@pytest.mark.parametrize("runner", [asyncio.Runner, lambda: asyncio.Runner(loop_factory=uvloop.new_event_loop)])
@pytest.mark.parametrize("case", ["sound", "unknown_authority", "certificate_expired", "no_certificate", "no_tls"])
def test_every_handshake_that_fails_is_counted_under_its_reason(
    tmp_path: Path, case: str, runner: Callable[[], asyncio.Runner]
) -> None:
    """On both event loops: whoever serves uses uvloop."""
    net = Net(tmp_path, "customs", "police")
    police, customs = net.identities["police"].agency, net.identities["customs"].agency
    counters = PeerCounters()
    server = server_context(
        net.tls("police").certificate, net.tls("police").key, () if case == "unknown_authority" else (customs,)
    )
    Handshakes(counters, SystemClock()).watch(server)
    if case == "certificate_expired":
        issued = issue_certificate(net.identities["customs"].authority, (), now_ms=NOW_MS - _YEARS_MS)
        net.tls("customs").certificate.write_bytes(issued.certificate_pem)
        net.tls("customs").key.write_bytes(issued.key_pem)
    client: ssl.SSLContext | None = client_context(net.tls("customs").certificate, net.tls("customs").key, police)
    if case == "no_certificate":
        client = ssl.create_default_context(cadata=net.identities["police"].authority.der)
    if case == "no_tls":
        client = None

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def scene() -> bytes:
        async with asyncio.timeout(20), await asyncio.start_server(talk, "127.0.0.1", 0, ssl=server) as listening:
            port = listening.sockets[0].getsockname()[1]
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=client, server_hostname="police" if client else None
                )
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                said = await reader.read()
            except OSError:
                return b""
            else:
                writer.close()
                return said

    with runner() as running:
        said = running.run(scene())
    assert counters.links_refused == ({} if case == "sound" else {case: 1})
    assert (said == b"hello") is (case == "sound")
