"""What an operator should know of consensus: peers that misbehave, alarms. Counted and logged."""

from collections import deque
from typing import Final

import structlog

from ledger.consensus.effects import Alarm, Charge
from ledger.errors import PeerError
from ledger.limits import FORGERIES_MS, MAX_FORGERIES
from node.counters import NodeCounters
from node.peers.transport import FORGERIES
from node.recovery import ONE_KEY, WAIT

_LOG: Final = structlog.get_logger("node.driver")
_KEEP: Final = "Keep the data directory and the log as they are, and tell the other agencies."
_LOST: Final = f"{WAIT} Where three agencies or fewer keep the ledger, there is no way back."
_HELP: Final = {"votes_lost": _LOST, "votes_suspect": _LOST, "unknown_own_vote": ONE_KEY}
"""What to do when the replica stops with an alarm; else `_KEEP`."""

_FORGERIES: Final = frozenset({"bad_signature", "bad_vote", "bad_proposal", "bad_certificate", "bad_evidence"})
"""Charges that only who sent it can have earned: a vote is charged to its signer only over the signer's own link, and
honest peers pass on nothing that they have not verified (P5.9). (Of fetched blocks it is not certain, nor of questions.)"""


class Notices:
    """The replica's notices of one node. Lives on the event loop."""

    def __init__(self, counters: NodeCounters) -> None:
        self._counters = counters
        self._charged: set[tuple[str, str]] = set()
        self._forgeries: dict[str, deque[int]] = {}
        """When each peer's last ones came."""
        self.stopped: str | None = None
        """Why the replica signs no more, if it stopped by itself, and what to do."""

    def charge(self, effect: Charge, peer: str, now_ms: int) -> None:
        """A peer sent what no honest peer sends: once each in the log, so that a flood does not fill it."""
        self._counters.charges[effect.code] += 1
        if effect.code in _FORGERIES:
            self._forgeries.setdefault(peer, deque(maxlen=MAX_FORGERIES)).append(now_ms)
        if (peer, effect.code) not in self._charged:
            self._charged.add((peer, effect.code))
            _LOG.warning("a peer sent what no honest peer sends", peer=peer, code=effect.code, text=effect.text)

    def require_few_forgeries(self, peer: str) -> None:
        """Called before a peer's next message is looked at. Whom this refuses begins anew.

        Raises:
            PeerError: code `forgeries`: it sent `MAX_FORGERIES` within `FORGERIES_MS`.
        """
        came_ms = self._forgeries.get(peer)
        if came_ms is not None and len(came_ms) == MAX_FORGERIES and came_ms[-1] - came_ms[0] < FORGERIES_MS:
            del self._forgeries[peer]
            raise PeerError(
                "the peer sends forgeries without end", code=FORGERIES, expected="none", actual=f">= {MAX_FORGERIES}"
            )

    def alarm(self, effect: Alarm) -> None:
        """Something that must not be."""
        self._counters.alarms[effect.code] += 1
        help_text = _HELP.get(effect.code, _KEEP)
        _LOG.critical("alarm", code=effect.code, text=effect.text, stopped=effect.stopped, help=help_text)
        if effect.stopped and self.stopped is None:
            self.stopped = f"{effect.text} [{effect.code}]. {help_text}"
