"""The two kinds of ledger that a run can be about: keys, epochs, and how a machine of it is put together."""

import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Protocol

from ledger.consensus.effects import Floor
from ledger.consensus.epoch import Epoch
from ledger.signing import SigningKey
from tests.simulator.engine import Engine
from tests.simulator.genesis import genesis_of, outsider_names, party_names
from tests.simulator.governance import decided, order_of
from tests.simulator.plan import Plan
from tests.simulator.ports import MachineClock, Parts
from tests.simulator.sqlite_disk import SqliteDisk, genesis_floor
from tests.simulator.toy import BAD, CLOSING, ToyApplication, ToyDisk
from tests.simulator.workload import Story, ids_of, record_ids, stories_of, unlawful_records
from tests.world import key_named, node_key


class Ledger(Protocol):
    """What the machines of one run have in common."""

    chain: bytes
    genesis: Floor
    keys: list[tuple[SigningKey, ...]]
    """The consensus keys of all machines, observers last: of each the first one, and those it changes to."""
    changes: tuple[str, ...]
    """What kinds of decisions there are."""
    unlawful: tuple[bytes, ...]
    """Records that no block may hold."""

    @property
    def members(self) -> tuple[bytes, ...]:
        """The validators of the first epoch."""
        ...

    def parts(self, clock: MachineClock) -> Parts:
        """A machine's disk and application."""
        ...

    def stories(self, rng: random.Random) -> list[Story]:
        """What clients want of the run."""
        ...

    def decisions(self) -> tuple[Story, ...]:
        """What the validators decide, one after the other."""
        ...


class ProductionLedger:
    """The production node on real stores, with signed records."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._disks = 1
        self._document = genesis_of(plan.size)
        self.chain = self._document.chain_id
        parties = party_names(plan.size) + outsider_names(plan.size, plan.observers)
        self._changes = order_of(plan.size, parties[plan.size :], plan)
        self.changes: tuple[str, ...] = tuple(change.kind for change in self._changes)
        rotated = Counter(change.party for change in self._changes if change.kind == "rotate")
        self.keys = [tuple(node_key(party, "consensus", at) for at in range(1 + rotated[party])) for party in parties]
        self.unlawful = unlawful_records(plan.size)
        self.genesis = genesis_floor(self._document)

    @property
    def members(self) -> tuple[bytes, ...]:
        return tuple(first.public for first, *_ in self.keys[: self._plan.size])

    def parts(self, clock: MachineClock) -> Parts:
        disk, plan = self._disk(), self._plan
        ids = {**record_ids(plan.size), **ids_of(self.decisions())}
        return Parts(
            disk=disk,
            open=lambda: Engine(self._document, disk, clock, block_records=plan.block_records, ids=ids),
            epoch_of=disk.epoch_of,
            parallel=False,
        )

    def stories(self, rng: random.Random) -> list[Story]:
        return stories_of(self._plan.size, self._plan.stories, rng)

    def decisions(self) -> tuple[Story, ...]:
        plan = self._plan
        dishonest = {number for number, _ in plan.liars}
        voters = tuple(name for at, name in enumerate(party_names(plan.size)) if at not in dishonest)
        return decided(plan.size, self._changes, voters)

    def _disk(self) -> SqliteDisk:
        self._disks += 1
        rng = random.Random(f"disk {self._plan.seed} {self._disks}")
        return SqliteDisk(self._folder / f"disk {self._disks}", self._document, rng)


class ToyLedger:
    """The toy application, whose records can change the validators."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._disks = 0
        self.chain = hashlib.sha256(b"simulated ledger").digest()
        self.genesis = Floor(
            epoch=0,
            view=0,
            height=0,
            digest=hashlib.sha256(b"simulated genesis block").digest(),
            seal_hash=hashlib.sha256(b"simulated genesis seal").digest(),
            time_ms=1_600_000_000_000,
        )
        self.keys: list[tuple[SigningKey, ...]] = [
            (key_named(f"machine {number}"),) for number in range(plan.size + plan.observers)
        ]
        self._epochs = {0: Epoch(number=0, validators=self.members, opening_digest=self.chain)}
        self.changes: tuple[str, ...] = ()
        self.unlawful: tuple[bytes, ...] = (BAD + b"record",)

    @property
    def members(self) -> tuple[bytes, ...]:
        return tuple(key.public for key, *_ in self.keys[: self._plan.size])

    def parts(self, clock: MachineClock) -> Parts:
        self._disks += 1
        disk = ToyDisk(self.genesis, random.Random(f"disk {self._plan.seed} {self._disks}"))
        return Parts(
            disk=disk,
            open=lambda: ToyApplication(self.chain, self.genesis, disk, self._next_epoch),
            epoch_of=lambda floor: self._epochs[floor.epoch],
            parallel=True,
        )

    def stories(self, rng: random.Random) -> list[Story]:
        entries = [b"record %d" % number for number in range(self._plan.stories)]
        entries += [self._closing_record(rng) for _ in range(self._plan.epoch_changes)]
        return [Story(entries=(entry,), must=(entry,)) for entry in dict.fromkeys(entries)]

    def decisions(self) -> tuple[Story, ...]:
        return ()

    def _closing_record(self, rng: random.Random) -> bytes:
        """Validators such that no more than f of them lie."""
        liars = {number for number, _ in self._plan.liars}
        numbers = list(range(len(self.keys)))
        if rng.random() < 0.5 and len(numbers) > 4:
            numbers.remove(rng.choice([number for number in numbers if number not in liars]))
        if len(liars.intersection(numbers)) > (len(numbers) - 1) // 3:
            numbers = list(range(len(self.keys)))
        return CLOSING + b",".join(b"%d" % number for number in numbers)

    def _next_epoch(self, closing: tuple[int, ...], floor: Floor) -> tuple[bytes, ...]:
        keys = tuple(self.keys[number][0].public for number in closing)
        number = floor.epoch + 1
        self._epochs[number] = Epoch(number=number, validators=keys, opening_digest=floor.digest)
        return keys
