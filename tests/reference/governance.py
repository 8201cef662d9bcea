"""A naive twin of the rules of governance: votes in dictionaries, counted from scratch each time. Shares no code with them.

Changes are plain tuples: ("add", party, generation), ("remove", party), ("replace", party, newcomer, generation),
("rotate", party, role, generation), ("heartbeat", seconds), ("version", number, height), ("suspend", party),
("resume", party). A key is (party, role, generation).
"""

from typing import Any

ROLES = ("consensus", "cosigner", "governance", "log", "transport")
Change = tuple[Any, ...]


class Governance:
    """The validators and what they decide. `open` and `vote` say whether the record is lawful, and if so, take it."""

    def __init__(self, members: list[str], parties: list[str], *, heartbeat_s: int, version: int) -> None:
        self.epoch = 0
        self.members = {party: dict.fromkeys(ROLES, 0) for party in members}
        self.used = {(party, role, 0) for party in members for role in ROLES}
        self.ended: set[tuple[str, str, int]] = set()
        self.suspended = dict.fromkeys(parties, False)
        self.heartbeat_s = heartbeat_s
        self.version = version
        self.coming: tuple[int, int] | None = None
        self.proposals: dict[str, dict[str, Any]] = {}

    def open(self, name: str, by: str, change: Change, *, now_ms: int, height: int, expires_ms: int) -> bool:
        if by not in self.members or not now_ms < expires_ms <= now_ms + 90 * 86_400_000:
            return False
        if not self._lawful(change, height):
            return False
        votes = {by: True}
        proposal = {"change": change, "epoch": self.epoch, "expires_ms": expires_ms, "votes": votes, "status": "open"}
        self.proposals[name] = proposal
        self._count(proposal, height)
        return True

    def vote(self, name: str, by: str, is_for: bool, *, now_ms: int, height: int) -> bool:
        proposal = self.proposals[name]
        if (
            by not in self.members
            or proposal["status"] != "open"
            or proposal["epoch"] != self.epoch
            or proposal["expires_ms"] <= now_ms
            or by in proposal["votes"]
        ):
            return False
        in_favour = sum(proposal["votes"].values()) + is_for
        if in_favour >= self._needed() and not self._lawful(proposal["change"], height):
            return False
        proposal["votes"][by] = is_for
        self._count(proposal, height)
        return True

    def current_version(self, height: int) -> int:
        return self.coming[0] if self.coming and height >= self.coming[1] else self.version

    def _needed(self) -> int:
        """The smallest q such that two sets of q share more members than may lie: 3f < n, q = n - f."""
        faulty = max(number for number in range(len(self.members) + 1) if 3 * number < len(self.members))
        return len(self.members) - faulty

    def _count(self, proposal: dict[str, Any], height: int) -> None:
        in_favour = list(proposal["votes"].values()).count(True)
        could_still = len(self.members) - list(proposal["votes"].values()).count(False)
        if in_favour >= self._needed():
            proposal["status"] = "enacted"
            self._enact(proposal["change"], height)
        elif could_still < self._needed():
            proposal["status"] = "rejected"

    def _lawful(self, change: Change, height: int) -> bool:
        match change:
            case ("add", party, generation):
                return party not in self.members and self._fresh(party, generation)
            case ("remove", party):
                return party in self.members and len(self.members) > 1
            case ("replace", party, newcomer, generation):
                free = newcomer == party or newcomer not in self.members
                return party in self.members and free and self._fresh(newcomer, generation)
            case ("rotate", party, role, generation):
                return party in self.members and (party, role, generation) not in self.used
            case ("heartbeat", seconds):
                return bool(seconds != self.heartbeat_s)
            case ("version", number, at):
                return bool(number == self.current_version(height) + 1 and at > height)
            case ("suspend", party):
                return not self.suspended[party]
            case ("resume", party):
                return self.suspended[party]
        raise AssertionError(change)

    def _fresh(self, party: str, generation: int) -> bool:
        return not any((party, role, generation) in self.used for role in ROLES)

    def _enact(self, change: Change, height: int) -> None:
        if change[0] in ("add", "remove", "replace", "rotate"):
            self.epoch += 1
        match change:
            case ("add", party, generation):
                self._join(party, generation)
            case ("remove", party):
                self._leave(party)
            case ("replace", party, newcomer, generation):
                self._leave(party)
                self._join(newcomer, generation)
            case ("rotate", party, role, generation):
                self.ended.add((party, role, self.members[party][role]))
                self.members[party][role] = generation
                self.used.add((party, role, generation))
            case ("heartbeat", seconds):
                self._settle(height)
                self.heartbeat_s = seconds
            case ("version", number, at):
                self._settle(height)
                self.coming = (number, at)
            case ("suspend", party):
                self.suspended[party] = True
            case ("resume", party):
                self.suspended[party] = False

    def _settle(self, height: int) -> None:
        if self.coming and height >= self.coming[1]:
            self.version, self.coming = self.coming[0], None

    def _join(self, party: str, generation: int) -> None:
        self.members[party] = dict.fromkeys(ROLES, generation)
        self.used |= {(party, role, generation) for role in ROLES}
        self.suspended.setdefault(party, False)

    def _leave(self, party: str) -> None:
        self.ended |= {(party, role, generation) for role, generation in self.members.pop(party).items()}
