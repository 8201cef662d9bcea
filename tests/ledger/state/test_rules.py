"""Every rule refuses what it must, lets pass what lies just within it, and is documented."""

import re
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import InternalError
from ledger.state.codes import RULES, refuse
from tests.ledger.state import cases_evidence, cases_governance, cases_membership, cases_weapons
from tests.ledger.state.cases import CASES, Case
from tests.shared import CHECKOUT
from tests.world import trading_world

MODULES: Final = (cases_evidence, cases_governance, cases_membership, cases_weapons)
SOURCES: Final = [*(CHECKOUT / "ledger" / "state").rglob("*.py"), CHECKOUT / "ledger" / "marks.py"]
RULES_PAGE: Final = CHECKOUT / "docs" / "RULES.md"


@pytest.mark.parametrize(("code", "case"), CASES, ids=[f"{code}-{case.__name__}" for code, case in CASES])
def test_rule(code: str, case: Case) -> None:
    assert code in RULES
    case(trading_world())


def test_every_rule_has_a_case() -> None:
    assert {code for code, _ in CASES} == set(RULES)


def test_every_rule_is_used_and_every_used_code_is_a_rule() -> None:
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "codes.py")
    used = set(re.findall(r'(?:refuse\(\s*|code=|return )"([a-z]+_[a-z_]+)"', text))
    verification = {"empty_history", "history_order", "foreign_record", "impossible_history", "malformed"}
    assert used - verification == set(RULES)


def test_a_refusal_without_a_rule_is_our_own_fault() -> None:
    with pytest.raises(InternalError):
        refuse("no_such_rule", "never")


def test_the_page_lists_the_rules() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", Path(RULES_PAGE).read_text(), flags=re.MULTILINE)
    assert rows == list(RULES.items())
