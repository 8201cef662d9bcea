"""What this node holds against others, in pages."""

from bisect import bisect_right
from collections.abc import Mapping

from msgspec import UNSET

from ledger.records.evidence import Evidence
from node.service.answers import EvidencePage


def evidence_page(held: Mapping[str, Evidence], *, cursor: str | None, limit: int) -> EvidencePage:
    """Evidence in the order of its subjects, those after `cursor`, the last subject of the page before."""
    subjects = sorted(held)
    start = 0 if cursor is None else bisect_right(subjects, cursor)
    shown = subjects[start : start + limit]
    more = start + limit < len(subjects)
    return EvidencePage(evidence=tuple(held[subject] for subject in shown), next=shown[-1] if more else UNSET)
