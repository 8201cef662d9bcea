"""Where a node stands, and why it is not ready: for its operator, and for those who ask it (`/v1/network`, `/readyz`)."""

from collections.abc import Callable

from ledger.state.lookup import version_at
from ledger.state.model import ParametersDoc
from node.clock import Clock
from node.conversation import Conversation
from node.cosigning import Cosigning
from node.driver import Driver
from node.execution.overlay import Overlay
from node.membership import Roster
from node.mempool import Mempool
from node.pace import Pace
from node.peers.transport import Transport
from node.progress import Facts, Progress, Stop, assess, height_of_others
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
        agreed: Callable[[], ParametersDoc],
        clock: Clock,
        disk_free: Callable[[], int] | None,
        accused: Callable[[], tuple[str, ...]],
    ) -> None:
        """`base`: the newest committed block. `agreed`: the parameters after it. `disk_free`: the free bytes of the data
        directory's disk. `accused`: of whom evidence is held."""
        self._roster = roster
        self._transport = transport
        self._driver = driver
        self._conversation = conversation
        self._cosigning = cosigning
        self._mempool = mempool
        self._base = base
        self._agreed = agreed
        self._clock = clock
        self._disk_free = disk_free
        self._accused = accused
        self._pace = Pace()

    def progress(self) -> Progress:
        """How this node is getting on, in words."""
        return assess(self._facts())

    def note_block(self) -> None:
        """A block was committed."""
        self._pace.note(self._clock.monotonic_ms())

    def _facts(self) -> Facts:
        now_ms, base, members, replica = (
            self._clock.monotonic_ms(),
            self._base(),
            self._roster.members,
            self._driver.replica,
        )
        last_ms, oldest_ms = self._pace.last_ms, self._mempool.oldest_ms
        since_start_ms = max(0, self._clock.wall_ms() - base.time_ms)  # of a block that an earlier run committed
        apart = self._conversation.apart_since_ms
        return Facts(
            party=self._roster.party,
            epoch=members.epoch,
            proven_epoch=self._cosigning.proven_epoch,
            validators=members.parties,
            linked=frozenset(self._transport.connected()),
            apart_ms={party: now_ms - since_ms for party, since_ms in apart.items()},
            height=base.height,
            heights=self._conversation.heights,
            last_block_ms=since_start_ms if last_ms is None else now_ms - last_ms,
            blocks_per_s=self._pace.per_s(now_ms),
            pending=len(self._mempool),
            pending_ms=None if oldest_ms is None else max(0, now_ms - oldest_ms),
            view=replica.status().view,
            leader=self._roster.party_of(replica.leader) or "",
            stop=self._stop(),
            has_key=replica.own is not None or replica.epoch.number != members.epoch,
            disk_free_bytes=None if self._disk_free is None else self._disk_free(),
            clocks_ms=self._conversation.clocks.offsets_ms(),
            accused=self._accused(),
        )

    def _stop(self) -> Stop | None:
        """Why nothing is signed here, if so; the words say what to do, too."""
        failure, stopped, replica = self._driver.failure, self._driver.stopped, self._driver.replica
        if failure is not None:
            return Stop(code=failure.code, text=f"stopped voting: {failure}")
        if stopped is not None:
            return Stop(code=replica.stopped or "stopped", text=f"stopped voting: {stopped}")
        if replica.recovery is not None:
            recovery = replica.recovery
            return Stop(
                code="votes_unasked" if recovery.unasked else "votes_lost",
                text=recovery_reason(recovery),
                is_recovering=recovery.unasked or recovery.possible,
            )
        return None

    def blocks_behind(self) -> int:
        """How many blocks fewer this node has than the others, as far as they are believed; 0 or less where it is level."""
        heights = self._conversation.heights
        return height_of_others(heights, self._roster.members.parties) - self._base().height

    def status(self) -> NodeStatus:
        """The node now."""
        newest, base = self._cosigning.newest, self._base()
        validators, observers = self._roster.members.parties, self._roster.observers
        progress = self.progress()
        own = self._roster.party
        return NodeStatus(
            epoch=self._driver.replica.epoch.number,
            is_validator=self._driver.replica.own is not None,
            version=version_at(self._agreed(), base.height + 1),
            height=base.height,
            size=base.frontier.size,
            log_root=base.frontier.root,
            state_root=base.tree.root,
            pending=len(self._mempool),
            reasons=progress.reasons,
            progress=progress,
            validators=tuple(
                PeerStatus(party=party, connected=True, height=base.height) if party == own else self._peer(party)
                for party in validators
            ),
            others=tuple(map(self._peer, sorted({*self._transport.connected(), *observers} - {own, *validators}))),
            cosigned=None if newest is None else (newest.height, newest.size),
        )

    def _peer(self, party: str) -> PeerStatus:
        return PeerStatus(
            party=party,
            connected=party in self._transport.connected(),
            height=self._conversation.heights.get(party),
        )
