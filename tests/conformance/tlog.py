"""Other people's transparency logs: checkpoints, tiles and entry bundles; log proofs; witness cosignatures."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ledger.checkpoint import Checkpoint, SignedCheckpoint, verify_cosignature
from ledger.errors import EncodingError, VerificationError
from ledger.merkle.hashing import HASH_BYTES, leaf_hashes
from ledger.merkle.proof import consistency_proof
from ledger.merkle.tiles import TILE_WIDTH, Tile, TileReader, decode_entries, entry_bundles_of_size, verify_tiles
from ledger.merkle.tree import Frontier
from ledger.merkle.verify import verify_consistency
from ledger.notes import NoteVerifier
from ledger.policy import Policy, single_log_policy
from ledger.proof import LogProof
from tests.conformance.cases import Case, UnreadableError, judge, read_bytes


def proof_cases(paths: Sequence[Path], *, log: NoteVerifier, leaf: bytes) -> Iterator[Case]:
    """Each file is a `c2sp.org/tlog-proof@v1` of the entry with this leaf hash."""
    policy = single_log_policy(log)
    for path in paths:
        data = read_bytes(path)
        yield judge(path.name, accept=True, check=partial(_check_proof, data, leaf, policy))


def cosignature_cases(paths: Sequence[Path], *, witness: NoteVerifier) -> Iterator[Case]:
    """Each file is a checkpoint that this witness cosigned; lines of other keys are ignored."""
    for path in paths:
        data = read_bytes(path)
        yield judge(str(path), accept=True, check=partial(_check_cosigned, data, witness))


def log_cases(paths: Sequence[Path], *, log: NoteVerifier) -> Iterator[Case]:
    """Each folder is a tiled log: `checkpoint`, older ones as `checkpoint.N`, and everything under `tile/`."""
    for folder in paths:
        if not (folder / "checkpoint").is_file():
            raise UnreadableError(f"{folder}: no checkpoint in this folder")
        yield from _Log(folder, log).cases()


def _check_proof(data: bytes, leaf: bytes, policy: Policy) -> None:
    LogProof.parse(data).verify(leaf, policy)


def _check_cosigned(data: bytes, witness: NoteVerifier) -> None:
    note = SignedCheckpoint.parse(data).note
    lines = [line for line in note.signatures if witness.matches(line)]
    if not lines:
        raise VerificationError("no line of this witness", code="no_known_signature", expected=witness.vkey)
    for line in lines:
        verify_cosignature(note.text, line, witness)


class _Log:
    """One log's folder."""

    def __init__(self, folder: Path, log: NoteVerifier) -> None:
        self._folder = folder
        self._policy = single_log_policy(log)
        self._heads: dict[str, Checkpoint] = {}

    def cases(self) -> Iterator[Case]:
        for path in self._checkpoint_files():
            yield judge(path.name, accept=True, check=partial(self._check_signature, path))
        if not self._heads:
            return
        by_size = sorted(self._heads.items(), key=lambda item: item[1].size)
        newest = by_size[-1][1]
        for name, head in by_size:
            yield judge(f"{name} tiles", accept=True, check=partial(verify_tiles, head.size, head.root, self._fetch))
        entry_roots = self._entry_roots([head.size for _, head in by_size])
        for name, head in by_size:
            yield judge(f"{name} entries", accept=True, check=partial(_require_root, head, entry_roots))
            if head.size > 0:
                yield judge(f"{name} consistency", accept=True, check=partial(self._check_consistency, head, newest))
        reader = TileReader(newest.size, self._fetch)
        for path in sorted(path for path in (self._folder / "tile").rglob("*") if path.is_file()):
            name = path.relative_to(self._folder).as_posix()
            yield judge(name, accept=True, check=partial(self._check_file, path, name, reader, newest.size))

    def _checkpoint_files(self) -> list[Path]:
        return [self._folder / "checkpoint", *sorted(self._folder.glob("checkpoint.*"))]

    def _check_signature(self, path: Path) -> None:
        head = self._policy.verify_checkpoint(read_bytes(path)).checkpoint
        named = re.fullmatch(r"checkpoint\.([0-9]+)", path.name)
        if named is not None and int(named[1]) != head.size:
            raise VerificationError(
                "a checkpoint of another size", code="wrong_size", expected=named[1], actual=head.size
            )
        self._heads[path.name] = head

    def _fetch(self, tile: Tile) -> bytes:
        """A hash tile at this width."""
        data, _ = self._read(tile)
        return data[: tile.width * HASH_BYTES]

    def _read(self, tile: Tile) -> tuple[bytes, int]:
        """A tile's bytes and their width: of its own file, or else of the full or a wider one, as partial ones may go."""
        for width in (tile.width, TILE_WIDTH, *range(tile.width + 1, TILE_WIDTH)):
            path = self._folder / Tile(level=tile.level, index=tile.index, width=width).path
            if path.is_file():
                return read_bytes(path), width
        raise VerificationError("a tile is missing", code="missing_tile", expected=tile.path)

    def _entry_roots(self, sizes: list[int]) -> dict[int, bytes]:
        """The roots over the entries themselves, for these sizes (rising), as far as entries can be read."""
        roots, frontier, leaves = dict[int, bytes](), Frontier(), list[bytes]()
        bundles = entry_bundles_of_size(sizes[-1])
        for size in sizes:
            while frontier.size + len(leaves) < size:
                tile = next(bundles)
                try:
                    leaves += leaf_hashes(decode_entries(*self._read(tile))[: tile.width])
                except (EncodingError, VerificationError):
                    return roots
            take = size - frontier.size
            frontier, leaves = frontier.append(leaves[:take]), leaves[take:]
            roots[size] = frontier.root
        return roots

    def _check_consistency(self, older: Checkpoint, newest: Checkpoint) -> None:
        proof = consistency_proof(older.size, newest.size, TileReader(newest.size, self._fetch).node)
        verify_consistency(size1=older.size, root1=older.root, size2=newest.size, root2=newest.root, proof=proof)

    def _check_file(self, path: Path, name: str, reader: TileReader, size: int) -> None:
        """Compare one file under `tile/` with the tree of the newest checkpoint, whose tiles were verified above."""
        data = read_bytes(path)
        tile = Tile.parse(name)
        level = tile.level or 0
        if tile.first + tile.width > size >> (8 * level):
            raise VerificationError("a tile beyond the newest checkpoint", code="bad_tile", expected=f"size {size}")
        hashes = data if tile.level is not None else b"".join(leaf_hashes(decode_entries(data, tile.width)))
        expected = b"".join(reader.node(8 * level, tile.first + at) for at in range(tile.width))
        if hashes != expected:
            raise VerificationError("not what the tree has there", code="bad_tile")


def _require_root(head: Checkpoint, roots: dict[int, bytes]) -> None:
    root = roots.get(head.size)
    if root != head.root:
        raise VerificationError(
            "the entries do not make the root",
            code="root_mismatch",
            expected=head.root.hex(),
            actual="entries missing or malformed" if root is None else root.hex(),
        )
