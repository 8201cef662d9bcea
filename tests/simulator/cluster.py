"""A whole run: machines, liars, faults by the plan, then healing and the demands of liveness (P10, P11)."""

import hashlib
import random
from collections.abc import Callable
from typing import Final

from ledger.consensus.effects import Floor
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Message
from ledger.consensus.parameters import Parameters
from ledger.consensus.replica import Replica
from ledger.signing import SigningKey
from tests.simulator.actors import ACTORS, Actor, Liar
from tests.simulator.application import CLOSING, MAX_RECORDS
from tests.simulator.machine import Machine
from tests.simulator.oracle import Oracle, ViolationError
from tests.simulator.plan import Plan
from tests.simulator.world import World

CHAIN: Final = hashlib.sha256(b"simulated ledger").digest()
GENESIS: Final = Floor(
    epoch=0,
    view=0,
    height=0,
    digest=hashlib.sha256(b"simulated genesis block").digest(),
    seal_hash=hashlib.sha256(b"simulated genesis seal").digest(),
    time_ms=1_600_000_000_000,
)
PARAMETERS: Final = Parameters(
    lead_timeout_ms=800,
    advance_timeout_ms=2_000,
    timeout_cap_ms=6_000,
    retry_ms=700,
    standstill_ms=1_500,
    status_ms=1_500,
    fetch_ms=300,
    heartbeat_s=3_600,
)
LIVENESS_MS: Final = 120_000
QUIET_MS: Final = 15_000
QUIET_WINDOWS: Final = 6
MAX_VIEWS_TO_FINAL: Final = 10
"""L1's bound on views from healing to the first block's finality: f liars' turns, and views that were under way."""
MAX_VIEWS_PER_BLOCK: Final = 2
"""And for each further block that the pending records need: liars lead less than half of the views."""


class Cluster:
    """The machines of one run, their network, and the course of events."""

    def __init__(self, plan: Plan, *, transcript: list[str] | None = None) -> None:
        self.plan = plan
        self.world = World(plan, transcript=transcript)
        keys = [_key(number) for number in range(plan.size + plan.observers)]
        members = tuple(key.public for key in keys[: plan.size])
        self.epochs = {0: Epoch(number=0, validators=members, opening_digest=CHAIN)}
        self.oracle = Oracle(CHAIN, GENESIS, members)
        self.liars = dict(plan.liars)
        self.actors: dict[int, Actor] = {}
        self.machines = [self._machine(number, key) for number, key in enumerate(keys)]
        self.doubles = [self._machine(number, keys[number]) for number, actor in self.liars.items() if actor == "twins"]
        self.honest = [machine for machine in self.machines if machine.number not in self.liars]
        for machine in self.machines + self.doubles:
            if machine.number in self.liars:
                name = self.liars[machine.number]
                rng = random.Random(f"actor {plan.seed} {machine.number}")
                self.actors[id(machine)] = ACTORS[name](Liar(machine, rng))
        self.records: list[bytes] = []

    def run(self) -> None:
        """The whole run.

        Raises:
            ViolationError: something of P10 does not hold.
        """
        for machine in self.machines + self.doubles:
            machine.start()
        self._schedule_faults()
        self.world.run_until(self.plan.safety_ms)
        self._heal()
        self._demand_liveness()
        self._demand_quiet()

    # --- the machines' network -----------------------------------------------------------------------------------------

    def send(self, origin: Machine, to: int, message: Message) -> None:
        """To one peer, by its index in the sender's epoch, or its number if it is no validator there."""
        assert origin.replica is not None
        if to < 0:
            self._carry(origin, [self.machines[-1 - to]], message)
            return
        public = origin.replica.epoch.validators[to]
        self._carry(origin, [m for m in self.machines + self.doubles if m.key.public == public], message)

    def broadcast(self, origin: Machine, message: Message) -> None:
        """To everybody else."""
        self._carry(origin, [m for m in self.machines + self.doubles if m.number != origin.number], message)

    def gossip(self, origin: Machine, records: tuple[bytes, ...]) -> None:
        """Records to everybody else (P6.1)."""
        for target in self.machines:
            if target.number != origin.number:
                self.world.carry(origin.number, target.number, _admit(target, records))

    def peers_up(self, origin: Machine) -> list[Machine]:
        """Machines that can be reached both ways."""
        cut, number = self.world.cut, origin.number
        return [
            peer
            for peer in self.machines
            if peer.number != number
            and peer.replica is not None
            and (number, peer.number) not in cut
            and (peer.number, number) not in cut
        ]

    def index_for(self, receiver: Machine, sender: Machine) -> int:
        """How the receiver's replica calls the sender."""
        assert receiver.replica is not None
        index = receiver.replica.epoch.index_of(sender.key.public)
        return -1 - sender.number if index is None else index

    def epoch_at(self, floor: Floor) -> Epoch:
        """The epoch of a floor."""
        return self.epochs[floor.epoch]

    def next_epoch(self, closing: tuple[int, ...], floor: Floor) -> tuple[bytes, ...]:
        """The validators that a closing block names; the epoch is remembered for restarts."""
        keys = tuple(self.machines[number].key.public for number in closing)
        number = floor.epoch + 1
        self.epochs[number] = Epoch(number=number, validators=keys, opening_digest=floor.digest)
        return keys

    def _carry(self, origin: Machine, targets: list[Machine], message: Message) -> None:
        actor = self.actors.get(id(origin))
        outgoing = ((target, message) for target in targets) if actor is None else actor.outgoing(message, targets)
        for target, sent in outgoing:
            if actor is not None and sent is not message:
                self.world.exercised[f"lies of {self.liars[origin.number]}"] += 1
            self.world.carry(origin.number, target.number, self._delivery(origin, target, sent))

    def _delivery(self, origin: Machine, target: Machine, message: Message) -> Callable[[], None]:
        def deliver() -> None:
            actor = self.actors.get(id(target))
            if actor is not None:
                actor.incoming(message)
            target.receive(origin, message)

        return deliver

    # --- the course of events ------------------------------------------------------------------------------------------

    def _machine(self, number: int, key: SigningKey) -> Machine:
        honest = number not in self.liars
        if honest:
            self.oracle.watch(key.public)
        return Machine(
            number,
            key,
            world=self.world,
            network=self,
            oracle=self.oracle if honest else None,
            chain=CHAIN,
            genesis=GENESIS,
            parameters=PARAMETERS,
            skew_ms=self.plan.skews_ms[number],
            honest=honest,
            prepare=None if honest else _unstoppable,
        )

    def _schedule_faults(self) -> None:
        plan, world, rng = self.plan, self.world, self.world.rng
        for number in range(plan.records):
            world.at(rng.randrange(plan.safety_ms), self._submission(b"record %d" % number))
        for _ in range(plan.epoch_changes):
            world.at(rng.randrange(plan.safety_ms), self._submission(self._closing_record(rng)))
        for _ in range(plan.partitions):
            start = rng.randrange(plan.safety_ms)
            world.at(start, self._cut)
            world.at(start + rng.randint(1_000, 8_000), self._mend)
        for _ in range(plan.crashes):
            victim = rng.choice(self.machines)
            at_ms = rng.randrange(plan.safety_ms)
            world.at(at_ms, _crash(victim))
            world.at(at_ms + rng.choice((rng.randint(1, 300), rng.randint(10, 6_000))), _start(victim))
        if plan.sleeper:
            victim = rng.choice(self.honest)
            world.at(rng.randrange(1 + plan.safety_ms // 4), _crash(victim))
            world.exercised["slept long"] += 1
        if plan.all_restart:
            self._schedule_restart_of_all()

    def _schedule_restart_of_all(self) -> None:
        world, rng = self.world, self.world.rng
        at_ms = rng.randrange(self.plan.safety_ms)
        if self.plan.all_restart_apart:
            numbers = [machine.number for machine in self.machines]
            world.at(at_ms, lambda: world.cut.update((a, b) for a in numbers for b in numbers if a != b))
            at_ms += rng.randint(2_000, 9_000)
        for machine in self.machines:
            world.at(at_ms, _crash(machine))
            world.at(at_ms + rng.randint(1, 500), _start(machine))
        world.at(at_ms, self._mend)
        world.exercised["all restarted"] += 1

    def _closing_record(self, rng: random.Random) -> bytes:
        """Validators such that no more than f of them lie."""
        numbers = list(range(len(self.machines)))
        if rng.random() < 0.5 and len(numbers) > 4:
            numbers.remove(rng.choice([m.number for m in self.honest]))
        if len([n for n in numbers if n in self.liars]) > (len(numbers) - 1) // 3:
            numbers = list(range(len(self.machines)))
        return CLOSING + b",".join(b"%d" % number for number in numbers)

    def _submission(self, record: bytes) -> Callable[[], None]:
        def submit() -> None:
            self.records.append(record)
            up = [machine for machine in self.honest if machine.replica is not None]
            if up:
                self.world.rng.choice(up).admit((record,), relay=True)

        return submit

    def _cut(self) -> None:
        rng, world = self.world.rng, self.world
        numbers = [machine.number for machine in self.machines]
        side = set(rng.sample(numbers, rng.randint(1, max(1, len(numbers) - 1))))
        for a in numbers:
            for b in numbers:
                if a in side and b not in side:
                    world.cut.add((a, b))
                    if not self.plan.one_way:
                        world.cut.add((b, a))
        world.exercised["one-way cuts" if self.plan.one_way else "partitions"] += 1

    def _mend(self) -> None:
        self.world.cut.clear()

    def _heal(self) -> None:
        """From now on the network is whole and every honest machine runs (L1)."""
        world = self.world
        world.note(lambda: "--- healed ---")
        world.healed = True
        world.cut.clear()
        for machine in self.machines:
            if machine.replica is None:
                machine.start()
        self._submission(b"after healing")()
        for record in self.records:
            world.rng.choice(self.honest).admit((record,), relay=True)

    def _demand_liveness(self) -> None:
        """L1: every record final at every honest machine, within a bounded time and number of views."""
        started = max(_position(machine) for machine in self.honest)
        wanted = set(self.records)
        undone = max(len(wanted - machine.application.included) for machine in self.honest)
        bound = MAX_VIEWS_TO_FINAL + MAX_VIEWS_PER_BLOCK * (undone // MAX_RECORDS)

        def final() -> bool:
            return all(wanted <= machine.application.included for machine in self.honest)

        if not self.world.run_until(self.world.now_ms + LIVENESS_MS, final):
            where = {m.number: (_position(m), m.disk.floor.height, len(m.application.pending)) for m in self.honest}
            raise ViolationError(
                f"L1 records are not final after {LIVENESS_MS} ms; (epoch, view), height, pending: {where}"
            )
        ended = max(_position(machine) for machine in self.honest)
        views = ended[1] - started[1] if ended[0] == started[0] else ended[1]
        self.world.exercised["views to finality"] += views
        if views > bound:
            raise ViolationError(f"L1 it took {views} views from healing to finality of {undone} records")

    def _demand_quiet(self) -> None:
        """L2: with nothing pending, blocks stop. All honest machines are then at one height.

        Not at once: what was voted for above the last final block keeps them busy until a block above it is final
        (P6.2), and with silent leaders and grown timers that takes some views more.
        """
        heights = self._heights()
        for _ in range(QUIET_WINDOWS):
            before = heights
            self.world.run_until(self.world.now_ms + QUIET_MS)
            heights = self._heights()
            if len(heights) == 1 and heights == before:
                return
        raise ViolationError(f"L2 heights {sorted(before)} became {sorted(heights)} though nothing is pending")

    def _heights(self) -> set[int]:
        return {machine.disk.floor.height for machine in self.honest}


def _key(number: int) -> SigningKey:
    return SigningKey(hashlib.sha256(b"machine %d" % number).digest())


def _position(machine: Machine) -> tuple[int, int]:
    assert machine.replica is not None
    status = machine.replica.status()
    return status.epoch, status.view


def _unstoppable(replica: Replica) -> None:
    """A liar's replica goes on when shown its own lies."""
    replica._state.guard.stop = lambda reason: None  # type: ignore[method-assign]


def _admit(machine: Machine, records: tuple[bytes, ...]) -> Callable[[], None]:
    return lambda: machine.admit(records, relay=False)


def _crash(machine: Machine) -> Callable[[], None]:
    def crash() -> None:
        if machine.replica is not None and not machine.world.healed:
            machine.world.exercised["crashes"] += 1
            machine.crash()

    return crash


def _start(machine: Machine) -> Callable[[], None]:
    return lambda: machine.start() if machine.replica is None else None
