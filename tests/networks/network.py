"""A network of real nodes whose links, disks, clocks and processes can be made to fail."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from client.localnet import LocalNetwork, run_command
from tests.networks.disk import Disk, small_disk
from tests.networks.fabric import Fabric, pairs_between


class FaultyNetwork(LocalNetwork):
    """`LocalNetwork` on a fabric. A context manager: leaving it stops every node and takes the fabric away."""

    def __init__(self, folder: Path, agencies: Sequence[str], fabric: Fabric) -> None:
        super().__init__(folder, agencies)
        self.fabric: Final = fabric
        self._cut: set[tuple[str, str]] = set()
        self._paused: set[str] = set()
        self._skewed_ms: dict[str, int] = {}
        self._disks: dict[str, Disk] = {}

    @classmethod
    def build(
        cls, folder: Path, agencies: Sequence[str], make_fabric: Callable[[Sequence[str]], Fabric]
    ) -> "FaultyNetwork":
        """Hold the ceremony and lay the links; starts nothing yet."""
        run_command("network", "init", str(folder), "--agencies", ",".join(agencies))
        fabric = make_fabric(agencies)
        network = cls(folder, agencies, fabric)
        try:
            fabric.lay(folder)
        except BaseException:
            fabric.close()
            raise
        network.read_addresses()
        return network

    def command(self, agency: str) -> list[str]:
        """The node in its place, with its clock."""
        command = super().command(agency)
        skewed_ms = self._skewed_ms.get(agency)
        if skewed_ms is not None:
            at = command.index("client.cli")
            command = [sys.executable, "-m", "tests.networks.skewed", str(skewed_ms), *command[at + 1 :]]
        return self.fabric.command(agency, command)

    # --- links ----------------------------------------------------------------------------------------------------------

    def cut(self, ways: Iterable[tuple[str, str]]) -> None:
        """Lose everything on these ways, each (sender, receiver)."""
        for way in sorted(set(ways) - self._cut):
            self.fabric.cut(*way)
            self._cut.add(way)

    def cut_off(self, *agencies: str) -> None:
        """Cut every link between these agencies and the others, both ways."""
        self.cut(pairs_between(agencies, [agency for agency in self.agencies if agency not in agencies]))

    def mend(self, ways: Iterable[tuple[str, str]] | None = None) -> None:
        """End cuts: all of them, if none is named."""
        for way in sorted(self._cut if ways is None else self._cut & set(ways)):
            self.fabric.mend(*way)
            self._cut.discard(way)

    # --- processes, disks, clocks ---------------------------------------------------------------------------------------

    def pause(self, agency: str) -> None:
        """SIGSTOP."""
        os.kill(self.pid(agency), signal.SIGSTOP)
        self._paused.add(agency)

    def resume(self, agency: str) -> None:
        """SIGCONT."""
        self._paused.discard(agency)
        os.kill(self.pid(agency), signal.SIGCONT)

    def kill_all(self) -> None:
        """SIGKILL to all at once."""
        pids = [self.pid(agency) for agency in self.agencies]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for agency in self.agencies:
            self.kill(agency)

    def skew(self, agency: str, offset_ms: int | None) -> None:
        """From its next start on, the agency's clock is off by so much; None: right."""
        if offset_ms is None:
            self._skewed_ms.pop(agency, None)
        else:
            self._skewed_ms[agency] = offset_ms

    def give_small_disk(self, agency: str) -> Disk:
        """A disk that can be filled, for a node that has not been started yet."""
        self._disks[agency] = disk = small_disk(self.folder / agency)
        return disk

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for agency in tuple(self._paused):
            self.resume(agency)
        super().__exit__(kind, error, trace)
        for disk in self._disks.values():
            disk.close()
        self.fabric.close()
