"""One machine: the production replica, driven as the driver's contract says, on a simulated disk and application.

It restarts from its disk alone. A liar is a machine with an `Actor` between it and the network.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from ledger.block import Block
from ledger.consensus.durable import Durable
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
    Floor,
    Persist,
    Prune,
    ReportEvidence,
    Send,
    ServeBlock,
    SetTimer,
)
from ledger.consensus.epoch import Epoch
from ledger.consensus.inputs import (
    AnyInput,
    BlocksFetched,
    Built,
    Checked,
    Committed,
    PeerConnected,
    PendingChanged,
    Received,
    Started,
    TimerFired,
)
from ledger.consensus.messages import BlockResponse, Certificate, Message
from ledger.consensus.parameters import Parameters
from ledger.consensus.replica import Replica
from ledger.signing import SigningKey
from tests.simulator.application import Application
from tests.simulator.disk import Disk
from tests.simulator.oracle import Oracle, ViolationError
from tests.simulator.world import World

GOSSIP_MS = 3_000


class Network(Protocol):
    """What a machine asks of the cluster."""

    def send(self, origin: "Machine", to: int, message: Message) -> None: ...

    def broadcast(self, origin: "Machine", message: Message) -> None: ...

    def gossip(self, origin: "Machine", records: tuple[bytes, ...]) -> None: ...

    def peers_up(self, origin: "Machine") -> list["Machine"]: ...

    def index_for(self, receiver: "Machine", sender: "Machine") -> int: ...

    def epoch_at(self, floor: Floor) -> Epoch: ...

    def next_epoch(self, closing: tuple[int, ...], floor: Floor) -> tuple[bytes, ...]: ...


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
        genesis: Floor,
        parameters: Parameters,
        skew_ms: int,
        honest: bool,
        prepare: Callable[[Replica], None] | None = None,
    ) -> None:
        self.number = number
        self.key = key
        self.world = world
        self.network = network
        self.oracle = oracle
        self.chain = chain
        self.genesis = genesis
        self.parameters = parameters
        self.skew_ms = skew_ms
        self.honest = honest
        self.prepare = prepare
        self.disk = Disk(genesis)
        self.alarms: list[Alarm] = []
        self.life = 0
        self.replica: Replica | None = None
        self.application = Application(chain, genesis, [])

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """(Re)start from the disk."""
        assert self.replica is None
        self.life += 1
        self._outbox: list[tuple[int, int | None, Message]] = []
        self._syncing = False
        self._commits: list[tuple[int, Commit]] = []
        self._committing = False
        self._timers: dict[str, int] = {}
        self.application = Application(self.chain, self.genesis, [block for block, _ in self.disk.chain])
        durable: Durable = self.disk.load()
        self.replica = Replica.restore(
            chain=self.chain,
            key=self.key,
            epoch=self.network.epoch_at(durable.floor),
            parameters=self.parameters,
            durable=durable,
        )
        if self.prepare is not None:
            self.prepare(self.replica)
        if self.oracle is not None:
            status = self.replica.status()
            self.oracle.restarted(self.key.public, durable.records, (status.epoch, status.view))
        self.world.note(lambda: f"{self.number} starts at height {durable.floor.height}")
        self.feed(lambda now, clock: Started(now_ms=now, clock_ms=clock))
        for peer in self.network.peers_up(self):
            self.connected(peer)
            peer.connected(self)
        self._gossip(self.life)

    def crash(self) -> None:
        """Lose everything but what the disk keeps."""
        assert self.replica is not None
        rng = self.world.rng
        self.disk.crash(lambda count: rng.randint(0, count))
        if self._committing and rng.random() < 0.5 and self._commits:
            self.world.exercised["commit persisted, not answered"] += 1
            self._write_commit(self._commits[0][1])
        self.replica = None
        self.life += 1
        self.world.note(lambda: f"{self.number} crashes, floor at height {self.disk.floor.height}")

    # --- inputs -------------------------------------------------------------------------------------------------------

    def feed(self, make: Callable[[int, int], AnyInput]) -> None:
        """One step, and all that follows from it."""
        if self.replica is None:
            return
        event = make(self.world.now_ms, self.world.now_ms + 1_700_000_000_000 + self.skew_ms)
        effects = self.replica.step(event)
        self.world.note(lambda: f"{self.number} <- {_short(event)}")
        for effect in effects:
            self._apply(effect)
        if self.oracle is not None:
            status = self.replica.status()
            self.oracle.stepped(self.key.public, (status.epoch, status.view))

    def receive(self, sender: "Machine", message: Message) -> None:
        """A message over the link of `sender`."""
        if self.replica is not None:
            index = self.network.index_for(self, sender)
            self.feed(lambda now, clock: Received(now_ms=now, clock_ms=clock, sender=index, message=message))

    def connected(self, peer: "Machine") -> None:
        """A link came up."""
        index = self.network.index_for(self, peer)
        self.feed(lambda now, clock: PeerConnected(now_ms=now, clock_ms=clock, sender=index))

    def admit(self, records: tuple[bytes, ...], *, relay: bool) -> None:
        """Records from a client or a peer (P6.1)."""
        if self.replica is None:
            return
        new = tuple(record for record in records if self.application.admit(record))
        if new:
            self.tell_pending()
            if relay:
                self.network.gossip(self, new)

    def tell_pending(self) -> None:
        """Tell the replica how many records are pending."""
        count = len(self.application.pending)
        self.feed(lambda now, clock: PendingChanged(now_ms=now, clock_ms=clock, count=count))

    def _gossip(self, life: int) -> None:
        if life != self.life:
            return
        if self.application.pending:
            self.network.gossip(self, tuple(self.application.pending))
        self.world.after(GOSSIP_MS, lambda: self._gossip(life))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _apply(self, effect: Effect) -> None:
        if isinstance(effect, Persist):
            if self.oracle is not None:
                self.oracle.persisted(self.key.public, effect.record)
            self.disk.append(effect.record)
            self._sync_soon()
        elif isinstance(effect, Send):
            self._post(effect.to, effect.message)
        elif isinstance(effect, Broadcast):
            self._post(None, effect.message)
        elif isinstance(effect, SetTimer):
            self._set_timer(effect.name, effect.at_ms)
        elif isinstance(effect, CancelTimer):
            self._timers.pop(effect.name, None)
        elif isinstance(effect, Build | Check):
            self._later(self._answer_build if isinstance(effect, Build) else self._answer_check, effect)
        elif isinstance(effect, Commit):
            self._commits.append((self.disk.appended, effect))
            self._commit_next()
        elif isinstance(effect, Prune):
            self.disk.prune(effect.epoch, effect.view)
        elif isinstance(effect, Drop):
            self.application.drop(effect.digests)
            self.world.after(0, self._alive(self.tell_pending))
        elif isinstance(effect, FetchBlocks):
            self._fetch(effect)
        elif isinstance(effect, ServeBlock):
            self._serve(effect)
        elif isinstance(effect, Alarm):
            self.alarms.append(effect)
            self.world.note(lambda: f"{self.number} ALARM {effect.code}: {effect.text}")
            if self.oracle is not None:
                raise ViolationError(f"alarm at honest machine {self.number}: {effect.code}: {effect.text}")
        elif isinstance(effect, Charge):
            self.world.exercised[f"charged {effect.code}"] += 1
        elif isinstance(effect, ReportEvidence):
            self.world.exercised["evidence"] += 1

    def _alive(self, action: Callable[[], None]) -> Callable[[], None]:
        """The action, unless we have crashed meanwhile."""
        life = self.life
        return lambda: action() if life == self.life else None

    def _later(self, action: Callable[[Effect], None], effect: Effect) -> None:
        delay_ms = self.world.rng.randint(1, self.world.plan.execute_ms)
        self.world.after(delay_ms, self._alive(lambda: action(effect)))

    def _set_timer(self, name: str, at_ms: int) -> None:
        self._timers[name] = at_ms

        def fire() -> None:
            if self._timers.get(name) == at_ms:
                del self._timers[name]
                self.feed(lambda now, clock: TimerFired(now_ms=now, clock_ms=clock, name=name))

        self.world.at(at_ms, self._alive(fire))

    def _sync_soon(self) -> None:
        if self._syncing:
            return
        self._syncing = True
        delay_ms = self.world.rng.randint(0, self.world.plan.sync_ms)
        up_to = self.disk.appended

        def done() -> None:
            self._syncing = False
            self.disk.sync(up_to)
            if self.disk.synced < self.disk.appended:
                self._sync_soon()
            self._flush()
            self._commit_next()

        self.world.after(delay_ms, self._alive(done))

    def _post(self, to: int | None, message: Message) -> None:
        self._outbox.append((self.disk.appended, to, message))
        self._flush()

    def _flush(self) -> None:
        while self._outbox and self._outbox[0][0] <= self.disk.synced:
            _, to, message = self._outbox.pop(0)
            if self.oracle is not None:
                self.oracle.sent(self.key.public, message, self.disk)
            if to is None:
                self.network.broadcast(self, message)
            else:
                self.network.send(self, to, message)

    def _answer_build(self, effect: Effect) -> None:
        assert isinstance(effect, Build)
        if self.world.rng.random() < self.world.plan.internal_faults and not self.world.healed:
            self.world.exercised["build failed"] += 1
            self._tell_built(effect, "failed", None)
            return
        if effect.parent_digest != self.application.tip and effect.parent_digest not in self.application.overlays:
            self._tell_built(effect, "failed", None)  # the parent was dropped meanwhile: the view is over
            return
        block = self.application.build(effect)
        self._tell_built(effect, "built" if block is not None else "empty", block)

    def _tell_built(self, effect: Build, outcome: str, block: Block | None) -> None:
        closing = block is not None and self.application.closing(block.digest) is not None
        self.feed(
            lambda now, clock: Built(
                now_ms=now,
                clock_ms=clock,
                epoch=effect.epoch,
                view=effect.view,
                outcome=outcome,  # type: ignore[arg-type]
                block=block,
                closing=closing,
            )
        )

    def _answer_check(self, effect: Effect) -> None:
        assert isinstance(effect, Check)
        digest, parent = effect.block.digest, effect.block.header.parent_digest
        known = parent == self.application.tip or parent in self.application.overlays
        if not known or (self.world.rng.random() < self.world.plan.internal_faults and not self.world.healed):
            self.world.exercised["check failed"] += 1
            self.feed(lambda now, clock: Checked(now_ms=now, clock_ms=clock, digest=digest, verdict="failed"))
            return
        reason = self.application.check(effect.block)
        closing = not reason and self.application.closing(digest) is not None
        self.feed(
            lambda now, clock: Checked(
                now_ms=now,
                clock_ms=clock,
                digest=digest,
                verdict="invalid" if reason else "valid",
                closing=closing,
                reason=reason,
            )
        )

    def _commit_next(self) -> None:
        """Commits one at a time, each after the records before it are durable (contract, 5)."""
        if self._committing or not self._commits or self._commits[0][0] > self.disk.synced:
            return
        self._committing = True
        delay_ms = self.world.rng.randint(1, self.world.plan.execute_ms)

        def done() -> None:
            self._committing = False
            _, commit = self._commits.pop(0)
            members = self._write_commit(commit)
            self.application.commit(commit.block)
            self.feed(
                lambda now, clock: Committed(
                    now_ms=now,
                    clock_ms=clock,
                    height=commit.floor.height,
                    digest=commit.floor.digest,
                    validators=members,
                )
            )
            self.tell_pending()
            self._commit_next()

        self.world.after(delay_ms, self._alive(done))

    def _write_commit(self, commit: Commit) -> tuple[bytes, ...] | None:
        """The transaction of a final block; returns the next epoch's validators if it is closing."""
        overlay = self.application.overlays[commit.block.digest]
        members = None if overlay.closing is None else self.network.next_epoch(overlay.closing, commit.floor)
        if self.oracle is not None:
            self.oracle.committed(self.key.public, commit, overlay.root, members)
        self.world.note(lambda: f"{self.number} commits height {commit.floor.height} {commit.block.digest.hex()[:6]}")
        self.disk.commit(commit, closing=members is not None)
        return members

    def _fetch(self, effect: FetchBlocks) -> None:
        self.world.exercised["blocks fetched by height"] += 1
        peers = [peer for peer in self.network.peers_up(self) if len(peer.disk.chain) >= effect.first_height]
        blocks: tuple[tuple[Block, Certificate], ...] = ()
        sender = 0
        if peers:
            peer = self.world.rng.choice(peers)
            blocks = peer.served_blocks(effect.first_height, effect.count)
            sender = self.network.index_for(self, peer)

        def done() -> None:
            self.feed(
                lambda now, clock: BlocksFetched(
                    now_ms=now, clock_ms=clock, sender=sender, first_height=effect.first_height, blocks=blocks
                )
            )

        self.world.after(self.world.rng.randint(5, 100), self._alive(done))

    def served_blocks(self, first_height: int, count: int) -> tuple[tuple[Block, Certificate], ...]:
        """What a peer gets that fetches our blocks by height. A liar cuts them short, mixes them, or spoils the proofs."""
        blocks = self.disk.chain[first_height - 1 : first_height - 1 + count]
        if self.honest or not blocks:
            return tuple(blocks)
        self.world.exercised["lies about fetched blocks"] += 1
        lie = self.world.rng.randrange(4)
        if lie == 0:
            return tuple(blocks[: len(blocks) // 2])
        if lie == 1:
            return tuple(reversed(blocks))
        if lie == 2:
            spoilt = tuple((signer, bytes(64)) for signer, _ in blocks[-1][1].signatures)
            return tuple((b, msgspec.structs.replace(c, signatures=spoilt)) for b, c in blocks)
        return tuple((block, msgspec.structs.replace(shown, kind="notarization")) for block, shown in blocks)

    def _serve(self, effect: ServeBlock) -> None:
        height = self.disk.heights.get(effect.digest)
        block = self.disk.chain[height - 1][0] if height else None
        self._post(effect.to, BlockResponse(digest=effect.digest, block=block))


def _short(event: AnyInput) -> str:
    if isinstance(event, Received):
        return f"{event.sender} {_digest(event.message)}"
    if isinstance(event, TimerFired):
        return f"timer {event.name}"
    if isinstance(event, Checked):
        return f"Checked {event.digest.hex()[:6]} {event.verdict}"
    if isinstance(event, Built):
        return f"Built view {event.view} {event.outcome}"
    if isinstance(event, Committed):
        return f"Committed {event.height}"
    return type(event).__name__


def _digest(message: object) -> str:
    """A message in a few words."""
    text = type(message).__name__.removesuffix("Message")
    for name in ("vote", "notarize", "certificate"):
        inner = getattr(message, name, None)
        if inner is not None:
            proposal = getattr(inner, "proposal", None)
            named = f" {proposal.digest.hex()[:6]} on {proposal.parent_view}" if proposal is not None else ""
            kind = getattr(inner, "kind", type(inner).__name__)
            text += f" {kind} v{inner.view}{named} by {getattr(inner, 'signer', '')}"
    if hasattr(message, "finalized_view"):
        text += f" view {message.view} final {message.finalized_view} height {message.height}"  # type: ignore[attr-defined]
    if hasattr(message, "digest") and not hasattr(message, "finalized_view"):
        text += f" {message.digest.hex()[:6]}"
    return text
