"""Restoring a backup: all of it is unpacked and checked beside the data directory, and then takes its place in one rename.

Votes that the node cast after the backup are not in it. So a restored node's votes are suspect: it signs nothing until the
others have shown where they stand (P7.5). A newer table of votes that is still there is never replaced by an older one.
"""

import os
import shutil
import tempfile
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
from node.files import PUBLIC_MODE, SECRET_MODE, write_file
from node.storage import Database, VoteStore, lock_folder
from node.storage.inspection import foreign_objects

_SECRET: Final = frozenset({"keys.sealed"})


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
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            unpacked = Path(tempfile.mkdtemp(prefix=".restore.", dir=folder))
        except OSError as error:
            raise StoreError(f"{folder} cannot be written to", actual=error.strerror) from error
        cleaning.callback(shutil.rmtree, unpacked, ignore_errors=True)
        manifest = extract_archive(source, unpacked)
        _check_ledger(source, unpacked, manifest)
        _check_databases(source, unpacked)
        config = _config(folder, unpacked, manifest)
        old = config.data_dir
        exists = old.is_dir() and any(old.iterdir())
        if exists and not force:
            raise ConfigurationError(
                f"there is data in {old}",
                code="data_exists",
                expected="an empty data directory",
                help="With --force the backup takes its place; a copy of what is there is kept.",
            )
        if old.is_dir():
            cleaning.callback(lock_folder(old).release)
        votes_kept = exists and _take_newer_votes(old, unpacked / "data")
        _mark(unpacked / "data")
        kept = _swap(unpacked / "data", old)
        written = _write_config(unpacked / "config", config)
    lacking = (config.tls.key, config.tls.certificate, config.keys, *([config.passphrase] if config.passphrase else []))
    return Restored(
        manifest=manifest,
        data_dir=old,
        kept=kept,
        votes_kept=votes_kept,
        written=written,
        missing=tuple(path for path in lacking if not path.exists()),
    )


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


def _config(folder: Path, unpacked: Path, manifest: Manifest) -> NodeConfig:
    """The folder's own configuration; else the backup's, where its paths stay within the folder."""
    own = folder / "node.toml"
    if own.is_file():
        config = load_config(own)
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


def _swap(new: Path, old: Path) -> Path | None:
    """Move the new data directory in, and the old one aside."""
    kept = None
    try:
        if old.is_dir():
            kept = old.with_name(f"{old.name}-before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
            old.rename(kept)
        old.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.rename(old)
        for folder in (old, old.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
            os.close(descriptor)
    except OSError as error:
        raise StoreError(
            f"the data directory {old} cannot be replaced",
            actual=error.strerror,
            help=None if kept is None else f"What was there is in {kept}.",
        ) from error
    return kept


def _write_config(source: Path, config: NodeConfig) -> tuple[Path, ...]:
    written = []
    for name, path in config_files(config).items():
        data = source / name
        if data.is_file() and not path.exists():
            write_file(path, data.read_bytes(), mode=SECRET_MODE if name in _SECRET else PUBLIC_MODE)
            written.append(path)
    return tuple(written)
