"""How validators change and how newcomers learn of it: governance records, successions, snapshots."""

from functools import cache
from typing import Final

import msgspec

from ledger.errors import EncodingError
from ledger.policy import Policy
from ledger.records import Record
from ledger.records.envelope import parse_entry, sign_record, verify_entry
from ledger.snapshot import (
    SnapshotDocument,
    SnapshotManifest,
    decode_manifest,
    manifest_of,
    verify_chunk,
    verify_chunk_roots,
)
from ledger.state.model import encode_document
from ledger.statetree import KEY_BITS, StateTree, key_hash, value_hash
from ledger.succession import decode_succession, follow
from tests.changingledger import Changing
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_msgpack
from tests.fuzz.parsers import JSON, POLICY, ledger, target_of
from tests.ledger.records.test_governance import BRINGING_KEYS, SIGNER
from tests.world import World


@cache
def _changing() -> Changing:
    changed = Changing()
    changed.change(("customs", "interior", "neighbour", "police", "coast"))
    changed.change(("customs", "interior", "neighbour"))
    return changed


def _succession(data: bytes) -> None:
    """Whatever is followed leads to the validators that the old ones appointed."""
    succession = decode_succession(data)
    assert succession.to_bytes() == data
    followed = follow(POLICY, succession)
    assert len(succession.steps) < 2 or followed.newest == _newest()


@cache
def _newest() -> Policy:
    return follow(POLICY, _changing().succession).newest


def _governance() -> list[bytes]:
    world = World()
    records: list[Record] = [world.propose("customs", change) for change in BRINGING_KEYS]
    return [sign_record(record, SIGNER) for record in records]


def _proposal(data: bytes) -> None:
    parsed = parse_entry(data)
    assert parsed.envelope.to_bytes() == data
    verify_entry(parsed, (SIGNER.public.hex(),))
    assert data in _governance_entries(), "a record that nobody signed"


@cache
def _governance_entries() -> tuple[bytes, ...]:
    return tuple(_governance())


# --- snapshots ---


@cache
def _documents() -> tuple[SnapshotDocument, ...]:
    """The state's documents in the order of their hashed keys."""
    documents = [(key.kind, key.id, encode_document(document)) for key, document in ledger().state.items()]
    return tuple(sorted(documents, key=lambda document: key_hash(document[0], document[1])))


@cache
def _tree() -> StateTree:
    return StateTree.build(sorted((key_hash(kind, name), value_hash(value)) for kind, name, value in _documents()))


@cache
def _manifest() -> SnapshotManifest:
    """As of a state so large that it stands in four chunks."""
    return manifest_of(
        height=63, size=200, log_root=bytes(32), state_root=_tree().root, documents=40_000, seal_hash=bytes(32)
    )


def _manifest_bytes(data: bytes) -> None:
    manifest = decode_manifest(data)
    assert manifest.to_bytes() == data
    assert len(manifest.hash) == 64
    assert manifest.depth >= 0


def _roots(data: bytes) -> None:
    verify_chunk_roots(_manifest(), data)
    assert data == _good_roots(), "other roots that make the state's"


@cache
def _chunk_root() -> bytes:
    return _tree().subtrees(_manifest().depth)[0][1:]


@cache
def _good_roots() -> bytes:
    return b"".join(_tree().subtrees(_manifest().depth))


_CHUNK: Final = msgspec.msgpack.Decoder(tuple[SnapshotDocument, ...])


@cache
def _chunk() -> tuple[SnapshotDocument, ...]:
    """The first chunk of the four."""
    depth = _manifest().depth
    return tuple(
        document
        for document in _documents()
        if int.from_bytes(key_hash(document[0], document[1])) >> (KEY_BITS - depth) == 0
    )


def _chunk_bytes(data: bytes) -> None:
    try:
        documents = _CHUNK.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EncodingError(str(error)) from error
    verify_chunk(0, _manifest().depth, _chunk_root(), documents)
    assert documents == _chunk(), "other documents than the state's"


MEMBERS: Final = (
    target_of("governance", _governance, JSON, _proposal),
    target_of("succession", lambda: [_changing().succession.to_bytes()], JSON, _succession),
    target_of("snapshot-manifest", lambda: [_manifest().to_bytes()], (mutate_json, mutate_bytes), _manifest_bytes),
    target_of("snapshot-roots", lambda: [_good_roots()], (mutate_bytes,), _roots),
    target_of(
        "snapshot-chunk", lambda: [msgspec.msgpack.encode(_chunk())], (mutate_msgpack, mutate_bytes), _chunk_bytes
    ),
)
"""What changes who decides, and what a newcomer builds on."""
