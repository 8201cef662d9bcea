"""Links as network namespaces: one for each agency, one that routes between them, veth pairs from each to the router.

    customs [eth0] ---- [customs] router [police] ---- [eth0] police
                                  |
                          the machine (clients)

What is cut is dropped by a routing rule of the router, for one direction of one pair: neither end is told anything, as on
a broken line. (A rule in the agency's own namespace would tell its kernel.) What is late goes through a tunnel interface
behind which a process holds every packet for so long (`delayline`); the kernel's netem is not always there.

Addresses are of 198.18.0.0/15, set aside for trials of networks (RFC 2544); names end with the process id, and what an
earlier, dead process left behind is removed.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Final

from client.localnet import run_command
from tests.networks.layout import read_addresses

API_PORT: Final = 8443
PEER_PORT: Final = 7443
_PREFIX: Final = "tmk"
_TUN: Final = Path("/dev/net/tun")
_CUT_PRIORITY: Final = 100
_DELAY_PRIORITY: Final = 200
_DELAY_TABLE: Final = 200
_DELAY_DEVICE: Final = "delay"


@cache
def missing_for_namespaces() -> str:
    """What this machine lacks, or ""; tried once."""
    if os.geteuid() != 0:
        return "this user is not root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (iproute2)"
    if not _TUN.exists():
        return f"there is no {_TUN}"
    name = f"{_PREFIX}{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return tried.stderr.strip()
    veth = ["ip", "link", "add", name[:15], "type", "veth", "peer", "name", "eth0", "netns", name]
    tried = subprocess.run(veth, capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], check=True)  # and with it the pair
    return tried.stderr.strip()


class Namespaces:
    """See the module."""

    name = "network namespaces"

    def __init__(self, agencies: Sequence[str]) -> None:
        self._agencies = tuple(agencies)
        self._mark = f"{_PREFIX}{os.getpid()}"
        self._router = f"{self._mark}-router"
        self._net = f"198.{18 + (os.getpid() >> 8) % 2}.{os.getpid() % 256}"
        self._delaying: subprocess.Popen[bytes] | None = None
        _remove_leftovers()

    def lay(self, folder: Path) -> None:
        _ip("netns", "add", self._router)
        self._link(self._router, host_end=self._mark, inner="clients", at=len(self._agencies))
        _ip("route", "add", f"{self._net}.0/24", "via", self._inner_address(len(self._agencies)))
        forward = "for f in conf/all/rp_filter conf/default/rp_filter; do echo 0 > $f; done; echo 1 > ip_forward"
        self._in(self._router, "sh", "-c", f"cd /proc/sys/net/ipv4 && {forward}")
        for at, agency in enumerate(self._agencies):
            space = self._space(agency)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", self._router, "link", "add", f"a{at}", "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", self._router, "addr", "add", f"{self._outer_address(at)}/30", "dev", f"a{at}")
            _ip("-n", space, "addr", "add", f"{self._inner_address(at)}/30", "dev", "eth0")
            _ip("-n", self._router, "link", "set", f"a{at}", "up")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "route", "add", "default", "via", self._outer_address(at))
        self._configure(folder)

    def command(self, agency: str, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self._space(agency), *command]

    def cut(self, sender: str, receiver: str) -> None:
        self._rule("add", sender, receiver)

    def mend(self, sender: str, receiver: str) -> None:
        self._rule("del", sender, receiver)

    def delay(self, delay_ms: int) -> None:
        router, table = self._router, str(_DELAY_TABLE)
        _ip("-n", router, "tuntap", "add", "dev", _DELAY_DEVICE, "mode", "tun")
        _ip("-n", router, "link", "set", _DELAY_DEVICE, "up")
        _ip("-n", router, "route", "add", "default", "dev", _DELAY_DEVICE, "table", table)
        line = [sys.executable, "-m", "tests.networks.delayline", _DELAY_DEVICE, str(delay_ms)]
        command = ["ip", "netns", "exec", router, *line]
        self._delaying = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._delaying.stdout is not None
        if self._delaying.stdout.readline() != b"ready\n":
            raise RuntimeError("the delay line did not start")
        for one, other in permutations(range(len(self._agencies)), 2):
            way = ["from", self._inner_address(one), "to", self._inner_address(other), "iif", f"a{one}"]
            _ip("-n", router, "rule", "add", *way, "lookup", table, "priority", str(_DELAY_PRIORITY))

    def close(self) -> None:
        if self._delaying is not None:
            self._delaying.terminate()
            self._delaying.communicate()
        for name in _spaces():
            if name.startswith(f"{self._mark}-"):
                _ip("netns", "del", name)
        with contextlib.suppress(subprocess.CalledProcessError):  # it went with the router, where that was there
            _ip("link", "del", self._mark)

    def _link(self, space: str, *, host_end: str, inner: str, at: int) -> None:
        """A veth pair from this machine into a namespace."""
        _ip("link", "add", host_end, "type", "veth", "peer", "name", inner, "netns", space)
        _ip("addr", "add", f"{self._outer_address(at)}/30", "dev", host_end)
        _ip("-n", space, "addr", "add", f"{self._inner_address(at)}/30", "dev", inner)
        _ip("link", "set", host_end, "up")
        _ip("-n", space, "link", "set", inner, "up")

    def _configure(self, folder: Path) -> None:
        """Every file that names a loopback address names the agency's own instead; so does its certificate."""
        changes: dict[str, str] = {}
        for agency, known in read_addresses(folder).items():
            at = self._agencies.index(agency)
            changes[known["api"].removeprefix("https://")] = f"{self._inner_address(at)}:{API_PORT}"
            changes[known["peer"]] = f"{self._inner_address(at)}:{PEER_PORT}"
        files = [folder / "network.json", *(folder / agency / "node.toml" for agency in self._agencies)]
        for path in files:
            path.write_text(re.sub(r"127\.0\.0\.1:\d+", lambda found: changes[found[0]], path.read_text()))
        for at, agency in enumerate(self._agencies):
            config = str(folder / agency / "node.toml")
            run_command("network", "certificate", "--config", config, "--host", self._inner_address(at))

    def _rule(self, verb: str, sender: str, receiver: str) -> None:
        one, other = (self._inner_address(self._agencies.index(agency)) for agency in (sender, receiver))
        way = ["from", one, "to", other, "priority", str(_CUT_PRIORITY)]
        _ip("-n", self._router, "rule", verb, "blackhole", *way)

    def _space(self, agency: str) -> str:
        return f"{self._mark}-{agency}"

    def _outer_address(self, at: int) -> str:
        return f"{self._net}.{4 * at + 1}"

    def _inner_address(self, at: int) -> str:
        return f"{self._net}.{4 * at + 2}"

    def _in(self, space: str, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", space, *command], check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _spaces() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line]


def _remove_leftovers() -> None:
    """Namespaces of processes that are no more: theirs were killed before they could clean up."""
    for name in _spaces():
        found = re.fullmatch(rf"{_PREFIX}(\d+)-.*", name)
        if found and not Path(f"/proc/{found[1]}").exists():
            _ip("netns", "del", name)
