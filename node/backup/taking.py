"""Taking a backup: the three databases as of one moment, and the configuration's files, but for secrets in plain text.

The sealed keys stay sealed. The passphrase and the TLS key are never in it: whoever steals a backup must not be able to
speak for the agency. `tracemark network certificate` makes a new TLS key.
"""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ledger.errors import ConfigurationError, CorruptionError, StoreError
from ledger.genesis import Genesis
from node.backup.archive import DATABASES, FileEntry, Manifest, describe_file, write_archive
from node.config import NodeConfig
from node.storage import Database, LedgerReader
from node.storage.backup import copy_databases
from node.storage.inspection import structure_faults
from node.storage.schema import BRANCHES, require_current

_FORMAT: Final = "tracemark-backup/1"


def config_files(config: NodeConfig) -> dict[str, Path]:
    """Where the files lie that a backup holds under `config/`."""
    return {
        "node.toml": config.file,
        "genesis.json": config.genesis,
        "policy.txt": config.policy,
        "identity.json": config.identity,
        "keys.sealed": config.keys,
        "node.pem": config.tls.certificate,
    }


def take_backup(config: NodeConfig, genesis: Genesis, target: Path) -> Manifest:
    """Write a backup of a node, which may be running, to a new file (0600). Needs room for two copies beside it.

    Raises:
        ConfigurationError: codes `missing_file`, `file_exists`, `unwritable_file`, `older_schema`, `newer_schema`.
        CorruptionError: a database is damaged: it is no use to keep that as a backup.
        StoreError: a database could not be read.
    """
    if target.exists():
        raise ConfigurationError(
            "the file is already there",
            code="file_exists",
            expected=f"nothing at {target}",
            help="Choose another name.",
        )
    for name in DATABASES:
        if not (config.data_dir / name).exists():
            raise ConfigurationError(
                "there is no node's database", code="missing_file", expected=f"a file at {config.data_dir / name}"
            )
    files = {f"config/{name}": path for name, path in config_files(config).items() if path.is_file()}
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ConfigurationError(
            f"the backup {target} cannot be written", code="unwritable_file", actual=error.strerror
        ) from error
    try:
        try:
            _copy(config.data_dir, folder)
        except StoreError as error:
            if error.code == "disk_full":  # only the copies are written
                raise _disk_full(target) from error
            raise
        files = {f"data/{name}": folder / name for name in DATABASES} | files
        manifest = _manifest(config, genesis, folder, {name: describe_file(path) for name, path in files.items()})
        write_archive(target, manifest, files)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _disk_full(target: Path) -> ConfigurationError:
    return ConfigurationError(
        f"the backup {target} cannot be written",
        code="unwritable_file",
        expected="room for two copies of the databases beside it",
        actual="No space left on device",
        help="The node is not concerned. Make room there, or choose another place.",
    )


def _copy(data_dir: Path, folder: Path) -> None:
    databases = {name: Database(data_dir / f"{name}.db") for name in BRANCHES}
    try:
        for branch, database in databases.items():
            require_current(database, branch)
        copy_databases(databases["ledger"], databases["votes"], databases["agency"], folder)
    finally:
        for database in databases.values():
            database.close()
    for name in DATABASES:
        copy = Database(folder / name)
        try:
            faults = structure_faults(copy)
        finally:
            copy.close()
        if faults:
            raise CorruptionError(
                f"the database {name} is damaged: {faults[0]}", help="No backup was made. See `tracemark fsck`."
            )


def _manifest(config: NodeConfig, genesis: Genesis, folder: Path, files: dict[str, FileEntry]) -> Manifest:
    database = Database(folder / "ledger.db")
    try:
        with database.read() as connection:  # only read: its hash is in the manifest
            head = LedgerReader(connection).head()
    finally:
        database.close()
    if head is None:
        raise CorruptionError("the ledger is empty", help="Start the node once, then back it up.")
    return Manifest(
        format=_FORMAT,
        ledger=genesis.ledger_id,
        party=config.party,
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        height=head.height,
        entries=head.size,
        log_root=head.log_root.hex(),
        floor=(head.epoch, head.view),
        files=files,
    )
