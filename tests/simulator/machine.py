"""One machine: the production replica on a simulated disk, worker and network.

It is driven as `node/driver.py` and `node/application.py` drive it, and restarts from its disk alone. A liar is a machine
with an `Actor` between it and the network. What differs between the production node and the toy is behind `Application` and
`Disk`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from ledger.block import Block
from ledger.consensus.effects import (
    Alarm,
    Broadcast,
    Build,
    CancelTimer,
    Charge,
    Check,
    Commit,
    Drop,
    Effect,
    FetchBlocks,
    Persist,
    Prune,
    ReportEvidence,
    Send,
    ServeBlock,
    SetTimer,
    VotesSuspected,
    VotesTrusted,
)
from ledger.consensus.inputs import (
    AnyInput,
    BlocksFetched,
    Built,
    Checked,
    EarlierLife,
    PeerConnected,
    PendingChanged,
    Received,
    Started,
    StoreFailed,
    TimerFired,
)
from ledger.consensus.messages import BlockResponse, Certificate, Message
from ledger.consensus.replica import Replica
from ledger.limits import ENTRY_NONCE_BYTES
from ledger.signing import SigningKey
from tests.simulator.application import Application, CheckAnswer, Prepared
from tests.simulator.committing import Commits
from tests.simulator.genesis import PARAMETERS
from tests.simulator.journal import Journal, Marks
from tests.simulator.lies import spoilt_pages
from tests.simulator.oracle import Oracle, ViolationError
from tests.simulator.ports import MachineClock, Network, Parts, Store, WriteFault
from tests.simulator.transcript import input_in_words
from tests.simulator.worker import Worker
from tests.simulator.world import World

_OPERATOR_MS: Final = 3_000
"""At most so long after a store failed, the machine is restarted."""


class Machine:
    """A node. `number` is its identity in the cluster, whatever its place among an epoch's validators."""

    def __init__(
        self,
        number: int,
        key: SigningKey,
        *,
        world: World,
        network: Network,
        oracle: Oracle | None,
        chain: bytes,
        clock: MachineClock,
        parts: Parts,
        prepare: Callable[[Replica], None] | None = None,
    ) -> None:
        """`oracle` judges an honest machine; `prepare` is done to the replica of a liar at each start."""
        self.number = number
        self.key = key
        self.world = world
        self.network = network
        self.oracle = oracle
        self.chain = chain
        self.clock = clock
        self.parts = parts
        self.disk = parts.disk
        self.prepare = prepare
        self.replica: Replica | None = None
        self.application: Application
        self.height = 0
        """Of the newest committed block."""
        self.write_faults: dict[Store, WriteFault] = {}
        """What the next durable write to each store meets."""
        self.tolerated: set[str] = set()
        """Alarms that faults of the run account for."""
        self.stopped: str = ""
        """The alarm after which the replica signs no more, in this life."""
        self.unasked_ms: int | None = None
        """Where the machine began empty and could ask nobody: so long after a start, somebody shows what was before."""
        self._life = 0
        self._in_doubt: tuple[Prepared, ...] = ()
        self._marks = Marks()
        self._handlers: dict[type[Effect], Callable[[Any], None]] = {
            Persist: self._persist,
            VotesSuspected: self._suspect_votes,
            VotesTrusted: self._trust_votes,
            Send: lambda effect: self._post(effect.to, effect.message),
            Broadcast: lambda effect: self._post(None, effect.message),
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
            Build: self._build,
            Check: self._check,
            Commit: lambda effect: self._journal.after(lambda: self._commits.ask(effect)),
            Prune: lambda effect: self._journal.prune(effect.epoch, effect.view),
            Drop: self._drop,
            FetchBlocks: self._fetch,
            ServeBlock: self._serve,
            Alarm: self._alarm,
            Charge: self._charge,
            ReportEvidence: lambda effect: self.count("evidence"),
        }

    @property
    def honest(self) -> bool:
        """Whether it follows the protocol."""
        return self.oracle is not None

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """(Re)start from the disk."""
        assert self.replica is None
        self._life += 1
        self.stopped = ""
        self._timers: dict[str, int] = {}
        self._commits = Commits(self)
        self.has_failed = False
        self._journal = Journal(self.disk, self._marks, self._begin_votes)
        self.worker = Worker(self.world, self.alive, parallel=self.parts.parallel)
        self.application = self.parts.open()
        durable = self.disk.load()
        self._marks.add(durable.records)
        self.height = durable.floor.height
        self.replica = Replica.restore(
            chain=self.chain,
            key=self.key,
            epoch=self.parts.epoch_of(durable.floor),
            parameters=self.application.parameters,
            durable=durable,
            nonce=self.world.rng.randbytes(ENTRY_NONCE_BYTES),
            votes_suspect=self.disk.votes_suspect,
            votes_unasked=self.disk.votes_suspect and self.unasked_ms is not None,
        )
        if self.prepare is not None:
            self.prepare(self.replica)
        if self.oracle is not None:
            status = self.replica.status()
            if self._in_doubt and durable.floor.height == self._in_doubt[-1].commit.floor.height:
                for prepared in self._in_doubt:
                    self.tell_committed(prepared)
            self.oracle.restarted(self.number, durable, (status.epoch, status.view))
        self._in_doubt = ()
        self.world.note(lambda: f"{self.number} starts at height {durable.floor.height}")
        self.feed(lambda now, clock: Started(now_ms=now, clock_ms=clock))
        if self.unasked_ms is not None:
            self.world.after(self.unasked_ms, self.alive(self._show_earlier_life))
        for peer in self.network.peers_up(self):
            self.connected(peer)
            peer.connected(self)
        self.world.after(PARAMETERS.standstill_ms, self.alive(self._on_standstill))

    def crash(self) -> None:
        """Lose everything but what the disk keeps."""
        assert self.replica is not None
        writing = self._commits.writing
        votes, block = self.disk.crash(self._journal.under_way, writing)
        for store, fate in (("votes", votes), ("block", block)):
            if fate:
                self.count(f"crash while {store} are written: {fate}")
        if len(writing) > 1:
            self.count(f"crash while a group is committed: {block}")
        if writing:
            self._in_doubt = writing
        self.application.close()
        self.replica = None
        self._life += 1
        self.world.note(lambda: f"{self.number} crashes")

    def fail(self, reason: str) -> None:
        """A write failed: nothing is signed any more until an operator restarts the machine."""
        if self.has_failed:
            return
        self.has_failed = True
        self.tolerated.add("store_failed")
        self.world.note(lambda: f"{self.number}: {reason}")
        self.world.after(self.world.rng.randint(200, _OPERATOR_MS), self.alive(self.restart))
        self.feed(lambda now, clock: StoreFailed(now_ms=now, clock_ms=clock, reason=reason))

    def take_key(self, key: SigningKey) -> None:
        """The operator gives the machine another key, with which it starts again."""
        self.key = key
        if self.oracle is not None:
            self.oracle.rotated(self.number, key.public)
        if self.replica is not None:
            self.restart()

    def restart(self) -> None:
        """End, and start again at once."""
        self.crash()
        self.start()

    # --- inputs -------------------------------------------------------------------------------------------------------

    def feed(self, make: Callable[[int, int], AnyInput]) -> None:
        """One step, and all that follows from it."""
        if self.replica is None:
            return
        event = make(self.clock.monotonic_ms(), self.clock.wall_ms())
        effects = self.replica.step(event)
        self.world.note(lambda: f"{self.number} <- {input_in_words(event)}")
        for effect in effects:
            self._handlers[type(effect)](effect)
        if self.oracle is not None:
            status = self.replica.status()
            self.oracle.stepped(self.number, (status.epoch, status.view))
        self._journal.kick()

    def receive(self, sender: "Machine", message: Message) -> None:
        """A message over the link of `sender`."""
        if self.replica is not None:
            index = self.network.index_for(self, sender)
            self.feed(lambda now, clock: Received(now_ms=now, clock_ms=clock, sender=index, message=message))

    def connected(self, peer: "Machine") -> None:
        """A link came up: pending records are repeated to the peer (P6.1)."""
        index = self.network.index_for(self, peer)
        self.feed(lambda now, clock: PeerConnected(now_ms=now, clock_ms=clock, sender=index))
        self._repeat(peer, waited_ms=0)

    def submit(self, entries: Iterable[bytes]) -> None:
        """Records from a client: what is admitted is gossiped."""
        self._admit(tuple(entries), source="client", from_peer=False)

    def take_gossip(self, sender: int, entries: tuple[bytes, ...]) -> None:
        """Records from a peer."""
        if self.replica is not None:
            self._admit(entries, source=f"peer {sender}", from_peer=True)

    def tell_pending(self) -> None:
        """Tell the replica how many records are pending."""
        count = self.application.pending
        self.feed(lambda now, clock: PendingChanged(now_ms=now, clock_ms=clock, count=count))

    def _admit(self, entries: tuple[bytes, ...], *, source: str, from_peer: bool) -> None:
        def admit() -> None:
            fresh = self.application.admit(entries, source=source, from_peer=from_peer)
            if fresh and not from_peer:
                self.network.gossip(self, fresh)
            if fresh:
                self.tell_pending()

        self.worker.call(admit, slowest_ms=2, urgent=False)

    def _on_standstill(self) -> None:
        """P6.1: what has waited for an interval is gossiped again; what time has decided leaves the pool."""
        if self.application.waiting:
            self._repeat(None, waited_ms=PARAMETERS.standstill_ms)
            self.worker.call(self._review, slowest_ms=2, urgent=False)
        self.world.after(PARAMETERS.standstill_ms, self.alive(self._on_standstill))

    def _repeat(self, peer: "Machine | None", *, waited_ms: int) -> None:
        def repeat() -> None:
            entries = self.application.repeated(waited_ms=waited_ms)
            if entries:
                self.network.gossip(self, entries, peer)

        if self.replica is not None:
            self.worker.call(repeat, slowest_ms=1, urgent=False)

    def _review(self) -> None:
        if self.application.review():
            self.tell_pending()

    # --- effects: durable, then sent ------------------------------------------------------------------------------------

    def _persist(self, effect: Persist) -> None:
        if self.oracle is not None:
            self.oracle.persisted(self.number, effect.record, self.clock.wall_ms())
        self._journal.persist(effect.record)

    def _begin_votes(self, written: Callable[[], None]) -> None:
        def done() -> None:
            if not self.meets_fault("votes", self._journal.write):
                written()

        self.world.after(self.world.rng.randint(0, self.world.plan.sync_ms), self.alive(done))

    def meets_fault(self, store: Store, write: Callable[[], None]) -> bool:
        """Whether a durable write goes wrong, and what follows from that."""
        fault = self.write_faults.pop(store, None)
        if fault is None:
            return False
        self.count(f"write of {store}: {fault}")
        if fault == "crash":
            self.crash()
            self.world.after(self.world.rng.randint(1, 2_000), lambda: self.start() if self.replica is None else None)
            return True
        if fault == "failed but persisted":
            write()
        if store != "votes":
            self._in_doubt, self._commits.writing = self._commits.writing, ()
        else:
            self._journal.fail()
        self.fail(f"the write of {store} {fault}")
        return True

    def _post(self, to: int | None, message: Message) -> None:
        """A number is what the replica means by it in this step: the next may open another epoch."""
        named = None if to is None else self.network.named(self, to)
        self._journal.after(lambda: self._send(named, message))

    def _send(self, to: "list[Machine] | None", message: Message) -> None:
        if self.oracle is not None:
            self.oracle.sent(self.number, message, self._marks)
        if to is None:
            self.network.broadcast(self, message)
        else:
            self.network.send(self, to, message)

    def _set_timer(self, effect: SetTimer) -> None:
        name, at_ms = effect.name, effect.at_ms
        self._timers[name] = at_ms

        def fire() -> None:
            if self._timers.get(name) == at_ms:
                del self._timers[name]
                self.feed(lambda now, clock: TimerFired(now_ms=now, clock_ms=clock, name=name))

        self.world.at(at_ms, self.alive(fire))

    def _cancel_timer(self, effect: CancelTimer) -> None:
        self._timers.pop(effect.name, None)

    # --- effects: the application -----------------------------------------------------------------------------------------

    def _build(self, effect: Build) -> None:
        def build() -> None:
            answer = self.application.build(effect)
            if self._has_internal_fault():
                answer = msgspec.structs.replace(answer, outcome="failed", block=None, closing=False)
            self.count(f"block {answer.outcome}")
            if self.oracle is not None and answer.block is not None:
                self.oracle.executed(answer.block.digest, closing=answer.closing)
            self.answer(lambda: self._tell_built(effect, answer.outcome, answer.block, answer.closing))
            if answer.pool_changed:
                self.answer(self.tell_pending)

        self.worker.call(build, slowest_ms=self.world.plan.execute_ms)

    def _tell_built(self, effect: Build, outcome: Any, block: Block | None, closing: bool) -> None:
        self.feed(
            lambda now, clock: Built(
                now_ms=now,
                clock_ms=clock,
                epoch=effect.epoch,
                view=effect.view,
                outcome=outcome,
                block=block,
                closing=closing,
            )
        )

    def _check(self, effect: Check) -> None:
        def check() -> None:
            answer = self.application.check(effect.block)
            if self._has_internal_fault():
                answer = msgspec.structs.replace(answer, verdict="failed", closing=False)
            self.count(f"check {answer.verdict}")
            if self.oracle is not None and answer.verdict == "valid":
                self.oracle.executed(effect.block.digest, closing=answer.closing)
            self.answer(lambda: self._tell_checked(effect.block.digest, answer))

        self._commits.check_began()
        self.worker.call(check, slowest_ms=self.world.plan.execute_ms)

    def _tell_checked(self, digest: bytes, answer: CheckAnswer) -> None:
        self.feed(
            lambda now, clock: Checked(
                now_ms=now,
                clock_ms=clock,
                digest=digest,
                verdict=answer.verdict,
                closing=answer.closing,
                reason=answer.reason,
            )
        )
        self._commits.check_ended()

    def _has_internal_fault(self) -> bool:
        plan = self.world.plan
        return self.parts.parallel and not self.world.healed and self.world.rng.random() < plan.internal_faults

    def _drop(self, effect: Drop) -> None:
        def drop() -> None:
            self.application.drop(effect.digests)
            self.answer(self.tell_pending)

        self.worker.call(drop, slowest_ms=1)

    def tell_committed(self, prepared: Prepared) -> None:
        """A block is durable: the oracle judges it."""
        floor = prepared.commit.floor
        self.world.note(lambda: f"{self.number} commits height {floor.height} {floor.digest.hex()[:6]}")
        if self.oracle is not None:
            self.oracle.committed(self.number, prepared)
        if prepared.validators is not None:
            self.network.opened(prepared.validators)

    # --- effects: blocks for others, and from others ----------------------------------------------------------------------

    def _fetch(self, effect: FetchBlocks) -> None:
        self.count("blocks fetched by height")
        peers = [peer for peer in self.network.peers_up(self) if peer.height >= effect.first_height]
        blocks: tuple[tuple[Block, Certificate], ...] = ()
        sender = 0
        if peers:
            peer = self.world.rng.choice(peers)
            blocks = self.network.fetched(peer, effect.first_height, effect.count)
            sender = self.network.index_for(self, peer)

        def done() -> None:
            if blocks:
                self._commits.expect(blocks[-1][0].header.height)
            self.feed(
                lambda now, clock: BlocksFetched(
                    now_ms=now, clock_ms=clock, sender=sender, first_height=effect.first_height, blocks=blocks
                )
            )

        self.world.after(self.world.rng.randint(5, 100), self.alive(done))

    def served_blocks(self, first_height: int, count: int) -> tuple[tuple[Block, Certificate], ...]:
        """What a peer gets that fetches our blocks by height."""
        blocks = self.disk.certified_blocks(first_height, count)
        if self.honest or not blocks:
            return blocks
        self.count("lies about fetched blocks")
        return spoilt_pages(blocks, self.world.rng)

    def _serve(self, effect: ServeBlock) -> None:
        self._post(effect.to, BlockResponse(digest=effect.digest, block=self.disk.find_block(effect.digest)))

    # --- the rest ---------------------------------------------------------------------------------------------------------

    def _show_earlier_life(self) -> None:
        self.count("earlier lives shown")
        self.feed(lambda now, clock: EarlierLife(now_ms=now, clock_ms=clock, may_have_voted=True))

    def _suspect_votes(self, _effect: VotesSuspected) -> None:
        self.unasked_ms = None
        self._journal.mark_votes(suspect=True)

    def _trust_votes(self, _effect: VotesTrusted) -> None:
        self.unasked_ms = None
        self._journal.mark_votes(suspect=False)
        self.network.trusted(self)

    def _charge(self, effect: Charge) -> None:
        """P5.9: who lies is charged. Enough forgeries cut a link, so no honest machine may be charged with one. (Of blocks
        it is not certain who spoilt them; questions may come in heaps.)"""
        assert self.replica is not None
        self.count(f"charged {effect.code}")
        forged = effect.code not in ("bad_blocks", "entry_requests")
        if forged and self.honest and all(machine.honest for machine in self.network.named(self, effect.sender)):
            raise ViolationError(
                f"P5.9 honest machine {self.number} charges an honest one: {effect.code}: {effect.text}"
            )

    def _alarm(self, effect: Alarm) -> None:
        self.stopped = self.stopped or effect.code
        self.world.note(lambda: f"{self.number} ALARM {effect.code}: {effect.text}")
        if self.honest and effect.code not in self.tolerated:
            raise ViolationError(f"alarm at honest machine {self.number}: {effect.code}: {effect.text}")
        self.count(f"alarm {effect.code}")

    def count(self, what: str) -> None:
        """Something was exercised."""
        self.world.exercised[what] += 1

    def answer(self, tell: Callable[[], None]) -> None:
        """What the worker gives comes back as an input of its own, in order."""
        self.world.after(0, self.alive(tell))

    def alive(self, action: Callable[[], None]) -> Callable[[], None]:
        """The action, unless we have crashed meanwhile."""
        life = self._life
        return lambda: action() if life == self._life else None
