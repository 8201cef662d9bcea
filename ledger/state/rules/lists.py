"""Checks that several families share."""

from collections.abc import Sequence
from itertools import pairwise

from ledger.limits import RECORD_MAX_AHEAD_MS
from ledger.records.fields import format_time, parse_time
from ledger.state.codes import refuse


def require_sorted(items: Sequence[str], what: str) -> None:
    """One spelling of a set: sorted by code point, each item once.

    Raises:
        RuleError: code `not_sorted`.
    """
    for first, second in pairwise(items):
        if first >= second:
            raise refuse(
                "not_sorted",
                f"the {what} must be sorted and distinct",
                expected=f"{min(first, second)} once, in order",
                actual=f"{first}, {second}",
                help="Sort the list and remove repetitions.",
            )


def require_past(time: str, what: str, time_ms: int) -> None:
    """A stated time of an event is not after the block's time, within the tolerated clock error.

    Raises:
        RuleError: code `time_in_future`.
    """
    if parse_time(time) > time_ms + RECORD_MAX_AHEAD_MS:
        raise refuse(
            "time_in_future",
            f"the stated time of the {what} lies in the future",
            expected=f"no later than {format_time(time_ms)}",
            actual=time,
            help="Check the date and that the time is UTC.",
        )
