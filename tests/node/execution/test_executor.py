"""Blocks: what is built is what others check, and what direct application of the rules gives."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from ledger.block import Block, BlockHeader, payload_root
from ledger.errors import InternalError, TracemarkError
from ledger.limits import BLOCK_BUILD_MS, CATCHUP_CONCURRENCY, MAX_BLOCK_WEAPONS
from ledger.marks import weapon_id
from ledger.merkle.hashing import leaf_hash
from ledger.records.envelope import parse_entry, verify_entry
from ledger.state.model import At, Doc, StateKey, decode_document, encode_document
from ledger.state.transition import apply, check, genesis_state, signers_of
from ledger.statetree import StateTree, key_hash, value_hash
from node.execution.executor import InvalidBlockError
from node.execution.opening import open_state
from node.execution.overlay import Overlay
from node.execution.run import BlockRun
from node.service.readers import READER_THREADS
from tests.node.execution.engine import Engine, code_of
from tests.world import GENESIS, key_named


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    built = Engine(tmp_path / "engine")
    built.trade()
    yield built
    built.close()


@pytest.fixture
def other(tmp_path: Path, engine: Engine) -> Iterator[Engine]:
    """Another node at the same height."""
    built = Engine(tmp_path / "other")
    follow(built, engine)
    yield built
    built.close()


def follow(engine: Engine, leader: Engine) -> None:
    """Check and commit what the leader's store holds."""
    with leader.store.read() as reader:
        last = reader.height()
    for height in range(engine.documents.base.height + 1, last + 1):
        block = stored(leader, height)
        engine.executor.check(block)
        engine.commit(block)


def stored(engine: Engine, height: int) -> Block:
    with engine.store.read() as reader:
        place = reader.place_at_height(height)
        assert place is not None
        entries = reader.entries(place.first_index, place.size - place.first_index)
        row = reader._connection.exec_driver_sql("SELECT header FROM blocks WHERE height = ?", (height,)).one()
    return Block(header=msgspec.msgpack.decode(row[0], type=BlockHeader), entries=tuple(entries[:-1]), seal=entries[-1])


def naive_state(engine: Engine) -> dict[StateKey, Doc]:
    """The state by applying every entry of the log to a dictionary, one by one."""

    class Everything(dict[StateKey, Doc]):
        pass

    state = Everything(genesis_state(GENESIS))
    with engine.store.read() as reader:
        height, index = 1, 2
        while (place := reader.place_at_height(height)) is not None:
            _, seal = reader.seal(place)
            for entry in reader.entries(place.first_index, place.size - place.first_index - 1):
                parsed = parse_entry(entry)
                at = At(index=index, time_ms=seal.time, height=height)
                signed = verify_entry(parsed, signers_of(state, parsed.record, at.time_ms))
                check(state, signed, at)
                state.update(apply(state, signed, at))
                index += 1
            index += 1
            height += 1
    return state


def root_of_state(state: dict[StateKey, Doc]) -> bytes:
    leaves = {key_hash(*key): value_hash(encode_document(document)) for key, document in state.items()}
    return StateTree.build(sorted(leaves.items())).root


def test_a_long_random_life_gives_the_state_of_direct_application(engine: Engine, other: Engine) -> None:
    chance, world = random.Random(7), engine.world
    held: dict[str, str] = {}
    for number in range(40):
        records: list[object] = []
        touched: set[str] = set()
        for n in range(chance.randint(1, 12)):
            free = sorted(held.keys() - touched)
            kind = chance.choice(["register", "register", "offer", "report", "correct"])
            if kind == "register" or not free:
                serial = f"R{number}X{n}"
                records.append(world.register("maker", serial))
                held[weapon_id("GLC", serial, "")] = "maker"
                touched.add(weapon_id("GLC", serial, ""))
                continue
            weapon = chance.choice(free)
            touched.add(weapon)
            owner = held[weapon]
            if kind == "offer":
                to = chance.choice([p for p in ("maker", "importer", "dealer") if p != owner])
                offer = world.offer(owner, to, weapon)
                engine.make_final(offer)
                records.append(world.accept(to, parse_entry(engine.sign(offer)).id, weapon))
                held[weapon] = to
            else:
                records.append(world.report(owner, "stolen", weapon))
                del held[weapon]
        engine.make_final(*records)
        engine.clock.now_ms += 1_000
        world.time_ms = engine.clock.wall_ms()
    follow(other, engine)
    expected = naive_state(engine)
    with engine.store.read() as reader:
        documents = {
            StateKey(kind, name): decode_document(kind, value)  # type: ignore[arg-type]
            for _, kind, name, value in reader.all_documents()
        }
    assert documents == expected
    assert engine.documents.base.tree.root == other.documents.base.tree.root == root_of_state(expected)
    head, base = open_state(GENESIS, engine.store, lambda size, root: b"")
    assert (head.state_root, base.tree.root) == (base.tree.root, engine.documents.base.tree.root)
    assert head.log_root == other.documents.base.frontier.root


def test_a_block_executes_on_its_parents_overlay(engine: Engine, other: Engine) -> None:
    world = engine.world
    engine.admit(world.register("maker", "ONE"))
    first = engine.build()
    weapon = weapon_id("GLC", "ONE", "")
    engine.admit(world.offer("maker", "importer", weapon))  # valid on the tip only
    second = engine.build(first)
    assert len(second.entries) == 1
    assert engine.executor.build(engine.plan(second)) is None  # both stand in ancestors
    other.executor.check(first)
    other.executor.check(second)
    for block in (first, second):
        other.commit(block)
        engine.commit(block)
    assert other.documents.base.tree.root == engine.documents.base.tree.root


def test_overlays_that_are_dropped_leave_their_records_pending(engine: Engine) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    engine.executor.drop([block.digest])
    assert len(engine.pool) == 1
    assert engine.build().entries == block.entries
    with pytest.raises(InternalError) as caught:
        engine.build(Block(header=msgspec.structs.replace(block.header, view=99), entries=(), seal=b""))
    assert caught.value.code == "unknown_parent"


def test_a_sibling_of_a_committed_block_is_not_executed_upon(engine: Engine) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    chosen = engine.build()
    engine.admit(engine.world.register("maker", "TWO"))
    loser = engine.executor.build(msgspec.structs.replace(engine.plan(), view=50))
    assert loser is not None
    engine.commit(chosen)
    with pytest.raises(InternalError) as caught:
        engine.build(loser, allow_empty=True)
    assert caught.value.code == "stale_parent"


def test_a_sibling_is_judged_by_its_parent_while_the_store_is_ahead(engine: Engine, other: Engine) -> None:
    """The store already holds a block of this height: a verdict must not depend on that."""
    record = engine.sign(engine.world.register("maker", "ONE"))
    engine.admit(record)
    chosen = engine.build()
    sibling = engine.executor.build(msgspec.structs.replace(engine.plan(), view=50))
    assert sibling is not None
    assert sibling.entries == chosen.entries
    other.executor.check(chosen)
    other.prepare(chosen)
    other.executor.check(sibling)
    other.executor.advance(chosen.digest)
    assert other.documents.base.digest == chosen.digest


def test_a_sibling_reads_what_the_store_has_overwritten_already(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.execution.documents.DOCUMENT_CACHE_BYTES", 0)
    engine.make_final(engine.world.register("maker", "ONE"))
    follow(other, engine)
    engine.admit(engine.world.report("maker", "stolen", weapon_id("GLC", "ONE", "")))
    chosen = engine.build()
    sibling = engine.executor.build(msgspec.structs.replace(engine.plan(), view=50))
    assert sibling is not None
    other.executor.check(chosen)
    other.prepare(chosen)  # the store has the stolen weapon's document now, the committed state not yet
    other.executor.check(sibling)


def rebuilt(block: Block, **changes: object) -> Block:
    """The block with another body or header, its payload root made to fit."""
    entries = changes.pop("entries", block.entries)
    seal = changes.pop("seal", block.seal)
    assert isinstance(entries, tuple)
    assert isinstance(seal, bytes)
    root = payload_root(tuple(map(leaf_hash, (*entries, seal))))
    return Block(header=msgspec.structs.replace(block.header, payload_root=root, **changes), entries=entries, seal=seal)


def test_a_block_with_another_seal_is_invalid(engine: Engine, other: Engine) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    good = block.seal.decode()
    for old, new in (
        ('"record_count":1', '"record_count":2'),
        ('"epoch":0', '"epoch":1'),
        (f'"time":{block.header.time}', f'"time":{block.header.time + 1}'),
        (good[good.index('"state_root":"') :][:30], good[good.index('"state_root":"') :][:29] + "!"),
    ):
        spoilt = rebuilt(block, seal=good.replace(old, new).encode())
        assert spoilt.seal != block.seal
        with pytest.raises(InvalidBlockError):
            other.executor.check(spoilt)
    other.executor.check(block)


def test_a_record_may_stand_once_only(engine: Engine, other: Engine) -> None:
    entry = engine.sign(engine.world.register("maker", "ONE"))
    engine.admit(entry)
    block = engine.build()
    with pytest.raises(InvalidBlockError, match="twice"):
        other.executor.check(rebuilt(block, entries=(entry, entry)))
    other.executor.check(block)
    child = rebuilt(block, height=block.header.height + 1, view=60, parent_digest=block.digest)
    with pytest.raises(InvalidBlockError, match="twice"):
        other.executor.check(child)
    engine.commit(block)
    follow(other, engine)
    again = rebuilt(child, parent_digest=block.digest)
    with pytest.raises(InvalidBlockError, match="in the log already"):
        other.executor.check(again)


def test_a_block_with_a_bad_record_is_invalid(engine: Engine, other: Engine) -> None:
    world = engine.world
    engine.admit(world.register("maker", "ONE"))
    block = engine.build()
    good = block.entries[0]
    stranger = world.register("maker", "TWO")
    world.keys["maker"], kept = key_named("somebody else"), world.keys["maker"]
    forged = engine.sign(stranger)
    world.keys["maker"] = kept
    for entries in (
        (good[:-1],),
        (b"{}",),
        (forged,),
        (good, engine.sign(world.register("maker", "THREE", make="SW"))),
        (engine.sign(world.offer("maker", "importer", weapon_id("GLC", "NONE", ""))),),
    ):
        with pytest.raises(InvalidBlockError):
            other.executor.check(rebuilt(block, entries=entries))


def test_a_key_that_changes_within_the_block_signs_what_follows(engine: Engine, other: Engine) -> None:
    world = engine.world
    old, new = world.keys["maker"], key_named("maker's new key")
    rotation = engine.sign(world.add_key("maker", "maker", new))
    early, late = world.register("maker", "OLD"), world.register("maker", "NEW")
    signed_by_old = engine.sign(early)
    world.keys["maker"] = new
    signed_by_new = engine.sign(late)
    assert [o.status for o in engine.admit(signed_by_old, rotation)] == ["pending", "pending"]
    first = engine.build()
    assert engine.admit(signed_by_new)[0].status == "pending"  # valid on the tip
    engine.executor.drop([first.digest])
    block = engine.build()
    assert block.entries == (signed_by_old, rotation, signed_by_new)
    other.executor.check(block)
    # In another order the first record is signed by a key that has ended, whether its signature was verified before or not.
    world.keys["maker"] = old
    for fresh in (engine, other):
        with pytest.raises(InvalidBlockError):
            fresh.executor.check(rebuilt(block, entries=(rotation, signed_by_old)))


def test_a_failing_record_does_not_poison_a_block(engine: Engine) -> None:
    world = engine.world
    same = [world.register("maker", "SAME"), world.register("maker", "SAME", model="Other")]
    fine = world.register("maker", "FINE")
    ids = [parse_entry(engine.sign(record)).id for record in same]
    assert [o.status for o in engine.admit(*same, fine)] == ["pending"] * 3
    block = engine.build()
    assert len(block.entries) == 2
    assert len(engine.pool) == 2  # built on a final parent: the second is refused for good
    fate = engine.pool.fate(ids[1])
    assert fate is not None
    assert fate.error is not None
    assert (fate.status, fate.error.code) == ("refused", "duplicate_identity")


def test_a_record_that_fails_on_an_unfinished_block_waits_for_its_fate(engine: Engine) -> None:
    world = engine.world
    engine.admit(world.register("maker", "SAME"))
    first = engine.build()
    rival = engine.sign(world.register("maker", "SAME", model="Other"))
    assert engine.admit(rival)[0].status == "pending"  # lawful on the final state
    assert engine.executor.build(engine.plan(first)) is None
    assert (len(engine.pool), engine.pool.aside_count) == (1, 1)
    engine.executor.drop([first.digest])
    engine.make_final(world.register("maker", "ELSE"))  # with the first of the two: the other is invalid for good
    assert (len(engine.pool), engine.pool.aside_count) == (0, 0)
    fate = engine.pool.fate(parse_entry(rival).id)
    assert fate is not None
    assert fate.status == "refused"


def test_a_block_touches_no_more_weapons_than_it_may(engine: Engine, other: Engine) -> None:
    world = engine.world
    lots = [world.register("maker", *(f"L{lot}N{n}" for n in range(900)), calibre="9X19") for lot in range(3)]
    assert [o.status for o in engine.admit(*lots)] == ["pending"] * 3
    block = engine.build()
    assert len(block.entries) == MAX_BLOCK_WEAPONS // 900 == 2
    too_much = rebuilt(block, entries=tuple(engine.sign(lot) for lot in lots))
    with pytest.raises(InvalidBlockError, match="too many weapons"):
        other.executor.check(too_much)
    engine.commit(block)
    assert len(engine.build().entries) == 1


def test_each_block_is_executed_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()

    def never(*_: object) -> None:
        raise AssertionError("executed again")

    monkeypatch.setattr("node.execution.run.apply", never)
    engine.executor.check(block)
    engine.commit(block)


def test_verdicts_are_ours_alone_to_blame(engine: Engine) -> None:
    assert issubclass(InvalidBlockError, TracemarkError)
    assert not issubclass(InvalidBlockError, InternalError)
    assert code_of(engine.admit(b"{}")[0]) == "malformed"


def test_no_more_is_read_for_a_block_than_it_can_hold(engine: Engine) -> None:
    """However many large lots wait: their working sets are not read for every block that has room for a few of them."""
    lots = [engine.world.register("maker", *(f"L{lot:02d}{row:04d}" for row in range(400))) for lot in range(30)]
    assert {outcome.status for outcome in engine.admit(*lots)} == {"pending"}
    read: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        gather = BlockRun.gather

        def counted(self: BlockRun, keys: Iterable[StateKey]) -> None:
            wanted = list(keys)
            read.append(len(wanted))
            gather(self, wanted)

        patch.setattr(BlockRun, "gather", counted)
        block = engine.build()
    assert len(block.entries) == MAX_BLOCK_WEAPONS // 400
    assert sum(read) < 30 * 400, "of documents, and each lot has two for a weapon"


class Slow:
    """A machine that takes a millisecond of this clock for each document that is read or closed."""

    def __init__(self, engine: Engine, patch: pytest.MonkeyPatch) -> None:
        self.now_ms = 0
        self.built_ms = 0
        self.pause_ms = 0
        gather, close = BlockRun.gather, BlockRun.close

        def slow_gather(run: BlockRun, keys: Iterable[StateKey]) -> None:
            wanted = list(keys)
            self.now_ms += len(wanted)
            gather(run, wanted)

        def slow_close(run: BlockRun, *, view: int, leaf_hashes: Sequence[bytes] | None = None) -> Overlay:
            self.now_ms += run.changed_count + self.pause_ms
            return close(run, view=view, leaf_hashes=leaf_hashes)

        patch.setattr(BlockRun, "gather", slow_gather)
        patch.setattr(BlockRun, "close", slow_close)
        patch.setattr("node.execution.executor._GATHER_KEYS", 20)
        patch.setattr("node.execution.executor._TELLING_DOCUMENTS", 20)
        patch.setattr(engine.executor, "_monotonic_ms", lambda: self.now_ms)
        self.engine = engine

    def build(self) -> Block:
        began_ms = self.now_ms
        block = self.engine.build()
        self.built_ms = self.now_ms - began_ms
        return block


def test_a_block_is_built_in_a_small_part_of_its_view(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is bounded by the clock; then what closing takes is known, and counted, too."""
    slow = Slow(engine, monkeypatch)
    engine.admit(*(engine.world.register("maker", f"T{n:04d}") for n in range(400)))
    sizes = []
    for _ in range(4):
        block = slow.build()
        engine.commit(block)
        sizes.append(len(block.entries))
    assert slow.built_ms <= BLOCK_BUILD_MS + 40
    assert sizes[0] > 1.3 * sizes[-1] > 10
    monkeypatch.setattr(engine.executor, "_monotonic_ms", lambda: slow.now_ms + 10**9)
    assert len(engine.build().entries) >= 1, "a block is never empty for want of time"


def test_a_pause_of_the_machine_is_soon_forgotten(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(engine, monkeypatch)
    engine.admit(*(engine.world.register("maker", f"T{n:04d}") for n in range(400)))
    usual = slow.build()
    engine.commit(usual)
    slow.pause_ms = 30_000
    engine.commit(slow.build())
    slow.pause_ms = 0
    for _ in range(4):
        engine.commit(slow.build())
    assert len(slow.build().entries) > len(usual.entries) // 2


def test_the_oldest_record_comes_however_many_others_come_before_it_in_turn(engine: Engine) -> None:
    lot = engine.world.register("maker", *(f"L{row:03d}" for row in range(200)))
    [waiting] = engine.admit(lot)
    engine.admit(*(engine.world.register("importer", f"S{n:03d}", make="SW") for n in range(60)))
    block = engine.executor.build(engine.plan(), max_records=20)
    assert block is not None
    assert [parse_entry(entry).id for entry in block.entries][-1] == waiting.id
    assert len(block.entries) == 20


def test_large_records_wait_for_a_block_with_time_but_the_oldest_for_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside others that take all the time that there is, a lot comes into a block when it has waited longest."""
    slow = Slow(engine, monkeypatch)
    lots = [engine.world.register("maker", *(f"L{lot}{row:03d}" for row in range(200))) for lot in range(3)]
    lot_ids = {engine.admit(lot)[0].id for lot in lots}
    for block_number in range(3):
        engine.clock.now_ms += 1_000
        singles = [engine.world.register("importer", f"S{block_number}{n:03d}", make="SW") for n in range(60)]
        assert {outcome.status for outcome in engine.admit(*singles)} == {"pending"}
        block = slow.build()
        ids = [parse_entry(entry).id for entry in block.entries]
        assert len(lot_ids.intersection(ids)) == 1
        assert ids[-1] in lot_ids, "after the small ones"
        assert len(ids) > 10
        engine.commit(block)


def test_what_does_not_fit_any_more_leaves_its_place_to_smaller_ones(engine: Engine) -> None:
    lots = [engine.world.register("maker", *(f"L{lot:02d}{row:04d}" for row in range(900))) for lot in range(4)]
    singles = [engine.world.register("importer", f"S{n}", make="SW") for n in range(20)]
    assert {outcome.status for outcome in engine.admit(*lots, *singles)} == {"pending"}
    block = engine.build()
    assert len(block.entries) == 2 + len(singles)
    engine.commit(block)
    assert len(engine.build().entries) == 2


def test_those_who_are_slow_to_read_keep_no_block_from_being_checked(engine: Engine, other: Engine) -> None:
    """All threads that make pages of blocks and of snapshots, and answers for clients, and all that asyncio may have."""
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    with ExitStack() as reading:
        for _ in range(2 * CATCHUP_CONCURRENCY + READER_THREADS):
            reading.enter_context(other.store.read())
        other.executor.check(block)
        for _ in range(32):
            reading.enter_context(other.store.read())
        other.commit(block)
        other.executor.check(other.build(allow_empty=True))
