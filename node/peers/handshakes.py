"""TLS handshakes that the peer port refuses: counted by reason, and told in the log, a line a minute for each reason.

TLS refuses a certificate of an unknown authority before there is a connection to speak of, and asyncio drops what came of
it. So the context's own objects watch their handshakes. They do not know the other end's address; the one who was refused is
told `not_let_in` by its own log.
"""

import ssl
from typing import Final

import structlog

from node.clock import Clock
from node.peers.counters import PeerCounters

TELL_EVERY_MS: Final = 60_000
"""Whoever is refused dials again within seconds, and anybody may knock: the log is for people."""
_EXPIRED: Final = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""
_HELP: Final = {
    "unknown_authority": "A certificate is under no authority that the ledger or [peers] observers names. An agency that "
    "joins or observes has to be listed there; one that changed its authority has to have that voted for.",
    "certificate_expired": "An agency has to renew its certificate: `tracemark network certificate`, then restart its node.",
    "no_certificate": "Whoever it is, it is no agency's node: only they need to reach this port.",
    "no_tls": "Whoever it is, it is no agency's node: only they need to reach this port.",
}
_LOG: Final = structlog.get_logger("peers")


class Handshakes:
    """Watches the handshakes of one server context. Lives on the event loop."""

    def __init__(self, counters: PeerCounters, clock: Clock) -> None:
        self._counters: Final = counters
        self._clock: Final = clock
        self._told_ms: Final[dict[str, int]] = {}
        self._untold: Final[dict[str, int]] = {}

    def watch(self, context: ssl.SSLContext) -> None:
        """From now on, notice every handshake that fails under this context."""
        handshakes = self

        class WatchedObject(ssl.SSLObject):
            """A connection's TLS that tells of its failing."""

            def do_handshake(self) -> None:
                """As the base class does it."""
                try:
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise
                except ssl.SSLError as error:
                    handshakes.refused(error)
                    raise

        context.sslobject_class = WatchedObject

    def refused(self, error: ssl.SSLError) -> None:
        """Count a handshake that failed, and tell of it unless that was done lately."""
        code = reason_of(error)
        self._counters.links_refused[code] += 1
        self._untold[code] = self._untold.get(code, 0) + 1
        now_ms = self._clock.monotonic_ms()
        if code in self._told_ms and now_ms - self._told_ms[code] < TELL_EVERY_MS:
            return
        self._told_ms[code] = now_ms
        _LOG.warning(
            "a connection to the peer port was refused",
            code=code,
            reason=error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason,
            times=self._untold.pop(code),
            help=_HELP[code],
        )


def reason_of(error: ssl.SSLError) -> str:
    """Why a handshake failed, as one of a few stable codes."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate_expired" if error.verify_code == _EXPIRED else "unknown_authority"
    return "no_certificate" if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE" else "no_tls"
