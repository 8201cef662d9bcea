"""A register of refusals, so that a test can show that every rule has one."""

from collections.abc import Callable
from typing import Final

from tests.world import World

Case = Callable[[World], None]

CASES: Final[list[tuple[str, Case]]] = []


def refusal(code: str) -> Callable[[Case], Case]:
    """Declares a case: it shows the rule refuse, and what lies just within the rule pass."""

    def declare(case: Case) -> Case:
        CASES.append((code, case))
        return case

    return declare
