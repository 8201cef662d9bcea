"""A throw-away network of real node processes on this machine: for the demonstration, the benchmarks and the tests.

It only types what an operator would type (`network init`, `node run`, `token new`) and reads the files these leave. Nothing
listens beyond loopback. Keys and data lie under the folder it is given.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from client.errors import NodeUnreachableError
from client.tls import tls_context
from ledger.errors import ConfigurationError

COMMAND: Final = (sys.executable, "-m", "client.cli")
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.05


def run_command(*arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run one `tracemark` command with `--json` and return the object that it prints.

    Raises:
        ConfigurationError: code `command_failed` with what the command said, if it does not exit with 0.
    """
    done = subprocess.run(  # noqa: S603 - our own program with our own arguments
        [*COMMAND, *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    if done.returncode != 0:
        raise ConfigurationError(
            f"`tracemark {' '.join(arguments[:2])}` failed",
            code="command_failed",
            expected="exit code 0",
            actual=f"{done.returncode}: {(done.stdout + done.stderr).strip()[-600:]}",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class LocalNetwork:
    """Agencies' nodes, each a process of its own. A context manager: leaving it stops every node.

    `folder` holds what `network init` writes; `agencies` are party ids; a node's log is `<folder>/<agency>/node.log`.
    """

    def __init__(self, folder: Path, agencies: Sequence[str]) -> None:
        self.folder = folder
        self.agencies = tuple(agencies)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._urls: dict[str, str] = {}

    @classmethod
    def create(cls, folder: Path, agencies: Sequence[str]) -> "LocalNetwork":
        """Hold the ceremony for `agencies` in the empty `folder`; starts nothing yet."""
        run_command("network", "init", str(folder), "--agencies", ",".join(agencies))
        network = cls(folder, agencies)
        network.read_addresses()
        return network

    def add_agency(self, party: str, *, jurisdiction: str = "XA") -> Path:
        """Make one more agency's identity and node.toml beside the others; returns its identity.json.

        Its node can be started at once. It takes part once the validators have decided so; before, they do not link to it.

        It has everybody's address and nobody has its own: it dials.
        """
        known = json.loads((self.folder / "network.json").read_text())
        home = self.folder / party
        run_command(
            *("network", "identity", party, "--origin", known["origin"]),
            *("--jurisdiction", jurisdiction, "--roles", "registry", "--out", str(home)),
        )
        api, peer = (f"127.0.0.1:{port}" for port in _free_ports(2))
        others = "".join(f"{name} = {json.dumps(of['peer'])}\n" for name, of in sorted(known["agencies"].items()))
        (home / "node.toml").write_text(
            f'party = "{party}"\ngenesis = "../genesis.json"\npolicy = "../policy.txt"\npassphrase = "passphrase"\n\n'
            f'[api]\nlisten = "{api}"\nurl = "https://{api}"\n\n[peers]\nlisten = "{peer}"\n\n'
            f"[peers.addresses]\n{others}"
        )
        known["agencies"][party] = {"api": f"https://{api}", "peer": peer}
        (self.folder / "network.json").write_text(json.dumps(known, indent=2) + "\n")
        with self.authorities.open("a") as authorities:
            authorities.write((home / "tls" / "ca.pem").read_text())
        self.agencies = (*self.agencies, party)
        self.read_addresses()
        return home / "identity.json"

    def read_addresses(self) -> None:
        """Take the nodes' URLs from the folder's network.json."""
        addresses = json.loads((self.folder / "network.json").read_text())
        self._urls = {party: addresses["agencies"][party]["api"] for party in self.agencies}

    def command(self, agency: str) -> list[str]:
        """What runs the agency's node."""
        return [*COMMAND, "node", "run", "--config", str(self.folder / agency / "node.toml")]

    @property
    def policy(self) -> Path:
        """The policy file that a court would pin."""
        return self.folder / "policy.txt"

    @property
    def authorities(self) -> Path:
        """The agencies' CA certificates, for TLS."""
        return self.folder / "ca.pem"

    def url(self, agency: str) -> str:
        """Base URL of the agency's API."""
        return self._urls[agency]

    def pid(self, agency: str) -> int:
        """Process id of the agency's running node."""
        return self._processes[agency].pid

    def is_running(self, agency: str) -> bool:
        """Whether the agency's node was started, and neither stopped nor killed since."""
        return agency in self._processes

    def start(self, *agencies: str) -> None:
        """Start nodes (all, if none is named) and wait until each answers."""
        chosen = agencies or self.agencies
        self.launch(*chosen)
        for agency in chosen:
            self.wait_answering(agency)

    def launch(self, *agencies: str) -> None:
        """Start the processes of these nodes, and wait for nothing."""
        for agency in agencies:
            with (self.folder / agency / "node.log").open("ab") as log:
                self._processes[agency] = subprocess.Popen(  # noqa: S603 - our own program
                    self.command(agency),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def wait_answering(self, agency: str, *, path: str = "/healthz", timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until `path` of the agency's node answers 200.

        Raises:
            NodeUnreachableError: the process ended, or the time ran out; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        with self._client() as client:
            while time.monotonic() < deadline and self._processes[agency].poll() is None:
                try:
                    if client.get(self.url(agency) + path).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(_POLL_S)
        log = (self.folder / agency / "node.log").read_text(errors="replace")
        raise NodeUnreachableError(
            f"the node of {agency} does not answer {path}", expected="200 from a running process", actual=log[-600:]
        )

    def wait_ready(self, *agencies: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the nodes (all, if none is named) say that they are ready: linked, level, able to vote."""
        for agency in agencies or self.agencies:
            self.wait_answering(agency, path="/readyz", timeout_s=timeout_s)

    def network_status(self, agency: str) -> dict[str, Any]:
        """What the node says of itself (`/v1/network`)."""
        with self._client() as client:
            status: dict[str, Any] = client.get(self.url(agency) + "/v1/network").raise_for_status().json()
        return status

    def kill(self, agency: str) -> None:
        """SIGKILL: what a power cut does to the process."""
        process = self._processes.pop(agency)
        process.kill()
        process.wait()

    def stop(self, *agencies: str) -> dict[str, int]:
        """SIGTERM the nodes (all, if none is named), wait, and return their exit codes."""
        chosen = [agency for agency in agencies or self.agencies if agency in self._processes]
        for agency in chosen:
            self._processes[agency].send_signal(signal.SIGTERM)
        codes: dict[str, int] = {}
        for agency in chosen:
            process = self._processes.pop(agency)
            try:
                codes[agency] = process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[agency] = process.wait()
        return codes

    def new_token(self, agency: str, *, party: str, role: str) -> Path:
        """A token at the agency's node, in a 0600 file whose path is returned."""
        path = self.folder / agency / f"token-{party}-{role}"
        config = self.folder / agency / "node.toml"
        run_command("token", "new", "--config", str(config), "--party", party, "--role", role, "--out", str(path))
        return path

    def _client(self) -> httpx.Client:
        return httpx.Client(verify=tls_context(self.authorities), timeout=5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_ports(count: int) -> list[int]:
    """Distinct loopback ports that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
