"""The audit: a log in order passes; one wrong byte, signature, rule or seal anywhere does not."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client.audit import FolderSource, SavingSource, audit_folder
from client.replay import Source, audit
from ledger.codec import b64encode
from ledger.errors import VerificationError
from ledger.merkle.tiles import Tile
from ledger.records import Record
from ledger.records.envelope import ParsedRecord, SignedRecord
from ledger.signing import SigningKey
from ledger.state.model import StateKey
from tests.toyledger import ToyLedger, toy_policy
from tests.world import DAY_MS, key_named

POLICY = toy_policy()
replace = msgspec.structs.replace


class ToySource:
    """A toy ledger's log; `change` sees every tile before it is handed out."""

    def __init__(self, ledger: ToyLedger, change: Callable[[Tile, bytes], bytes] | None = None) -> None:
        self._ledger = ledger
        self._change = change
        self.asked: list[Tile] = []

    def checkpoint(self) -> bytes:
        return self._ledger.checkpoint()

    def tile(self, tile: Tile) -> bytes:
        self.asked.append(tile)
        data = self._ledger.tile(tile)
        return data if self._change is None else self._change(tile, data)


def lived(ledger: ToyLedger, *, blocks: int = 3) -> ToyLedger:
    """Some life: enrolments, lots, transfers, a theft, a key replaced, a month without records."""
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC",)))
    ledger.submit(ledger.enrol("interior", "dealer", "dealer"))
    ledger.seal()
    for block in range(blocks):
        lot = ledger.register("maker", f"A{block}", f"B{block}")
        ledger.submit(lot)
        weapon = lot.identities[0].id
        offer = ledger.submit(ledger.offer("maker", "dealer", weapon))
        ledger.submit(ledger.accept("dealer", offer, weapon))
        ledger.seal()
    ledger.submit(ledger.report("dealer", "stolen", weapon))
    new = key_named("maker second")
    ledger.submit(ledger.add_key("maker", "maker", new))
    ledger.keys["maker"] = new
    ledger.wait(40 * DAY_MS)
    ledger.seal()
    ledger.seal()
    ledger.submit(ledger.register("maker", "LAST1"))
    ledger.seal()
    return ledger


@cache
def small() -> ToyLedger:
    return lived(ToyLedger())


@cache
def large() -> ToyLedger:
    """More than two tiles of entries."""
    return lived(ToyLedger(), blocks=150)


def refused(source: Source, code: str) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        audit(source, POLICY)
    assert caught.value.code == code, str(caught.value)
    return caught.value


@pytest.mark.parametrize("build", [small, large, ToyLedger])
def test_a_log_in_order_passes(build: Callable[[], ToyLedger]) -> None:
    ledger = build()
    steps: list[int] = []
    audited = audit(ToySource(ledger), POLICY, progress=steps.append)
    assert (audited.size, audited.root) == (ledger.size, ledger.root().hex())
    assert audited.state_root == ledger.tree.root.hex()
    assert audited.height == ledger.height - 1
    assert audited.weapons == sum(key.kind == "weapon" for key in ledger.state)
    assert audited.records == audited.size - 2 - audited.height
    assert sum(steps) == ledger.size
    assert audited.records_per_s >= 0


def test_one_changed_byte_anywhere_in_the_entries_is_found() -> None:
    ledger = small()
    size = len(ledger.tile(Tile(level=None, index=0, width=ledger.size)))
    for at in range(0, size, 41):

        def change(tile: Tile, data: bytes, at: int = at) -> bytes:
            return data if tile.level is not None else data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]

        with pytest.raises(VerificationError):
            audit(ToySource(ledger, change), POLICY)


@pytest.mark.parametrize("level", [0, 1])
def test_hash_tiles_that_are_not_the_entries_are_found(level: int) -> None:
    def change(tile: Tile, data: bytes) -> bytes:
        return data[:-1] + bytes((data[-1] ^ 1,)) if tile.level == level else data

    refused(ToySource(large(), change), "bad_tile")


def test_entries_that_the_checkpoint_does_not_sign_are_found() -> None:
    """A node that shows one log's checkpoint and another's tiles, which agree among themselves."""
    other = lived(_Renamed())
    assert other.size == small().size

    class Mixed(ToySource):
        def checkpoint(self) -> bytes:
            return small().checkpoint()

    refused(Mixed(other), "root_mismatch")


class _Renamed(ToyLedger):
    def enrol(self, agency: str, party: str, *roles: Any, **terms: Any) -> Any:
        return super().enrol(agency, party, *roles, **{"name": "Another", **terms})


def test_a_checkpoint_without_its_quorum_is_refused() -> None:
    class Alone(ToySource):
        def checkpoint(self) -> bytes:
            return small().checkpoint(cosigners=("customs",))

    refused(Alone(small()), "no_quorum")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 9),
        ("view", 0),
        ("epoch", 1),
        ("prev_seal", "0" * 64),
        ("time", 0),
        ("record_count", 2),
        ("state_root", "0" * 64),
        ("validators", "0" * 64),
        ("version", 2),
        ("snapshot", "0" * 64),
    ],
)
def test_every_field_of_a_seal_is_held_to_what_it_must_be(field: str, value: object) -> None:
    """All agencies together signed this log; the rules do not yield to them."""
    ledger = ToyLedger()
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC",)))
    ledger.seal(**{field: value})
    error = refused(ToySource(ledger), "bad_seal")
    assert field.partition("_")[0] in error.message or field in ("view", "time")


def test_a_block_past_the_calendar_is_refused_like_any_other() -> None:
    ledger = ToyLedger()
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC",)))
    ledger.seal(time=2**53 - 1)
    refused(ToySource(ledger), "broken_rule")


def test_a_block_over_its_bound_is_found() -> None:
    ledger = ToyLedger()
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC",)))
    ledger.seal()
    for lot in range(5):
        ledger.submit(ledger.register("maker", *(f"L{lot}N{number}" for number in range(401))))
    ledger.seal()
    refused(ToySource(ledger), "bad_block")


def test_records_after_the_last_seal_are_found() -> None:
    ledger = ToyLedger()
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC",)))
    ledger.sizes.append(len(ledger.entries))
    refused(ToySource(ledger), "bad_seal")


class _Corrupt(ToyLedger):
    """Agencies that let the police's records into the log as something else."""

    def __init__(self, change: Callable[[ParsedRecord], bytes]) -> None:
        self._corrupt = change
        super().__init__()

    def sign(self, record: Record, *keys: SigningKey) -> tuple[ParsedRecord, SignedRecord]:
        parsed, signed = super().sign(record, *keys)
        if record.issuer == "police":
            self._last_entry = self._corrupt(parsed)
        return parsed, signed


def _wrong_signature(parsed: ParsedRecord) -> bytes:
    forged = b64encode(key_named("intruder").sign(parsed.signed))
    return replace(parsed.envelope, signatures=(replace(parsed.envelope.signatures[0], sig=forged),)).to_bytes()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_wrong_signature, "bad_record_signature"),
        (lambda parsed: parsed.entry + b" ", "bad_record"),
        (lambda parsed: b"not a record", "bad_record"),
        (lambda parsed: b'{"epoch":0}', "bad_seal"),
        (lambda parsed: b"", "bad_record"),
    ],
)
def test_a_record_that_is_not_as_it_must_be_is_found(change: Callable[[ParsedRecord], bytes], code: str) -> None:
    ledger = _Corrupt(change)
    ledger.submit(ledger.enrol("police", "station", "police"))
    ledger.seal()
    refused(ToySource(ledger), code)


def test_a_record_that_breaks_a_rule_is_found() -> None:
    """The dealer accepts what was offered to somebody else; the state is made to say that it may."""
    ledger = lived(ToyLedger(), blocks=1)
    lot = ledger.register("maker", "RULE1")
    ledger.submit(lot)
    weapon = lot.identities[0].id
    offer = ledger.submit(ledger.offer("maker", "customs", weapon))
    key = StateKey("transfer", offer)
    ledger.state[key] = replace(ledger.transfer(offer), to="dealer")
    ledger.submit(ledger.accept("dealer", offer, weapon))
    ledger.state[key] = replace(ledger.transfer(offer), to="customs")
    ledger.seal()
    error = refused(ToySource(ledger), "broken_rule")
    assert f"entry {ledger.size - 2}" in error.message


def test_a_document_that_the_records_do_not_make_is_found() -> None:
    ledger = lived(ToyLedger(), blocks=1)
    ledger.state[StateKey("party", "dealer")] = replace(ledger.party("dealer"), any_make=True)
    ledger.seal()
    assert "state_root" in refused(ToySource(ledger), "bad_seal").message


def test_the_same_record_twice_is_found() -> None:
    ledger = ToyLedger()
    party = ledger.enrol("interior", "maker", "maker", makes=("GLC",))
    ledger.submit(party)
    ledger.seal()
    update = ledger.update("interior", "maker", name="New")
    ledger.submit(update)
    ledger.seal()
    ledger.submit(update)
    ledger.seal()
    refused(ToySource(ledger), "duplicate_record")


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_saved_log_is_audited_offline_and_resumed_where_it_stopped(tmp_path: Path) -> None:
    ledger = large()

    class Dropped(ToySource):
        def tile(self, tile: Tile) -> bytes:
            if len(self.asked) == 3:
                raise VerificationError("the connection is gone", code="dropped")
            return super().tile(tile)

    with pytest.raises(VerificationError):
        audit(SavingSource(Dropped(ledger), tmp_path), POLICY)
    assert not (tmp_path / "checkpoint").exists()
    again = ToySource(ledger)
    saving = SavingSource(again, tmp_path)
    audit(saving, POLICY)
    saving.finish()
    assert Tile(level=None, index=0) not in again.asked
    audited = audit_folder(tmp_path, policy=POLICY)
    assert audited.root == ledger.root().hex()
    assert FolderSource(tmp_path).checkpoint() == ledger.checkpoint()


def test_a_liars_tiles_do_not_stay(tmp_path: Path) -> None:
    class Lying(ToySource):
        def tile(self, tile: Tile) -> bytes:
            data = super().tile(tile)
            return data[:-1] + bytes((data[-1] ^ 1,)) if tile.level == 0 else data

    liar = SavingSource(Lying(small()), tmp_path)
    with pytest.raises(VerificationError):
        audit(liar, POLICY)
    liar.forget()
    audit(SavingSource(ToySource(small()), tmp_path), POLICY)


def test_a_saved_log_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    saving = SavingSource(ToySource(small()), tmp_path)
    audit(saving, POLICY)
    saving.finish()
    for path in sorted(tmp_path.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes((data[-9] ^ 1,)) + data[-8:])
        with pytest.raises(VerificationError):
            audit_folder(tmp_path, policy=POLICY)
        path.unlink()
        with pytest.raises(VerificationError) as caught:
            audit_folder(tmp_path, policy=POLICY)
        assert caught.value.code == "missing_tile"
        path.write_bytes(data)
    audit_folder(tmp_path, policy=POLICY)
