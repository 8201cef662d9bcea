"""Audits of whole logs: of a node, of a saved folder, of a node while saving to a folder (C2SP tlog-tiles layout).

A saved folder holds `checkpoint` and `tile/...` under the names of the specification, so that other people's tools can
read it as well. Nothing read here is believed before `client.replay` has verified it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from client.files import read_file, write_file
from client.replay import Audited, Source, audit
from client.session import Session
from ledger.errors import ConfigurationError, VerificationError
from ledger.limits import MAX_NOTE_BYTES
from ledger.merkle.tiles import Tile
from ledger.policy import Judge, Policy

_MAX_TILE_BYTES: Final = 256 * (2 + 65_535)
_PUBLIC_MODE: Final = 0o644
"""Hashes are open; a folder with entries is as confidential as its owner keeps the folder."""


class NodeSource:
    """A node's log as of the checkpoint that it shows when the audit begins."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._note = session.checkpoint()[1]

    def checkpoint(self) -> bytes:
        return self._note

    def tile(self, tile: Tile) -> bytes:
        return self._session.tile(tile)


class FolderSource:
    """A saved log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def checkpoint(self) -> bytes:
        return self._read("checkpoint", limit=MAX_NOTE_BYTES)

    def tile(self, tile: Tile) -> bytes:
        return self._read(tile.path, limit=_MAX_TILE_BYTES)

    def _read(self, name: str, *, limit: int) -> bytes:
        try:
            return read_file(self._folder / name, limit=limit, what="saved log's file")
        except ConfigurationError as error:
            raise VerificationError(
                f"the saved log is not complete: {error.message}",
                code="missing_tile",
                help="Save it again from a node: what is there already is not fetched twice.",
            ) from error


class SavingSource:
    """Another source's log, kept in a folder as it is read. What the folder has already is not asked for again, so an
    interrupted audit resumes; `finish` adds the checkpoint, which makes the folder a saved log, and `forget` takes back what
    this audit fetched, if it did not hold: an honest node shall not be asked to fit a liar's tiles."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._fetched: list[Path] = []

    def checkpoint(self) -> bytes:
        return self._source.checkpoint()

    def tile(self, tile: Tile) -> bytes:
        path = self._folder / tile.path
        if path.exists():
            return read_file(path, limit=_MAX_TILE_BYTES, what="saved tile")
        data = self._source.tile(tile)
        self._fetched.append(path)
        write_file(path, data, mode=0o600 if tile.level is None else _PUBLIC_MODE)
        return data

    def forget(self) -> None:
        """Remove the tiles that were fetched by this audit."""
        for path in self._fetched:
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the checkpoint, after the audit."""
        write_file(self._folder / "checkpoint", self._source.checkpoint(), mode=_PUBLIC_MODE)


def audit_session(
    session: Session, policy: Judge, *, save: Path | None = None, progress: Callable[[int], object] | None = None
) -> Audited:
    """Audit the log of a session's node as of its newest checkpoint; with `save`, keep it in that folder.

    Raises:
        VerificationError, ForkError: see `client.replay.audit` and `Session.checkpoint`; those of `NodeClient.get`.
    """
    source = NodeSource(session)
    if save is None:
        return audit(source, policy, progress=progress)
    saving = SavingSource(source, save)
    try:
        audited = audit(saving, policy, progress=progress)
    except VerificationError:
        saving.forget()
        raise
    saving.finish()
    return audited


def audit_node(
    url: str,
    *,
    policy: Policy,
    ca: Path | None = None,
    token: str | None = None,
    home: Path | None = None,
    save: Path | None = None,
    progress: Callable[[int], object] | None = None,
) -> Audited:
    """Audit one node's log. The token's role must be auditor; without a `home`, no checkpoint is remembered.

    Raises:
        As `audit_session`; ConfigurationError.
    """
    place: AbstractContextManager[str] = TemporaryDirectory() if home is None else nullcontext(str(home))
    with place as folder, Session([url], policy=policy, home=Path(folder), ca=ca, token=token) as session:
        return audit_session(session, session.judge, save=save, progress=progress)


def audit_folder(folder: Path, *, policy: Judge, progress: Callable[[int], object] | None = None) -> Audited:
    """Audit a saved log, offline.

    Raises:
        VerificationError: see `client.replay.audit`; also `missing_tile`.
    """
    return audit(FolderSource(folder), policy, progress=progress)
