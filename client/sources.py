"""Where an audit reads a log from: a node, a saved folder, or a node while saving to a folder (C2SP tlog-tiles layout).

A saved folder holds `checkpoint` and `tile/...` under the names of the specification, so that other people's tools can
read it as well. Nothing read here is believed before `client.audit` has verified it.
"""

from pathlib import Path
from typing import Final

from client.audit import Source
from client.files import read_file, write_file
from client.session import Session
from ledger.errors import ConfigurationError, VerificationError
from ledger.limits import MAX_NOTE_BYTES
from ledger.merkle.tiles import Tile

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
    interrupted audit resumes; `finish` adds the checkpoint, which makes the folder a saved log."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._folder = folder

    def checkpoint(self) -> bytes:
        return self._source.checkpoint()

    def tile(self, tile: Tile) -> bytes:
        path = self._folder / tile.path
        if path.exists():
            return read_file(path, limit=_MAX_TILE_BYTES, what="saved tile")
        data = self._source.tile(tile)
        write_file(path, data, mode=0o600 if tile.level is None else _PUBLIC_MODE)
        return data

    def finish(self) -> None:
        """Write the checkpoint, after the audit."""
        write_file(self._folder / "checkpoint", self._source.checkpoint(), mode=_PUBLIC_MODE)
