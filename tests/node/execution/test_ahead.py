"""Blocks whose records were verified ahead get the verdict that they get without, whatever becomes of the process."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

import ledger
import node
from ledger.block import Block, payload_root
from ledger.errors import TracemarkError
from ledger.limits import VERIFY_AHEAD_RECORDS
from ledger.merkle.hashing import leaf_hash
from ledger.records.envelope import parse_entry
from ledger.signing import key_id
from node.execution import ahead, executor, signatures
from node.execution.ahead import VerifiedAhead
from node.execution.verifier import Answer, Keyring, Request, read_frame, serve, verify, write_frame
from tests.node.execution.engine import Engine
from tests.world import key_named

PATIENCE_S = 30.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    built = Engine(tmp_path / "engine")
    built.trade()
    yield built
    built.close()


@pytest.fixture
def other(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A node at the same height that verifies the smallest page ahead, on a machine with processors to spare."""
    monkeypatch.setattr(ahead, "VERIFY_AHEAD_RECORDS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    built = Engine(tmp_path / "other")
    built.trade()
    assert built.documents.base.frontier.root == engine.documents.base.frontier.root
    yield built
    built.close()


def verified_ahead(engine: Engine) -> VerifiedAhead:
    found = engine.signatures._ahead
    assert found is not None
    return found


def offer(engine: Engine, *blocks: Block) -> VerifiedAhead:
    """Have blocks verified ahead, and wait until they are."""
    engine.executor.verify_ahead(blocks)
    held = verified_ahead(engine)
    with held._changed:
        waiting = [held._held[block.digest] for block in blocks]
        assert held._changed.wait_for(lambda: all(each.answer is not None for each in waiting), PATIENCE_S)
    return held


def rebuilt(block: Block, *entries: bytes) -> Block:
    """The block with other entries, its header naming them."""
    root = payload_root((*map(leaf_hash, entries), leaf_hash(block.seal)))
    return Block(header=msgspec.structs.replace(block.header, payload_root=root), entries=entries, seal=block.seal)


def verdict(engine: Engine, block: Block) -> dict[str, object] | None:
    """What is said against a block."""
    try:
        engine.executor.check(block)
    except TracemarkError as error:
        return error.as_dict()
    return None


def never(*_: object) -> None:
    raise AssertionError("it was verified once more")


def test_what_was_verified_ahead_is_executed_without_verifying_again(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = engine.world
    engine.admit(*(world.register("maker", f"S{number}") for number in range(20)))
    block = engine.build()
    offer(other, block)
    with monkeypatch.context() as patch:
        for module, name in ((executor, "parse_entry"), (executor, "verify_entry"), (signatures, "verify_entry")):
            patch.setattr(module, name, never)
        other.executor.check(block)
    other.commit(block)
    engine.commit(block)
    assert other.documents.base.tree.root == engine.documents.base.tree.root
    assert verified_ahead(other)._held_bytes == 0


def test_a_bad_record_is_refused_with_the_words_that_it_is_refused_with_in_place(engine: Engine, other: Engine) -> None:
    world = engine.world
    engine.admit(world.register("maker", "ONE"), world.register("maker", "TWO"))
    block = engine.build()
    good, second = block.entries
    flipped = second.replace(b'"sig":"', b'"sig":"AAAA')[: len(second)]
    world.keys["maker"], kept = key_named("somebody else"), world.keys["maker"]
    unknown = engine.sign(world.register("maker", "THREE"))
    world.keys["maker"] = world.keys["dealer"]
    by_another = engine.sign(world.register("maker", "FOUR"))
    world.keys["maker"] = kept
    envelope = msgspec.json.decode(second)
    signature = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = ("B" if signature[0] == "A" else "A") + signature[1:]
    forged = msgspec.json.encode(envelope)
    assert parse_entry(forged).id == parse_entry(second).id
    for entries in ((good, forged), (good, unknown), (good, by_another), (good, flipped), (good, good), (b"{}",)):
        bad = rebuilt(block, *entries)
        in_place = verdict(engine, bad)
        offer(other, bad)
        found = verdict(other, bad)
        assert found is not None
        assert in_place is not None
        assert found["code"] == in_place["code"] == "invalid_block"
        if entries != (
            good,
            by_another,
        ):  # a good signature of a key that may not sign: the rule says so, not the verifying
            assert found == in_place
    assert verdict(other, block) is None


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
    world.keys["maker"] = old
    late_block = rebuilt(block, rotation, signed_by_old)
    offer(other, block, late_block)
    assert verdict(other, block) is None
    assert verdict(other, late_block) is not None


def test_a_block_that_is_not_begun_is_taken_back_and_verified_in_place(engine: Engine, other: Engine) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    held = VerifiedAhead(lambda _: {}, processors=2)
    other.signatures._ahead = held
    held._thread = threading.current_thread()  # nobody who would begin anything
    held.offer([block])
    assert verdict(other, block) is None
    assert not held._held
    held._thread = None


def test_a_process_that_is_killed_costs_no_block(engine: Engine, other: Engine) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    first = engine.build()
    held = offer(other, first)
    process, thread = held._process, held._thread
    assert process is not None
    assert thread is not None
    process.kill()
    process.wait(PATIENCE_S)
    other.executor.verify_ahead([rebuilt(first, *first.entries * 2)])
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert verdict(other, first) is None
    other.executor.verify_ahead([first])
    assert held._thread is None  # it is not tried for ever


@pytest.mark.parametrize("program", ["/bin/cat", "/bin/true", "/nowhere/python"])
def test_a_process_that_talks_nonsense_or_cannot_begin_costs_no_block(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    monkeypatch.setattr(ahead, "_ENVIRONMENT", ())
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    other.executor.verify_ahead([block])
    assert verdict(other, block) is None


def test_a_process_that_hangs_is_waited_for_once_and_ended(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(ahead, "PATIENCE_S", 0.1)
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    other.executor.verify_ahead([block])
    held = verified_ahead(other)
    with held._changed:
        while not held._held[block.digest].is_begun:
            held._changed.wait(0.001)
        thread, process = held._thread, held._process
    assert thread is not None
    assert process is not None
    assert verdict(other, block) is None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert process.returncode is not None
    other.executor.verify_ahead([block])
    assert not held._held  # nothing is kept for a process that does not read


def test_a_block_that_is_forgotten_while_it_is_waited_for_is_let_go_when_the_process_ends(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(ahead, "PATIENCE_S", 10 * PATIENCE_S)
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    next_block = rebuilt(block, *block.entries * 2)
    monkeypatch.setattr(ahead, "VERIFY_AHEAD_BYTES", next_block.body_bytes)
    other.executor.verify_ahead([block])
    held, taken = verified_ahead(other), []
    with held._changed:
        while not held._held[block.digest].is_begun:
            held._changed.wait(0.001)
        thread, process = held._thread, held._process
        waiter = threading.Thread(target=lambda: taken.append(held.take(block)))
        waiter.start()
    assert thread is not None
    assert process is not None
    while not held._changed._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    other.executor.verify_ahead([next_block])
    assert list(held._held) == [next_block.digest]
    process.kill()
    waiter.join(PATIENCE_S)
    assert taken == [None]
    thread.join(PATIENCE_S)
    assert not held._held


def test_a_process_that_failed_is_tried_again_after_a_while(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/true")
        engine.admit(engine.world.register("maker", "ONE"))
        block = engine.build()
        other.executor.verify_ahead([block])
        held = verified_ahead(other)
        while (thread := held._thread) is not None:
            thread.join(PATIENCE_S)
    other.executor.verify_ahead([block])
    assert held._thread is None
    held._resting_until_s -= ahead.REST_S
    offer(other, block)
    assert verdict(other, block) is None


def test_the_process_is_this_program_whatever_lies_in_the_working_directory(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    engine.admit(engine.world.register("maker", "ONE"))
    offer(other, engine.build())


def test_a_process_that_would_verify_by_other_code_than_the_nodes_ends(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The package was upgraded under a running node."""
    for package in (ledger, node):
        shutil.copytree(package.__path__[0], tmp_path / package.__name__)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(ahead, "IDLE_S", 0.01)
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    other.executor.verify_ahead([block])
    held = verified_ahead(other)
    while (thread := held._thread) is not None:
        thread.join(PATIENCE_S)
    assert not held._resting_until_s, "wherever it lies, it is the same"
    with (tmp_path / "ledger" / "records" / "envelope.py").open("a") as stream:
        stream.write("# a newer rule\n")
    other.executor.verify_ahead([block])
    while (thread := held._thread) is not None:
        thread.join(PATIENCE_S)
    assert held._resting_until_s
    assert verdict(other, block) is None


def test_an_answer_about_other_entries_is_none(engine: Engine) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    for answer in ([], [None, None], [("id", 1, b"{}", "key")], "text"):
        assert ahead._records(block, msgspec.msgpack.encode(answer)) is None


def test_the_process_ends_when_nothing_comes_and_begins_again(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "IDLE_S", 0.01)
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    other.executor.verify_ahead([block])
    thread = verified_ahead(other)._thread
    assert thread is not None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert verified_ahead(other)._process is None
    monkeypatch.setattr(ahead, "IDLE_S", PATIENCE_S)
    offer(other, block)
    assert verdict(other, block) is None


def test_no_more_is_held_than_it_may_be_the_oldest_goes_first(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "VERIFY_AHEAD_RECORDS", 1)
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    blocks = [rebuilt(block, *block.entries * count) for count in (1, 2, 3)]
    monkeypatch.setattr(ahead, "VERIFY_AHEAD_BYTES", sum(each.body_bytes for each in blocks[1:]))
    held = VerifiedAhead(lambda _: {}, processors=2)
    held._thread = threading.current_thread()
    held.offer(blocks)
    assert list(held._held) == [each.digest for each in blocks[1:]]
    assert held._held_bytes == sum(each.body_bytes for each in blocks[1:])
    held._thread = None


@pytest.mark.parametrize("processors", [1, 2])
def test_a_small_page_or_a_machine_with_one_processor_begins_no_process(engine: Engine, processors: int) -> None:
    engine.admit(engine.world.register("maker", "ONE"))
    block = engine.build()
    held = VerifiedAhead(lambda _: {}, processors=processors)
    held.offer([block] * (VERIFY_AHEAD_RECORDS - (processors > 1)))
    assert held._thread is None
    assert held.take(block) is None


def test_the_process_is_told_nothing_of_the_environment_but_where_programs_are(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEMARK_SECRET", "not for everybody")
    engine.admit(engine.world.register("maker", "ONE"))
    offer(other, engine.build())
    process = verified_ahead(other)._process
    assert process is not None
    told = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert {name.partition(b"=")[0].decode() for name in told if name} <= set(ahead._ENVIRONMENT)


# --- the process's side ---------------------------------------------------------------------------------------------------


def test_only_what_verifies_by_a_key_that_is_known_is_told_of(engine: Engine) -> None:
    entry = engine.sign(engine.world.register("maker", "ONE"))
    public = engine.world.keys["maker"].public
    keyring = Keyring()
    assert verify([entry, b"{}"], keyring) == Answer([None, None], [key_id(public)])
    keyring.learn({key_id(public): [public.hex()]})
    [verified, nothing] = verify([entry, entry[:-1]], keyring).verified
    assert nothing is None
    assert verified is not None
    parsed = parse_entry(entry)
    assert (verified.id, verified.issued_ms, verified.signer) == (parsed.id, parsed.issued_ms, public.hex())
    assert parsed.signed.endswith(verified.payload)


def test_a_key_id_that_several_keys_have_or_that_is_not_the_keys_is_not_used(engine: Engine) -> None:
    entry = engine.sign(engine.world.register("maker", "ONE"))
    public, another = engine.world.keys["maker"].public, key_named("another").public.hex()
    keyring = Keyring()
    keyring.learn({key_id(public): [another]})
    assert keyring.find(key_id(public)) is None
    keyring.learn({key_id(public): [public.hex()]})
    keyring.learn({key_id(public): [public.hex(), another]})
    assert verify([entry], keyring).verified == [None]


def test_requests_are_answered_until_they_end() -> None:
    requests, answers = BytesIO(), BytesIO()
    for entries in ((), (b"{}", b"")):
        write_frame(requests, msgspec.msgpack.encode(Request({}, entries)))
    requests.write(b"\0\0\1\0cut short")
    requests.seek(0)
    serve(requests, answers)
    answers.seek(0)
    found = []
    while (frame := read_frame(answers)) is not None:
        found.append(msgspec.msgpack.decode(frame, type=Answer))
    assert found == [Answer([], []), Answer([None, None], [])]
