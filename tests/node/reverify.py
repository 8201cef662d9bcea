"""A node's databases verified anew, sharing nothing with the node but the pure rules: what must hold after any fault.

Every entry is hashed and the roots recomputed by a naive tree; every record is parsed, its signatures verified, checked and
applied to a dict. Blocks, seals, documents, read models, floor, cosignatures and votes must be what that gives. Nothing but
`sqlite3` reads the databases.
"""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from ledger.block import BlockHeader, Seal, decode_seal
from ledger.checkpoint import Checkpoint, cosigned_message
from ledger.consensus.certificates import verify_certificate, verify_evidence
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate, Evidence, Finalize, Notarize, Nullify, Vote, conflict, signed_bytes
from ledger.genesis import Genesis
from ledger.merkle.hashing import leaf_hash
from ledger.records.envelope import parse_entry, verify_entry
from ledger.signing import is_valid, key_id, verify
from ledger.state.model import VALIDATORS_KEY, At, Doc, StateKey, ValidatorsDoc, WeaponDoc, encode_document
from ledger.state.transition import apply, check, genesis_state, signers_of
from ledger.statetree import key_hash, value_hash
from node.cosigning import decode_cosignature
from tests.reference import merkle, statetree

_VOTES = msgspec.msgpack.Decoder(Notarize | Nullify | Finalize | Certificate | Evidence)


class Verified(msgspec.Struct, frozen=True):
    """Where a node stands, once everything held."""

    height: int
    size: int
    log_root: bytes
    state_root: bytes
    floor: tuple[int, int]
    record_ids: frozenset[str]
    votes: tuple[Vote, ...]


def epoch_of(document: ValidatorsDoc) -> Epoch:
    """As far as certificates need it."""
    keys = tuple(bytes.fromhex(entry.consensus) for entry in document.members)
    return Epoch(number=document.epoch, validators=keys, opening_digest=bytes(32))


class Replayed:
    """The state and the read models, block by block, from the entries alone."""

    def __init__(self, genesis: Genesis) -> None:
        self.state: dict[StateKey, Doc] = dict(genesis_state(genesis))
        self.records: dict[bytes, int] = {}
        self.history: set[tuple[str, int]] = set()
        self.serials: set[tuple[str, str, str]] = set()
        self.keys = {(key_id(bytes.fromhex(key.id)), key.id) for key in self.state if key.kind == "key"}
        self.epochs = [self.validators]

    @property
    def validators(self) -> ValidatorsDoc:
        document = self.state[VALIDATORS_KEY]
        assert isinstance(document, ValidatorsDoc)
        return document

    def get(self, key: StateKey, /) -> Doc | None:
        return self.state.get(key)

    def block(self, entries: list[bytes], first: int, seal: Seal) -> None:
        """Check and apply the records of one block."""
        for index, entry in enumerate(entries, start=first):
            at = At(index=index, time_ms=seal.time, height=seal.height)
            parsed = parse_entry(entry)
            signed = verify_entry(parsed, signers_of(self, parsed.record, seal.time))
            check(self, signed, at)
            assert bytes.fromhex(signed.id) not in self.records, "a record stands twice"
            self.records[bytes.fromhex(signed.id)] = index
            for key, document in apply(self, signed, at).items():
                if key.kind == "weapon":
                    self.history.add((key.id, index))
                if key not in self.state and isinstance(document, WeaponDoc):
                    self.serials.add((document.serial, document.make, key.id))
                if key not in self.state and key.kind == "key":
                    self.keys.add((key_id(bytes.fromhex(key.id)), key.id))
                self.state[key] = document
        if self.validators.epoch != self.epochs[-1].epoch:
            self.epochs.append(self.validators)

    @property
    def root(self) -> bytes:
        return statetree.root(
            {key_hash(key.kind, key.id): value_hash(encode_document(doc)) for key, doc in self.state.items()}
        )


def reverify(folder: Path, genesis: Genesis, party: str) -> Verified:
    """Verify the databases in a node's data directory; AssertionError says what does not hold."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:

        def rows(sql: str) -> list[Any]:
            return connection.execute(sql).fetchall()

        assert rows("PRAGMA integrity_check") == [("ok",)]
        verified, replayed = _ledger(rows, genesis, party)
    with closing(sqlite3.connect(folder / "votes.db")) as connection:

        def vote_rows(sql: str) -> list[Any]:
            return connection.execute(sql).fetchall()

        assert vote_rows("PRAGMA integrity_check") == [("ok",)]
        votes = _votes(vote_rows, genesis, party, verified, replayed)
    with closing(sqlite3.connect(folder / "agency.db")) as connection:
        before = bytes(32)
        for expected, (number, entry, held) in enumerate(connection.execute("SELECT * FROM queries ORDER BY number")):
            before = hashlib.sha256(before + entry).digest()
            assert (number, held) == (expected, before), "the query log's chain is broken"
    return msgspec.structs.replace(verified, votes=votes)


def _ledger(rows: Any, genesis: Genesis, party: str) -> tuple[Verified, Replayed]:
    held = rows('SELECT "index", entry FROM entries ORDER BY "index"')
    assert [index for index, _ in held] == list(range(len(held)))
    entries = [entry for _, entry in held]
    replayed = Replayed(genesis)
    blocks = rows(
        "SELECT height, digest, first_index, size, log_root, header, certificate, cosignature FROM blocks ORDER BY height"
    )
    assert [block[0] for block in blocks] == list(range(len(blocks)))
    digests = {block[1] for block in blocks}
    at, prev_seal, parent, floor = 0, genesis.chain_id, genesis.chain_id, (0, 0)
    for height, digest, first, size, log_root, header_data, certificate_data, cosignature in blocks:
        assert first == at < size <= len(entries)
        seal = decode_seal(entries[size - 1])
        epoch = replayed.validators
        assert (seal.height, seal.epoch) == (height, epoch.epoch)
        assert seal.record_count == (size - 1 - first if height else 0)
        assert seal.prev_seal == prev_seal.hex()
        if height == 0:
            assert (entries[0], digest, size) == (genesis.entry, genesis.chain_id, 2)
        else:
            header = msgspec.msgpack.decode(header_data, type=BlockHeader)
            assert header.digest == digest and header.parent_digest == parent and header.parent_seal == prev_seal
            assert header.payload_root == merkle.mth(entries[first:size])
            certificate = msgspec.msgpack.decode(certificate_data, type=Certificate)
            verify_certificate(genesis.chain_id, epoch_of(epoch), certificate)
            assert certificate.kind == "finalization" and certificate.proposal is not None
            own = certificate.proposal.digest == digest
            assert own or certificate.proposal.digest in digests or height == len(blocks) - 1
            replayed.block(entries[first : size - 1], first, seal)
            floor = (header.epoch, certificate.view if own else header.view)
            if replayed.validators.epoch != epoch.epoch:
                floor = (replayed.validators.epoch, 0)
        assert merkle.mth(entries[:size]) == log_root
        assert replayed.root.hex() == seal.state_root
        if cosignature is not None:
            [public] = [entry.cosigner for entry in epoch.members if entry.party == party]
            _check_cosignature(genesis, cosignature, size, log_root, public)
        at, parent, prev_seal = size, digest, hashlib.sha256(entries[size - 1]).digest()
    assert at == len(entries), "entries without a block"
    [(floor_epoch, floor_view, floor_height)] = rows("SELECT epoch, view, height FROM floor")
    assert (floor_epoch, floor_view, floor_height) == (*floor, len(blocks) - 1)
    _derived(rows, replayed, entries)
    ids = frozenset(record_id.hex() for record_id in replayed.records)
    root = merkle.mth(entries)
    return Verified(len(blocks) - 1, len(entries), root, replayed.root, floor, ids, ()), replayed


def _derived(rows: Any, replayed: Replayed, entries: list[bytes]) -> None:
    """The tables that follow from the log."""
    assert dict(rows('SELECT id, "index" FROM records')) == replayed.records
    documents = {
        key_hash(key.kind, key.id): (key.kind, key.id, encode_document(document))
        for key, document in replayed.state.items()
    }
    assert {row[0]: row[1:] for row in rows("SELECT key, kind, id, value FROM documents")} == documents
    assert set(rows('SELECT weapon, "index" FROM history')) == replayed.history
    assert set(rows("SELECT serial, make, weapon FROM serials")) == replayed.serials
    assert set(rows("SELECT keyid, public FROM keys")) == replayed.keys
    leaves = list(map(leaf_hash, entries))
    expected = {(0, n): b"".join(leaves[256 * n : 256 * (n + 1)]) for n in range(-(-len(leaves) // 256))}
    for n in range(len(entries) // 256):
        expected[1, n >> 8] = expected.get((1, n >> 8), b"") + merkle.mth(entries[256 * n : 256 * (n + 1)])
    assert {row[:2]: row[2] for row in rows("SELECT level, number, hashes FROM tiles")} == expected


def _votes(rows: Any, genesis: Genesis, party: str, ledger: Verified, replayed: Replayed) -> tuple[Vote, ...]:
    """Own votes, certificates and evidence hold; no two votes conflict; the floor's finalization is there (P7.5)."""
    votes: list[Vote] = []
    final_view = 0
    for (data,) in rows("SELECT data FROM consensus WHERE kind <> 'block'"):
        record = _VOTES.decode(data)
        number = record.first.epoch if isinstance(record, Evidence) else record.epoch
        epoch = epoch_of(replayed.epochs[number]) if number < len(replayed.epochs) else None
        if isinstance(record, Certificate):
            if epoch is not None:
                verify_certificate(genesis.chain_id, epoch, record)
            if record.kind == "finalization" and number == ledger.floor[0]:
                final_view = max(final_view, record.view)
        elif isinstance(record, Evidence):
            assert epoch is not None
            verify_evidence(genesis.chain_id, epoch, record)
        else:
            votes.append(record)
            if epoch is not None:
                assert replayed.epochs[number].members[record.signer].party == party
                verify(epoch.validators[record.signer], signed_bytes(genesis.chain_id, record), record.signature)
    assert not [(a, b) for a in votes for b in votes if conflict(a, b)], "a vote doubled"
    assert final_view >= ledger.floor[1], "a commit without its finalization"
    for size, signer, line in rows(
        "SELECT size, signer, line FROM cosignatures UNION SELECT size, signer, line FROM closings"
    ):
        assert decode_cosignature(line).size == size
        assert 0 <= signer < max(len(document.members) for document in replayed.epochs)
    return tuple(votes)


def _check_cosignature(genesis: Genesis, data: bytes, size: int, root: bytes, public: str) -> None:
    cosignature = decode_cosignature(data)
    assert (cosignature.size, cosignature.root) == (size, root)
    text = Checkpoint(origin=genesis.origin, size=size, root=root).text
    assert is_valid(bytes.fromhex(public), cosigned_message(text, cosignature.time_s), cosignature.signature)
