"""A ledger made a second time, from the log of the first: every block verified, executed and written as a node does.

The second one lies in a folder of its own and is an ordinary store: interrupted, it goes on where it ended. What it then
holds is what the first should hold.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate
from ledger.errors import StoreError
from ledger.genesis import Genesis
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc
from ledger.state.transition import genesis_state
from ledger.state.validators import consensus_keys
from node.cosigning import decode_cosignature
from node.execution.documents import Documents
from node.execution.executor import Executor, InvalidBlockError
from node.execution.opening import open_state
from node.execution.signatures import Signatures
from node.execution.versions import Versions, version_of
from node.integrity.held import BlockReader, HeldBlock, Tip, ends_at, is_cosignature
from node.integrity.report import Findings
from node.mempool import Mempool, PoolLimits
from node.storage import Database, LedgerStore
from node.storage.inspection import HeldLog

DATABASE: Final = "ledger.db"
_SUFFIXES: Final = ("", "-wal", "-shm")


class SecondLedgerError(StoreError):
    """The second ledger could not be written, or read again: that says nothing of the first."""


@contextmanager
def _of_the_second() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise SecondLedgerError(
            f"the second ledger, for the comparison, failed: {error.message}",
            code=error.code,
            expected=error.expected,
            actual=error.actual,
            help=f"Nothing is known of the node's own, and nothing was changed. {error.help or ''}".rstrip(),
        ) from error


class Rebuild:
    """The second ledger. Belongs to one thread."""

    def __init__(self, genesis: Genesis, party: str, folder: Path, log: HeldLog | None, findings: Findings) -> None:
        """Begin in `folder`, or go on there if what is there is a beginning of this log.

        Args:
            genesis: the genesis document, checked.
            party: whose node this is: of its cosignatures.
            folder: where the second ledger lies; made if absent.
            log: the first ledger's; None if it cannot be read at all.
            findings: where problems are named.

        Raises:
            SecondLedgerError: it could not be made. StoreError: the first could not be read.
        """
        self._genesis = genesis
        self._party = party
        self._findings = findings
        self._reader = BlockReader(genesis.chain_id, findings)
        self._signatures = Signatures()
        self._awaited: bytes | None = None
        """The digest that the newest block's certificate finalizes, where that is not the block's own."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / DATABASE
        self._held: object = None
        self._executor: Executor | None = None
        self.database = Database(self._path)
        try:
            self._open(log)
            is_beginning = log is not None and self._is_beginning_of(log)
        except StoreError:
            is_beginning = False
        if not is_beginning:
            self._discard()
            self.database = Database(self._path)
            self._open(log)

    def _open(self, log: HeldLog | None) -> None:
        zeroth = [] if log is None else log.rows(0, 0)
        self._held = zeroth[0].cosignature if zeroth else None
        with _of_the_second():
            self.store = LedgerStore(self.database)
            _, base = open_state(self._genesis, self.store, lambda size, root: self._cosignature(0, size, root, None))
            versions = Versions(version_of(base))
            self._executor = Executor(
                genesis=self._genesis,
                store=self.store,
                documents=Documents(self.store, base),
                versions=versions,
                mempool=Mempool(PoolLimits()),
                signatures=self._signatures,
            )

    def _is_beginning_of(self, log: HeldLog) -> bool:
        tip = self.tip
        return tip.height == 0 or any(row.digest == tip.digest for row in log.rows(tip.height, -1))

    @property
    def executor(self) -> Executor:
        """Of the second ledger."""
        assert self._executor is not None
        return self._executor

    @property
    def tip(self) -> Tip:
        """Its newest block."""
        base = self.executor.documents.base
        return Tip(height=base.height, digest=base.digest, seal_hash=base.seal_hash, size=base.frontier.size)

    @property
    def floor(self) -> tuple[int, int]:
        """(epoch, view) of its floor."""
        with self.store.read() as reader:
            head = reader.head()
        return (0, 0) if head is None else (head.epoch, head.view)

    @property
    def validators(self) -> ValidatorsDoc:
        """Of the epoch after its newest block."""
        with _of_the_second():
            document = self.executor.documents.load([VALIDATORS_KEY], {})[VALIDATORS_KEY]
        assert isinstance(document, ValidatorsDoc)
        return document

    def extend(self, log: HeldLog, to_height: int, progress: Callable[[int], object]) -> bool:
        """Go on up to a height, or the log's end; False, and the problem named, where the log does not lead there.

        Raises:
            SecondLedgerError: it could not be written or read. StoreError: the first could not be read.
        """
        while (tip := self.tip).height < to_height:
            if ends_at(log, tip):
                break  # what claims to be higher is no block
            document = self.validators
            held = self._reader.take(log, tip, epoch_of(document))
            if held is None:
                return False
            with _of_the_second():
                if not self._append(held, document):
                    return False
            progress(self.tip.height)
        return True

    @property
    def awaits_finality(self) -> bool:
        """Whether the newest blocks are proved only by the finalization of one that is not committed yet."""
        return self._awaited is not None

    def _append(self, held: HeldBlock, document: ValidatorsDoc) -> bool:
        block, certificate, executor = held.block, held.certificate, self.executor
        height = block.header.height
        try:
            executor.check(block)
        except InvalidBlockError as error:
            self._findings.add("ledger", "blocks", height, f"the block does not execute: {error}", mend="cut")
            return False
        self._await(certificate, block.digest)
        epoch, view = block.header.epoch, block.header.view
        if _finalizes(certificate, block.digest):
            view = certificate.view
        if executor.is_closing(block.digest):
            epoch, view = epoch + 1, 0
        self._held = held.cosignature
        commit = executor.prepare(
            block,
            epoch=epoch,
            view=view,
            certificate=msgspec.msgpack.encode(certificate),
            cosign=lambda size, root: self._cosignature(height, size, root, document),
            oldest_height=height,
        )
        self.store.commit(commit)
        executor.advance(block.digest)
        return True

    def _await(self, certificate: Certificate, digest: bytes) -> None:
        """A block may be committed by the finalization of one above it: that one must come."""
        proposal = certificate.proposal
        self._awaited = None if proposal is None or proposal.digest == digest else proposal.digest

    def _cosignature(self, height: int, size: int, root: bytes, document: ValidatorsDoc | None) -> bytes | None:
        """The stored cosignature, if it is right; absent and wrong ones are left out of the second ledger."""
        if self._held is None:
            return None
        epoch = document or genesis_validators(self._genesis)
        places = [at for at, entry in enumerate(epoch.members) if entry.party == self._party]
        if not places:
            return None
        signer, line = places[0], self._held
        right = is_cosignature(line, origin=self._genesis.origin, size=size, signer=signer, document=epoch)
        if right and isinstance(line, bytes) and decode_cosignature(line).root == root:
            return line
        text = "cosignature is not this node's of the log at that height"
        self._findings.add("ledger", "blocks", height, text, mend="rebuild")
        return None

    def close(self, *, keep: bool) -> None:
        """Close the second ledger; remove it unless it is to be kept."""
        self._signatures.close()
        if keep:
            self.database.close()
        else:
            self._discard()

    def _discard(self) -> None:
        self.database.close()
        for suffix in _SUFFIXES:
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)


def epoch_of(document: ValidatorsDoc) -> Epoch:
    """The epoch that a validators' document describes, as far as certificates need it (not who leads)."""
    return Epoch(number=document.epoch, validators=consensus_keys(document), opening_digest=bytes(32))


def _finalizes(certificate: Certificate, digest: bytes) -> bool:
    return certificate.proposal is not None and certificate.proposal.digest == digest


def genesis_validators(genesis: Genesis) -> ValidatorsDoc:
    """The validators of epoch 0."""
    document = genesis_state(genesis)[VALIDATORS_KEY]
    assert isinstance(document, ValidatorsDoc)
    return document
