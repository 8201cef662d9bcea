"""Commits of one life of a machine, as `node/application.py` does them: blocks that wait share a transaction.

Which blocks, the production node's own function decides. A crash in the middle leaves all of them or none.
"""

from collections import deque
from typing import TYPE_CHECKING

from ledger.consensus.effects import Commit
from ledger.consensus.inputs import Committed
from ledger.consensus.parameters import Parameters
from node.grouping import may_grow, take_group
from tests.simulator.application import Prepared
from tests.simulator.ports import Store

if TYPE_CHECKING:
    from tests.simulator.machine import Machine


class Commits:
    """The queue of commits, and the transaction under way."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._waiting: deque[Commit] = deque()
        self._under_way = False
        self._checking = 0
        self._expected_height = 0
        self.writing: tuple[Prepared, ...] = ()
        """The blocks whose transaction is being prepared or written: a crash leaves it in doubt."""

    def expect(self, height: int) -> None:
        """Blocks up to this height were fetched: lower ones may wait for those after them."""
        self._expected_height = height

    def check_began(self) -> None:
        """A block is given to be executed."""
        self._checking += 1

    def check_ended(self) -> None:
        """Its answer has been heard."""
        self._checking -= 1
        self.look()

    def ask(self, effect: Commit) -> None:
        """Commit a block after those asked for before it."""
        self._waiting.append(effect)
        self._machine.answer(self.look)

    def look(self) -> None:
        """Begin the next transaction, if there is one and none is under way."""
        machine = self._machine
        if self._under_way or not self._waiting or machine.has_failed:
            return
        if may_grow(self._waiting, checking=self._checking, expected_height=self._expected_height):
            machine.count("commits that waited for more blocks")
            return
        self._under_way = True
        group = take_group(self._waiting, machine.application.is_closing)
        machine.worker.call(lambda: self._prepare(group), slowest_ms=machine.world.plan.execute_ms)

    def _prepare(self, group: list[Commit]) -> None:
        machine, newest = self._machine, group[-1]
        self.writing = tuple(machine.application.prepare(effect, newest=effect is newest) for effect in group)

        def write() -> None:
            stores: tuple[Store, ...] = ("block", "group") if len(self.writing) > 1 else ("block",)
            if any(machine.meets_fault(store, lambda: machine.disk.commit(*self.writing)) for store in stores):
                return
            machine.disk.commit(*self.writing)
            group, self.writing = self.writing, ()
            for prepared in group:
                machine.tell_committed(prepared)
            machine.count(f"{'group' if len(group) > 1 else 'single'} commits")
            machine.worker.call(lambda: self._advance(group), slowest_ms=1)

        machine.world.after(machine.world.rng.randint(1, 2 * machine.world.plan.sync_ms), machine.alive(write))

    def _advance(self, group: tuple[Prepared, ...]) -> None:
        machine = self._machine
        told = [(prepared, machine.application.advance(prepared)) for prepared in group]
        machine.height = group[-1].commit.floor.height
        machine.network.committed(group[-1].commit.floor)

        def committed() -> None:
            self._under_way = False
            for prepared, parameters in told:
                self._tell(prepared, parameters)
            self.look()

        machine.answer(committed)

    def _tell(self, prepared: Prepared, parameters: Parameters | None) -> None:
        if parameters is not None:
            self._machine.count("times changed")
        floor, pending = prepared.commit.floor, self._machine.application.pending
        self._machine.feed(
            lambda now, clock: Committed(
                now_ms=now,
                clock_ms=clock,
                height=floor.height,
                digest=floor.digest,
                validators=prepared.validators,
                parameters=parameters,
                pending=pending,
            )
        )
        self._machine.tell_pending()
