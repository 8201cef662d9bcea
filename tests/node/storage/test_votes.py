"""The votes database folds, prunes and gives back as the replica's durable image says (P3.1, P3.5)."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Block, BlockHeader
from ledger.consensus.durable import Image
from ledger.consensus.messages import Certificate, DurableRecord, Evidence, Finalize, Notarize, Nullify, Proposal
from ledger.errors import CorruptionError
from node.storage import Database, VoteStore

SIGNATURE = bytes(64)


def proposal(epoch: int, view: int, salt: int) -> Proposal:
    return Proposal(epoch=epoch, view=view, parent_view=0, digest=bytes([salt]) * 32)


def make(kind: str, epoch: int, view: int, salt: int) -> DurableRecord:
    """A record of each sort; `salt` tells apart what must fold into one."""
    signature = bytes([salt]) * 64
    if kind == "block":
        header = BlockHeader(
            chain=bytes(32),
            epoch=epoch,
            view=view,
            height=view,
            parent_view=0,
            parent_digest=bytes(32),
            parent_seal=bytes(32),
            payload_root=bytes([salt]) * 32,
            proposer=0,
            time=1,
        )
        return Block(header=header, entries=(b"entry",), seal=b"seal")
    if kind == "notarize":
        return Notarize(proposal=proposal(epoch, view, salt), signer=0, signature=signature)
    if kind == "nullify":
        return Nullify(epoch=epoch, view=view, signer=0, signature=signature)
    if kind == "finalize":
        return Finalize(proposal=proposal(epoch, view, salt), signer=0, signature=signature)
    if kind == "evidence":
        first, second = (
            Notarize(proposal=proposal(epoch, view, n), signer=salt, signature=signature) for n in (salt, salt + 1)
        )
        return Evidence(first=first, second=second)
    return Certificate(
        kind=kind,  # type: ignore[arg-type]
        epoch=epoch,
        view=view,
        proposal=None if kind == "nullification" else proposal(epoch, view, salt),
        signatures=((0, signature),),
    )


KINDS = (
    "block",
    "notarize",
    "nullify",
    "finalize",
    "evidence",
    "notarization",
    "nullification",
    "finalization",
)
RECORDS = st.builds(
    make, st.sampled_from(KINDS), st.integers(0, 2), st.integers(1, 5), st.integers(min_value=0, max_value=3)
)
STEPS = st.lists(st.tuples(st.lists(RECORDS, max_size=6), st.none() | st.tuples(st.integers(0, 2), st.integers(0, 6))))


def content(image: Image) -> set[bytes]:
    return {repr(record).encode() for record in image.records()}


@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_it_holds_what_the_image_holds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[DurableRecord], tuple[int, int] | None]]
) -> None:
    store = VoteStore(Database(tmp_path_factory.mktemp("votes") / "votes.db"))
    image = Image()
    for records, prune in steps:
        store.append(records, prune=prune)
        for record in records:
            image.fold(record)
        if prune is not None:
            image.prune(*prune)
        assert content(Image(store.load())) == content(image)
    store.close()


def test_it_is_there_after_opening_again(tmp_path: Path) -> None:
    store = VoteStore(Database(tmp_path / "votes.db"))
    records = [make(kind, 0, 3, 1) for kind in KINDS]
    store.append(records, cosignatures=[(10, 0, b"a"), (12, 1, b"b"), (12, 0, b"c")])
    store.close()
    store = VoteStore(Database(tmp_path / "votes.db"))
    assert set(map(repr, store.load())) == set(map(repr, records))
    assert store.cosignatures() == [(10, 0, b"a"), (12, 0, b"c"), (12, 1, b"b")]
    store.append(forget_below=12)
    assert store.cosignatures() == [(12, 0, b"c"), (12, 1, b"b")]


def test_cosignatures_that_close_an_epoch_are_never_forgotten(tmp_path: Path) -> None:
    store = VoteStore(Database(tmp_path / "votes.db"))
    store.append(cosignatures=[(10, 0, b"a")], closings=[(10, 2, b"b"), (10, 1, b"c")])
    store.append(closings=[(10, 1, b"another")], forget_below=1_000)
    assert store.cosignatures() == []
    store.close()
    store = VoteStore(Database(tmp_path / "votes.db"))
    assert store.closings() == [(10, 1, b"c"), (10, 2, b"b")]
    store.close()
    store.close()


def test_a_record_that_cannot_be_read_is_corruption(tmp_path: Path) -> None:
    database = Database(tmp_path / "votes.db")
    store = VoteStore(database)
    store.append([make("notarize", 0, 1, 0)])
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE consensus SET data = x'00'")
    with pytest.raises(CorruptionError):
        store.load()
    store.close()


@pytest.mark.parametrize(
    "column", ["kind = 'finalize'", "epoch = 1", "view = 2", "name = x'00'", "data = data || x'00'"]
)
def test_a_record_under_another_key_is_corruption(tmp_path: Path, column: str) -> None:
    database = Database(tmp_path / "votes.db")
    store = VoteStore(database)
    store.append([make("notarize", 0, 1, 0)])
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE consensus SET {column}")
    with pytest.raises(CorruptionError) as caught:
        store.load()
    assert caught.value.help is not None
    store.close()


def test_the_signing_floor_follows_pruning_and_is_never_lowered(tmp_path: Path) -> None:
    store = VoteStore(Database(tmp_path / "votes.db"))
    assert store.signing_floor() == (0, 0)
    store.append([make("notarize", 0, 5, 1)], prune=(0, 4))
    assert store.signing_floor() == (0, 4)
    store.append(prune=(0, 2))  # a ledger that was cut back prunes lower again
    assert store.signing_floor() == (0, 4)
    store.raise_signing_floor(1, 0)
    store.raise_signing_floor(0, 99)
    assert store.signing_floor() == (1, 0)
    store.close()
    assert VoteStore(Database(tmp_path / "votes.db")).signing_floor() == (1, 0)


def test_that_votes_are_suspect_is_remembered_until_it_is_taken_back(tmp_path: Path) -> None:
    store = VoteStore(Database(tmp_path / "votes.db"))
    assert not store.votes_suspect()
    for _ in range(2):
        store.set_votes_suspect(True)
        assert store.votes_suspect()
    store.close()
    store = VoteStore(Database(tmp_path / "votes.db"))
    assert store.votes_suspect()
    store.set_votes_suspect(False)
    assert not store.votes_suspect()
    assert store.signing_floor() == (0, 0)
    store.close()


def test_a_table_of_votes_without_marks_gets_them(tmp_path: Path) -> None:
    """A database of the schema before."""
    path = tmp_path / "votes.db"
    store = VoteStore(Database(path))
    store.append([make("notarize", 0, 5, 1)])
    store.close()
    connection = sqlite3.connect(path)
    connection.executescript(
        "DROP TABLE marks; DROP TABLE closings; UPDATE alembic_version SET version_num = 'votes_0001';"
    )
    connection.close()
    store = VoteStore(Database(path))
    assert store.signing_floor() == (0, 0)
    assert len(store.load()) == 1
    store.close()
