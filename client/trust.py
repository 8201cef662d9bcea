"""The newest checkpoint seen of each log, remembered on disk: what tells a stale node from a forked log (DESIGN 6).

A checkpoint that a policy accepts may still contradict one accepted earlier: then more than a tolerable number of agencies
signed two histories. The memory only ever grows along proven consistency; a contradiction is kept as two files, and
from then on nothing of that log is believed until a person has looked.
"""

from pathlib import Path
from typing import Final, Literal, Protocol

from client.errors import ForkError
from client.files import file_stem, locked, read_file, write_file
from ledger.checkpoint import Checkpoint, SignedCheckpoint
from ledger.errors import ConfigurationError, VerificationError
from ledger.limits import MAX_NOTE_BYTES
from ledger.merkle.hashing import EMPTY_ROOT
from ledger.merkle.proof import consistency_proof
from ledger.merkle.tiles import Tile, TileReader
from ledger.merkle.tree import covering_nodes, fold_right
from ledger.merkle.verify import verify_consistency

UNPROVEN: Final = "consistency_unproven"
"""The code of a log that was neither shown to continue the remembered one nor to contradict it."""

_HELP: Final = (
    "The log shows two histories. Stop using it, give both files to the other agencies and to a witness; each cosigner of "
    "both has proven itself wrong: `tracemark evidence compare` makes evidence of that. Remove the fork files only when "
    "that is settled."
)


class LogSource(Protocol):
    """What some node tells of its log; nothing of it is believed unproven."""

    def consistency(self, older: int, newer: int) -> list[bytes]:
        """The consistency proof between two sizes (RFC 6962 section 2.1.2)."""
        ...

    def tile(self, tile: Tile) -> bytes:
        """One hash tile."""
        ...


class TrustStore:
    """A folder with one checkpoint per origin. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remembered(self, origin: str) -> Checkpoint | None:
        """The newest checkpoint of a log that was ever believed here, if any.

        Raises:
            ForkError: a fork of this log was found earlier.
            ConfigurationError: code `bad_memory`, where the remembered file is damaged.
        """
        self._refuse_known_fork(origin)
        signed = self._read(origin)
        return None if signed is None else signed.checkpoint

    def observe(self, data: bytes, source: LogSource) -> Literal["newest", "stale"]:
        """Hold a checkpoint, which the policy has accepted already, against the remembered one; remember the newer.

        Args:
            data: the signed note.
            source: asked for the consistency proof where the sizes differ.

        Returns:
            `stale` for a consistent checkpoint older than the remembered one, else `newest`.

        Raises:
            ForkError: it contradicts the remembered one. Both are kept.
            VerificationError: code `consistency_unproven`: the source shows neither consistency nor the contrary. So does
                a lying one, and so does an honest one that has not reached the remembered size yet: ask another.
            ConfigurationError: the memory cannot be read or written.
        """
        seen = SignedCheckpoint.parse(data)
        while True:
            old = self._read(seen.checkpoint.origin)
            self._refuse_known_fork(seen.checkpoint.origin)
            if old is not None:
                self._require_consistent(old, seen, source)
                if seen.checkpoint.size <= old.checkpoint.size:
                    return "newest" if seen.checkpoint.size == old.checkpoint.size else "stale"
            with locked(self._path(seen.checkpoint.origin, "lock")):
                self._refuse_known_fork(seen.checkpoint.origin)  # another process may have found one meanwhile
                if self._read(seen.checkpoint.origin) == old:
                    write_file(self._path(seen.checkpoint.origin, "checkpoint"), data)
                    return "newest"

    def _require_consistent(self, old: SignedCheckpoint, seen: SignedCheckpoint, source: LogSource) -> None:
        small, large = sorted((old.checkpoint, seen.checkpoint), key=lambda checkpoint: checkpoint.size)
        if small.size == large.size:
            if small.root != large.root:
                raise self._fork(old, seen)
            return
        if small.size == 0:  # every log begins with the empty one, which has one root; there is nothing to prove
            if small.root != EMPTY_ROOT:
                raise self._fork(old, seen)
            return
        try:
            proof = source.consistency(small.size, large.size)
            verify_consistency(size1=small.size, root1=small.root, size2=large.size, root2=large.root, proof=proof)
        except VerificationError:
            if older_root(small.size, large, source) != small.root:
                raise self._fork(old, seen) from None

    def _fork(self, old: SignedCheckpoint, seen: SignedCheckpoint) -> ForkError:
        origin = old.checkpoint.origin
        files = []
        with locked(self._path(origin, "lock")):
            for signed in (old, seen):
                name = f"fork-{signed.checkpoint.size}-{signed.checkpoint.root.hex()[:16]}"
                write_file(self._path(origin, name), signed.to_bytes())
                files.append(str(self._path(origin, name)))
        return ForkError(
            f"the log {origin} contradicts what it showed before",
            files=tuple(files),
            expected=f"a log that agrees with size {old.checkpoint.size}, root {old.checkpoint.root.hex()}",
            actual=f"size {seen.checkpoint.size}, root {seen.checkpoint.root.hex()}",
            help=_HELP,
        )

    def _refuse_known_fork(self, origin: str) -> None:
        files = sorted(str(path) for path in self._folder.glob(f"{file_stem(origin)}.fork-*"))
        if files:
            raise ForkError(f"a fork of the log {origin} was found earlier", files=tuple(files), help=_HELP)

    def _read(self, origin: str) -> SignedCheckpoint | None:
        path = self._path(origin, "checkpoint")
        if not path.exists():
            return None
        try:
            signed = SignedCheckpoint.parse(read_file(path, limit=MAX_NOTE_BYTES, what="remembered checkpoint"))
        except VerificationError as error:
            raise ConfigurationError(
                f"the remembered checkpoint {path} is damaged: {error.message}",
                code="bad_memory",
                help="Restore it from a backup; removing it means to trust the next checkpoint unseen.",
            ) from error
        return signed

    def _path(self, origin: str, name: str) -> Path:
        return self._folder / f"{file_stem(origin)}.{name}"


def older_root(size: int, newer: Checkpoint, source: LogSource) -> bytes:
    """The root that the tree of `newer` had at an older size, out of its hash tiles. Requires 0 < size < newer.size.

    A consistency proof that fails may only be a bad proof. Tiles decide: whatever leads to the newer root is that tree.

    Raises:
        VerificationError: code `consistency_unproven`, where the tiles do not lead to the newer root.
    """
    reader = TileReader(newer.size, source.tile)
    try:
        root = fold_right([reader.node(level, index) for level, index in covering_nodes(0, size)])
        proof = consistency_proof(size, newer.size, reader.node)
        verify_consistency(size1=size, root1=root, size2=newer.size, root2=newer.root, proof=proof)
    except VerificationError as error:
        raise VerificationError(
            "the node does not show how its log grew from the remembered checkpoint",
            code=UNPROVEN,
            expected=f"tiles that lead to size {newer.size}, root {newer.root.hex()}",
            actual=error.message,
            help="Ask another node; if none can show it, tell the agencies.",
        ) from error
    return root
