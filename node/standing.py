"""Where a node stands, and why it is not ready: for its operator, and for those who ask it (`/v1/network`, `/readyz`)."""

from collections.abc import Callable

from ledger.limits import NEAR_BLOCKS
from node.conversation import Conversation
from node.cosigning import Cosigning
from node.driver import Driver
from node.execution.overlay import Overlay
from node.membership import Roster
from node.mempool import Mempool
from node.peers.transport import Transport
from node.recovery import recovery_reason
from node.service.ports import NodeStatus, PeerStatus


class Standing:
    """Reads the parts of a node; changes nothing. Lives on the event loop."""

    def __init__(
        self,
        *,
        roster: Roster,
        transport: Transport,
        driver: Driver,
        conversation: Conversation,
        cosigning: Cosigning,
        mempool: Mempool,
        base: Callable[[], Overlay],
    ) -> None:
        """`base`: the newest committed block."""
        self._roster = roster
        self._transport = transport
        self._driver = driver
        self._conversation = conversation
        self._cosigning = cosigning
        self._mempool = mempool
        self._base = base

    def reasons(self) -> tuple[str, ...]:
        """Why this node is not ready, in words; empty if it is."""
        reasons: list[str] = []
        if self._driver.failure is not None:
            reasons.append(f"stopped voting: {self._driver.failure}")
        elif self._driver.stopped is not None:
            reasons.append(f"stopped voting: {self._driver.stopped}")
        recovery = self._driver.replica.recovery
        if recovery is not None:
            reasons.append(recovery_reason(recovery))
        members = self._roster.members
        others = [party for party in members.parties if party != self._roster.party]
        linked = len(self._transport.connected().intersection(others))
        if linked + self._roster.is_member < members.quorum:
            reasons.append(f"connected to {linked} of {len(others)} other agencies: no quorum")
        behind = self.blocks_behind()
        if behind > NEAR_BLOCKS:
            reasons.append(f"catching up: {behind} blocks behind")
        return tuple(reasons)

    def blocks_behind(self) -> int:
        """How many blocks fewer this node has than another last said it has; 0 or less where it is level."""
        return max(self._conversation.heights.values(), default=0) - self._base().height

    def status(self) -> NodeStatus:
        """The node now."""
        newest, connected, base = self._cosigning.newest, self._transport.connected(), self._base()
        own = self._roster.party
        return NodeStatus(
            epoch=self._driver.replica.epoch.number,
            is_validator=self._driver.replica.own is not None,
            height=base.height,
            size=base.frontier.size,
            log_root=base.frontier.root,
            state_root=base.tree.root,
            pending=len(self._mempool),
            reasons=self.reasons(),
            validators=tuple(
                PeerStatus(
                    party=party,
                    connected=party == own or party in connected,
                    height=base.height if party == own else self._conversation.heights.get(party),
                )
                for party in self._roster.members.parties
            ),
            cosigned=None if newest is None else (newest.height, newest.size),
        )
