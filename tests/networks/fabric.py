"""What lies between the nodes: an agency to each end, and what is lost or late on the way.

Two backends behind one interface. `namespaces` puts each agency into a network namespace of its own, so that packets are
lost in the kernel; it needs root. `proxies` puts a user-space proxy into each agency's way to each other one, so that
bytes stand still in it; it needs nothing. Which one is used, and why, is always said.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tests.networks.namespaces import Namespaces, missing_for_namespaces
from tests.networks.proxies import Proxies


class Fabric(Protocol):
    """The network between agencies. Clients reach every node at all times: what is tried is the nodes' network."""

    name: str

    def lay(self, folder: Path) -> None:
        """Connect the agencies of the network in `folder` (as `network init` leaves it), and change their configurations
        accordingly."""
        ...

    def command(self, agency: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` in the agency's place."""
        ...

    def cut(self, sender: str, receiver: str) -> None:
        """From now on nothing that `sender` sends reaches `receiver`; nobody is told."""
        ...

    def mend(self, sender: str, receiver: str) -> None:
        """End a cut."""
        ...

    def delay(self, delay_ms: int) -> None:
        """Whatever goes from any agency to another takes so much longer (once; for the life of the fabric)."""
        ...

    def close(self) -> None:
        """Take everything away again. Called after the nodes have ended."""
        ...


def choose(wanted: str = "auto") -> tuple[Callable[[Sequence[str]], Fabric], str]:
    """The backend to use (`namespaces`, `proxies`, or `auto`: the first that is possible) and a line that says which.

    Raises:
        RuntimeError: `namespaces` are wanted and not possible.
    """
    missing = missing_for_namespaces()
    if wanted == "proxies":
        return Proxies, "links: user-space proxies, as asked"
    if not missing:
        return Namespaces, "links: network namespaces (ip netns, veth, a routing namespace between them)"
    if wanted == "namespaces":
        raise RuntimeError(f"no network namespaces: {missing}")
    return Proxies, f"links: user-space proxies, for there can be no network namespaces: {missing}"


def pairs_between(some: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """All (sender, receiver) between two groups, both ways."""
    others = tuple(others)
    return [way for one in some for other in others for way in ((one, other), (other, one)) if one != other]
