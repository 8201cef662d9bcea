"""The trials' own tools: what a fabric says is cut is cut, in that direction alone, and what is late is late."""

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.localnet import run_command
from node.config import Address, load_config
from tests.networks.fabric import Fabric, choose
from tests.networks.namespaces import Namespaces, missing_for_namespaces
from tests.networks.proxies import Proxies

pytestmark = pytest.mark.processes

AGENCIES = ("customs", "police")
SOON_S = 10.0
QUIET_S = 0.5
"""Nothing has come for so long: nothing comes. Undisturbed, it takes a millisecond."""
DELAY_MS = 60

BACKENDS = pytest.mark.parametrize(
    "make_fabric",
    [
        pytest.param(Proxies, id="proxies"),
        pytest.param(
            Namespaces,
            id="namespaces",
            marks=pytest.mark.skipif(
                bool(missing_for_namespaces()), reason=f"no network namespaces: {missing_for_namespaces()}"
            ),
        ),
    ],
)


class End:
    """One end of the connection (`tests.networks.echo`), in its agency's place."""

    def __init__(self, fabric: Fabric, agency: str, role: str, address: Address) -> None:
        command = [sys.executable, "-m", "tests.networks.echo", role, address.host, str(address.port)]
        self._process = subprocess.Popen(
            fabric.command(agency, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.expect("ready")

    def say(self, line: str) -> None:
        """Give it a line to send."""
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def expect(self, line: str) -> None:
        """It prints this line next."""
        assert self._lines.get(timeout=SOON_S) == line

    def expect_nothing(self) -> None:
        """It prints nothing for a while."""
        with pytest.raises(queue.Empty):
            self._lines.get(timeout=QUIET_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.communicate()
        self._reader.join()


@contextmanager
def ends(folder: Path, make_fabric: Callable[[Sequence[str]], Fabric]) -> Iterator[tuple[Fabric, End, End]]:
    """A fabric, the end that says (customs) and the end that hears (police)."""
    run_command("network", "init", str(folder), "--agencies", ",".join(AGENCIES))
    fabric = make_fabric(AGENCIES)
    opened: list[End] = []
    try:
        fabric.lay(folder)
        customs, police = (load_config(folder / agency / "node.toml") for agency in AGENCIES)
        opened.append(End(fabric, "police", "hear", police.peers.listen))
        opened.append(End(fabric, "customs", "say", customs.peers.addresses["police"]))
        yield fabric, opened[1], opened[0]
    finally:
        for end in opened:
            end.end()
        fabric.close()


@BACKENDS
def test_a_cut_holds_in_its_direction_and_ends_and_a_delay_is_there_and_back(
    tmp_path: Path, make_fabric: Callable[[Sequence[str]], Fabric]
) -> None:
    with ends(tmp_path / "network", make_fabric) as (fabric, saying, hearing):
        saying.say("before")
        hearing.expect("before")
        saying.expect("before")
        fabric.cut("customs", "police")
        saying.say("there is cut")
        hearing.expect_nothing()
        fabric.mend("customs", "police")
        hearing.expect("there is cut")
        saying.expect("there is cut")
        fabric.cut("police", "customs")
        saying.say("back is cut")
        hearing.expect("back is cut")
        saying.expect_nothing()
        fabric.mend("police", "customs")
        saying.expect("back is cut")
        fabric.delay(DELAY_MS)
        began_s = time.monotonic()
        saying.say("slowly")
        hearing.expect("slowly")
        there_ms = (time.monotonic() - began_s) * 1000
        saying.expect("slowly")
        there_and_back_ms = (time.monotonic() - began_s) * 1000
    assert there_ms >= DELAY_MS
    assert there_and_back_ms >= 2 * DELAY_MS


def test_which_backend_is_used_is_said() -> None:
    assert choose("proxies") == (Proxies, "links: user-space proxies, as asked")
    missing = missing_for_namespaces()
    made, words = choose()
    assert made is (Proxies if missing else Namespaces)
    assert missing in words
