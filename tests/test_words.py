"""What the programs say is for people who never read PROTOCOL.md: no clause of it stands in a message."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLAUSE = re.compile(r"\bP[0-9]+\.[0-9]+\b|\bDESIGN [0-9]")


def messages(path: Path) -> Iterator[str]:
    """All strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize("folder", ["ledger", "node", "client"])
def test_no_message_names_a_clause(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    found = [(str(path), text) for path in paths for text in messages(path) if CLAUSE.search(text)]
    assert found == []
