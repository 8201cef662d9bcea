"""A whole ledger in memory on top of `tests.world`: its log with seals, state tree, checkpoints, proofs and bundles.

It is put together from the ledger's own parts, without any node: for tests of what clients verify.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from ledger.answer import StateAnswer, build_state_answer
from ledger.block import Seal
from ledger.bundle import Bundle, build_bundle
from ledger.checkpoint import Checkpoint, Cosigner, SignedCheckpoint, sign_checkpoint
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.proof import consistency_proof, inclusion_proof
from ledger.merkle.tiles import TILE_HEIGHT, Tile, encode_entries
from ledger.merkle.tree import Frontier, NodeId, root_of
from ledger.notes import NoteSigner
from ledger.policy import GroupEntry, LogEntry, Policy, WitnessEntry
from ledger.proof import LogProof, ProofHead
from ledger.records import Record
from ledger.records.envelope import ParsedRecord, SignedRecord, parse_entry
from ledger.signing import SigningKey
from ledger.snapshot import SnapshotManifest, manifest_of, names_snapshot
from ledger.state.model import Doc, KindOfDocument, StateKey, encode_document
from ledger.state.validators import validators_hash_of
from ledger.statetree import StateProof, StateTree, key_hash, value_hash
from tests.world import GENESIS, ORIGIN, START_MS, World, key_named

AGENCIES: Final = ("customs", "interior", "neighbour", "police")
QUORUM: Final = 3


class _Written(dict[StateKey, Doc]):
    """A state that remembers which documents were written since it was asked last."""

    def __init__(self, documents: dict[StateKey, Doc]) -> None:
        super().__init__(documents)
        self.keys_written: set[StateKey] = set(documents)

    def __setitem__(self, key: StateKey, document: Doc) -> None:
        self.keys_written.add(key)
        super().__setitem__(key, document)


class ToyLedger(World):
    """`submit` appends a record to the open block; `seal` closes the block. Time passes between blocks only."""

    def __init__(self) -> None:
        super().__init__()
        self.written = _Written(self.state)
        self.state = self.written
        self.entries: list[bytes] = []
        self.frontier = Frontier()
        self.nodes: dict[NodeId, bytes] = {}
        self.trees: list[StateTree] = []
        self.sizes: list[int] = []
        self.tree = StateTree.empty()
        self.height = 0
        self._last_seal_hash = GENESIS.chain_id
        self.epoch_members = self.validators()
        self._records = 0
        self._passing_ms = 0
        self._last_entry = b""
        self._snapshot: SnapshotManifest | None = None
        self.time_ms = START_MS
        self._append(GENESIS.entry)
        self.seal()

    # --- writing ----------------------------------------------------------------------------------------------------

    def sign(self, record: Record, *keys: SigningKey) -> tuple[ParsedRecord, SignedRecord]:
        parsed, signed = super().sign(record, *keys)
        self._last_entry = parsed.entry
        return parsed, signed

    def submit(self, record: Record, *keys: SigningKey) -> str:
        record_id = super().submit(record, *keys)
        self._append(self._last_entry)
        self._records += 1
        return record_id

    def wait(self, time_ms: int) -> None:
        self._passing_ms += time_ms

    def seal(self, **changes: Any) -> int:
        """Close the block; returns the log's size. `changes` replace fields of an honest seal."""
        self.tree = self.tree.update(
            {
                key_hash(key.kind, key.id): value_hash(encode_document(self.state[key]))
                for key in self.written.keys_written
            }
        )
        self.written.keys_written.clear()
        fields: dict[str, Any] = {
            "height": self.height,
            "view": self.height,
            "epoch": self.epoch_members.epoch,
            "prev_seal": self._last_seal_hash.hex(),
            "time": self.time_ms,
            "record_count": self._records,
            "state_root": self.tree.root.hex(),
            "validators": validators_hash_of(self.epoch_members).hex(),
            "version": GENESIS.parameters.version,
        }
        if self._snapshot is not None and names_snapshot(GENESIS.parameters.version, self.height):
            fields["snapshot"] = self._snapshot.hash
        entry = Seal(**{**fields, **changes}).to_bytes()
        self._last_seal_hash = hashlib.sha256(entry).digest()
        self._append(entry)
        self._snapshot = manifest_of(
            height=self.height,
            size=self.frontier.size,
            log_root=self.frontier.root,
            state_root=self.tree.root,
            documents=len(self.tree),
            seal_hash=self._last_seal_hash,
        )
        self.epoch_members = self.validators()
        self.index = len(self.entries)
        self._records = 0
        self.height += 1
        self.time_ms += max(1_000, self._passing_ms)
        self._passing_ms = 0
        self.trees.append(self.tree)
        self.sizes.append(len(self.entries))
        return len(self.entries)

    def _append(self, entry: bytes) -> None:
        self.entries.append(entry)
        self.frontier, completed = self.frontier.extend([leaf_hash(entry)])
        self.nodes.update(((level, index), node) for level, index, node in completed)

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The log's size at the newest seal."""
        return self.sizes[-1]

    def node(self, level: int, index: int) -> bytes:
        """A node of the log's tree."""
        return self.nodes[level, index]

    def root(self, size: int | None = None) -> bytes:
        """The log's root at a size."""
        return root_of([leaf_hash(entry) for entry in self.entries[: size or self.size]])

    def tile(self, tile: Tile) -> bytes:
        """A hash tile or an entry bundle."""
        if tile.level is None:
            return encode_entries(self.entries[tile.first : tile.first + tile.width])
        level = tile.level * TILE_HEIGHT
        return b"".join(self.node(level, tile.first + at) for at in range(tile.width))

    def consistency(self, older: int, newer: int) -> list[bytes]:
        """The consistency proof between two sizes."""
        return consistency_proof(older, newer, self.node)

    def checkpoint(
        self, size: int | None = None, *, log: str = "customs", cosigners: Sequence[str] = AGENCIES[:QUORUM]
    ) -> bytes:
        """The checkpoint at a size, signed by an agency's log key and cosigned by these."""
        size = size or self.size
        checkpoint = Checkpoint(origin=ORIGIN, size=size, root=self.root(size))
        lines = [sign_checkpoint(checkpoint, NoteSigner(ORIGIN, key_named(f"{log} log")))]
        for number, party in enumerate(cosigners):
            cosigner = Cosigner(f"{ORIGIN}/{party}", key_named(f"{party} cosigner"))
            lines.append(cosigner.sign(checkpoint.text, time_s=self.time_ms // 1000 + number))
        return SignedCheckpoint.of(checkpoint, lines).to_bytes()

    def head(self, index: int, size: int | None = None) -> str:
        """The head of an entry's tlog-proof."""
        hashes = tuple(inclusion_proof(index, size or self.size, self.node))
        return ProofHead(index=index, hashes=hashes).to_bytes().decode()

    def receipt(self, index: int) -> bytes:
        """An entry's tlog-proof under the newest checkpoint."""
        hashes = tuple(inclusion_proof(index, self.size, self.node))
        return LogProof(head=ProofHead(index=index, hashes=hashes), checkpoint=self.checkpoint()).to_bytes()

    def index_of(self, record_id: str) -> int:
        """Where a record stands in the log."""
        for index, entry in enumerate(self.entries):
            if entry.startswith(b'{"payload"') and parse_entry(entry).id == record_id:
                return index
        raise KeyError(record_id)

    def prove(self, kind: KindOfDocument, document_id: str) -> StateProof:
        """The state proof of a document or its absence, at the newest seal."""
        return self.tree.prove(key_hash(kind, document_id))

    def document(self, kind: KindOfDocument, document_id: str) -> bytes | None:
        """A document's bytes."""
        document = self.state.get(StateKey(kind, document_id))
        return None if document is None else encode_document(document)

    def answer(self, kind: KindOfDocument, document_id: str) -> StateAnswer:
        """A state answer as of the newest seal."""
        return build_state_answer(
            id=document_id,
            document=self.document(kind, document_id),
            proof=self.prove(kind, document_id),
            seal=(self.entries[self.size - 1], self.head(self.size - 1)),
            checkpoint=self.checkpoint().decode(),
        )

    def bundle(self, weapon: str, *, checkpoint: bytes | None = None) -> Bundle:
        """The evidence bundle of a weapon as of the newest seal."""
        document = self.document("weapon", weapon)
        assert document is not None
        history = self.history[weapon]
        publics = {self.signer(record) for _, record in history}
        keys = [(public, self.document("key", public) or b"", self.prove("key", public)) for public in publics]
        return build_bundle(
            ledger=GENESIS.ledger_id,
            weapon=(weapon, document, self.prove("weapon", weapon)),
            records=[(self.entries[index], self.head(index)) for index, _ in history],
            keys=keys,
            seal=(self.entries[self.size - 1], self.head(self.size - 1)),
            checkpoint=(checkpoint or self.checkpoint()).decode(),
        )

    def signer(self, record: ParsedRecord) -> str:
        """The public key that signed a record, by its key id."""
        wanted = record.envelope.signatures[0].keyid
        return next(
            key.id
            for key in self.state
            if key.kind == "key" and hashlib.sha256(bytes.fromhex(key.id)).hexdigest()[:16] == wanted
        )


def toy_policy(*, quorum: int = QUORUM) -> Policy:
    """All four agencies' log keys, and a quorum of their cosigners."""
    return Policy(
        logs=tuple(LogEntry(verifier=NoteSigner(ORIGIN, key_named(f"{party} log")).verifier) for party in AGENCIES),
        witnesses=tuple(
            WitnessEntry(name=party, verifier=Cosigner(f"{ORIGIN}/{party}", key_named(f"{party} cosigner")).verifier)
            for party in AGENCIES
        ),
        groups=(GroupEntry(name="agencies", threshold=quorum, members=AGENCIES),),
        quorum="agencies",
    )
