"""Before a node starts: whether to join by a snapshot, and putting what was joined into its place (PROTOCOL P7.3).

A node whose ledger is empty, or nearly, and left far behind by the snapshots that others show, joins by one; any other
catches up by blocks once it runs. What is fetched lies in `joining.db` beside the ledger's database until all of it is
verified; then it takes that one's place by a rename. Whatever interrupts it, the next start goes on. Nothing here votes or
signs.
"""

import asyncio
import signal
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from ledger.consensus.messages import Certificate
from ledger.errors import CorruptionError, VerificationError
from ledger.genesis import Genesis
from ledger.merkle.tree import Frontier, covering_nodes
from ledger.quorum import quorum
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc, decode_document
from ledger.state.transition import genesis_state
from ledger.state.validators import member
from node.clock import Clock
from node.config import NodeConfig
from node.joining.earlier import ask_the_others, whom_to_ask
from node.joining.join import Join, Progress
from node.joining.pipeline import UNBELIEVED
from node.joining.progress import JoiningProgress, forget_progress, tell_progress
from node.joining.sources import NoSourceError, Sources
from node.joining.survey import Shown, Target, contacts_of, survey, verify_shown
from node.peers.pages import PageClient
from node.storage import Database, Head, LedgerStore, VoteStore, lock_folder
from node.storage.staging import StagingStore, discard, install, is_finished

STAGED_FILE: Final = "joining.db"
_ROUNDS: Final = 3
"""Snapshots tried in one start, before the node catches up by blocks."""
_TELL_EVERY_S: Final = 1.0
_LOG: Final = structlog.get_logger("node.joining")
_ENCODER: Final = msgspec.msgpack.Encoder()
_SHOWN: Final = msgspec.msgpack.Decoder(Shown)


def join_first(config: NodeConfig, genesis: Genesis, clock: Clock) -> bool:
    """Join by a snapshot if that is the better way. Blocks until it is done or the process is told to end; False then.

    Args:
        config: the node's.
        genesis: of the ledger.
        clock: for pauses.

    Raises:
        ConfigurationError: code `data_dir_in_use`, or the certificate cannot be used.
        StoreError: the data directory cannot be read or written. CorruptionError: also where the ledger here is not the
            beginning of the one that was joined.
    """
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_folder(config.data_dir)
    try:
        return asyncio.run(_until_told_to_end(JoiningStart(config, genesis, clock)))
    finally:
        lock.release()


async def _until_told_to_end(start: "JoiningStart") -> bool:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await start.run()
    except asyncio.CancelledError:
        _LOG.info("joining is interrupted; the next start goes on")
        return False
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return True


class JoiningStart:
    """The decision and its carrying out, for one data directory, which is locked."""

    def __init__(self, config: NodeConfig, genesis: Genesis, clock: Clock) -> None:
        self._config = config
        self._genesis = genesis
        self._clock = clock
        self._staged = config.data_dir / STAGED_FILE
        self._ledger = config.data_dir / "ledger.db"
        self._told_s = 0.0

    async def run(self) -> None:
        """Go on with what was begun, or begin if that is the better way. Raises as `join_first`."""
        try:
            if is_finished(self._staged):
                await self._put_in_place()
            elif self._config.catch_up.snapshot == "never":
                discard(self._staged)
            else:
                await self._join()
            if self._must_ask():
                await self._look_for_an_earlier_beginning()
        finally:
            forget_progress(self._config.data_dir)

    def _must_ask(self) -> bool:
        """Whether it is not known if this node voted before (P7.5): neither a block nor a vote is here, nor the mark that
        votes may be lost; or an earlier start could ask nobody."""
        head = self._head(self._ledger) if self._ledger.exists() else None
        begins = head is None or head.height == 0
        votes = self._config.data_dir / "votes.db"
        if not votes.exists():
            return begins
        store = VoteStore(Database(votes))
        try:
            return store.votes_unasked() or (begins and not store.votes_suspect() and not store.load())
        finally:
            store.close()

    async def _look_for_an_earlier_beginning(self) -> None:
        """Votes that were lost with all else leave no trace here: ask the others (P7.5). Where nobody answers now, the node
        asks on once it runs; where nobody's address is known, it can only begin."""
        shown = await ask_the_others(self._config, self._genesis)
        votes = self._config.data_dir / "votes.db"
        if not shown and not votes.exists() and (shown is False or not whom_to_ask(self._config, self._genesis)):
            return
        store = VoteStore(Database(votes), has_ledger=shown is True)
        try:
            if shown:
                _LOG.warning(
                    "this node begins empty, and its agency is a validator of a ledger that goes on: votes may be lost"
                )
                store.set_votes_suspect(True)
            elif shown is None and whom_to_ask(self._config, self._genesis):
                _LOG.info("this node begins empty, and too few of the others show yet whether it voted before")
                store.set_votes_unasked()
            elif shown is False and store.votes_unasked():
                store.set_votes_suspect(False)
        finally:
            store.close()

    async def _join(self) -> None:
        async with PageClient(self._config.peers.addresses, self._config.tls) as client:
            client.set_contacts(contacts_of(self._genesis, self._config.party))
            refused: set[str] = set()
            for _ in range(_ROUNDS):
                sources = Sources((p for p in client.reachable() if p not in refused), self._clock)
                target = self._begun() or await self._choose(client, sources)
                if target is None:
                    return
                client.set_contacts(contacts_of(self._genesis, self._config.party, target))
                sources = Sources((p for p in client.reachable() if p not in refused), self._clock)
                try:
                    await self._join_target(target, client, sources)
                except (NoSourceError, VerificationError) as error:
                    _LOG.error("the snapshot could not be joined", height=target.manifest.height, **error.as_dict())
                    refused |= sources.refused.keys()
                    discard(self._staged)
                else:
                    await self._put_in_place()
                    return
        _LOG.error("no snapshot could be joined; the node catches up by blocks")

    def _begun(self) -> Target | None:
        """What was being joined when this node ended last, if it still holds."""
        if not self._staged.exists():
            return None
        staging = StagingStore(self._staged)
        try:
            anchor = staging.anchor()
        finally:
            staging.close()
        try:
            target = None if anchor is None else verify_shown(self._genesis, _SHOWN.decode(anchor))
        except (msgspec.MsgspecError, *UNBELIEVED) as error:
            _LOG.error("what was begun to be joined does not hold", reason=str(error))
            target = None
        if target is None:
            discard(self._staged)
        return target

    async def _choose(self, client: PageClient, sources: Sources) -> Target | None:
        """The snapshot to join by; None where blocks are the better way."""
        head = self._head(self._ledger) if self._ledger.exists() else None
        here = 0 if head is None else head.size
        least = self._config.catch_up.min_entries
        if here >= least or not sources.left:
            return None
        target = await survey(self._genesis, client, sources)
        if target is None or target.manifest.size - here < least:
            return None
        if self._is_needed_by_all(target):
            _LOG.info("a validator of so few catches up by blocks: with no votes of its own it could not come back")
            return None
        staging = StagingStore(self._staged)
        staging.begin(_ENCODER.encode(target.shown))
        staging.close()
        return target

    def _is_needed_by_all(self, target: Target) -> bool:
        """Whether this node's agency is a validator among so few that none may be missing (P7.5)."""
        steps = target.shown.steps
        document = (
            decode_document("validators", steps[-1].validators)
            if steps
            else genesis_state(self._genesis)[VALIDATORS_KEY]
        )
        assert isinstance(document, ValidatorsDoc)
        size = len(document.members)
        return member(document, self._config.party) is not None and quorum(size) == size

    def _head(self, path: Path) -> Head | None:
        """The newest block of a ledger's database that is there."""
        store = LedgerStore(Database(path))
        try:
            with store.read() as reader:
                return reader.head()
        finally:
            store.close()

    async def _join_target(self, target: Target, client: PageClient, sources: Sources) -> None:
        manifest = target.manifest
        _LOG.info("joining by a snapshot", height=manifest.height, size=manifest.size, peers=list(sources.left))
        started_s = time.monotonic()
        staging = StagingStore(self._staged)

        def tell(progress: Progress) -> None:
            self._tell(target, progress)

        try:
            join = Join(
                genesis=self._genesis,
                target=target,
                staging=staging,
                client=client,
                sources=sources,
                on_progress=tell,
            )
            await join.run()
        finally:
            staging.close()
        _LOG.info(
            "joined by a snapshot",
            height=manifest.height,
            size=manifest.size,
            seconds=round(time.monotonic() - started_s, 2),
            refused=sources.refused,
        )

    def _tell(self, target: Target, progress: Progress) -> None:
        """Say how far it is, in the log and in a file for `tracemark node status`, now and then."""
        now_s = time.monotonic()
        if now_s - self._told_s < _TELL_EVERY_S and progress.done < progress.of:
            return
        self._told_s = now_s
        told = JoiningProgress(
            height=target.manifest.height,
            size=target.manifest.size,
            stage=progress.stage,
            done=progress.done,
            of=progress.of,
        )
        _LOG.info("joining", **msgspec.structs.asdict(told))
        tell_progress(self._config.data_dir, told)

    async def _put_in_place(self) -> None:
        """The joined database becomes the ledger's. Votes are taken to be lost, unless they reach it or the others show that
        this node's agency cannot have voted: newcomers that are, could wait for each other's word for ever (P7.5).

        Raises:
            CorruptionError: code `fork`: the ledger here is not the beginning of it.
            StoreError: it cannot be done.
        """
        floor, finalizations = self._hold_against_own()
        may_have_voted = await ask_the_others(self._config, self._genesis) is not False
        install(self._staged, self._ledger)
        votes = VoteStore(Database(self._config.data_dir / "votes.db"), has_ledger=may_have_voted)
        try:
            is_lost = may_have_voted and not _reaches(votes, floor)
            # In one transaction: without the mark, the finalizations would make a table look whole that lacks votes (P7.5).
            votes.append(finalizations, votes_suspect=True if is_lost else None)
        finally:
            votes.close()

    def _hold_against_own(self) -> tuple[tuple[int, int], list[Certificate]]:
        """Require that the ledger here is the beginning of the joined one. That one's floor, as (epoch, view); and the
        finalizations to be kept of it: the newest, and those that closed epochs (P8.3).

        Raises:
            CorruptionError: code `fork`.
        """
        here = self._head(self._ledger) if self._ledger.exists() else None
        staged = LedgerStore(Database(self._staged))
        try:
            with staged.read() as reader:
                head = reader.head()
                assert head is not None  # it is finished
                heights = [*(row.height for row in reader.epochs()), head.height]
                proved = [found for height in dict.fromkeys(heights) if (found := reader.header(height)) is not None]
                if here is not None:
                    nodes = tuple(reader.node(level, index) for level, index in covering_nodes(0, here.size))
        finally:
            staged.close()
        if here is not None and Frontier(size=here.size, nodes=nodes).root != here.log_root:
            raise CorruptionError(
                "the ledger of this node is not the beginning of the one that the validators vouch for",
                code="fork",
                expected=here.log_root.hex(),
                help="Keep the data directory and the log as they are, and tell the other agencies.",
            )
        return (head.epoch, head.view), [certificate for _, certificate in proved]


def _reaches(votes: VoteStore, floor: tuple[int, int]) -> bool:
    """Whether a table of votes knows of a finalization at (epoch, view) or above: each is durable before its commit."""
    finals = [(r.epoch, r.view) for r in votes.load() if isinstance(r, Certificate) and r.kind == "finalization"]
    return max([votes.signing_floor(), *finals]) >= floor
