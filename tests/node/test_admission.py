"""What gets into the pool, and what each refusal costs and leaves behind."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ledger.limits import MAX_ENTRY_BYTES, MEMPOOL_ASIDE_CHECKS, RECORD_MAX_AGE_MS, RECORD_MAX_AHEAD_MS
from ledger.marks import weapon_id
from ledger.records.envelope import ParsedRecord, parse_entry
from ledger.records.fields import format_time
from ledger.signing import SigningKey
from node.admission import slices
from node.mempool import PoolLimits
from tests.node.execution.engine import Engine, code_of
from tests.world import key_named


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    built = Engine(tmp_path)
    built.trade()
    yield built
    built.close()


def test_bad_bytes_are_refused_with_their_code_and_leave_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[ParsedRecord] = []
    verify = engine.signatures.verify

    def counting(claims: list[tuple[ParsedRecord, tuple[str, ...]]]) -> object:
        verified.extend(parsed for parsed, _ in claims)
        return verify(claims)

    monkeypatch.setattr(engine.signatures, "verify", counting)
    world = engine.world
    good = engine.sign(world.register("maker", "ONE"))
    stranger = world.register("maker", "TWO")
    forged_keys = {**world.keys, "maker": key_named("somebody else")}
    world.keys, kept = forged_keys, world.keys
    forged = engine.sign(stranger)
    world.keys = kept
    unknown = world.register("maker", "THREE")
    world.keys["nobody"] = key_named("nobody record")
    cases = [
        (good + b" ", "non_canonical", 0),
        (good.replace(b"payloadType", b"payloadtype"), "malformed", 0),
        (b"x" * (MAX_ENTRY_BYTES + 1), "too_large", 0),
        (b"", "malformed", 0),
        (forged, "unknown_key", 1),
        (engine.sign(msgspec.structs.replace(unknown, issuer="nobody")), "unknown_party", 0),
    ]
    before = engine.pool.total_bytes
    for entry, code, verifications in cases:
        verified.clear()
        [outcome] = engine.admit(entry)
        assert code_of(outcome) == code
        assert len(verified) <= verifications
        assert outcome.id is None or engine.pool.fate(outcome.id) is None
    assert (len(engine.pool), engine.pool.total_bytes) == (0, before)
    assert engine.pool.take_news() == []


def test_a_wrong_signature_does_not_spoil_the_record_of_another(engine: Engine) -> None:
    record = engine.world.register("maker", "ONE")
    good = engine.sign(record)
    signature = parse_entry(good).envelope.signatures[0].sig
    spoilt = good.replace(signature.encode(), (("B" if signature[0] == "A" else "A") + signature[1:]).encode())
    [refused] = engine.admit(spoilt)
    assert code_of(refused) == "bad_signature"
    [taken] = engine.admit(good)
    assert (taken.status, taken.id) == ("pending", refused.id)


def test_a_refusal_says_whether_the_key_is_unknown_ended_or_anothers(engine: Engine) -> None:
    world = engine.world
    old, new = world.keys["maker"], key_named("maker's new key")
    engine.make_final(world.add_key("maker", "maker", new))

    def refusal(key: SigningKey) -> str:
        world.keys["maker"] = key
        return code_of(engine.admit(engine.sign(world.register("maker", f"KEY{world.fresh()}")))[0])

    assert refusal(old) == "revoked_key"
    assert refusal(key_named("nobody's")) == "unknown_key"
    assert refusal(world.keys["dealer"]) == "wrong_signers"
    world.keys["maker"] = new
    engine.make_final(world.revoke_key("maker", "maker", new))
    assert refusal(new) == "revoked_key"


def test_a_lawful_form_that_breaks_a_rule_is_refused_and_remembered(engine: Engine) -> None:
    world = engine.world
    [outcome] = engine.admit(world.register("maker", "ONE", make="SW"))
    code_of(outcome)
    fate = engine.pool.fate(outcome.id or "")
    assert fate is not None
    assert fate.error is outcome.error
    assert len(engine.pool) == 0


def test_the_same_record_again_has_the_first_ones_outcome(engine: Engine) -> None:
    entry = engine.sign(engine.world.register("maker", "ONE"))
    first, twin = engine.admit(entry, entry)
    assert (first.status, twin.status) == ("pending", "pending")
    assert engine.admission.admit([entry], source="b", from_peer=True) == ([first], [])
    assert len(engine.pool) == 1
    engine.commit(engine.build())
    [known] = engine.admit(entry)
    assert (known.status, known.index, known.height) == ("final", engine.documents.base.frontier.size - 2, 2)
    bad = engine.sign(engine.world.register("maker", "TWO", make="SW"))
    refused, again = engine.admit(bad, bad)
    assert refused.status == again.status == "refused"


def test_a_record_of_a_peer_that_is_ahead_waits_until_we_are_there(engine: Engine, tmp_path: Path) -> None:
    behind = Engine(tmp_path / "behind")
    for height in (1,):
        with engine.store.read() as reader:
            place = reader.place_at_height(height)
            assert place is not None
            behind.make_final(*reader.entries(place.first_index, place.size - place.first_index - 1))
    world = engine.world
    registration = engine.sign(world.register("maker", "ONE"))
    offer = engine.sign(world.offer("maker", "importer", weapon_id("GLC", "ONE", "")))
    assert behind.admit(offer, from_peer=True)[0].status == "pending"
    assert (len(behind.pool), behind.pool.aside_count) == (0, 1)
    behind.make_final(registration)
    assert (len(behind.pool), behind.pool.aside_count) == (1, 0)
    assert behind.build().entries == (offer,)
    behind.close()
    [outcome] = engine.admit(offer)  # submitted here, where it is not lawful yet: refused
    assert code_of(outcome) == "unknown_weapon"


def test_a_commit_ends_what_it_made_unlawful(engine: Engine, tmp_path: Path) -> None:
    """Another node's block took the serial: nobody may stay busy over ours (P6.1)."""
    leader = Engine(tmp_path / "leader")
    leader.trade()
    [taken] = engine.admit(engine.world.register("maker", "SAME"))
    leader.world.fresh()
    leader.admit(leader.world.register("maker", "SAME", model="Theirs"))
    block = leader.build()
    engine.executor.check(block)
    engine.commit(block)
    assert len(engine.pool) == 0
    fate = engine.pool.fate(taken.id or "")
    assert fate is not None
    assert fate.error is not None
    assert (fate.status, fate.height, fate.error.code) == ("refused", 2, "duplicate_identity")
    assert [record_id for record_id, _ in engine.pool.take_news()] == [taken.id]
    leader.close()


@pytest.mark.parametrize(
    ("sizes", "cut"),
    [
        ([], []),
        ([70_000], [1]),
        ([400] * 130, [40, 40, 40, 10]),
        ([100] * 130, [48, 48, 34]),
        ([8_000] * 5 + [400] * 3, [2, 2, 4]),
        ([400, 60_000, 400], [1, 1, 1]),
    ],
)
def test_what_is_admitted_at_a_stretch_is_bounded_by_number_and_by_size(sizes: list[int], cut: list[int]) -> None:
    entries = [bytes(size) for size in sizes]
    parts = list(slices(entries))
    assert [len(part) for part in parts] == cut
    assert [entry for part in parts for entry in part] == entries


def test_a_full_pool_refuses_without_remembering(tmp_path: Path) -> None:
    engine = Engine(tmp_path, limits=PoolLimits(records=12))
    engine.trade()
    world = engine.world
    outcomes = engine.admit(*(world.register("maker", f"N{n}") for n in range(6)))
    assert [outcome.status for outcome in outcomes] == ["pending"] * 4 + ["refused"] * 2
    assert code_of(outcomes[5]) == "issuer_share_full"
    assert engine.pool.fate(outcomes[5].id or "") is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.signatures, "verify", lambda claims: [] if not claims else pytest.fail("verified in vain"))
        assert code_of(engine.admit(world.register("maker", "N9"))[0]) == "issuer_share_full"
    engine.close()


def test_records_out_of_time_are_refused_and_pending_ones_expire(engine: Engine) -> None:
    world = engine.world
    early = world.register("maker", "ONE")
    world.time_ms += 60_000
    assert code_of(engine.admit(world.register("maker", "TWO"))[0]) == "issued_in_future"
    assert engine.admit(early)[0].status == "pending"
    engine.clock.now_ms += RECORD_MAX_AGE_MS + 1_000
    world.time_ms -= 60_000
    assert code_of(engine.admit(world.register("maker", "LATE"))[0]) == "issued_too_old"
    assert engine.admission.review()
    assert len(engine.pool) == 0


def test_a_record_that_follows_a_block_which_is_not_final_outlasts_the_commit_before_it(engine: Engine) -> None:
    world = engine.world
    engine.admit(world.update("interior", "maker", name="Another name"))
    first = engine.build()
    engine.admit(world.register("maker", "ONE"))
    second = engine.build(first)
    [offer] = engine.admit(world.offer("maker", "importer", weapon_id("GLC", "ONE", "")))
    assert offer.status == "pending"
    engine.commit(first)  # it touches the maker, as the offer does, and the weapon is not there yet
    assert engine.pool.fate(offer.id or "") is None
    assert (offer.id or "") in engine.pool
    engine.commit(second)
    assert len(engine.pool) == 1


def test_time_alone_ends_what_no_block_may_hold_any_more(engine: Engine) -> None:
    world = engine.world
    engine.make_final(world.register("maker", "ONE"))
    weapon = weapon_id("GLC", "ONE", "")
    expires_at = format_time(engine.clock.wall_ms() + 60_000)
    [placed] = engine.admit(world.offer("maker", "importer", weapon, expires_at=expires_at))
    engine.commit(engine.build())
    [accept] = engine.admit(world.accept("importer", placed.id or "", weapon))
    assert not engine.admission.review()
    assert len(engine.pool) == 1
    engine.clock.now_ms += 120_000
    assert engine.admission.review()
    assert len(engine.pool) == 0, "a node is not busy over it, though no block came (P6.1)"
    fate = engine.pool.fate(accept.id or "")
    assert fate is not None
    assert (fate.status, fate.height) == ("refused", engine.documents.base.height)


def test_a_record_by_a_clock_ahead_of_ours_is_pending_as_soon_as_it_may_be(engine: Engine) -> None:
    engine.world.time_ms = engine.clock.wall_ms() + RECORD_MAX_AHEAD_MS + 3_000
    engine.admit(engine.world.register("maker", "ONE"), from_peer=True)
    for _ in range(2 * MEMPOOL_ASIDE_CHECKS):
        assert not engine.admission.review()
    assert (len(engine.pool), engine.pool.aside_count) == (0, 1)
    engine.clock.now_ms += 5_000
    assert engine.admission.review()
    assert (len(engine.pool), engine.pool.aside_count) == (1, 0)
