"""Checking a node's three databases, and mending them (`tracemark fsck`).

Mending writes a new file beside the old one, keeps the old one, and puts the new one in its place in one step: votes first,
so that whatever the ledger loses is remembered as settled before it is lost. The data directory's lock is held meanwhile.
"""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ledger.consensus.messages import Certificate
from ledger.errors import ConfigurationError, StoreError
from node.integrity.agency import SoundAgency, check_agency
from node.integrity.ledger import DAMAGE, LedgerCheck, Subject, check_ledger
from node.integrity.report import STRUCTURE_IS_HURT, Findings, Progress, Store
from node.integrity.votes import SoundVotes, VotesCheck, records_to_keep
from node.storage import AgencyStore, Database, VoteStore, lock_folder
from node.storage.header import header_faults, mend_header
from node.storage.inspection import snapshot, structure_faults
from node.storage.lock import sole_user
from node.storage.replacing import copy_aside, put_in_place, write_rows
from node.storage.schema import require_current
from node.storage.tables import QUERIES, TOKENS

SCRATCH: Final = "fsck"
"""The folder, in the data directory, of the second ledger and of new files."""
_STORES: Final[tuple[Store, ...]] = ("ledger", "votes", "agency")


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `kept`: the folder with the old files. `cut_to`: the height to which the log was cut, if it was."""

    stores: tuple[Store, ...] = ()
    kept: Path | None = None
    cut_to: int | None = None
    votes_suspect: bool = False
    left: tuple[str, ...] = ()
    """Problems that nothing here mends."""


class Fsck:
    """One check of a data directory, and its mending. A context manager: a check that is interrupted goes on next time."""

    def __init__(self, subject: Subject, data_dir: Path, *, repair: bool, progress: Progress) -> None:
        """Takes the directory's lock if it is to be mended.

        Raises:
            ConfigurationError: there is no such directory; `data_dir_in_use`, `check_running`.
            StoreError: the second ledger's folder could not be made.
        """
        if not (data_dir / "ledger.db").exists():
            raise ConfigurationError(
                "there is no ledger to check",
                code="missing_file",
                expected=f"{data_dir / 'ledger.db'}",
                actual="nothing",
            )
        self.findings = Findings()
        self._subject = subject
        self._data_dir = data_dir
        self._progress = progress
        self._closing = ExitStack()
        self._finished = False
        self._repair = repair
        self._kept: Path | None = None
        self._copied: set[Store] = set()
        if repair:
            self._closing.callback(lock_folder(data_dir).release)
        try:
            self._closing.enter_context(sole_user(subject.scratch))
        except BlockingIOError as error:
            self._closing.close()
            raise ConfigurationError(
                f"another check of {data_dir} is running",
                code="check_running",
                expected="one at a time: it and a second one would write the same second ledger",
                help="Wait for it, or end it.",
            ) from error
        except OSError as error:
            self._closing.close()
            raise StoreError(f"{subject.scratch} cannot be made", actual=error.strerror) from error
        self._databases = {name: Database(data_dir / f"{name}.db") for name in _STORES}
        self._ledger: LedgerCheck | None = None
        self._votes = SoundVotes(records=[], cosignatures=[], closings=[])
        self._agency = SoundAgency(tokens=[], queries=[])

    def __enter__(self) -> "Fsck":
        return self

    def __exit__(self, *_: object) -> None:
        if self._ledger is not None:
            self._ledger.rebuild.close(keep=not self._finished)
        for database in self._databases.values():
            database.close()
        with suppress(OSError):  # there is something in it, to go on with
            self._subject.scratch.rmdir()
        self._closing.close()

    @property
    def ledger(self) -> LedgerCheck:
        """What the check of the ledger gave. Requires `check`."""
        assert self._ledger is not None
        return self._ledger

    def check(self) -> Findings:
        """Check all three databases.

        Raises:
            ConfigurationError: `older_schema`, `newer_schema`.
            StoreError: the second ledger, or a mended header, could not be written; or a database not be read, for a reason
                that is no damage.
        """
        self._check_headers()
        for name, database in self._databases.items():
            if database.path.exists():
                with suppress(StoreError):  # an unreadable one is named below
                    require_current(database, name)
        self._ledger = check_ledger(self._databases["ledger"], self._subject, self.findings, self._progress)
        self._check_votes(self._ledger)
        self._check_agency()
        self._finished = True
        return self.findings

    def _check_headers(self) -> None:
        """Through a hurt header SQLite sees no sound page; what belongs there is known, so it is mended first."""
        faults = {name: header_faults(database.path) for name, database in self._databases.items()}
        hurt = [name for name in _STORES if faults[name]]
        for name in hurt:
            self.findings.add_faults(name, "the file's header is hurt", faults[name], mend="rebuild")
        if hurt and self._repair:
            self._keep(hurt)
            for name in hurt:
                mend_header(self._databases[name].path)

    def _keep(self, stores: Iterable[Store]) -> Path:
        """Copy these databases, as they stand, into the folder of the damaged ones; those that are there stay."""
        is_first = self._kept is None
        self._kept = self._kept or self._data_dir / f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        copy_aside(self._data_dir, self._kept, [name for name in stores if name not in self._copied], is_new=is_first)
        self._copied.update(stores)
        return self._kept

    def _check_votes(self, ledger: LedgerCheck) -> None:
        check = VotesCheck(self._subject, ledger, self.findings)
        self._votes = check.sound
        path = self._databases["votes"].path
        try:
            if not path.exists():
                raise StoreError(f"there is no {path}", code="missing_file")
            faults = structure_faults(self._databases["votes"])
            self.findings.add_faults("votes", STRUCTURE_IS_HURT, faults, mend="suspect")
            self._votes.suspect = self._votes.suspect or bool(faults)
            with snapshot(self._databases["votes"]) as connection:
                check.check(connection)
        except StoreError as error:
            _require_damage(error)
            self.findings.add("votes", "", "", f"the file cannot be read: {error}", mend="suspect")
            self._votes.suspect = True
        self._progress("votes", 1, 1)

    def _check_agency(self) -> None:
        try:
            if not self._databases["agency"].path.exists():
                raise StoreError(f"there is no {self._databases['agency'].path}", code="missing_file")
            faults = structure_faults(self._databases["agency"])
            self.findings.add_faults("agency", STRUCTURE_IS_HURT, faults, mend="rebuild")
            with snapshot(self._databases["agency"]) as connection:
                check_agency(connection, self.findings, self._agency)
        except StoreError as error:
            _require_damage(error)
            text = f"the file cannot be read: {error.message} [{error.code}]; tokens and query log are in backups only"
            self.findings.add("agency", "", "", text, mend="restore")
        self._progress("agency", 1, 1)

    def mend(self) -> Mended:
        """Mend what `check` found. Requires `repair`; after it this object is only to be left.

        Raises:
            StoreError: a new file could not be written; the old ones stand where they stood.
        """
        findings, ledger = self.findings, self.ledger
        left = [str(problem) for problem in findings.problems if problem.mend == "restore"]
        stores = [name for name in _STORES if findings.of(name)]
        cut_to = None if ledger.whole else ledger.rebuild.tip.height
        if cut_to is not None and len(ledger.epochs.documents[-1].members) == 1:
            stores.remove("ledger")
            left.append(
                f"ledger.db: the log is hurt above height {cut_to}, and no other agency has it: restore it from a backup"
            )
            cut_to = None
        if not stores:
            return Mended(kept=self._kept, left=tuple(left))
        if cut_to is not None and "votes" not in stores:
            stores.append("votes")  # what the ledger loses is remembered there as settled
        kept = self._keep(stores)
        if "votes" in stores:
            self._write_votes()
        if "ledger" in stores:
            ledger.rebuild.database.close()
            self._put_in_place("ledger", ledger.rebuild.database.path)
        if "agency" in stores:
            self._write_agency()
        return Mended(
            stores=tuple(name for name in _STORES if name in stores),
            kept=kept,
            cut_to=cut_to,
            votes_suspect=self._votes.suspect,
            left=tuple(left),
        )

    def _write_votes(self) -> None:
        path = self._subject.scratch / "votes.db"
        store = VoteStore(_fresh(path))
        newest = self._newest_finalization()
        records = list(records_to_keep(self._votes, newest))
        sound = self._votes
        store.append(records, cosignatures=sound.cosignatures, closings=sound.closings)
        sound.records = records
        store.raise_signing_floor(*max(sound.settled(), self.ledger.rebuild.floor))
        store.set_votes_suspect(sound.suspect)
        store.close()
        self._put_in_place("votes", path)

    def _newest_finalization(self) -> Certificate | None:
        with self.ledger.rebuild.store.read() as reader:
            stored = reader.block(self.ledger.rebuild.tip.height)
        return None if stored is None else stored.certificate

    def _write_agency(self) -> None:
        path = self._subject.scratch / "agency.db"
        database = _fresh(path)
        AgencyStore(database)
        write_rows(database, {TOKENS: self._agency.tokens, QUERIES: self._agency.queries})
        database.close()
        self._put_in_place("agency", path)

    def _put_in_place(self, name: Store, new: Path) -> None:
        self._databases[name].close()
        put_in_place(new, self._data_dir / f"{name}.db")


def _require_damage(error: StoreError) -> None:
    """Raise what says nothing of a file, such as that it is locked: it would be replaced by one with less in it."""
    if error.code not in DAMAGE and error.code != "missing_file":
        raise error


def _fresh(path: Path) -> Database:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    return Database(path)
