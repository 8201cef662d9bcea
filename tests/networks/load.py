"""A load of real records throughout: at each node a maker that registers one weapon after another and waits for each."""

import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from client.author import Author
from client.demo.cast import Cast
from client.errors import NodeUnreachableError
from client.localnet import LocalNetwork
from client.session import Session
from ledger.errors import OverloadError
from ledger.records import WeaponRegister
from ledger.records.items import Attributes, LotRow, RowAttributes, WeaponRegisterBody

MAKE: Final = "TST"
PAUSE_S: Final = 0.02
"""Between two records of one maker."""
PATIENCE_S: Final = 2.0
"""Of one request, so that the end of the load is never far; a record that was not taken is submitted again."""


class Acknowledged(NamedTuple):
    """A record for which a verified receipt was had: when (monotonic), and how long after it was first submitted."""

    id: str
    at_s: float
    took_s: float


class Load:
    """A context manager: the load begins when it is entered and has ended when it is left."""

    def __init__(self, network: LocalNetwork, cast: Cast, *, home: Path) -> None:
        """Enrols a maker for each node; the nodes must be ready."""
        self.acknowledged: list[Acknowledged] = []
        self.failures: list[Exception] = []
        self._stopping = threading.Event()
        sponsor = network.agencies[0]
        makers = {agency: f"maker-{agency}" for agency in network.agencies}
        enrolments = [
            cast.enrolment(maker, sponsor=sponsor, name=maker, role="maker", makes=(MAKE,)) for maker in makers.values()
        ]
        for done in cast.session(sponsor, party=sponsor, role="inquirer").submit(enrolments):
            done.require_final()
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(self._session(network, cast, agency, maker, home), cast.author(maker)),
                name=maker,
            )
            for agency, maker in makers.items()
        ]

    def since(self, moment_s: float) -> list[Acknowledged]:
        """What was acknowledged from a moment on."""
        return [each for each in tuple(self.acknowledged) if each.at_s >= moment_s]

    def wait_more(self, count: int, *, timeout_s: float) -> None:
        """Wait until so many more records are acknowledged."""
        target, deadline = len(self.acknowledged) + count, time.monotonic() + timeout_s
        while len(self.acknowledged) < target and not self.failures:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.acknowledged) + count - target} of {count} records in {timeout_s} s")
            time.sleep(0.05)
        assert not self.failures, self.failures

    def _session(self, network: LocalNetwork, cast: Cast, agency: str, maker: str, home: Path) -> Session:
        token = network.new_token(agency, party=maker, role="holder")
        return Session(
            [network.url(agency)],
            policy=cast.policy,
            home=home / maker,
            ca=network.authorities,
            token=token.read_text().strip(),
            patience_s=PATIENCE_S,
        )

    def _run(self, session: Session, author: Author) -> None:
        with session:
            number, series = 0, author.party.removeprefix("maker-").upper()
            while not self._stopping.wait(PAUSE_S):
                number += 1
                body = WeaponRegisterBody(
                    defaults=Attributes(make=MAKE, type="PI", calibre="9"),
                    rows=(LotRow(serial=f"{series}{number:06d}", differs=RowAttributes()),),
                )
                try:
                    self._submit(session, author.issue(WeaponRegister, body))
                except Exception as error:  # noqa: BLE001 - told to the trial's thread, which fails with it
                    self.failures.append(error)
                    return

    def _submit(self, session: Session, entry: bytes) -> None:
        """Submit one record, again and again, until it is acknowledged or the load ends."""
        began_s = time.monotonic()
        while not self._stopping.is_set():
            try:
                done = session.submit([entry], patience_s=PATIENCE_S)[0]
            except (NodeUnreachableError, OverloadError):
                self._stopping.wait(0.1)
                continue
            if done.status != "pending":
                record_id, now_s = done.require_final().id, time.monotonic()
                self.acknowledged.append(Acknowledged(record_id, now_s, now_s - began_s))
                return

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
