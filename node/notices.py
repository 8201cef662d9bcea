"""What an operator should know of consensus: peers that misbehave, alarms. Counted and logged."""

from typing import Final

import structlog

from ledger.consensus.effects import Alarm, Charge
from node.counters import NodeCounters
from node.recovery import ONE_KEY, WAIT

_LOG: Final = structlog.get_logger("node.driver")
_KEEP: Final = "Keep the data directory and the log as they are, and tell the other agencies."
_HELP: Final = {"votes_lost": WAIT, "votes_suspect": WAIT, "unknown_own_vote": ONE_KEY}
"""What to do when the replica stops with an alarm; else `_KEEP`."""


class Notices:
    """The replica's notices of one node. Lives on the event loop."""

    def __init__(self, counters: NodeCounters) -> None:
        self._counters = counters
        self._charged: set[tuple[str, str]] = set()
        self.stopped: str | None = None
        """Why the replica signs no more, if it stopped by itself, and what to do."""

    def charge(self, effect: Charge, peer: str) -> None:
        """A peer sent what no honest peer sends: once each in the log, so that a flood does not fill it."""
        self._counters.charges[effect.code] += 1
        if (peer, effect.code) not in self._charged:
            self._charged.add((peer, effect.code))
            _LOG.warning("a peer sent what no honest peer sends", peer=peer, code=effect.code, text=effect.text)

    def alarm(self, effect: Alarm) -> None:
        """Something that must not be."""
        self._counters.alarms[effect.code] += 1
        help_text = _HELP.get(effect.code, _KEEP)
        _LOG.critical("alarm", code=effect.code, text=effect.text, stopped=effect.stopped, help=help_text)
        if effect.stopped and self.stopped is None:
            self.stopped = f"{effect.text} [{effect.code}]. {help_text}"
