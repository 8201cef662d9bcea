"""What nodes answer, as values: parsed leniently (members that this client does not know are ignored), bounded, unverified.

Believing them, or what in them is proven, is `client.session`'s.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from client.errors import AnswerError
from client.http import Answer, NodeClient, raise_problem, read_problem
from ledger.errors import OverloadError, RuleError, TracemarkError
from ledger.limits import MAX_BATCH_RECORDS, MAX_PAGE_ITEMS, MAX_REQUEST_BYTES
from ledger.records.evidence import Evidence

T = TypeVar("T")
PageT = TypeVar("PageT", "ProposalPage", "EvidencePage")

MAX_PAGES: Final = 1_000
"""Of one list: half a million items, far beyond what any ledger lists."""

_ENVELOPES_BYTES: Final = len(b'{"envelopes":[]}')


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Why a node refused a record."""

    code: str
    message: str
    expected: str | None = None
    actual: str | None = None
    help: str | None = None


_NO_ROOM: Final = frozenset({"mempool_full", "issuer_share_full", "source_share_full", "issuer_behind"})
"""Codes with which a node puts one record of several off: nothing of it was taken, and the same may be taken later."""


class RecordResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of one submitted record; members that this client does not know are ignored."""

    status: Literal["pending", "final", "refused", "expired"]
    id: str | None = None
    index: int | None = None
    height: int | None = None
    error: ErrorDetail | None = None
    receipt: str | None = None


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one record. `final` comes with a verified receipt (tlog-proof bytes) and its log index; `refused`
    with the node's reason."""

    id: str
    status: Literal["pending", "final", "refused", "expired"]
    index: int | None = None
    height: int | None = None
    receipt: bytes | None = None
    error: TracemarkError | None = None

    def require_final(self) -> "Submitted":
        """Itself, if it is final.

        Raises:
            RuleError or another error of the node: it was refused.
            OverloadError: code `still_pending`: it may become final yet; submitting it again is safe.
        """
        if self.error is not None:
            raise self.error
        if self.status != "final":
            raise OverloadError(
                f"the record {self.id} is not final yet, and may still become it",
                code="still_pending",
                expected="a receipt from a quorum of the agencies",
                actual=self.status,
                help="Running the same again is safe: the same record gets the same receipt, and a step that took effect "
                "is refused, not taken twice.",
            )
        return self


class RecordAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A node's answer about one record, unverified."""

    id: str
    status: Literal["pending", "final", "refused", "expired"]
    kind: str | None = None
    issuer: str | None = None
    index: int | None = None
    height: int | None = None
    entry: str | None = None
    receipt: str | None = None
    error: ErrorDetail | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A search hit: the node's word, to choose from; its provenance is what is proven."""

    id: str
    make: str
    serial: str
    status: str
    registered: bool = True
    history_count: int | None = None
    marked: str | None = None
    make_name: str | None = None
    model: str | None = None
    type: str | None = None
    calibre: str | None = None
    country: str | None = None
    year: int | None = None
    owner: str | None = None
    possessor: str | None = None
    superseded_by: str | None = None


class ListedProposal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of a node's list of proposals: the node's word, to choose from; its document is what is proven."""

    id: str
    opened_by: str
    opened: int
    epoch: int
    change: str
    expires_at: str
    status: str
    votes_for: tuple[str, ...]
    votes_against: tuple[str, ...]
    party: str | None = None
    decided: int | None = None


class ProposalPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of proposals."""

    proposals: list[ListedProposal]
    next: str | None = None


class EvidencePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of evidence."""

    evidence: list[Evidence]
    next: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a submission."""

    results: list[RecordResult]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of search hits."""

    weapons: list[Candidate]
    next: str | None = None


class Consistency(msgspec.Struct, frozen=True, kw_only=True):
    """A consistency proof: hashes in base64."""

    proof: list[str]


def batches_of(entries: Sequence[bytes], *, limit: int = MAX_REQUEST_BYTES) -> list[list[bytes]]:
    """The entries in order, in batches that each make a request of at most `limit` bytes (but at least one entry)."""
    batches: list[list[bytes]] = []
    size = limit
    for entry in entries:
        size += len(entry) + 1
        if not batches or size > limit or len(batches[-1]) == MAX_BATCH_RECORDS:
            batches.append([])
            size = _ENVELOPES_BYTES + len(entry) + 1
        batches[-1].append(entry)
    return batches


def envelopes_body(entries: Sequence[bytes]) -> bytes:
    """The body of a submission: entry bytes are JSON already."""
    return b'{"envelopes":[' + b",".join(entries) + b"]}"


def read_results(answer: Answer, count: int) -> list[RecordResult]:
    """The results of a submission, which a problem may carry too; a problem without them is raised.

    Raises:
        AnswerError: not one result for each record; also those of `raise_problem`.
    """
    if answer.status in (200, 202):
        results = decode_answer(answer, Batch).results
    else:
        problem = read_problem(answer)
        if not bytes(problem.results):
            raise_problem(answer)
        results = decode_answer(
            Answer(url=answer.url, status=answer.status, body=bytes(problem.results)), list[RecordResult]
        )
    if len(results) != count:
        raise AnswerError("not one result for each record", expected=count, actual=len(results))
    return results


def refusal(detail: ErrorDetail | None) -> RuleError | OverloadError:
    """A node's refusal of one record as an error: by a rule, or because there was no room for it."""
    if detail is None:
        return RuleError("the node refused the record without a reason")
    kind = OverloadError if detail.code in _NO_ROOM else RuleError
    return kind(detail.message, code=detail.code, expected=detail.expected, actual=detail.actual, help=detail.help)


def pages(nodes: NodeClient, path: str, shape: type[PageT]) -> Iterator[PageT]:
    """All pages of a list, as nodes tell it, up to `MAX_PAGES`.

    Raises:
        AnswerError: the list has no end, or repeats itself; those of `NodeClient.get`.
    """
    params = {"limit": str(MAX_PAGE_ITEMS)}
    for _ in range(MAX_PAGES):
        page = decode_answer(nodes.get(path, params), shape)
        yield page
        if page.next is None:
            return
        if page.next <= params.get("cursor", ""):
            break
        params["cursor"] = page.next
    raise AnswerError("the node's list has no end", expected=f"at most {MAX_PAGES} pages, in order", actual=path)


def decode_answer(answer: Answer, shape: type[T]) -> T:
    """The value that an answer's JSON body holds.

    Raises:
        AnswerError: it is not JSON, or not of this shape.
    """
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise AnswerError(f"the node's answer is malformed: {error}", actual=answer.url) from error


class _WithCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    checkpoint: str


def checkpoint_of(data: bytes) -> bytes:
    """The note inside an answer that has been verified already."""
    return msgspec.json.decode(data, type=_WithCheckpoint).checkpoint.encode()
