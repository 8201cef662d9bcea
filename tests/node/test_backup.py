"""Backups: taken while the node runs, refused when a byte is wrong, restored as a node whose votes may be lost."""

import asyncio
import errno
import io
import json
import os
import resource
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from client.cli.main import main
from ledger.errors import ConfigurationError, StoreError, TracemarkError
from node.backup import archive, restoring
from node.backup.archive import CONFIG_FILES, DATABASES, describe_file
from node.backup.restoring import restore_backup
from node.backup.taking import take_backup
from node.config import NodeConfig, load_config
from node.files import write_file
from node.service.admin import prepare_token
from node.storage import AgencyStore, Database, VoteStore, lock_folder
from tests.node.cluster import cluster_of
from tests.node.integrity.support import fill, fsck
from tests.node.reverify import reverify
from tests.node.test_cluster import weapons
from tests.world import GENESIS

PARTY = "customs"


def configured(network: Path, party: str = PARTY) -> NodeConfig:
    """A node's folder around the data directory of the tests' cluster."""
    folder = network / "folders" / party
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "genesis.json").write_bytes(GENESIS.entry)
    (folder / "policy.txt").write_text("policy")
    (folder / "identity.json").write_text("identity")
    (folder / "keys.sealed").write_text("sealed")
    (folder / "passphrase").write_text("secret words")
    (folder / "tls").mkdir(exist_ok=True)
    (folder / "tls" / "node.pem").write_text("certificate")
    (folder / "tls" / "node.key").write_text("secret key")
    (folder / "node.toml").write_text(f'party = "{party}"\npassphrase = "passphrase"\n')
    if not (folder / "data").exists():
        (folder / "data").symlink_to(network / party)
    return load_config(folder / "node.toml")


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, int]]:
    """(network's folder, the backup of one of its nodes, the height at which it was at least): taken under load."""
    folder = tmp_path_factory.mktemp("network")
    target = folder / "backup.tar"
    reached = []

    async def scenario() -> None:
        async with cluster_of(folder, GENESIS) as cluster:
            await fill(cluster, folder, changes_members=False)
            reached.append(cluster.node(0).status().height)
            config = configured(folder)
            backup = asyncio.create_task(asyncio.to_thread(take_backup, config, GENESIS, target))
            n = 0
            while not backup.done() or n < 5:
                await cluster.final(n % 4, *weapons(cluster, 5_000 + n, 1))
                n += 1
            await backup
            await cluster.level()

    asyncio.run(scenario())
    yield folder, target, reached[0]


def test_a_backup_of_a_running_node_is_sound_and_holds_no_secret(taken: tuple[Path, Path, int], tmp_path: Path) -> None:
    _, backup, height = taken
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with tarfile.open(backup) as tar:
        names = tar.getnames()
    assert names[0] == "manifest.json"
    assert set(names[1:]) == {*(f"data/{name}" for name in DATABASES), *(f"config/{name}" for name in CONFIG_FILES)}
    content = backup.read_bytes()
    assert b"secret words" not in content
    assert b"secret key" not in content
    restored = restore_backup(backup, tmp_path / "new", force=False)
    assert restored.manifest.height >= height
    verified = reverify(restored.data_dir, GENESIS, PARTY)
    assert (verified.height, verified.log_root.hex()) == (restored.manifest.height, restored.manifest.log_root)
    findings, _ = fsck(restored.data_dir, PARTY)
    assert findings.problems == []
    assert [path.name for path in restored.missing] == ["node.key", "passphrase"]
    assert stat.S_IMODE((tmp_path / "new" / "keys.sealed").stat().st_mode) == 0o600
    assert (tmp_path / "new" / "node.toml").read_text() == 'party = "customs"\npassphrase = "passphrase"\n'


def test_every_restored_node_has_suspect_votes(taken: tuple[Path, Path, int], tmp_path: Path) -> None:
    restored = restore_backup(taken[1], tmp_path / "new", force=False)
    with closing(VoteStore(Database(restored.data_dir / "votes.db"))) as votes:
        assert votes.votes_suspect()


def test_a_restored_node_follows_the_others_and_votes_nothing_that_they_know_otherwise(
    taken: tuple[Path, Path, int], tmp_path: Path
) -> None:
    network = tmp_path / "network"
    shutil.copytree(taken[0], network, symlinks=True, ignore=shutil.ignore_patterns("folders"))
    shutil.rmtree(network / PARTY)
    restored = restore_backup(taken[1], tmp_path / "new", force=False)
    shutil.copytree(restored.data_dir, network / PARTY)

    async def scenario() -> None:
        async with cluster_of(network, GENESIS) as cluster:
            await cluster.level()
            cluster.world.time_ms = cluster.clock.wall_ms()
            cluster.world.enrol("interior", "maker", "maker", makes=("GLC",))
            for n in range(6):
                await cluster.final(1 + n % 3, *weapons(cluster, 9_000 + n, 1))
            await cluster.level()

    asyncio.run(scenario())
    stands = {reverify(network / party, GENESIS, party).log_root for party in ("customs", "interior", "police")}
    assert len(stands) == 1


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Ways in which a backup may be damaged: bytes everywhere, and cuts."""
    step = len(content) // 40
    for at in range(0, len(content), step):
        yield f"byte {at}", content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :]
    for at in range(0, len(content) - 1, 5 * step):
        yield f"cut at {at}", content[:at]


def test_a_damaged_backup_restores_nothing_or_exactly_what_was_backed_up(
    taken: tuple[Path, Path, int], tmp_path: Path
) -> None:
    refused = 0
    right = restore_backup(taken[1], tmp_path / "right", force=False).manifest
    for what, content in damages(taken[1].read_bytes()):
        damaged = tmp_path / "damaged.tar"
        damaged.write_bytes(content)
        folder = tmp_path / "new"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            manifest = restore_backup(damaged, folder, force=False).manifest
        except ConfigurationError as error:
            refused += 1
            assert error.code == "bad_backup", (what, error)
            assert list(folder.iterdir()) == [], what
        else:  # a byte of the tar's padding
            assert manifest == right, what
    assert refused > 30


def rewritten(backup: Path, target: Path, change: Callable[[Path], object]) -> Path:
    """A backup whose files somebody changed, with the manifest to match."""
    folder = target.with_suffix("")
    with tarfile.open(backup) as archive:
        archive.extractall(folder, filter="data")
    change(folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name in manifest["files"]:
        manifest["files"][name] = msgspec.to_builtins(describe_file(folder / name))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with tarfile.open(target, "w") as archive:
        for name in ("manifest.json", *manifest["files"]):
            archive.add(folder / name, arcname=name)
    return target


MARKS: Final = "name TEXT PRIMARY KEY, epoch BIGINT, view BIGINT, sum BLOB"
FORGET: Final = "BEGIN DELETE FROM marks WHERE name = 'votes_suspect'; END"


@pytest.mark.parametrize(
    ("database", "statement"),
    [
        ("votes.db", f"CREATE TRIGGER forget AFTER INSERT ON marks WHEN NEW.name = 'votes_suspect' {FORGET}"),
        ("votes.db", f"CREATE TRIGGER forget AFTER INSERT ON consensus {FORGET}"),
        ("agency.db", "CREATE TRIGGER forget AFTER INSERT ON queries BEGIN DELETE FROM queries; END"),
        ("ledger.db", "CREATE VIEW floors AS SELECT * FROM floor"),
        ("votes.db", f"DROP TABLE marks; CREATE TABLE marks ({MARKS}, more TEXT NOT NULL ON CONFLICT IGNORE)"),
        ("votes.db", f"DROP TABLE marks; CREATE TABLE marks ({MARKS}, UNIQUE (sum) on/**/conflict replace)"),
        ("votes.db", "CREATE TABLE more (kind TEXT REFERENCES consensus (kind) ON DELETE CASCADE)"),
    ],
)
def test_a_backup_whose_databases_would_do_something_by_themselves_is_refused(
    taken: tuple[Path, Path, int], tmp_path: Path, database: str, statement: str
) -> None:
    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "data" / database)) as connection, connection:
            connection.executescript(statement)

    hostile = rewritten(taken[1], tmp_path / "hostile.tar", change)
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(hostile, tmp_path / "new", force=False)
    assert caught.value.code == "bad_backup"
    assert database in caught.value.message
    assert list((tmp_path / "new").iterdir()) == []
    restore_backup(rewritten(taken[1], tmp_path / "same.tar", lambda _: None), tmp_path / "new", force=False)


def header(name: str, size: int, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def with_checksum(block: bytes) -> bytes:
    return block[:148] + b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32) + block[156:]


def hostile_headers(backup: Path, target: Path, case: str) -> None:
    if case == "one long header":
        with target.open("wb") as stream:
            stream.write(header("manifest.json", 1 << 30, tarfile.XHDTYPE))
            stream.truncate((1 << 30) + 2048)
    elif case == "headers without end":
        target.write_bytes((header("manifest.json", 512, tarfile.XHDTYPE) + b"12 a=bbbbbb\n".ljust(512, b"\0")) * 5_000)
    else:  # a file of 1 TB that takes no room
        with tarfile.open(backup) as archive:
            content = archive.extractfile("manifest.json")
            assert content is not None
            manifest = json.loads(content.read())
        manifest["files"]["data/ledger.db"]["bytes"] = 1 << 40
        data = json.dumps(manifest).encode()
        hole = bytearray(header("data/ledger.db", 0, tarfile.GNUTYPE_SPARSE))
        hole[483:495] = b"\x80" + (1 << 40).to_bytes(11)
        padded = data.ljust(-(-len(data) // 512) * 512, b"\0")
        target.write_bytes(
            header("manifest.json", len(data), tarfile.REGTYPE) + padded + with_checksum(bytes(hole)) + bytes(1024)
        )


@pytest.mark.parametrize("case", ["one long header", "headers without end", "a hole"])
def test_a_hostile_tar_takes_neither_memory_nor_disk(taken: tuple[Path, Path, int], tmp_path: Path, case: str) -> None:
    hostile_headers(taken[1], tmp_path / "hostile.tar", case)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fill_at_most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, fill_at_most[1]))
    try:
        with pytest.raises(ConfigurationError) as caught:
            restore_backup(tmp_path / "hostile.tar", tmp_path / "new", force=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, fill_at_most)
    assert caught.value.code == "bad_backup"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_too_long_for_a_plain_header_is_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo("data/ledger.db")
    member.size = 9 << 30
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        stream = io.BytesIO(member.tobuf(form))
        read = archive._next_member(stream)
        assert read is not None
        assert (read.name, read.size) == ("data/ledger.db", 9 << 30)


@pytest.mark.parametrize(("key", "value"), [("created", "\x1b[2J"), ("party", "\x1b[2J"), ("party", "police")])
def test_a_manifest_says_nothing_that_is_not_so(
    taken: tuple[Path, Path, int], tmp_path: Path, key: str, value: str
) -> None:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        (folder / "manifest.json").write_text(json.dumps({**manifest, key: value}))

    hostile = rewritten(taken[1], tmp_path / "hostile.tar", change)
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(hostile, tmp_path / "new", force=False)
    assert caught.value.code == "bad_backup"


def test_a_database_in_a_backup_that_is_none_is_refused(taken: tuple[Path, Path, int], tmp_path: Path) -> None:
    hostile = rewritten(
        taken[1], tmp_path / "hostile.tar", lambda folder: (folder / "data" / "ledger.db").write_bytes(b"none" * 9_000)
    )
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(hostile, tmp_path / "new", force=False)
    assert caught.value.code == "bad_backup"


def test_data_that_is_there_is_not_replaced_unless_forced_and_then_kept(
    taken: tuple[Path, Path, int], tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    first = restore_backup(taken[1], folder, force=False)
    store = AgencyStore(Database(first.data_dir / "agency.db"))
    store.add_token(prepare_token(party=PARTY, role="holder", label="later", now_ms=1, expires_ms=None).stored)
    store.close()
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(taken[1], folder, force=False)
    assert caught.value.code == "data_exists"
    again = restore_backup(taken[1], folder, force=True)
    assert again.kept is not None
    with closing(AgencyStore(Database(again.kept / "agency.db"))) as kept:
        assert "later" in [token.label for token in kept.tokens()]
    with closing(AgencyStore(Database(again.data_dir / "agency.db"))) as restored:
        assert "later" not in [token.label for token in restored.tokens()]


def test_an_older_table_of_votes_never_takes_the_place_of_a_newer_one(
    taken: tuple[Path, Path, int], tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    data = restore_backup(taken[1], folder, force=False).data_dir
    shutil.rmtree(data)
    shutil.copytree(taken[0] / PARTY, data)  # where the node went on after the backup
    with closing(VoteStore(Database(data / "votes.db"))) as votes:
        newer = set(map(repr, votes.load()))
    restored = restore_backup(taken[1], folder, force=True)
    assert restored.votes_kept
    with closing(VoteStore(Database(data / "votes.db"))) as votes:
        assert set(map(repr, votes.load())) == newer
        assert votes.votes_suspect()


def test_the_data_directory_stays_itself_and_nothing_is_made_beside_it(
    taken: tuple[Path, Path, int], tmp_path: Path
) -> None:
    """It may be a mounted volume, or lie where the service's user may make nothing; the configuration may be read-only."""
    folder, data = tmp_path / "etc", tmp_path / "var" / "data"
    folder.mkdir()
    data.mkdir(parents=True)
    (data / "lost+found").mkdir()
    (data / "evidence").mkdir()
    number = data.stat().st_ino
    (folder / "node.toml").write_text(f'party = "customs"\ndata_dir = "{data}"\n')
    assert restore_backup(taken[1], folder, force=False).kept is None
    before = folder.stat().st_mtime_ns
    again = restore_backup(taken[1], folder, force=True)
    assert data.stat().st_ino == number
    assert list(data.parent.iterdir()) == [data]
    assert folder.stat().st_mtime_ns == before
    assert again.kept is not None
    assert again.kept.parent == data
    assert {path.name for path in data.iterdir()} == {*DATABASES, "lock", "lost+found", "evidence", again.kept.name}
    assert fsck(data, PARTY)[0].problems == []


def test_data_on_another_file_system_is_replaced(
    taken: tuple[Path, Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "new" / "data"
    data.mkdir(parents=True)
    rename = Path.rename

    def within_one(self: Path, target: Path) -> Path:
        if self.is_relative_to(data) != target.is_relative_to(data):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", within_one)
    monkeypatch.setattr(restoring, "_device", lambda path: int(path.is_relative_to(data)))
    restored = restore_backup(taken[1], tmp_path / "new", force=False)
    assert restored.data_dir == data
    assert fsck(data, PARTY)[0].problems == []


def test_a_restore_that_ends_anywhere_leaves_no_older_votes_without_the_mark_and_can_be_run_again(
    taken: tuple[Path, Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    data = restore_backup(taken[1], folder, force=False).data_dir
    with closing(VoteStore(Database(data / "votes.db"))) as votes:
        votes.set_votes_suspect(False)
    old, rename, steps = (data / "votes.db").stat().st_ino, Path.rename, 0
    for end in range(20):
        steps = 0

        def ending(self: Path, target: Path, end: int = end) -> Path:
            nonlocal steps
            steps += 1
            if steps > end:
                raise KeyboardInterrupt
            return rename(self, target)

        shutil.copytree(data, tmp_path / "same")
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", ending)
            try:
                restore_backup(taken[1], folder, force=True)
            except KeyboardInterrupt:
                finished = False
            else:
                finished = True
        there = data / "votes.db"
        assert there.exists() or (data / "ledger.db").exists(), "what begins with nothing may not know that it voted"
        if there.exists() and there.stat().st_ino != old:
            with closing(VoteStore(Database(there))) as votes:
                assert votes.votes_suspect(), end
        assert not list(data.glob(".restore.*"))
        assert restore_backup(taken[1], folder, force=True).manifest is not None
        assert fsck(data, PARTY)[0].problems == []
        if finished:
            break
        shutil.rmtree(data)
        (tmp_path / "same").rename(data)
        old = (data / "votes.db").stat().st_ino
    assert steps >= 2 * len(DATABASES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_restores_and_mends_belongs_to_whom_the_data_directory_belongs(
    taken: tuple[Path, Path, int], tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    data = folder / "data"
    data.mkdir(parents=True)
    os.chown(data, 1_234, 1_235)
    restore_backup(taken[1], folder, force=False)
    restore_backup(taken[1], folder, force=True)
    (data / "votes.db").write_bytes(b"")
    fsck(data, PARTY, repair=True)
    assert {(path.name, path.stat().st_uid, path.stat().st_gid) for path in data.iterdir()} == {
        (path.name, 1_234, 1_235) for path in data.iterdir()
    }
    assert {*DATABASES, "lock"} < {path.name for path in data.iterdir()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_a_file_that_root_replaces_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    write_file(path, b"old", mode=0o600)
    os.chown(path, 1_234, 1_235)
    write_file(path, b"new", mode=0o600, replace=True)
    assert (path.read_bytes(), path.stat().st_uid, path.stat().st_gid) == (b"new", 1_234, 1_235)


def test_what_a_killed_restore_left_is_cleared_away(taken: tuple[Path, Path, int], tmp_path: Path) -> None:
    data = restore_backup(taken[1], tmp_path / "new", force=False).data_dir
    (data / ".restore.left").mkdir()
    (data / ".restore.left" / "keys.sealed").write_text("sealed")
    restore_backup(taken[1], tmp_path / "new", force=True)
    assert not (data / ".restore.left").exists()


def test_a_running_nodes_data_is_not_replaced(taken: tuple[Path, Path, int], tmp_path: Path) -> None:
    data = restore_backup(taken[1], tmp_path, force=False).data_dir
    lock = lock_folder(data)
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(taken[1], tmp_path, force=True)
    assert caught.value.code == "data_dir_in_use"
    lock.release()


def test_a_backup_of_another_agency_or_ledger_is_refused(taken: tuple[Path, Path, int], tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('party = "police"\n')
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(taken[1], tmp_path, force=False)
    assert caught.value.code == "wrong_identity"
    (tmp_path / "node.toml").write_text('party = "customs"\n')
    (tmp_path / "genesis.json").write_text("another")
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(taken[1], tmp_path, force=False)
    assert caught.value.code == "wrong_ledger"


@pytest.mark.parametrize("value", ["/etc/tracemark.d", "../../elsewhere"])
def test_a_backup_writes_nowhere_but_into_the_folder(taken: tuple[Path, Path, int], tmp_path: Path, value: str) -> None:
    """A hostile backup's own configuration is not followed out of the folder."""
    network = tmp_path / "network"
    config = configured(network)
    (network / PARTY).parent.mkdir(exist_ok=True)
    (network / "folders" / PARTY / "data").unlink()
    shutil.copytree(taken[0] / PARTY, network / "folders" / PARTY / "data")
    config.file.write_text(f'party = "customs"\npolicy = "{value}/policy.txt"\n')
    config = load_config(config.file)
    backup = tmp_path / "backup.tar"
    take_backup(config, GENESIS, backup)
    with pytest.raises(ConfigurationError) as caught:
        restore_backup(backup, tmp_path / "new", force=False)
    assert caught.value.code == "missing_file"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_damaged_database_is_not_backed_up(taken: tuple[Path, Path, int], tmp_path: Path) -> None:
    data = restore_backup(taken[1], tmp_path, force=False).data_dir
    (tmp_path / "policy.txt").write_text("policy")
    content = bytearray((data / "ledger.db").read_bytes())
    content[3 * 8192 : 4 * 8192] = bytes(8192)
    (data / "ledger.db").write_bytes(content)
    with pytest.raises(TracemarkError) as caught:
        take_backup(load_config(tmp_path / "node.toml"), GENESIS, tmp_path / "second.tar")
    assert isinstance(caught.value, StoreError)
    assert not (tmp_path / "second.tar").exists()
    assert not list(tmp_path.glob(".second*"))


def test_a_backup_for_which_there_is_no_room_says_so_and_does_not_blame_the_node(
    taken: tuple[Path, Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "node"
    restore_backup(taken[1], folder, force=False)

    def full(*_: object) -> None:
        raise StoreError("the database ledger.db failed", code="disk_full", help="Restart the node.")

    monkeypatch.setattr("node.backup.taking.copy_databases", full)
    with pytest.raises(ConfigurationError) as caught:
        take_backup(load_config(folder / "node.toml"), GENESIS, tmp_path / "second.tar")
    assert caught.value.code == "unwritable_file"
    assert "second.tar" in caught.value.message
    assert "The node is not concerned." in str(caught.value)
    assert not list(tmp_path.glob("*second*"))


def test_the_commands_say_what_they_did_and_end_with_codes(
    taken: tuple[Path, Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    folder, second = str(tmp_path / "node"), str(tmp_path / "second.tar")
    code, said = run("restore", str(taken[1]), folder)
    assert (code, said["votes_suspect"], said["kept"]) == (0, True, None)
    code, said = run("restore", str(taken[1]), folder)
    assert (code, said["error"]["code"]) == (2, "data_exists")
    code, said = run("backup", folder, second)
    assert (code, said["party"], said["file"]) == (0, PARTY, second)
    code, said = run("backup", folder, second)
    assert (code, said["error"]["code"]) == (2, "file_exists")
    code, said = run("restore", second, folder, "--force")
    assert code == 0
    assert Path(said["kept"]).is_dir()
    code, said = run("restore", str(tmp_path / "nothing.tar"), folder)
    assert (code, said["error"]["code"]) == (2, "missing_file")
