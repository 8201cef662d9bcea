"""Which refusals may tell of a weapon: all but those that are known to be silent."""

import pytest

from ledger.errors import InputError, OverloadError, RuleError
from ledger.state.codes import RULES
from node.service.refusals import tells_of_weapons, withheld

_TELLING = frozenset(
    {
        *("weapon_void", "weapon_not_movable", "weapon_superseded", "not_owner", "not_possessor", "offer_pending"),
        *("not_recipient", "not_offeror", "offer_not_pending", "offer_expired", "weapons_differ", "offer_gone"),
        "offeror_not_active",
        *("not_entitled_to_report", "already_seized", "status_conflict"),
        *("not_correctable", "not_last_record", "not_issuer", "correction_incomplete"),
    }
)


@pytest.mark.parametrize("code", RULES)
def test_every_rule_is_known_to_tell_or_to_be_silent(code: str) -> None:
    assert tells_of_weapons(RuleError("said", code=code)) == (code in _TELLING)


def test_a_rule_that_nobody_has_looked_at_is_withheld_and_what_is_no_rule_is_not() -> None:
    assert tells_of_weapons(RuleError("said", code="a_new_rule"))
    assert not tells_of_weapons(InputError("said", code="not_owner"))
    assert not tells_of_weapons(OverloadError("said", code="mempool_full"))


@pytest.mark.parametrize("code", [*sorted(_TELLING), "a_new_rule"])
def test_what_is_withheld_keeps_its_code_and_loses_what_was_found(code: str) -> None:
    error = withheld(RuleError("GLC AB1 is dealer-b's", code=code, expected="dealer-b", actual="held", help="dealer-b"))
    assert (error.code, error.expected, error.actual) == (code, None, None)
    assert "dealer-b" not in str(error)
    assert "AB1" not in str(error)
