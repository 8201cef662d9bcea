"""Building, checking and committing blocks (the application behind the consensus, PROTOCOL P5): all of it on one thread.

Each block is executed once: what was built or checked is kept as an overlay under its digest until it is committed or
dropped. The verdict on a block is a function of the block and its parent alone. Consensus is not known here; the driver
translates.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from ledger.block import Block, BlockHeader, payload_root
from ledger.errors import InputError, InternalError, RuleError, TracemarkError
from ledger.genesis import Genesis
from ledger.limits import BLOCK_BUILD_MS, MAX_BLOCK_BYTES, MAX_BLOCK_RECORDS
from ledger.records.envelope import ParsedRecord, SignedRecord, parse_entry, verify_entry
from ledger.signing import key_id
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc, WeaponDoc, encode_document
from ledger.state.transition import signers_of
from ledger.statetree import key_hash
from node.execution.documents import Documents
from node.execution.overlay import Overlay
from node.execution.run import BlockFullError, BlockRun, touched_by
from node.execution.signatures import Signatures
from node.execution.versions import Versions, version_of
from node.mempool import TURN_DOCUMENTS, Mempool, Pending
from node.storage import BlockCommit, EpochRow, LedgerStore

Cosign = Callable[[int, bytes], bytes | None]
"""(size, root) -> this node's cosignature of that checkpoint, encoded for the store; None if it makes none."""

_SKIPPED: Final = 4
"""Records that do not fit any more, after which a block is full."""
_GATHER_KEYS: Final = 512
"""Documents that are read at once while building: some hundred single records, or a lot of 500 weapons. By records, a
pool of large lots would have fifty times as many read as any block holds."""
_TELLING_DOCUMENTS: Final = 128
"""Documents touched from which on a block tells how long each of them takes."""


class BlockPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader's consensus asks to build: header fields, and whether a block without records is wanted."""

    epoch: int
    view: int
    height: int
    parent_view: int
    parent_digest: bytes
    parent_seal: bytes
    proposer: int
    time_ms: int
    allow_empty: bool


class InvalidBlockError(TracemarkError):
    """The block breaks a rule of blocks, or one of its records a rule of the state."""

    default_code = "invalid_block"


class Executor:
    """The overlays over the committed state. Belongs to one thread, from `open` on."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: LedgerStore,
        documents: Documents,
        versions: Versions,
        mempool: Mempool,
        signatures: Signatures,
        monotonic_ms: Callable[[], int] | None = None,
    ) -> None:
        """See `node.execution.opening.open_state`, which makes the parts from the store. `monotonic_ms`: a clock that bounds
        how long a block is built; without one, only its size does."""
        self._chain = genesis.chain_id
        self._store = store
        self._documents = documents
        self._versions = versions
        self._mempool = mempool
        self._signatures = signatures
        self._monotonic_ms = monotonic_ms
        self._document_ms = 0.0  # of building, for each document touched: of the last blocks, the newest counting half
        self._overlays: dict[bytes, Overlay] = {}

    @property
    def documents(self) -> Documents:
        """The committed state."""
        return self._documents

    @property
    def overlays(self) -> Sequence[Overlay]:
        """Executed blocks that are not committed."""
        return tuple(self._overlays.values())

    def tip(self) -> Overlay | None:
        """The highest executed block that is not committed and may still become final."""
        base = self._documents.base
        alive = (o for o in self._overlays.values() if o.uncommitted()[-1].parent is base)
        return max(alive, key=lambda overlay: overlay.height, default=None)

    def build(self, plan: BlockPlan, *, max_records: int = MAX_BLOCK_RECORDS) -> Block | None:
        """Build a block of pending records, of all issuers in turn; None if there is nothing to include and it may not be
        empty. Takes about `BLOCK_BUILD_MS` at most, and longer only for one large record.

        Records that fail are refused where the parent is final, else set aside until that is decided (P6.1).

        Raises:
            InternalError: code `unknown_parent`, `stale_parent` or `wrong_epoch`.
            StoreError: the working set could not be read.
        """
        began_ms = self._now_ms()
        parent = self._parent(plan.parent_digest)
        run = BlockRun(self._documents, parent, height=plan.height, time_ms=plan.time_ms)
        if plan.epoch != run.validators.epoch:
            raise InternalError(
                "a block is to be built in another epoch than the state's",
                code="wrong_epoch",
                expected=run.validators.epoch,
                actual=plan.epoch,
            )
        included = {record_id for overlay in parent.uncommitted() for record_id in overlay.record_ids}
        candidates = list(islice(self._mempool.active(included), max_records))
        if len(candidates) == max_records:
            candidates.pop()  # the oldest may come beside those whose turn it is
        failed = self._fill(run, self._in_time(run, candidates, self._mempool.first(included), began_ms))
        for record_id, error in failed:
            if parent.is_committed:
                self._mempool.refuse(record_id, error, height=parent.height)
            else:
                self._mempool.set_aside(record_id, error)
        if not run.entries and not plan.allow_empty:
            return None
        overlay = run.close(view=plan.view)
        self._learn_pace(overlay, began_ms)
        header = BlockHeader(
            chain=self._chain,
            epoch=plan.epoch,
            view=plan.view,
            height=plan.height,
            parent_view=plan.parent_view,
            parent_digest=plan.parent_digest,
            parent_seal=plan.parent_seal,
            payload_root=payload_root(overlay.leaf_hashes),
            proposer=plan.proposer,
            time=plan.time_ms,
        )
        self._keep(overlay, header.digest)
        return Block(header=header, entries=overlay.entries[:-1], seal=overlay.entries[-1])

    def _now_ms(self) -> int:
        return 0 if self._monotonic_ms is None else self._monotonic_ms()

    def _learn_pace(self, built: Overlay, began_ms: int) -> None:
        """How long a block took to build says how large the next one may be. A small one says only that it goes faster than
        thought: else one pause of the machine would keep all later blocks small."""
        taken_ms = (self._now_ms() - began_ms) / max(1, len(built.documents))
        if len(built.documents) >= _TELLING_DOCUMENTS:
            self._document_ms += (taken_ms - self._document_ms) / 2
        else:
            self._document_ms = min(self._document_ms, taken_ms)

    def _fill(self, run: BlockRun, candidates: Iterable[Pending]) -> list[tuple[str, RuleError]]:
        """Execute candidates in order while the block has room. Returns those that a rule refuses."""
        failed: list[tuple[str, RuleError]] = []
        size = skipped = 0
        for signed in (item.signed for item in candidates):
            if size + len(signed.entry) > MAX_BLOCK_BYTES:
                return failed
            try:
                run.execute(signed)
            except RuleError as error:
                failed.append((signed.id, error))
            except BlockFullError:  # for this one; a smaller one may fit
                skipped += 1
                if skipped == _SKIPPED:
                    return failed
            else:
                size += len(signed.entry)
        return failed

    def _in_time(
        self, run: BlockRun, candidates: Sequence[Pending], oldest: Pending | None, began_ms: int
    ) -> Iterator[Pending]:
        """Candidates, their documents read, as long as they are likely done within `BLOCK_BUILD_MS`. Some large ones for
        which the time is too short are passed over. The oldest of all comes last in any case: nobody waits for ever."""
        passed = 0
        for batch in _batches(candidates):
            run.gather(key for item in batch for key in item.touches)
            for item in batch:
                if run.entries and self._is_late(began_ms, run.changed_count + len(item.touches)):
                    passed += 1
                    if passed < _SKIPPED and len(item.touches) > TURN_DOCUMENTS:
                        continue
                    if oldest is not None:
                        run.gather(oldest.touches)
                        yield oldest
                    return
                if item is oldest:
                    oldest = None
                yield item
        if oldest is not None:
            run.gather(oldest.touches)
            yield oldest

    def _is_late(self, began_ms: int, documents: int) -> bool:
        """Whether a block of so many documents is not built in time, as far as the last ones tell."""
        if self._monotonic_ms is None:
            return False
        likely_ms = began_ms + documents * self._document_ms
        return max(self._monotonic_ms(), likely_ms) >= began_ms + BLOCK_BUILD_MS

    def verify_ahead(self, blocks: Collection[Block]) -> None:
        """Begin to verify the records of blocks that will probably be checked soon, in this order. Their bodies must be
        those of their headers. Call on the event loop; the verdicts on them are the same without."""
        self._signatures.verify_ahead(blocks, self._find_keys)

    def _find_keys(self, keyids: Collection[str]) -> dict[str, list[str]]:
        with self._store.read() as reader:
            return reader.publics(keyids)

    def check(self, block: Block) -> None:
        """Execute a block on its parent and compare the seal. Its overlay is kept.

        Raises:
            InvalidBlockError: it is not what an honest leader builds.
            InternalError: code `unknown_parent` or `stale_parent`; says nothing of the block.
            StoreError: the store could not be read; says nothing of the block.
        """
        if block.digest in self._overlays:
            return
        header = block.header
        parent = self._parent(header.parent_digest)
        run = BlockRun(self._documents, parent, height=header.height, time_ms=header.time)
        if header.epoch != run.validators.epoch:
            raise InvalidBlockError(
                "the block is of another epoch than its parent's state",
                expected=run.validators.epoch,
                actual=header.epoch,
            )
        records = self._recall(block, run)
        self._require_new(records, parent)
        for record in records:
            try:
                signed = record if isinstance(record, SignedRecord) else self._verify_in_place(record, run)
                run.execute(signed)
            except (RuleError, InputError) as error:
                raise InvalidBlockError(f"record {record.id} is refused: {error}") from error
            except BlockFullError as error:
                raise InvalidBlockError(str(error)) from error
        overlay = run.close(view=header.view, leaf_hashes=block.leaf_hashes[:-1])
        if overlay.entries[-1] != block.seal:
            raise InvalidBlockError(
                "the block's seal is not the one that its execution gives",
                expected=overlay.entries[-1].decode(),
                actual=repr(block.seal[:1000]),
            )
        self._keep(overlay, block.digest)

    def _recall(self, block: Block, run: BlockRun) -> list[SignedRecord | ParsedRecord]:
        """The block's records: verified before, or verified now by the keys that the parent's state names. One that
        these do not verify stays unverified, to be tried at its place: the block itself may change keys."""
        records: list[SignedRecord | ParsedRecord] = []
        for entry, ahead in zip(block.entries, self._signatures.take_ahead(block), strict=True):
            signed = ahead or self._signatures.recall(entry)
            if signed is not None:
                records.append(signed)
                continue
            try:
                records.append(parse_entry(entry))
            except InputError as error:
                raise InvalidBlockError(f"an entry is no record: {error}") from error
        run.gather(touched_by(records))
        unverified: list[tuple[int, ParsedRecord, tuple[str, ...]]] = []
        for at, record in enumerate(records):
            if isinstance(record, ParsedRecord):
                try:
                    signers = signers_of(run, record.record, block.header.time)
                except RuleError:
                    continue
                unverified.append((at, record, signers))
        outcomes = self._signatures.verify([(parsed, signers) for _, parsed, signers in unverified])
        for (at, _, _), outcome in zip(unverified, outcomes, strict=True):
            if isinstance(outcome, SignedRecord):
                records[at] = outcome
        return records

    def _verify_in_place(self, parsed: ParsedRecord, run: BlockRun) -> SignedRecord:
        signed = verify_entry(parsed, signers_of(run, parsed.record, run.place.time_ms))
        self._signatures.remember(signed)
        return signed

    def _require_new(self, records: Sequence[SignedRecord | ParsedRecord], parent: Overlay) -> None:
        """No record stands twice: in the block, in an ancestor, in the log.

        Raises:
            InvalidBlockError: one does.
        """
        ids = [record.id for record in records]
        is_twice = any(not overlay.record_ids.keys().isdisjoint(ids) for overlay in parent.uncommitted())
        if is_twice or len(set(ids)) != len(ids):
            raise InvalidBlockError("a record stands twice")
        unknown = [bytes.fromhex(record_id) for record_id in ids if record_id not in self._mempool]
        if unknown:
            with self._store.read() as reader:
                known = reader.known_ids(unknown)
            # The store may be a block ahead of the committed state: what stands in such a block decides nothing here.
            if any(index < self._documents.base.frontier.size for index in known.values()):
                raise InvalidBlockError("a record of the block stands in the log already")

    def is_closing(self, digest: bytes) -> bool:
        """Whether an executed block changes the validators (P8.1)."""
        return self.closing_members(digest) is not None

    def closing_members(self, digest: bytes) -> ValidatorsDoc | None:
        """The validators of the epoch that an executed block opens by closing its own; None if it is not closing."""
        overlay = self._overlays.get(digest)
        document = None if overlay is None else overlay.documents.get(VALIDATORS_KEY)
        assert document is None or isinstance(document, ValidatorsDoc)
        return document

    def prepare(
        self,
        block: Block,
        *,
        epoch: int,
        view: int,
        certificate: bytes,
        cosign: Cosign,
        oldest_height: int,
    ) -> BlockCommit:
        """The rows of an executed block, for the store's one transaction. From here on readers may meet its height.

        Args:
            block: executed here; its parent is committed, or prepared before.
            epoch: the new floor's.
            view: the new floor's.
            certificate: the finalization, encoded.
            cosign: makes this node's cosignature of the log after the block.
            oldest_height: readers ask for no lower height any more.

        Raises:
            InternalError: code `not_executed`.
        """
        overlay = self._overlays.get(block.digest)
        if overlay is None:
            raise InternalError("a block is committed that was not executed", code="not_executed")
        self._documents.begin_commit(overlay)
        self._versions.append(version_of(overlay), oldest_height=oldest_height)
        return commit_of(
            overlay,
            epoch=epoch,
            view=view,
            header=msgspec.msgpack.encode(block.header),
            certificate=certificate,
            cosignature=cosign(overlay.frontier.size, overlay.frontier.root),
        )

    def advance(self, digest: bytes) -> tuple[Overlay, list[int]]:
        """The store holds the block: its overlay is the committed state. Its records leave the pool: also returns when
        those of them that were there had been admitted (monotonic ms)."""
        overlay = self._overlays.pop(digest)
        self._documents.advance(overlay)
        admitted_ms = self._mempool.made_final(overlay.record_ids)
        self._signatures.forget(overlay.entries)
        return overlay, admitted_ms

    def drop(self, digests: Sequence[bytes]) -> None:
        """These blocks can no longer become final. Their records are pending still."""
        for digest in digests:
            self._overlays.pop(digest, None)

    def _parent(self, digest: bytes) -> Overlay:
        base = self._documents.base
        parent = base if digest == base.digest else self._overlays.get(digest)
        if parent is None:
            raise InternalError("the parent was not executed here", code="unknown_parent", actual=digest.hex())
        return parent

    def _keep(self, overlay: Overlay, digest: bytes) -> None:
        overlay.digest = digest
        self._overlays[digest] = overlay


def _batches(candidates: Iterable[Pending]) -> Iterator[list[Pending]]:
    """Candidates in order, in pieces whose working sets are read at once."""
    batch: list[Pending] = []
    keys = 0
    for item in candidates:
        if batch and keys + len(item.touches) > _GATHER_KEYS:
            yield batch
            batch, keys = [], 0
        batch.append(item)
        keys += len(item.touches)
    if batch:
        yield batch


def commit_of(
    overlay: Overlay,
    *,
    epoch: int,
    view: int,
    header: bytes | None,
    certificate: bytes | None,
    cosignature: bytes | None,
) -> BlockCommit:
    """The rows of an overlay."""
    new = [key for key, before in overlay.previous.items() if before is None]
    serials = []
    for key in new:
        document = overlay.documents[key]
        if isinstance(document, WeaponDoc):
            serials.append((document.serial, document.make, key.id))
    return BlockCommit(
        height=overlay.height,
        epoch=epoch,
        view=view,
        digest=overlay.digest,
        first_index=overlay.first_index,
        entries=overlay.entries,
        records=[(bytes.fromhex(record_id), index) for record_id, index in overlay.record_ids.items()],
        header=header,
        certificate=certificate,
        cosignature=cosignature,
        frontier=overlay.frontier,
        nodes=overlay.nodes,
        documents=overlay.rows,
        history=overlay.history,
        serials=serials,
        keys=[(key_id(bytes.fromhex(key.id)), key.id) for key in new if key.kind == "key"],
        opens=_opens(overlay),
    )


def _opens(overlay: Overlay) -> EpochRow | None:
    """The epoch that begins after a block, if it is closing (P8.1)."""
    document = overlay.documents.get(VALIDATORS_KEY)
    if not isinstance(document, ValidatorsDoc):
        return None
    proof = overlay.tree.prove(key_hash(VALIDATORS_KEY.kind, VALIDATORS_KEY.id))
    validators = encode_document(document)
    return EpochRow(epoch=document.epoch, height=overlay.height, validators=validators, proof=proof)
