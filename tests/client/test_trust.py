"""The remembered checkpoint: stale and forked logs are told apart, and a liar's bad proof is neither."""

import stat
from functools import cache
from pathlib import Path

import pytest

from client.errors import ForkError
from client.trust import UNPROVEN, TrustStore
from ledger.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from ledger.errors import ConfigurationError, VerificationError
from ledger.merkle.hashing import EMPTY_ROOT
from ledger.merkle.tiles import Tile
from ledger.notes import NoteSigner
from tests.toyledger import ToyLedger
from tests.world import ORIGIN, key_named


def grown(*parties: str) -> ToyLedger:
    """A ledger with one block for each party."""
    ledger = ToyLedger()
    for party in parties:
        ledger.submit(ledger.enrol("interior", party, "dealer"))
        ledger.seal()
    return ledger


@cache
def honest() -> ToyLedger:
    return grown("aa", "bb", "cc", "dd", "ee", "ff", "gg")


@cache
def forked() -> ToyLedger:
    """The same first blocks, then another history."""
    return grown("aa", "bb", "xx", "dd", "ee", "ff", "gg", "hh")


class Liar:
    """A source with the wrong proof, and perhaps the wrong tiles."""

    def __init__(self, ledger: ToyLedger, *, tiles: bool) -> None:
        self._ledger = ledger
        self._tiles = tiles

    def consistency(self, older: int, newer: int) -> list[bytes]:
        return [bytes(32)]

    def tile(self, tile: Tile) -> bytes:
        return self._ledger.tile(tile) if self._tiles else bytes(32 * tile.width)


def size_remembered(store: TrustStore) -> int:
    checkpoint = store.remembered(ORIGIN)
    assert checkpoint is not None
    return checkpoint.size


def test_it_grows_along_consistency_and_calls_older_ones_stale(tmp_path: Path) -> None:
    ledger, store = honest(), TrustStore(tmp_path)
    assert store.remembered(ORIGIN) is None
    for size in ledger.sizes:
        assert store.observe(ledger.checkpoint(size), ledger) == "newest"
        assert store.observe(ledger.checkpoint(size, log="police"), ledger) == "newest"
    for size in ledger.sizes[:-1]:
        assert store.observe(ledger.checkpoint(size), ledger) == "stale"
    assert size_remembered(TrustStore(tmp_path)) == ledger.size


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in range(3, 8) for b in range(3, 8)])
def test_an_inconsistent_log_of_any_size_is_a_fork_and_both_sides_are_kept(
    tmp_path: Path, first: int, second: int
) -> None:
    """Sizes after block 2, where the histories part; among them powers of two, whose proofs lack the older root."""
    old, new = honest(), forked()
    store = TrustStore(tmp_path)
    store.observe(old.checkpoint(old.sizes[first]), old)
    seen = new.checkpoint(new.sizes[second])
    if first > second:  # only who has the longer log can show that the shorter one is not its beginning
        with pytest.raises(VerificationError) as unproven:
            store.observe(seen, new)
        assert unproven.value.code == UNPROVEN
    with pytest.raises(ForkError) as caught:
        store.observe(seen, old if first > second else new)
    kept = {SignedCheckpoint.parse(Path(file).read_bytes()).checkpoint.root for file in caught.value.files}
    assert kept == {old.root(old.sizes[first]), new.root(new.sizes[second])}
    with pytest.raises(ForkError):
        store.observe(old.checkpoint(), old)
    with pytest.raises(ForkError):
        TrustStore(tmp_path).remembered(ORIGIN)


def test_a_bad_proof_alone_is_no_fork(tmp_path: Path) -> None:
    ledger, store = honest(), TrustStore(tmp_path)
    store.observe(ledger.checkpoint(ledger.sizes[2]), ledger)
    assert store.observe(ledger.checkpoint(), Liar(ledger, tiles=True)) == "newest"


def test_what_cannot_be_shown_is_not_believed(tmp_path: Path) -> None:
    ledger, store = honest(), TrustStore(tmp_path)
    for size in (ledger.sizes[2], ledger.sizes[3]):
        store.observe(ledger.checkpoint(size), ledger)
        with pytest.raises(VerificationError) as caught:
            store.observe(ledger.checkpoint(), Liar(ledger, tiles=False))
        assert caught.value.code == UNPROVEN
        assert size_remembered(store) == size
    assert store.observe(ledger.checkpoint(), ledger) == "newest"


def test_the_memory_is_its_owners_alone_and_damage_is_noticed(tmp_path: Path) -> None:
    ledger, store = honest(), TrustStore(tmp_path)
    store.observe(ledger.checkpoint(), ledger)
    files = [path for path in tmp_path.iterdir() if path.suffix == ".checkpoint"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600] * 2
    files[0].write_bytes(b"torn")
    with pytest.raises(ConfigurationError) as caught:
        store.observe(ledger.checkpoint(), ledger)
    assert caught.value.code == "bad_memory"


def test_each_log_is_remembered_apart(tmp_path: Path) -> None:
    store = TrustStore(tmp_path)
    store.observe(honest().checkpoint(), honest())
    assert store.remembered("another.test/log") is None


def empty(root: bytes = EMPTY_ROOT) -> bytes:
    """A checkpoint of the log without entries."""
    checkpoint = Checkpoint(origin=ORIGIN, size=0, root=root)
    return SignedCheckpoint.of(
        checkpoint, [sign_checkpoint(checkpoint, NoteSigner(ORIGIN, key_named("customs log")))]
    ).to_bytes()


def test_every_log_begins_with_the_empty_one(tmp_path: Path) -> None:
    ledger = honest()
    before, after = TrustStore(tmp_path / "before"), TrustStore(tmp_path / "after")
    assert before.observe(empty(), ledger) == "newest"
    assert before.observe(ledger.checkpoint(), ledger) == "newest"
    assert after.observe(ledger.checkpoint(), ledger) == "newest"
    assert after.observe(empty(), ledger) == "stale"
    with pytest.raises(ForkError):
        after.observe(empty(bytes(32)), ledger)


def test_a_fork_that_another_process_finds_meanwhile_stops_this_one(tmp_path: Path) -> None:
    ledger, store = honest(), TrustStore(tmp_path)
    store.observe(ledger.checkpoint(ledger.sizes[3]), ledger)

    class Meanwhile:
        def consistency(self, older: int, newer: int) -> list[bytes]:
            with pytest.raises(ForkError):
                TrustStore(tmp_path).observe(forked().checkpoint(), forked())
            return ledger.consistency(older, newer)

        def tile(self, tile: Tile) -> bytes:
            return ledger.tile(tile)

    with pytest.raises(ForkError):
        store.observe(ledger.checkpoint(), Meanwhile())
