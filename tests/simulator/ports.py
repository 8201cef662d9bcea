"""What a machine is made of, and what it asks of the cluster around it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from ledger.consensus.effects import Floor
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Message
from tests.simulator.application import Application, Disk
from tests.simulator.genesis import CLOCK_MS
from tests.simulator.lies import Page
from tests.simulator.world import World

if TYPE_CHECKING:
    from tests.simulator.machine import Machine

Store = Literal["votes", "block", "group"]
"""The two stores that a machine writes to; a group is several blocks in one transaction."""
WriteFault = Literal["crash", "failed", "failed but persisted"]
"""What happens to a durable write of a machine."""


class Network(Protocol):
    """What a machine asks of the cluster."""

    def named(self, origin: "Machine", number: int) -> list["Machine"]:
        """Who a machine's replica means by a number now: its double, too, if a validator has one."""
        ...

    def send(self, origin: "Machine", to: list["Machine"], message: Message) -> None: ...

    def broadcast(self, origin: "Machine", message: Message) -> None: ...

    def gossip(self, origin: "Machine", entries: tuple[bytes, ...], target: "Machine | None" = None) -> None: ...

    def peers_up(self, origin: "Machine") -> list["Machine"]: ...

    def fetched(self, peer: "Machine", first_height: int, count: int) -> Page:
        """The page of blocks that a peer answers with (P7.2)."""
        ...

    def opened(self, validators: tuple[bytes, ...]) -> None:
        """A closing block is committed by a machine: these follow."""
        ...

    def committed(self, floor: Floor) -> None:
        """A block became durable somewhere."""
        ...

    def trusted(self, machine: "Machine") -> None:
        """A machine's votes are trusted again (P7.5)."""
        ...

    def index_for(self, receiver: "Machine", sender: "Machine") -> int: ...


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of node a machine is: its disk, and how its application is opened on it at each start."""

    disk: Disk
    open: Callable[[], Application]
    epoch_of: Callable[[Floor], Epoch]
    """The epoch of a floor, as far as the ledger on the disk tells it."""
    parallel: bool
    """Whether the application's work is done all at once, and faults of ours in it are harmless (the toy)."""


class MachineClock:
    """A machine's clocks (`node.clock.Clock`): the world's time, and what the machine takes for the wall clock's."""

    def __init__(self, world: World, skew_ms: int) -> None:
        self._world = world
        self.skew_ms = skew_ms

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as this machine believes."""
        return CLOCK_MS + self._world.now_ms + self.skew_ms

    def monotonic_ms(self) -> int:
        """The world's time."""
        return self._world.now_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        """Nothing in a simulated node waits."""
        raise AssertionError("nothing in a simulated node sleeps")
