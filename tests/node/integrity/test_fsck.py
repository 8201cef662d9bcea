"""`tracemark fsck` as an operator meets it: what it says, how it ends, what it does to files, what follows for signing."""

import asyncio
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from client.cli.main import main
from ledger.consensus.messages import Certificate, Nullify, vote_bytes
from ledger.errors import ConfigurationError, StoreError
from node.storage import BlockCommit, Database, LedgerStore, VoteStore, lock_folder, open_stores, sqlite
from node.storage.inspection import HeldLog, HeldRow
from tests.node.cluster import cluster_of, keys_of
from tests.node.integrity.support import copy_of, fsck, made
from tests.node.reverify import reverify
from tests.node.test_cluster import weapons
from tests.world import GENESIS

PARTY = "customs"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made"), ())


def damage(path: Path, *statements: str) -> None:
    """Write to a database behind the node's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount >= 1


def folder_of(network: Path, tmp_path: Path) -> Path:
    """A node's folder with its configuration, as the command wants it."""
    folder = tmp_path / PARTY
    folder.mkdir()
    copy_of(network / PARTY, folder / "data")
    (folder / "genesis.json").write_bytes(GENESIS.entry)
    (folder / "node.toml").write_text(f'party = "{PARTY}"\n')
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """The exit code, and what --json gave."""
    code = main(["fsck", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_node(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(network, tmp_path)
    before = {path.name: path.read_bytes() for path in (folder / "data").iterdir()}
    code, said = run(capsys, str(folder))
    assert (code, said["sound"], said["problems"]) == (0, True, [])
    assert said["entries"] == reverify(folder / "data", GENESIS, PARTY).size
    after = {path.name: path.read_bytes() for path in (folder / "data").iterdir()}
    assert after == before, "a check writes nothing and leaves nothing"


def test_problems_end_with_1_and_mending_with_0(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(network, tmp_path)
    damage(folder / "data" / "ledger.db", "UPDATE serials SET make = 'XXX' WHERE serial = 'A00007'")
    code, said = run(capsys, str(folder))
    assert code == 1
    assert {problem["table"] for problem in said["problems"]} == {"serials"}
    assert all("A00007" in problem["row"] for problem in said["problems"])
    assert "mended" not in said
    code, said = run(capsys, str(folder), "--repair")
    assert code == 0
    assert said["mended"]["databases"] == ["ledger"]
    assert Path(said["mended"]["kept"]).is_dir()
    assert run(capsys, str(folder))[0] == 0


def test_no_node_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, str(tmp_path))
    assert code == 2
    assert said["error"]["code"] == "missing_file"


def test_a_running_node_may_be_checked_but_not_mended(network: Path, tmp_path: Path) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    lock = lock_folder(folder)
    assert fsck(folder, PARTY)[0].problems == []
    with pytest.raises(ConfigurationError) as caught:
        fsck(folder, PARTY, repair=True)
    assert caught.value.code == "data_dir_in_use"
    lock.release()


def test_two_checks_at_once_do_not_write_one_second_ledger(network: Path, tmp_path: Path) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    refused: list[str] = []

    def second(*_: object) -> None:
        for repair in (False, True):
            with pytest.raises(ConfigurationError) as caught:
                fsck(folder, PARTY, repair=repair)
            refused.append(caught.value.code)

    assert fsck(folder, PARTY, progress=second)[0].problems == []
    assert set(refused) == {"check_running"}
    assert not (folder / "fsck").exists()
    assert fsck(folder, PARTY, repair=True)[0].problems == []


def test_a_node_under_load_is_found_sound(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            from tests.node.integrity.support import fill

            await fill(cluster, tmp_path)
            checking = asyncio.create_task(asyncio.to_thread(fsck, tmp_path / "customs", "customs"))
            n = 0
            while not checking.done():
                await cluster.final(n % 3, *weapons(cluster, 7_000 + n, 1))
                n += 1
            findings, _ = await checking
            assert findings.problems == []
            assert n > 1

    asyncio.run(scenario())


def test_an_interrupted_check_goes_on_where_it_was(network: Path, tmp_path: Path) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    reached: list[int] = []

    def interrupt(what: str, done: int, total: int) -> None:
        reached.append(done)
        if what == "blocks" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fsck(folder, PARTY, progress=interrupt)
    assert (folder / "fsck" / "ledger.db").exists()
    seen: list[int] = []

    def watch(what: str, done: int, total: int) -> None:
        if what == "blocks":
            seen.append(done)

    findings, _ = fsck(folder, PARTY, progress=watch)
    assert findings.problems == []
    assert seen[0] == 5
    assert not (folder / "fsck").exists()


@pytest.mark.parametrize("spoil", ["UPDATE blocks SET digest = zeroblob(32) WHERE height = 3", "garbage"])
def test_a_beginning_that_is_not_this_logs_is_thrown_away(network: Path, tmp_path: Path, spoil: str) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "blocks" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fsck(folder, PARTY, progress=interrupt)
    begun = folder / "fsck" / "ledger.db"
    if spoil == "garbage":
        begun.write_bytes(b"no database" * 1_000)
    else:
        damage(begun, spoil)
    assert fsck(folder, PARTY)[0].problems == []


@pytest.mark.parametrize("code", ["disk_full", "database_read_only", "store_failed", "store_corrupt"])
def test_a_second_ledger_that_fails_costs_the_first_nothing(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    before, commits = (folder / "ledger.db").read_bytes(), []
    commit = LedgerStore.commit

    def fail(store: LedgerStore, block: BlockCommit) -> None:
        commits.append(block.height)
        if block.height == 4:
            raise StoreError("the disk of the scratch failed", code=code)
        commit(store, block)

    with monkeypatch.context() as patched:
        patched.setattr(LedgerStore, "commit", fail)
        with pytest.raises(StoreError) as caught:
            fsck(folder, PARTY, repair=True)
    assert commits[-1] == 4
    assert caught.value.code == code
    assert "nothing was changed" in (caught.value.help or "")
    assert (folder / "ledger.db").read_bytes() == before
    assert not list(folder.glob("damaged-*"))
    assert fsck(folder, PARTY)[0].problems == []


def test_a_ledger_that_cannot_be_read_just_now_is_not_cut(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)

    def locked(_: HeldLog, height: int, first_index: int) -> list[HeldRow]:
        raise StoreError("another process has it", code="database_locked")

    monkeypatch.setattr(HeldLog, "rows", locked)
    with pytest.raises(StoreError) as caught:
        fsck(folder, PARTY, repair=True)
    assert caught.value.code == "database_locked"
    assert not list(folder.glob("damaged-*"))


@pytest.mark.parametrize("name", ["votes", "agency"])
def test_votes_and_tokens_that_cannot_be_read_just_now_are_not_replaced(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    before = (folder / f"{name}.db").read_bytes()
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)
    with closing(sqlite3.connect(folder / f"{name}.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError) as caught:
            fsck(folder, PARTY, repair=True)
    assert caught.value.code == "database_locked"
    assert (folder / f"{name}.db").read_bytes() == before
    assert not list(folder.glob("damaged-*"))


def own_views(folder: Path) -> dict[tuple[str, int, int], bytes]:
    """Own votes, by kind and place, as stored."""
    with closing(sqlite3.connect(folder / "votes.db")) as connection:
        rows = connection.execute(
            "SELECT kind, epoch, view, data FROM consensus WHERE kind IN ('notarize', 'nullify', 'finalize')"
        ).fetchall()
    return {(kind, epoch, view): data for kind, epoch, view, data in rows}


@pytest.mark.parametrize("height", [2, 5])
def test_a_node_whose_log_was_cut_catches_up_and_signs_nothing_twice(
    network: Path, tmp_path: Path, height: int
) -> None:
    shutil.copytree(network, tmp_path / "network")
    folder = tmp_path / "network" / PARTY
    before, old = own_views(folder), reverify(folder, GENESIS, PARTY)
    damage(
        folder / "ledger.db",
        f'UPDATE entries SET entry = zeroblob(9) WHERE "index" = (SELECT first_index FROM blocks WHERE height = {height})',
    )
    findings, mended = fsck(folder, PARTY, repair=True)
    assert {problem.table for problem in findings.problems} == {"entries"}
    assert mended is not None
    assert mended.cut_to == height - 1
    assert not mended.votes_suspect
    assert mended.stores == ("ledger", "votes")
    assert mended.kept is not None
    assert own_views(mended.kept) == before, "whatever is replaced is kept"
    with closing(VoteStore(Database(folder / "votes.db"))) as votes:
        assert votes.signing_floor() >= old.floor
        finals = [(r.epoch, r.view) for r in votes.load() if isinstance(r, Certificate) and r.kind == "finalization"]
        assert max(finals) <= votes.signing_floor()

    async def scenario() -> None:
        async with cluster_of(tmp_path / "network", GENESIS) as cluster:
            await cluster.level()
            cluster.world.time_ms = cluster.clock.wall_ms()
            cluster.world.enrol("interior", "maker", "maker", makes=("GLC",))
            for n in range(3):
                await cluster.final(0, *weapons(cluster, 8_000 + n, 1))
            await cluster.level()
            assert cluster.node(0).status().reasons == ()

    asyncio.run(scenario())
    verified = reverify(folder, GENESIS, PARTY)
    assert verified.height > old.height
    after = own_views(folder)
    assert {key: data for key, data in before.items() if key in after and after[key] != data} == {}
    assert [key for key in after if key not in before and key[1:] <= old.floor] == [], "nothing new is signed below"


def test_a_lone_nodes_log_is_not_cut(tmp_path: Path) -> None:
    folder = made(tmp_path, ("interior",)) / "interior"
    damage(folder / "ledger.db", 'UPDATE entries SET entry = zeroblob(9) WHERE "index" = 5')
    before = (folder / "ledger.db").read_bytes()
    findings, mended = fsck(folder, "interior", repair=True, lone=True)
    assert findings.count
    assert mended is not None
    assert mended.stores == ()
    assert "backup" in mended.left[0]
    assert (folder / "ledger.db").read_bytes() == before


def add_own_vote(data_dir: Path) -> None:
    """One above all that is there: a node that was stopped just after it pruned its votes has none left."""
    with closing(VoteStore(Database(data_dir / "votes.db"))) as votes:
        epoch, view = max((each.epoch, each.view + 1) for each in votes.load() if isinstance(each, Certificate))
        signer = [agency.party for agency in GENESIS.agencies if agency.party != "neighbour"].index(PARTY)
        signature = keys_of(PARTY).consensus.sign(vote_bytes(GENESIS.chain_id, "nullify", epoch, view, None))
        votes.append([Nullify(epoch=epoch, view=view, signer=signer, signature=signature)])


def test_a_damaged_own_vote_makes_the_table_suspect(network: Path, tmp_path: Path) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    add_own_vote(folder)
    assert fsck(folder, PARTY)[0].problems == []
    damage(
        folder / "votes.db",
        "UPDATE consensus SET data = CAST(substr(data, 1, length(data) - 1) "
        "|| iif(substr(data, -1) = x'00', x'01', x'00') AS BLOB) "
        "WHERE rowid = (SELECT max(rowid) FROM consensus WHERE kind = 'nullify')",
    )
    findings, mended = fsck(folder, PARTY, repair=True)
    assert [problem.mend for problem in findings.problems] == ["suspect"]
    assert mended is not None
    assert mended.votes_suspect
    with closing(VoteStore(Database(folder / "votes.db"))) as votes:
        assert votes.votes_suspect()


@pytest.mark.parametrize(("name", "table"), [("ledger", "floor"), ("votes", "marks"), ("agency", "queries")])
def test_a_trigger_in_a_database_is_found_and_does_not_survive(
    network: Path, tmp_path: Path, name: str, table: str
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    with closing(sqlite3.connect(folder / f"{name}.db")) as connection, connection:
        connection.execute(f"CREATE TRIGGER forget AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END")
    findings, mended = fsck(folder, PARTY, repair=True)
    assert [(problem.store, "forget" in problem.what) for problem in findings.problems] == [(name, True)]
    assert mended is not None
    assert mended.stores == (name,)
    assert fsck(folder, PARTY)[0].problems == []


@pytest.mark.parametrize("name", ["ledger", "votes", "agency"])
@pytest.mark.parametrize("ruin", ["garbage", "missing", "short"])
def test_a_file_that_is_ruined_altogether(network: Path, tmp_path: Path, name: str, ruin: str) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    path = folder / f"{name}.db"
    if ruin == "garbage":
        path.write_bytes(b"no database" * 10_000)
    elif ruin == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 5 * 8192])
    if (name, ruin) == ("ledger", "missing"):
        with pytest.raises(ConfigurationError):
            fsck(folder, PARTY, repair=True)
        return
    findings, mended = fsck(folder, PARTY, repair=True)
    assert findings.of(name)  # type: ignore[arg-type]
    assert mended is not None
    if name == "votes":
        assert mended.votes_suspect
    if name == "ledger":
        assert mended.cut_to is not None
    if name == "agency" and ruin != "short":
        [left] = mended.left
        assert "backups only" in left, "nobody else has tokens and query log"
        assert "--repair" not in left, "that is what was just done"
    open_stores(folder).close()
    reverify(folder, GENESIS, PARTY)


@pytest.mark.parametrize("name", ["ledger", "votes", "agency"])
@pytest.mark.parametrize("at", [0, 16, 20, 60], ids=["magic", "page size", "reserved space", "user version"])
def test_a_hurt_header_is_mended_and_nothing_else_is_lost(network: Path, tmp_path: Path, name: str, at: int) -> None:
    """SQLite reads every page by it: taken for what it says, the log would be cut, votes suspect, and tokens gone."""
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    path = folder / f"{name}.db"
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)
    findings, mended = fsck(folder, PARTY, repair=True)
    [problem] = findings.problems
    assert (problem.store, f"(byte {at})" in problem.what) == (name, True)
    assert mended is not None
    assert mended.kept is not None
    assert (mended.stores, mended.cut_to, mended.votes_suspect, mended.left) == ((name,), None, False, ())
    assert (mended.kept / path.name).read_bytes() == data
    with closing(open_stores(folder)) as stores:
        assert len(stores.agency.tokens()) == 3
    reverify(folder, GENESIS, PARTY)
    assert fsck(folder, PARTY)[0].count == 0


@pytest.mark.parametrize("name", ["ledger", "votes", "agency"])
def test_one_fault_of_a_file_is_one_problem_on_one_line(
    network: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many pages SQLite names: a hundred lines of them tell nobody anything."""
    folder = folder_of(network, tmp_path)
    path = folder / "data" / f"{name}.db"
    data = bytearray(path.read_bytes())
    data[20] = 64
    path.write_bytes(data)
    code, said = run(capsys, str(folder))
    assert code == 1
    structure = [each["what"] for each in said["problems"] if "structure is hurt" in each["what"]]
    assert len(structure) == 1
    assert re.search(r"(; [^;]+){2}; and (at least )?[0-9]+ more$", structure[0])
    assert main(["fsck", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= len(said["problems"]) + 3
    assert max(map(len, lines)) < 700


@pytest.mark.parametrize("step", ["copy2", "mkdir", "replace"])
def test_mending_that_fails_leaves_files_on_which_the_next_try_succeeds(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = copy_of(network / PARTY, tmp_path / PARTY)
    damage(folder / "ledger.db", "DELETE FROM history")
    damage(folder / "votes.db", "UPDATE cosignatures SET line = zeroblob(10)")
    damage(folder / "agency.db", "UPDATE tokens SET role = 'operator' WHERE label = 'first'")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if step == "copy2":
            patched.setattr("node.storage.replacing.shutil.copy2", full)
        elif step == "mkdir":
            patched.setattr("node.storage.replacing.Path.mkdir", refusing("damaged-", Path.mkdir))
        else:
            patched.setattr("node.storage.replacing.Path.replace", refusing("agency.db", Path.replace))
        with pytest.raises(StoreError):
            fsck(folder, PARTY, repair=True)
    shutil.rmtree(next(iter(folder.glob("damaged-*")), folder / "none"), ignore_errors=True)
    findings, mended = fsck(folder, PARTY, repair=True)
    assert findings.of("agency")
    assert mended is not None
    assert fsck(folder, PARTY)[0].problems == []


def refusing(name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
    """As usual, but for paths with this name in them."""

    def act(path: Path, *arguments: Any, **named: Any) -> Any:
        if name in path.name:
            raise OSError(28, "No space left on device")
        return usual(path, *arguments, **named)

    return act
