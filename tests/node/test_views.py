"""A view is as of one height, whatever is committed meanwhile, and everything in it is proved against one root."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.block import decode_seal
from ledger.errors import CorruptionError, InputError
from ledger.limits import STATE_HISTORY_BLOCKS
from ledger.marks import weapon_id
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.proof import inclusion_proof
from ledger.merkle.verify import verify_inclusion
from ledger.state.model import StateKey, WeaponDoc, decode_document
from ledger.statetree import verify_state
from node.cosigning import Cosigning
from node.membership import Members
from node.service.errors import NotReadyError
from node.views import CosignedView, CosignedViews
from tests.node.cluster import keys_of
from tests.node.execution.engine import Engine
from tests.world import build_genesis

WEAPON = weapon_id("GLC", "ONE", "")
KEY = StateKey("weapon", WEAPON)


class Reading:
    """An engine of one agency, whose commits are cosigned when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine(folder, build_genesis("interior"))
        self.cosigning = Cosigning(
            self.engine.genesis.origin, keys_of("interior"), self.engine.clock, Members.of_genesis(self.engine.genesis)
        )
        self.views = CosignedViews(self.engine.store, self.engine.versions, self.cosigning)

    def cosign(self) -> None:
        """The newest block gets its quorum (of one)."""
        base = self.engine.documents.base
        size, root = base.frontier.size, base.frontier.root
        self.cosigning.committed(height=base.height, size=size, root=root, own=self.cosigning.cosign(size, root))


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Reading]:
    built = Reading(tmp_path)
    built.engine.trade()
    yield built
    built.engine.close()


def owner(view: CosignedView) -> str | None:
    document = decode_document("weapon", view.documents([KEY])[KEY])
    assert isinstance(document, WeaponDoc)
    return document.owner


def verify_all(view: CosignedView) -> None:
    """Every document and entry of the view is proved against its one checkpoint."""
    [seal] = view.entries([view.size - 1])
    state_root = bytes.fromhex(decode_seal(seal).state_root)
    for key in (KEY, StateKey("weapon", weapon_id("GLC", "NONE", "")), StateKey("party", "maker")):
        verify_state(state_root, key.kind, key.id, view.documents([key]).get(key), view.prove(key))
    root = view._cosigned.root
    for index in (*view.history(WEAPON), view.size - 1):
        [entry] = view.entries([index])
        proof = inclusion_proof(index, view.size, view.node)
        verify_inclusion(leaf_hash=leaf_hash(entry), index=index, size=view.size, proof=proof, root=root)


def test_nothing_is_shown_before_a_quorum(reading: Reading) -> None:
    with pytest.raises(NotReadyError), reading.views.view():
        pass
    reading.cosign()
    with reading.views.view() as view:
        assert view.documents([KEY]) == {}
        verify_all(view)


def test_a_view_stays_at_its_height_while_blocks_are_committed(reading: Reading) -> None:
    engine, world = reading.engine, reading.engine.world
    engine.make_final(world.register("maker", "ONE"))
    reading.cosign()
    with reading.views.view() as during:
        offer = world.offer("maker", "importer", WEAPON)
        transfer = engine.make_final(offer)
        assert transfer.header.height == during.height + 1
        assert owner(during) == "maker"
        assert len(during.history(WEAPON)) == 1
        verify_all(during)


def test_a_view_lags_behind_the_store_until_the_newest_block_is_cosigned(reading: Reading) -> None:
    engine, world = reading.engine, reading.engine.world
    engine.make_final(world.register("maker", "ONE"))
    reading.cosign()
    with reading.views.view() as before:
        height, size, history = before.height, before.size, list(before.history(WEAPON))
    offer = world.offer("maker", "importer", WEAPON)
    _, signed = world.sign(offer)
    engine.make_final(offer)
    engine.make_final(world.accept("importer", signed.id, WEAPON), world.register("maker", "TWO"))
    with reading.views.view() as lagging:
        assert (lagging.height, lagging.size) == (height, size)
        assert owner(lagging) == "maker"
        assert lagging.history(WEAPON) == history
        assert lagging.documents([StateKey("transfer", signed.id)]) == {}
        assert lagging.weapons_by_serial("TWO", make=None, after=("", ""), limit=5) == []
        with pytest.raises(InputError):
            lagging.entries([lagging.size])
        with pytest.raises(InputError):
            lagging.tile(0, 0, lagging.size + 1)
        assert len(lagging.tile(0, 0, lagging.size)) == 32 * lagging.size
        verify_all(lagging)
    reading.cosign()
    with reading.views.view() as level:
        assert level.height == height + 2
        assert owner(level) == "importer"
        assert level.history(WEAPON) == [*history, size, size + 2]
        assert level.weapons_by_serial("TWO", make="GLC", after=("", ""), limit=5) == [
            ("GLC", weapon_id("GLC", "TWO", ""))
        ]
        verify_all(level)


def test_a_commit_that_the_store_shows_but_the_executor_does_not_yet(reading: Reading) -> None:
    engine, world = reading.engine, reading.engine.world
    engine.make_final(world.register("maker", "ONE"))
    reading.cosign()
    engine.admit(world.report("maker", "stolen", WEAPON))
    block = engine.build()
    engine.prepare(block)
    with reading.views.view() as view:
        assert owner(view) == "maker"
        assert decode_document("weapon", view.documents([KEY])[KEY]).status == "held"  # type: ignore[union-attr]
        verify_all(view)
    engine.executor.advance(block.digest)
    with reading.views.view() as view:
        verify_all(view)


def test_a_log_far_ahead_of_its_cosignatures_gives_no_answer_rather_than_a_mixed_one(reading: Reading) -> None:
    engine, world = reading.engine, reading.engine.world
    engine.make_final(world.register("maker", "ONE"))
    reading.cosign()
    for n in range(STATE_HISTORY_BLOCKS - 1):
        engine.make_final(world.register("maker", f"N{n}"))
        with reading.views.view() as view:
            verify_all(view)
    engine.make_final(world.register("maker", "LAST"))
    with pytest.raises(NotReadyError), reading.views.view():
        pass


def test_a_damaged_document_is_never_shown(reading: Reading) -> None:
    engine = reading.engine
    engine.make_final(engine.world.register("maker", "ONE"))
    reading.cosign()
    with engine.store._database.write() as connection:
        connection.exec_driver_sql("UPDATE documents SET value = x'7b7d' WHERE kind = 'weapon'")
    with pytest.raises(CorruptionError), reading.views.view() as view:
        view.documents([KEY])
