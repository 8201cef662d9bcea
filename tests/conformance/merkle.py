"""Inclusion and consistency proofs in the form of transparency-dev/merkle's test data.

A case with a true `wantErr` must be rejected, any other accepted.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ledger.merkle.verify import verify_consistency, verify_inclusion
from tests.conformance.cases import Case, Fields, json_files, judge, objects


def inclusion_cases(paths: Sequence[Path]) -> Iterator[Case]:
    """Cases {leafIdx, treeSize, root, leafHash, proof, wantErr}, hashes in base64."""
    return _cases(paths, _check_inclusion)


def consistency_cases(paths: Sequence[Path]) -> Iterator[Case]:
    """Cases {size1, size2, root1, root2, proof, wantErr}, hashes in base64."""
    return _cases(paths, _check_consistency)


def _cases(paths: Sequence[Path], check: Callable[[Fields], None]) -> Iterator[Case]:
    for path in json_files(paths):
        for number, case in enumerate(objects(path)):
            fields = Fields(case)
            yield judge(
                _name(path, number, fields.value("name")),
                accept=not fields.value("wantErr"),
                check=partial(check, fields),
            )


def _name(path: Path, number: int, name: Any) -> str:
    return name if isinstance(name, str) else f"{path.name}#{number}"


def _check_inclusion(fields: Fields) -> None:
    verify_inclusion(
        leaf_hash=fields.base64("leafHash"),
        index=fields.number("leafIdx"),
        size=fields.number("treeSize"),
        proof=fields.base64_list("proof"),
        root=fields.base64("root"),
    )


def _check_consistency(fields: Fields) -> None:
    verify_consistency(
        size1=fields.number("size1"),
        root1=fields.base64("root1"),
        size2=fields.number("size2"),
        root2=fields.base64("root2"),
        proof=fields.base64_list("proof"),
    )
