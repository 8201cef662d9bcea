"""The fault table is complete: every statement in the program's storage that writes is a write point of it."""

import ast
import inspect
import pkgutil
from pathlib import Path

import node.storage
from node.storage import agency, ledger, votes
from node.storage.schema import METADATA
from node.storage.sqlite import RowWriter
from tests.node.faults.points import name_of
from tests.node.faults.test_errors import AGENCY, LEDGER, PEERS, VOTES

ELSEWHERE = {
    (
        "ledger",
        "INSERT INTO epochs",
    ): "tests/node/test_epochs.py changes members; every row of it follows from the block",
    ("votes", "INSERT INTO closings"): "as the cosignatures, in the same transaction",
    ("votes", "DELETE FROM marks"): "a transaction of one statement, after P7.5",
}
"""Write points that need changing members or lost votes: met by the crash images of those tests' runs, or alone in their
transaction."""
VERBS = {"insert": "INSERT INTO", "update": "UPDATE", "delete": "DELETE FROM"}


def statements(module: object, branch: str) -> set[tuple[str, str]]:
    """Write statements of a store's module: its row writers, its compiled texts, and constructs in its functions."""
    found = set()
    for value in vars(module).values():
        if isinstance(value, RowWriter):
            found.add(name_of(Path(f"{branch}.db"), next(iter(value._statements.values()))))
        if isinstance(value, str) and value.startswith(tuple(VERBS.values())):
            found.add(name_of(Path(f"{branch}.db"), value))
    for call in ast.walk(ast.parse(inspect.getsource(module))):  # type: ignore[arg-type]
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in VERBS
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id == "sa"
            and isinstance(call.args[0], ast.Name)
        ):
            found.add((branch, f"{VERBS[call.func.attr]} {call.args[0].id.lower()}"))
    return found


def test_every_write_statement_of_the_program_is_in_the_table() -> None:
    written = statements(ledger, "ledger") | statements(votes, "votes") | statements(agency, "agency")
    table = {*LEDGER, *VOTES, *PEERS, *AGENCY, *ELSEWHERE}
    assert written - table == set(), "a new statement: put it where a test meets it"
    assert {name for name in table if "IMMEDIATE" not in name[1] and name[1] != "COMMIT"} - written == set()


def test_every_table_is_written_somewhere() -> None:
    written = statements(ledger, "ledger") | statements(votes, "votes") | statements(agency, "agency")
    tables = {(branch, table) for branch, metadata in METADATA.items() for table in metadata.tables}
    assert {(branch, text.split()[-1]) for branch, text in written} == tables


def test_nothing_else_writes() -> None:
    known = {
        *("ledger", "votes", "agency", "schema", "sqlite"),
        *("inspection", "replacing", "backup", "staging"),  # new files, put in their place whole or begun anew
        "header",  # within one sector, so done or not; tried again by the next repair: tests/node/storage/test_header.py
    }
    for found in pkgutil.iter_modules(node.storage.__path__):
        source = Path(node.storage.__path__[0]) / f"{found.name}.py"
        if found.name not in known and source.exists():
            assert ".write(" not in source.read_text(), f"{found.name} writes: say where its faults are tried"
