"""Restoring a backup: all of it is unpacked and checked in the data directory, and then takes the place of what is there.

The data directory itself stays where it is: it may be a volume of its own, or lie where the node's user may make nothing.

Votes that the node cast after the backup are not in it. So a restored node's votes are suspect: it signs nothing until the
others have shown where they stand (P7.5). A newer table of votes that is still there is never replaced by an older one.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.block import Block
from ledger.consensus.messages import Evidence
from ledger.errors import ConfigurationError, EncodingError, SignatureError, StoreError
from ledger.genesis import decode_genesis
from node.backup.archive import DATABASES, Manifest, bad_backup, extract_archive
from node.backup.taking import config_files
from node.config import NodeConfig, load_config
from node.files import PUBLIC_MODE, SECRET_MODE, keep_owner, sync, write_file
from node.integrity.fsck import SCRATCH
from node.joining.progress import PROGRESS_FILE
from node.joining.start import STAGED_FILE
from node.storage import Database, VoteStore, lock_folder
from node.storage.inspection import foreign_objects

_SECRET: Final = frozenset({"keys.sealed"})
_UNPACKED: Final = ".restore."
_DATA: Final = (*DATABASES, STAGED_FILE, PROGRESS_FILE, SCRATCH, "snapshots")
"""What of the data directory goes, with its write-ahead logs. What else is there stays: evidence, what was kept earlier."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `kept`: the folder with the old data, if there was any; `votes_kept`: the newer votes that were there
    stay; `written`: files of the configuration that were absent; `missing`: what the node still lacks."""

    manifest: Manifest
    data_dir: Path
    kept: Path | None
    votes_kept: bool
    written: tuple[Path, ...]
    missing: tuple[Path, ...]


def restore_backup(source: Path, folder: Path, *, force: bool) -> Restored:
    """Restore a backup into a node's folder. Its node must be stopped.

    Args:
        source: the backup's file.
        folder: of node.toml; made if absent. Files of the configuration that are there already stay as they are.
        force: put the backup in the place of data that is there; a copy of that is kept.

    Raises:
        ConfigurationError: codes `bad_backup`, `wrong_ledger`, `data_exists`, `data_dir_in_use`, `newer_votes`,
            those of `load_config`.
        StoreError: it could not be written.
    """
    with ExitStack() as cleaning:
        own = load_config(folder / "node.toml") if (folder / "node.toml").is_file() else None
        if own is not None:
            _lock(own.data_dir, cleaning)
        unpacked = _make_unpacked(folder if own is None else own.data_dir, cleaning)
        manifest = extract_archive(source, unpacked)
        _check_ledger(source, unpacked, manifest)
        _check_databases(source, unpacked)
        config = _config(source, own, folder, unpacked, manifest)
        if own is None:
            _lock(config.data_dir, cleaning)
        data_dir = config.data_dir
        there = _data_in(data_dir)
        if there and not force:
            raise ConfigurationError(
                f"there is data in {data_dir}",
                code="data_exists",
                expected="an empty data directory",
                help="With --force the backup takes its place; what is there is kept, in a folder before-TIME in it.",
            )
        votes_kept = _take_newer_votes(data_dir, unpacked / "data")
        _mark(unpacked / "data")
        kept = _swap(unpacked / "data", data_dir)
        written = _write_config(unpacked / "config", config)
    lacking = (config.tls.key, config.tls.certificate, config.keys, *([config.passphrase] if config.passphrase else []))
    return Restored(
        manifest=manifest,
        data_dir=data_dir,
        kept=kept,
        votes_kept=votes_kept,
        written=written,
        missing=tuple(path for path in lacking if not path.exists()),
    )


def _lock(data_dir: Path, cleaning: ExitStack) -> None:
    """Make the data directory if need be, and let no other process have it until this is done."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{data_dir} cannot be made", actual=error.strerror) from error
    cleaning.callback(lock_folder(data_dir).release)
    for left in data_dir.glob(f"{_UNPACKED}*"):  # by a restore that was killed: nobody else has the lock
        shutil.rmtree(left, ignore_errors=True)


def _make_unpacked(place: Path, cleaning: ExitStack) -> Path:
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        unpacked = Path(tempfile.mkdtemp(prefix=_UNPACKED, dir=place))
    except OSError as error:
        raise StoreError(f"{place} cannot be written to", actual=error.strerror) from error
    cleaning.callback(shutil.rmtree, unpacked, ignore_errors=True)
    return unpacked


def _data_in(data_dir: Path) -> list[Path]:
    """What the backup takes the place of, the votes first, and each database before its write-ahead log."""
    paths = [path for path in data_dir.iterdir() if path.name.startswith(_DATA)]
    return sorted(paths, key=lambda path: (not path.name.startswith("votes.db"), path.name))


def _check_ledger(source: Path, unpacked: Path, manifest: Manifest) -> None:
    try:
        genesis = decode_genesis((unpacked / "config" / "genesis.json").read_bytes())
    except (EncodingError, SignatureError) as error:
        raise bad_backup(source, f"its genesis document does not hold: {error.message}") from error
    if genesis.ledger_id != manifest.ledger:
        raise bad_backup(source, "it is of another ledger", expected=manifest.ledger, actual=genesis.ledger_id)


def _check_databases(source: Path, unpacked: Path) -> None:
    """Databases from outside must do nothing by themselves: a trigger could take back the mark that votes may be missing.
    What their rows say, `tracemark fsck` asks."""
    for name in DATABASES:
        with closing(Database(unpacked / "data" / name)) as database:
            try:
                foreign = foreign_objects(database)
            except StoreError as error:
                raise bad_backup(source, f"{name} cannot be read: {error.message}") from error
        if foreign:
            raise bad_backup(source, f"{name} is not as a node makes it: {foreign[0]}")


def _config(source: Path, config: NodeConfig | None, folder: Path, unpacked: Path, manifest: Manifest) -> NodeConfig:
    """The folder's own configuration; else the backup's, where its paths stay within the folder."""
    own = folder / "node.toml"
    if config is not None:
        if config.party != manifest.party:
            raise ConfigurationError(
                f"the backup is another agency's than {own}",
                code="wrong_identity",
                expected=config.party,
                actual=manifest.party,
            )
        if config.genesis.is_file() and config.genesis.read_bytes() != (unpacked / "config/genesis.json").read_bytes():
            raise ConfigurationError(
                f"the backup is of another ledger than {config.genesis}", code="wrong_ledger", expected=manifest.ledger
            )
        return config
    backed_up = unpacked / "config" / "node.toml"
    if not backed_up.is_file():
        raise ConfigurationError(
            "nothing says how the node is configured",
            code="missing_file",
            expected=f"a file at {own}",
            actual="nothing",
        )
    config = load_config(backed_up)
    if config.party != manifest.party:
        raise bad_backup(source, "its configuration is another agency's", expected=manifest.party, actual=config.party)
    return _moved(config, backed_up.parent, folder)


def _moved(config: NodeConfig, base: Path, folder: Path) -> NodeConfig:
    """A configuration as if its file lay in `folder`.

    Raises:
        ConfigurationError: code `missing_file`: it leads out of the folder, so that a person must place it.
    """

    def move(path: Path) -> Path:
        relative = Path(os.path.relpath(path, base))
        if relative.parts[:1] == ("..",):
            raise ConfigurationError(
                f"the backup's configuration names {path}, which is not in its folder",
                code="missing_file",
                expected=f"a node.toml in {folder}",
                help="Put node.toml and the files that it names in place, then restore again: only the data is taken then.",
            )
        return folder / relative

    changes: dict[str, Any] = {
        name: move(getattr(config, name)) for name in ("file", "data_dir", "genesis", "policy", "identity", "keys")
    }
    changes["passphrase"] = None if config.passphrase is None else move(config.passphrase)
    tls = msgspec.structs.replace(config.tls, certificate=move(config.tls.certificate), key=move(config.tls.key))
    return msgspec.structs.replace(config, tls=tls, **changes)


def _age(path: Path) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """How new a table of votes is: what it settled, and the highest view that it knows of. None if it cannot be read."""
    if not path.exists():
        return None
    try:
        with closing(VoteStore(Database(path))) as store:
            places = [(0, 0)]
            for record in store.load():
                if isinstance(record, Block):
                    places.append((record.header.epoch, record.header.view))
                elif not isinstance(record, Evidence):
                    places.append((record.epoch, record.view))
            return store.signing_floor(), max(places)
    except StoreError:
        return None


def _take_newer_votes(old: Path, unpacked: Path) -> bool:
    """Put the votes that are there in the place of the backup's, if they are newer."""
    there, backed_up = _age(old / "votes.db"), _age(unpacked / "votes.db")
    if there is None or (backed_up is not None and there <= backed_up):
        return False
    for suffix in ("", "-wal"):
        (unpacked / f"votes.db{suffix}").unlink(missing_ok=True)
    shutil.copy2(old / "votes.db", unpacked / "votes.db")
    return True


def _mark(data: Path) -> None:
    with closing(VoteStore(Database(data / "votes.db"))) as store:
        store.set_votes_suspect(True)


def _swap(new: Path, data_dir: Path) -> Path | None:
    """Move what is there into a folder of its own in the data directory, and the backup's databases in.

    Wherever this ends, there are either the old votes, none beside a ledger that has some, or those with the mark: never
    older ones without it, nor nothing at all, as where a node has never run.
    """
    there = _data_in(data_dir)
    kept = _new_name(data_dir / f"before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        if _device(new) != _device(data_dir):  # a volume within the node's folder
            unpacked, new = new, Path(tempfile.mkdtemp(prefix=_UNPACKED, dir=data_dir))
            for name in DATABASES:
                shutil.copy2(unpacked / name, new / name)
                sync(new / name)
        if there:
            kept.mkdir(mode=0o700)
            keep_owner(kept, data_dir)
            sync(data_dir)
        for name in sorted(DATABASES, reverse=True):  # the votes first
            _move([path for path in there if path.name.startswith(name)], kept)
            keep_owner(new / name, data_dir)
            (new / name).rename(data_dir / name)
            sync(data_dir)
        _move([path for path in there if not path.name.startswith(DATABASES)], kept)
        new.rmdir()
    except OSError as error:
        raise StoreError(
            f"the data in {data_dir} cannot be replaced",
            actual=error.strerror,
            help=f"What was there and is not is in {kept}. Run it again with --force." if kept.is_dir() else None,
        ) from error
    return kept if there else None


def _move(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        path.rename(folder / path.name)
        sync(folder)
        sync(path.parent)


def _new_name(path: Path) -> Path:
    names = (path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 100)))
    return next((name for name in names if not name.exists()), path)


def _device(path: Path) -> int:
    return path.stat().st_dev


def _write_config(source: Path, config: NodeConfig) -> tuple[Path, ...]:
    written = []
    for name, path in config_files(config).items():
        data = source / name
        if data.is_file() and not path.exists():
            write_file(path, data.read_bytes(), mode=SECRET_MODE if name in _SECRET else PUBLIC_MODE)
            written.append(path)
    return tuple(written)
