"""A client that never rests: records made final one after the other, in a thread of its own."""

import threading
from typing import Final

from client.author import Author
from client.session import Session
from ledger.records import WeaponRegister
from ledger.records.items import Attributes, LotRow, RowAttributes, WeaponRegisterBody

MAKE: Final = "TST"
"""The make that the maker of the tests is enrolled for."""


class Load:
    """A maker that registers one weapon after another, at any node that answers, and remembers what was acknowledged."""

    def __init__(self, session: Session, author: Author, *, series: str) -> None:
        self._series = series
        self._session = session
        self._author = author
        self._stopping = threading.Event()
        self._advanced = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: list[str] = []
        self.failures: list[Exception] = []

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            body = WeaponRegisterBody(
                defaults=Attributes(make=MAKE, type="PI", calibre="9"),
                rows=(LotRow(serial=f"{self._series}{number:06d}", differs=RowAttributes()),),
            )
            number += 1
            try:
                done = self._session.submit([self._author.issue(WeaponRegister, body)])[0].require_final()
            except Exception as error:  # noqa: BLE001 - told to the test's thread, which fails with it
                self.failures.append(error)
                break
            with self._advanced:
                self.acknowledged.append(done.id)
                self._advanced.notify_all()
        with self._advanced:
            self._advanced.notify_all()

    def wait_more(self, count: int, *, timeout_s: float) -> None:
        """Wait until so many more records are acknowledged."""
        with self._advanced:
            target = len(self.acknowledged) + count
            reached = self._advanced.wait_for(
                lambda: len(self.acknowledged) >= target or self.failures, timeout=timeout_s
            )
        assert reached and not self.failures, f"the ledger stood still: {self.failures}"

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()
