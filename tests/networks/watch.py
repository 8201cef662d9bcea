"""Where every node stands, several times a second, and whether two nodes ever tell different roots of one height."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import httpx

from client.localnet import LocalNetwork
from client.tls import tls_context

POLL_S: Final = 0.1
ANSWER_S: Final = 1.0
LEVEL_BLOCKS: Final = 2
"""A node is level if no more than this behind: the others go on between two answers."""


class Stand(NamedTuple):
    """What a node told at a moment (monotonic): height, log size, log root and state root."""

    at_s: float
    height: int
    size: int
    root: str
    state_root: str


class Watch:
    """Asks every node by a thread of its own. A context manager."""

    def __init__(self, network: LocalNetwork) -> None:
        self.stands: dict[str, list[Stand]] = {agency: [] for agency in network.agencies}
        self.conflicts: list[tuple[str, Stand]] = []
        """Stands whose roots differ from those that another node, or the same, told of that height."""
        self._network = network
        self._by_height: dict[int, tuple[int, str, str]] = {}
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(agency,)) for agency in network.agencies]

    def height(self, *agencies: str) -> int:
        """The highest that any of these agencies' nodes (of all, if none is named) told last."""
        told = [self.stands[agency] for agency in agencies or self.stands]
        return max((stands[-1].height for stands in told if stands), default=0)

    def blocks_between(self, began_s: float, ended_s: float) -> int:
        """Blocks that became final between two moments, as any node knew them."""
        return self._height_at(ended_s) - self._height_at(began_s)

    def _height_at(self, moment_s: float) -> int:
        return max(
            (stand.height for stands in self.stands.values() for stand in tuple(stands) if stand.at_s <= moment_s),
            default=0,
        )

    def first_block_after(self, moment_s: float, *, timeout_s: float) -> float:
        """Seconds from a moment to the first new block that any node tells of."""
        before = self._height_at(moment_s)
        return self._wait(lambda: self.height() > before, moment_s, timeout_s, "no new block")

    def level_after(self, moment_s: float, *agencies: str, timeout_s: float) -> float:
        """Seconds from a moment until each of these nodes has once stood as high as the others."""
        waiting = set(agencies)

        def is_level() -> bool:
            for agency in tuple(waiting):
                stands = self.stands[agency]
                if stands and stands[-1].at_s > moment_s and stands[-1].height >= self.height() - LEVEL_BLOCKS:
                    waiting.discard(agency)
            return not waiting

        return self._wait(is_level, moment_s, timeout_s, "not level")

    def _wait(self, is_reached: Callable[[], bool], moment_s: float, timeout_s: float, otherwise: str) -> float:

        while not is_reached():
            if time.monotonic() - moment_s > timeout_s:
                told = {agency: stands[-1].height if stands else None for agency, stands in self.stands.items()}
                raise AssertionError(f"{otherwise} within {timeout_s} s: {told}")
            time.sleep(0.02)
        return time.monotonic() - moment_s

    def _run(self, agency: str) -> None:
        url = self._network.url(agency) + "/v1/network"
        with httpx.Client(verify=tls_context(self._network.authorities), timeout=ANSWER_S, trust_env=False) as client:
            while not self._stopping.wait(POLL_S):
                with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                    told = client.get(url).raise_for_status().json()
                    stand = Stand(time.monotonic(), *(told[key] for key in ("height", "size", "root", "state_root")))
                    self._note(agency, stand)

    def _note(self, agency: str, stand: Stand) -> None:
        roots = (stand.size, stand.root, stand.state_root)
        if self._by_height.setdefault(stand.height, roots) != roots:
            self.conflicts.append((agency, stand))
        self.stands[agency].append(stand)

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
