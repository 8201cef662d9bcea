"""A whole run: machines, liars, clients, faults by the plan, then healing and the demands of liveness (P10, P11)."""

import random
from functools import partial
from pathlib import Path
from typing import Final

from ledger.consensus.effects import Floor
from ledger.consensus.messages import Message
from ledger.consensus.replica import Replica
from ledger.consensus.safety import Guard
from tests.simulator import faults
from tests.simulator.actor import Actor
from tests.simulator.actors import ACTORS
from tests.simulator.clients import Clients
from tests.simulator.ledgers import Ledger, ProductionLedger, ToyLedger
from tests.simulator.lies import Page
from tests.simulator.links import Links
from tests.simulator.liveness import demand_liveness, demand_quiet
from tests.simulator.machine import Machine
from tests.simulator.oracle import Oracle, ViolationError
from tests.simulator.plan import Plan
from tests.simulator.ports import MachineClock
from tests.simulator.world import World

DOWN_MS: Final = 30_000
"""How long a machine is down after healing: five of the longest views."""
ROTATED_MS: Final = 6_000
"""At most so long after the validators decided on a new key, the machine is restarted with it."""
RESTARTED_EVERY: Final = 4
"""Of so many production runs one ends with a restart of all machines."""


class Cluster:
    """The machines of one run, their network, and the course of events."""

    def __init__(self, plan: Plan, folder: Path, *, transcript: list[str] | None = None) -> None:
        """`folder`: where production nodes keep their files."""
        self.plan = plan
        self.world = World(plan, transcript=transcript)
        self.links = Links(self.world)
        self.ledger: Ledger = ToyLedger(plan) if plan.application == "toy" else ProductionLedger(plan, folder)
        self.oracle = Oracle(self.ledger.chain, self.ledger.genesis, self.ledger.members)
        self.liars = dict(plan.liars)
        self._owners = {
            key.public: (number, generation)
            for number, keys in enumerate(self.ledger.keys)
            for generation, key in enumerate(keys)
        }
        self._is_demanding = False
        """Whether all that is pending must become final just now (L1)."""
        self._needed: Machine | None = None
        """Who once lost its votes, and is needed for the quorum now, or was."""
        self._generations = [0] * len(self.ledger.keys)
        """Of each machine's key, which one the validators decided on last."""
        self.actors: dict[int, Actor] = {}
        self.machines = [self._machine(number) for number in range(plan.size + plan.observers)]
        self.doubles = [self._machine(number) for number, actor in self.liars.items() if actor == "twins"]
        self.honest = [machine for machine in self.machines if machine.honest]
        for machine in self.machines + self.doubles:
            if machine.number in self.liars:
                rng = random.Random(f"actor {plan.seed} {machine.number}")
                actor = ACTORS[self.liars[machine.number]](machine, rng, self.ledger.unlawful)
                self.actors[id(machine)] = actor
        self.clients = Clients(self.ledger.stories(self.world.rng), self.ledger.decisions(), self.world, self.honest)

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
        self._is_demanding = True
        demand_liveness(self.world, self.honest, self.clients)
        self._is_demanding = False
        demand_quiet(self.world, self.honest)
        self.clients.judge()
        if self.plan.application == "production" and self.plan.seed % RESTARTED_EVERY == 0:
            self._restart_each()

    def close(self) -> None:
        """Let go of files."""
        for machine in self.machines + self.doubles:
            machine.disk.close()

    # --- the machines' network -----------------------------------------------------------------------------------------

    def named(self, origin: Machine, number: int) -> list[Machine]:
        """One peer, by its index in the sender's epoch, or its number if it is no validator there."""
        assert origin.replica is not None
        if number < 0:
            return [self.machines[-1 - number]]
        owner, _ = self._owners[origin.replica.epoch.validators[number]]
        return [machine for machine in self.machines + self.doubles if machine.number == owner]

    def send(self, origin: Machine, to: list[Machine], message: Message) -> None:
        """To one peer."""
        self._carry(origin, to, message)

    def broadcast(self, origin: Machine, message: Message) -> None:
        """To everybody else."""
        self._carry(origin, [m for m in self.machines + self.doubles if m.number != origin.number], message)

    def gossip(self, origin: Machine, entries: tuple[bytes, ...], target: Machine | None = None) -> None:
        """Records to one machine, or to everybody else (P6.1)."""
        for machine in self.machines if target is None else [target]:
            if machine.number != origin.number:
                take = partial(machine.take_gossip, origin.number)
                self.links.carry_gossip(origin.number, machine.number, entries, take)

    def fetched(self, peer: Machine, first_height: int, count: int) -> Page:
        """The page of blocks that a peer answers with (P7.2)."""
        return self.links.page(peer.served_blocks(first_height, count), first_height, count, honest=peer.honest)

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
        """How the receiver's replica calls the sender: an agency, whatever key it has by now."""
        assert receiver.replica is not None
        owners = [self._owners[public][0] for public in receiver.replica.epoch.validators]
        return owners.index(sender.number) if sender.number in owners else -1 - sender.number

    def opened(self, validators: tuple[bytes, ...]) -> None:
        """Where these decided on a new key for a machine, its operator brings it, early or late."""
        for public in validators:
            number, generation = self._owners[public]
            if generation > self._generations[number]:
                self._generations[number] = generation
                self.world.exercised["keys rotated"] += 1
                delay_ms = self.world.rng.randint(0, ROTATED_MS)
                self.world.after(delay_ms, lambda number=number, at=generation: self._rotate(number, at))  # type: ignore[misc]

    def committed(self, floor: Floor) -> None:
        """By the plan, once while liveness is demanded: as soon as all others hold a block by which one will trust its votes
        again, the leader of their view goes down. Then the quorum needs that one."""
        if not (self.plan.relied_on and self._is_demanding) or self._needed is not None:
            return
        for machine in self.honest:
            status = None if machine.replica is None else machine.replica.recovery
            if (
                machine.replica is None
                or status is None
                or not status.bar
                or machine.replica.epoch.number != floor.epoch
            ):
                continue
            epoch = machine.replica.epoch
            members = [self.machines[self._owners[public][0]] for public in epoch.validators]
            others = [each for each in members if each is not machine and each.honest and each.replica is not None]
            tolerated = len(members) - 1 - len(others) < (epoch.size - 1) // 3
            if floor.view > status.bar and tolerated and all(each.height >= floor.height for each in others):
                view = max(each.replica.status().view for each in others if each.replica is not None)
                leader = members[epoch.leader(view)]
                self._do_without(leader if leader in others else others[0], machine)
                return

    def _do_without(self, victim: Machine, needed: Machine) -> None:
        self._needed = needed
        self.world.exercised["quorums that needed one whose votes had been lost"] += 1
        self.world.after(0, lambda: faults.end(victim))
        self.world.after(2 * DOWN_MS, lambda: faults.start(victim))

    def trusted(self, machine: Machine) -> None:
        """L1, where the quorum needs this one: what is pending becomes final from now on."""
        if machine is not self._needed:
            return
        height, was_pending = machine.height, machine.application.pending

        def judge() -> None:
            is_pending = machine.replica is not None and machine.application.pending
            if was_pending and is_pending and machine.height == height:
                raise ViolationError(f"L1 nothing was final for {DOWN_MS} ms after lost votes were made up for")

        self.world.after(DOWN_MS, judge)

    def _carry(self, origin: Machine, targets: list[Machine], message: Message) -> None:
        actor = self.actors.get(id(origin))
        if actor is None:
            for target in targets:
                self._transmit(origin, target, message)
            return
        said = 0
        for target, sent in actor.outgoing(message, targets):
            said += sent is message
            if sent is not message:
                self.world.exercised[f"lies of {self.liars[origin.number]}"] += 1
            self._transmit(origin, target, sent)
        if said < len(targets):
            self.world.exercised[f"kept back by {self.liars[origin.number]}"] += len(targets) - said

    def _transmit(self, origin: Machine, target: Machine, message: Message) -> None:
        honest = id(origin) not in self.actors
        take = partial(self._take, origin, target)
        self.links.carry(origin.number, target.number, message, take, honest=honest)

    def _take(self, origin: Machine, target: Machine, message: Message) -> None:
        actor = self.actors.get(id(target))
        if actor is not None:
            actor.incoming(message)
        target.receive(origin, message)

    def _rotate(self, number: int, generation: int) -> None:
        for machine in self.machines + self.doubles:
            if machine.number == number and generation == self._generations[number]:
                self.world.note(lambda: f"--- {number} gets its key {generation} ---")
                known = machine.replica is not None and machine.replica.epoch.index_of(machine.key.public) is None
                self.world.exercised[f"new key {'after' if known else 'before'} its epoch opened there"] += 1
                machine.take_key(self.ledger.keys[number][generation])

    # --- the course of events ------------------------------------------------------------------------------------------

    def _machine(self, number: int) -> Machine:
        key = self.ledger.keys[number][0]
        honest = number not in self.liars
        if honest:
            self.oracle.watch(number, key.public)
        clock = MachineClock(self.world, self.plan.skews_ms[number])
        return Machine(
            number,
            key,
            world=self.world,
            network=self,
            oracle=self.oracle if honest else None,
            chain=self.ledger.chain,
            clock=clock,
            parts=self.ledger.parts(clock),
            prepare=None if honest else _unstoppable,
        )

    def _schedule_faults(self) -> None:
        plan, rng = self.plan, self.world.rng
        self.clients.schedule(plan.safety_ms)
        faults.Partitions(plan.partitions, plan.one_way).schedule(self, rng)
        faults.Crashes(plan.crashes).schedule(self, rng)
        faults.WriteFaults(plan.write_faults).schedule(self, rng)
        faults.ClockSteps(plan.clock_steps).schedule(self, rng)
        faults.Amnesia(plan.amnesia).schedule(self, rng)
        forgetful = tuple(number for number, actor in plan.liars if actor == "amnesiac")
        faults.ForgetfulLiars(forgetful).schedule(self, rng)
        if plan.sleeper:
            faults.Sleep().schedule(self, rng)
        if plan.all_restart:
            faults.RestartOfAll(plan.all_restart_apart).schedule(self, rng)
        faults.WriteFaults(plan.group_faults, ("group",)).schedule(self, rng)

    def _heal(self) -> None:
        """From now on the network is whole and every machine runs (L1)."""
        world = self.world
        world.note(lambda: "--- healed ---")
        world.healed = True
        world.mend()
        for machine in self.machines:
            machine.write_faults.clear()
            faults.start(machine)

    def _restart_each(self) -> None:
        """What each honest disk holds in the end is what was committed: state tree, floor, votes."""
        for machine in self.honest:
            if machine.replica is not None:
                machine.crash()
            machine.start()


class _ReadyGuard(Guard):
    """Signs what a guard signs, and is never silent."""

    @property
    def silent(self) -> bool:
        return False


def _unstoppable(replica: Replica) -> None:
    """A liar's replica goes on when shown its own lies."""
    replica._state.guard.__class__ = _ReadyGuard
