"""Every statement that a node writes with, seen from underneath: counted, photographed, or made to fail.

The hook lies below SQLAlchemy, in the driver's own connections, so that a statement joins by being executed. A *write point*
is a statement within a write transaction (or its BEGIN or COMMIT), named by its database, its verb and its table.
"""

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

Fault = Literal["failed", "failed but persisted"]
Name = tuple[str, str]
"""(database, verb and table) of a write point."""

ERRORS: Final = {
    "SQLITE_FULL": ("database or disk is full", "disk_full"),
    "SQLITE_IOERR_WRITE": ("disk I/O error", "store_failed"),
    "SQLITE_READONLY": ("attempt to write a readonly database", "database_read_only"),
}
"""SQLite's name of an error -> (its text, our code for it)."""
_STATEMENT: Final = re.compile(
    r'(BEGIN IMMEDIATE|COMMIT|ROLLBACK|(?:INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE)\s+"?(\w+)|\w+)'
)


class Point(msgspec.Struct, frozen=True):
    """One statement about to be executed: the how-manieth in all, and its name."""

    number: int
    name: Name


def name_of(path: Path, sql: str) -> Name:
    """The write point's name."""
    found = _STATEMENT.match(sql.strip())
    assert found is not None, sql
    return path.stem, re.sub(r"\s+", " ", found.group(1)).replace('"', "")


class Plan:
    """What is done at write points. One statement at a time, over all connections, so that files stand still meanwhile."""

    def __init__(
        self,
        folder: Path,
        *,
        before: Callable[[Point], None] | None = None,
        after: Callable[[Point], None] | None = None,
    ) -> None:
        """Watches the databases in `folder`."""
        self.folder = folder
        self.names: list[Name] = []
        self._before = before
        self._after = after
        self._lock = threading.RLock()
        self._target: tuple[Name, Fault, str] | None = None
        self._failing: str | None = None
        self.failures = 0

    def fail_at(self, name: Name, fault: Fault, error: str) -> None:
        """From now on the next point of this name fails, and then every statement of its database but ROLLBACK: a disk does
        not come back by itself."""
        with self._lock:
            self._target, self._failing = (name, fault, error), None

    def heal(self) -> None:
        """Nothing fails any more."""
        with self._lock:
            self._target = self._failing = None

    def run(self, path: Path, sql: str, execute: Callable[[], Any]) -> Any:
        """Execute one statement of a write transaction as planned."""
        with self._lock:
            name = name_of(path, sql)
            if self._failing == path.stem and name[1] != "ROLLBACK":
                assert self._target is not None
                raise _error(self._target[2])
            point = Point(len(self.names), name)
            self.names.append(name)
            if self._before is not None:
                self._before(point)
            if self._target is not None and name == self._target[0] and self._failing is None:
                self._failing = path.stem
                self.failures += 1
                if self._target[1] == "failed but persisted":
                    execute()
                raise _error(self._target[2])
            result = execute()
            if self._after is not None:
                self._after(point)
            return result


def _error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(ERRORS[name][0])
    error.sqlite_errorname = name
    return error


class _Connection(sqlite3.Connection):
    """A connection whose write transactions go through the plan."""

    def __init__(self, database: str, *args: Any, **named: Any) -> None:
        super().__init__(database, *args, **named)
        self.path = Path(database)
        self.is_writing = False

    def cursor(self, *args: Any, **named: Any) -> Any:
        return super().cursor(_Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor().execute(sql, parameters)


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self._planned(sql, partial(super().execute, sql, parameters))

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return self._planned(sql, partial(super().executemany, sql, parameters))

    def _planned(self, sql: str, execute: Callable[[], Any]) -> Any:
        connection, plan = self.connection, _plan
        assert isinstance(connection, _Connection)
        begins = sql.startswith("BEGIN IMMEDIATE")
        if plan is None or not (begins or connection.is_writing) or connection.path.parent != plan.folder:
            return execute()
        try:
            return plan.run(connection.path, sql, execute)
        finally:
            connection.is_writing = connection.in_transaction


_plan: Plan | None = None


@contextmanager
def planned(plan: Plan) -> Iterator[Plan]:
    """Databases opened within go through the plan."""
    global _plan  # noqa: PLW0603 - one plan at a time, and connections are made far below the test
    assert _plan is None

    def give_factory(_dialect: Any, _record: Any, _arguments: Any, named: dict[str, Any]) -> None:
        named["factory"] = _Connection

    sa.event.listen(sa.engine.Engine, "do_connect", give_factory)
    _plan = plan
    try:
        yield plan
    finally:
        _plan = None
        sa.event.remove(sa.engine.Engine, "do_connect", give_factory)
