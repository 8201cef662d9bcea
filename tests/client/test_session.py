"""Sessions: several nodes, safe retries, and nothing believed that is not proven."""

import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.answers import batches_of, envelopes_body
from client.author import Author
from client.errors import AnswerError, ForkError, NodeUnreachableError, NotAllowedError, NotFoundError, StaleError
from client.session import Session
from ledger.errors import ConfigurationError, OverloadError, RuleError, TracemarkError, VerificationError
from ledger.marks import weapon_id
from ledger.records import TransferOffer
from ledger.records.custody import TransferOfferBody
from ledger.records.envelope import parse_entry, sign_record
from ledger.records.fields import format_time
from ledger.state.model import PartyDoc, WeaponDoc
from tests.client.fakenode import FakeNode, nodes, problem
from tests.toyledger import ToyLedger, toy_policy
from tests.world import DAY_MS, GENESIS

GONE = httpx.ConnectError("connection refused")


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept.append(seconds)


def trading() -> tuple[ToyLedger, str]:
    ledger = ToyLedger()
    ledger.submit(ledger.enrol("interior", "maker", "maker", makes=("GLC", "SW")))
    ledger.submit(ledger.enrol("interior", "dealer", "dealer"))
    ledger.seal()
    lot = ledger.register("maker", "AB123")
    ledger.submit(lot)
    ledger.seal()
    return ledger, lot.identities[0].id


def session(
    home: Path,
    *,
    time: Time | None = None,
    urls: list[str] | None = None,
    first_patience_s: float | None = None,
    tell: Callable[[str], None] | None = None,
    **by_host: Any,
) -> Session:
    time = time or Time()
    return Session(
        urls or [f"https://{host}" for host in by_host],
        policy=toy_policy(),
        home=home,
        transport=nodes(**by_host),
        clock=time,
        sleep=time.sleep,
        first_patience_s=first_patience_s,
        tell=tell,
        token="secret",
        purpose="test",
        case="1",
    )


def offer(ledger: ToyLedger, weapon: str) -> bytes:
    author = Author("maker", ledger.keys["maker"], ledger=GENESIS.ledger_id, clock=lambda: ledger.time_ms / 1000)
    expires_at = format_time(ledger.time_ms + DAY_MS)
    return author.issue(
        TransferOffer, TransferOfferBody(weapons=(weapon,), to="dealer", moves="both", expires_at=expires_at)
    )


# --- several nodes, retries -----------------------------------------------------------------------------------------


def test_a_dead_node_is_passed_over_and_the_living_one_preferred_from_then_on(tmp_path: Path) -> None:
    ledger, _ = trading()
    living = FakeNode(ledger)
    asked: list[str] = []

    def dead(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        asked.append(request.url.path)
        raise GONE

    with session(tmp_path, one=FakeNode(ledger, dead), two=living) as open_session:
        for _ in range(3):
            assert open_session.checkpoint()[0].checkpoint.size == ledger.size
    assert asked == ["/v1/checkpoint"]
    assert living.requests[0].headers["Authorization"] == "Bearer secret"
    assert living.requests[0].headers["Tracemark-Purpose"] == "test"
    assert living.requests[0].headers["Tracemark-Case"] == "1"


def test_no_node_at_all_ends_after_bounded_patience(tmp_path: Path) -> None:
    time = Time()
    with session(tmp_path, time=time, one=GONE, two=GONE) as open_session, pytest.raises(NodeUnreachableError):
        open_session.checkpoint()
    assert 30 < time.now_s <= 60
    assert all(pause / 2 <= slept < pause for slept, pause in zip(time.slept, (0.1, 0.2, 0.4, 0.8), strict=False))


def test_a_question_that_no_node_ever_answered_is_given_up_soon_and_the_wait_is_told(tmp_path: Path) -> None:
    time, told = Time(), list[str]()
    opened = session(tmp_path, time=time, first_patience_s=5, tell=told.append, one=GONE, two=GONE)
    with opened, pytest.raises(NodeUnreachableError) as caught:
        opened.checkpoint()
    assert 2 < time.now_s <= 5
    [line] = told
    assert line.startswith("no node answers yet, trying for")
    assert caught.value.expected == "an answer within 5 s"


def test_a_submission_and_a_question_after_an_answer_have_the_whole_patience(tmp_path: Path) -> None:
    ledger, weapon = trading()
    gone = False

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if gone or request.method == "POST":
            raise GONE
        return response

    for ask in ("submit", "checkpoint"):
        time, gone = Time(), False
        node = FakeNode(ledger, bend)
        with session(tmp_path, time=time, first_patience_s=5, one=node) as opened:
            if ask == "checkpoint":
                opened.checkpoint()
            gone = True
            with pytest.raises(NodeUnreachableError):
                _ = opened.checkpoint() if ask == "checkpoint" else opened.submit([offer(ledger, weapon)])
        assert time.now_s > 30


def _untrusted() -> httpx.ConnectError:
    error = httpx.ConnectError("certificate verify failed")
    error.__cause__ = ConnectionError("as the transport says it")
    error.__cause__.__cause__ = ssl.SSLCertVerificationError(1, "self-signed certificate")
    return error


def test_a_certificate_that_is_not_trusted_fails_at_once(tmp_path: Path) -> None:
    time = Time()
    opened = session(tmp_path, time=time, one=_untrusted(), two=_untrusted())
    with opened, pytest.raises(NodeUnreachableError) as caught:
        opened.checkpoint()
    assert (caught.value.code, time.slept) == ("tls_untrusted", [])
    assert "--ca" in (caught.value.help or "")


def test_beside_a_node_that_may_come_back_an_untrusted_one_is_no_reason_to_stop(tmp_path: Path) -> None:
    ledger, _ = trading()
    lost = iter([GONE])

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        for error in lost:
            raise error
        return response

    with session(tmp_path, one=_untrusted(), two=FakeNode(ledger, bend)) as opened:
        assert opened.checkpoint()[0].checkpoint.size == ledger.size


def test_a_record_that_waits_is_told_once_and_named_at_the_end(tmp_path: Path) -> None:
    ledger, weapon = trading()
    told = list[str]()

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.method != "POST":
            return response
        results = [{"id": result["id"], "status": "pending"} for result in response.json()["results"]]
        return httpx.Response(202, json={"results": results})

    with session(tmp_path, tell=told.append, one=FakeNode(ledger, bend)) as opened:
        [result] = opened.submit([offer(ledger, weapon)], patience_s=5)
    assert told == ["admitted by https://one, not final yet; waiting 5 s more"]
    with pytest.raises(OverloadError) as caught:
        result.require_final()
    assert caught.value.code == "still_pending"
    assert result.id in caught.value.message
    assert "same again is safe" in (caught.value.help or "")


def test_a_node_that_takes_its_time_over_a_submission_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, weapon = trading()
    told, has_told = list[str](), threading.Event()
    monkeypatch.setattr("client.session.NOTICE_AFTER_S", 0.0)

    def tell(line: str) -> None:
        told.append(line)
        has_told.set()

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        assert request.method != "POST" or has_told.wait(10)
        return response

    with session(tmp_path, tell=tell, one=FakeNode(ledger, bend)) as opened:
        assert opened.submit([offer(ledger, weapon)])[0].status == "final"
    assert told == ["sent to https://one, not final yet; waiting up to 120 s"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_node_is_asked_again_when_it_says(tmp_path: Path, status: int) -> None:
    ledger, _ = trading()
    answers = iter(
        [httpx.Response(status, headers={"Retry-After": "3"}), httpx.Response(status, headers={"Retry-After": "x"})]
    )
    time = Time()
    node = FakeNode(ledger, lambda _, response: next(answers, response))
    with session(tmp_path, time=time, one=node) as open_session:
        open_session.checkpoint()
    assert len(time.slept) == 2
    assert 3.0 <= time.slept[0] < 3.75
    assert 0.1 <= time.slept[1] < 0.2


def test_a_node_that_stays_busy_is_an_overload(tmp_path: Path) -> None:
    ledger, _ = trading()
    node = FakeNode(ledger, lambda *_: problem(503, "not_ready", "catching up"))
    with session(tmp_path, one=node) as open_session, pytest.raises(OverloadError) as caught:
        open_session.checkpoint()
    assert caught.value.code == "not_ready"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, NotAllowedError), (403, NotAllowedError), (404, NotFoundError), (409, RuleError), (500, AnswerError)],
)
def test_a_problem_keeps_its_code(tmp_path: Path, status: int, kind: type[TracemarkError]) -> None:
    node = FakeNode(trading()[0], lambda *_: problem(status, "some_code", "why"))
    with session(tmp_path, one=node) as open_session, pytest.raises(kind) as caught:
        open_session.weapon("w" * 33)
    assert caught.value.code == "some_code"


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b"{" * 10_000])
def test_garbage_for_an_answer_is_refused(tmp_path: Path, body: bytes) -> None:
    node = FakeNode(trading()[0], lambda *_: httpx.Response(200, content=body))
    with session(tmp_path, one=node) as open_session:
        for ask in (
            open_session.checkpoint,
            open_session.genesis,
            lambda: open_session.search("AB123"),
            lambda: open_session.weapon("wx"),
            lambda: open_session.provenance("wx"),
            lambda: open_session.record("0" * 64),
        ):
            with pytest.raises((AnswerError, VerificationError)):
                ask()


def test_an_endless_answer_is_cut_off(tmp_path: Path) -> None:
    node = FakeNode(trading()[0], lambda *_: httpx.Response(200, content=bytes(10**6)))
    with session(tmp_path, one=node) as open_session, pytest.raises(AnswerError) as caught:
        open_session.checkpoint()
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "one",
        "ftp://one",
        "http://one",
        "https://",
        "https://a/?token=x",
        "https://u:p@a",
        "https://a:b",
    ],
)
def test_an_address_that_is_none_or_would_leak_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Session([url], policy=toy_policy(), home=tmp_path)
    assert caught.value.code == "bad_url"


def test_a_compressed_answer_that_is_no_such_is_a_failed_node(tmp_path: Path) -> None:
    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))

    with session(tmp_path, one=FakeNode(trading()[0], bend)) as open_session, pytest.raises(NodeUnreachableError):
        open_session.checkpoint()


def test_a_token_that_would_break_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Session(["https://one"], policy=toy_policy(), home=tmp_path, token="a\r\nb")


# --- records --------------------------------------------------------------------------------------------------------


def test_a_record_becomes_final_with_a_verified_receipt_once(tmp_path: Path) -> None:
    ledger, weapon = trading()
    entry = offer(ledger, weapon)
    with session(tmp_path, one=FakeNode(ledger)) as open_session:
        first = open_session.submit([entry])[0].require_final()
        size = ledger.size
        second = open_session.submit([entry])[0].require_final()
        assert (first.index, first.id) == (second.index, second.id)
        fetched, bytes_again = open_session.record(first.id)
    assert ledger.size == size
    assert ledger.entries[first.index or 0] == entry == bytes_again
    assert fetched.index == first.index


def test_a_refused_record_comes_back_with_the_rules_code_and_the_others_are_final(tmp_path: Path) -> None:
    ledger, weapon = trading()
    good, bad = offer(ledger, weapon), offer(ledger, weapon_id("GLC", "NEVER1", ""))
    with session(tmp_path, one=FakeNode(ledger)) as open_session:
        results = open_session.submit([good, bad])
    assert [result.status for result in results] == ["final", "refused"]
    with pytest.raises(RuleError) as caught:
        results[1].require_final()
    assert caught.value.code == "unknown_weapon"


@pytest.mark.parametrize("rounds", [2, 1_000])
def test_a_record_without_room_beside_a_refused_one_is_sent_again(tmp_path: Path, rounds: int) -> None:
    """The answer to both is that of the worse: a refusal by a rule, of which only that record is refused for good."""
    ledger, weapon = trading()
    good, bad = offer(ledger, weapon), offer(ledger, weapon_id("GLC", "NEVER1", ""))
    left, sent = iter(range(rounds)), []

    def without_room(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != "/v1/records" or next(left, None) is None:
            return response
        ids = [
            parse_entry(json.dumps(each, separators=(",", ":"), sort_keys=True).encode()).id
            for each in envelopes(request)
        ]
        sent.append(len(ids))
        errors = [{"code": "issuer_behind", "message": "later"}, {"code": "unknown_weapon", "message": "no"}]
        results = [{"id": each, "status": "refused", "error": error} for each, error in zip(ids, errors, strict=False)]
        return problem(409 if len(ids) == 2 else 429, "x", "why", results=results)

    with session(tmp_path, one=FakeNode(ledger, without_room)) as open_session:
        first, second = open_session.submit([good, bad])
    assert sent[:2] == [2, 1]
    assert isinstance(second.error, RuleError)
    if rounds == 2:
        assert first.require_final().receipt is not None
    else:
        with pytest.raises(OverloadError) as caught:
            first.require_final()
        assert caught.value.code == "issuer_behind"


def envelopes(request: httpx.Request) -> list[Any]:
    """What a request submits."""
    submitted: list[Any] = json.loads(request.content)["envelopes"]
    return submitted


def test_a_lost_answer_is_no_lost_record(tmp_path: Path) -> None:
    ledger, weapon = trading()
    lost = iter([GONE])

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.method == "POST":
            for error in lost:
                raise error
        return response

    with session(tmp_path, one=FakeNode(ledger, bend)) as open_session:
        assert open_session.submit([offer(ledger, weapon)])[0].status == "final"
    assert len(ledger.history[weapon]) == 2


def test_the_nodes_word_for_final_is_not_enough(tmp_path: Path) -> None:
    ledger, weapon = trading()
    entry = offer(ledger, weapon)

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.method != "POST":
            return response
        results = [{**result, "receipt": None} for result in response.json()["results"]]
        return httpx.Response(200, json={"results": results})

    with session(tmp_path, one=FakeNode(ledger, bend)) as open_session:
        result = open_session.submit([entry], patience_s=5)[0]
    assert result.status == "pending"
    with pytest.raises(OverloadError):
        result.require_final()


def test_a_receipt_of_another_record_is_refused(tmp_path: Path) -> None:
    ledger, weapon = trading()

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.method != "POST":
            return response
        results = [{**result, "receipt": ledger.receipt(2).decode()} for result in response.json()["results"]]
        return httpx.Response(200, json={"results": results})

    with session(tmp_path, one=FakeNode(ledger, bend)) as open_session, pytest.raises(VerificationError):
        open_session.submit([offer(ledger, weapon)])


@pytest.mark.parametrize("results", [[], [{"status": "final", "id": "0" * 64}], [{"status": "gone"}], [{}, {}]])
def test_an_answer_about_other_records_is_refused(tmp_path: Path, results: list[Any]) -> None:
    ledger, weapon = trading()

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return httpx.Response(200, json={"results": results}) if request.method == "POST" else response

    with session(tmp_path, one=FakeNode(ledger, bend)) as open_session, pytest.raises(AnswerError):
        open_session.submit([offer(ledger, weapon)])


def test_many_records_come_back_in_their_order(tmp_path: Path) -> None:
    ledger = ToyLedger()
    entries = [
        sign_record(ledger.enrol("interior", f"dealer-{number}", "dealer"), ledger.keys["interior"])
        for number in range(20)
    ]
    seen: list[str] = []
    with session(tmp_path, one=FakeNode(ledger)) as open_session:
        results = open_session.submit(entries, wait=False, progress=lambda done: seen.append(done.id))
    assert [ledger.entries[result.index or 0] for result in results] == entries
    assert seen == [result.id for result in results]


@given(st.lists(st.integers(1, 60), max_size=1_200), st.integers(1, 400))
def test_requests_are_bounded_in_bytes_and_records(sizes: list[int], limit: int) -> None:
    entries = [bytes(size) for size in sizes]
    batches = batches_of(entries, limit=limit)
    assert [entry for batch in batches for entry in batch] == entries
    for batch in batches:
        assert 1 <= len(batch) <= 500
        assert len(batch) == 1 or len(envelopes_body(batch)) <= limit


# --- questions ------------------------------------------------------------------------------------------------------


def test_every_answer_is_proven(tmp_path: Path) -> None:
    ledger, weapon = trading()
    with session(tmp_path, one=FakeNode(ledger)) as open_session:
        assert open_session.ledger_id() == GENESIS.ledger_id
        assert isinstance(open_session.weapon(weapon).document, WeaponDoc)
        assert isinstance(open_session.party("maker").document, PartyDoc)
        assert open_session.key(ledger.keys["maker"].public.hex()).document is not None
        assert open_session.weapon(weapon_id("GLC", "NEVER1", "")).document is None
        trace, bundle = open_session.provenance(weapon)
        assert (trace.weapon, bundle) == (weapon, ledger.bundle(weapon).to_bytes())


def test_another_genesis_document_is_refused(tmp_path: Path) -> None:
    ledger, _ = trading()
    other = msgspec.structs.replace(GENESIS, time="2020-01-01T00:00:00Z").entry

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return httpx.Response(200, content=other) if request.url.path == "/v1/genesis" else response

    with session(tmp_path, one=FakeNode(ledger, bend)) as open_session, pytest.raises(VerificationError) as caught:
        open_session.ledger_id()
    assert caught.value.code == "wrong_genesis"


def test_another_weapons_bundle_is_refused(tmp_path: Path) -> None:
    ledger, weapon = trading()
    lot = ledger.register("maker", "OTHER1")
    ledger.submit(lot)
    ledger.seal()
    other = ledger.bundle(lot.identities[0].id).to_bytes()
    node = FakeNode(ledger, lambda request, response: httpx.Response(200, content=other))
    with session(tmp_path, one=node) as open_session, pytest.raises(VerificationError) as caught:
        open_session.provenance(weapon)
    assert caught.value.code == "wrong_answer"


def test_a_search_reads_all_pages_and_refuses_other_serials(tmp_path: Path) -> None:
    ledger, weapon = trading()
    ledger.submit(ledger.register("maker", "AB123", make="SW"))
    ledger.seal()
    with session(tmp_path, one=FakeNode(ledger)) as open_session:
        assert {hit.make for hit in open_session.search("AB123")} == {"GLC", "SW"}
        assert [hit.id for hit in open_session.search("AB123", make="GLC")] == [weapon]
        assert open_session.search("NEVER1") == []
    hit = {"id": weapon, "make": "GLC", "serial": "XY1", "status": "held", "registered": True}
    lying = FakeNode(ledger, lambda *_: httpx.Response(200, json={"weapons": [hit]}))
    with session(tmp_path, one=lying) as open_session, pytest.raises(AnswerError):
        open_session.search("AB123")


# --- stale and forked -----------------------------------------------------------------------------------------------


def _behind() -> tuple[ToyLedger, ToyLedger, str]:
    """One ledger, and the same one a block later."""
    old, weapon = trading()
    new, _ = trading()
    new.submit(new.offer("maker", "dealer", weapon))
    new.seal()
    return old, new, weapon


def test_a_stale_node_is_passed_over_for_one_that_is_level(tmp_path: Path) -> None:
    old, new, weapon = _behind()
    with session(tmp_path, new=FakeNode(new)) as open_session:
        open_session.checkpoint()
    time = Time()
    with session(tmp_path, time=time, old=FakeNode(old), new=FakeNode(new)) as open_session:
        proven = open_session.weapon(weapon)
    assert proven.as_of.size == new.size
    assert len(time.slept) == 1


def test_only_stale_nodes_are_not_believed_to_be_current(tmp_path: Path) -> None:
    old, new, weapon = _behind()
    with session(tmp_path, new=FakeNode(new)) as open_session:
        open_session.checkpoint()

    def knowing(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        """It holds the newer log, but shows the older checkpoint."""
        later = FakeNode(new)
        return later.handle(request) if request.url.path == "/v1/consistency" else response

    with session(tmp_path, old=FakeNode(old, knowing)) as open_session, pytest.raises(StaleError):
        open_session.weapon(weapon)
    with session(tmp_path, old=FakeNode(old)) as open_session, pytest.raises(VerificationError) as caught:
        open_session.weapon(weapon)
    assert caught.value.code == "consistency_unproven"


def test_a_node_that_catches_up_meanwhile_is_heard(tmp_path: Path) -> None:
    old, new, weapon = _behind()
    with session(tmp_path, new=FakeNode(new)) as open_session:
        open_session.checkpoint()
    node = FakeNode(old)
    time = Time()

    def sleep(seconds: float) -> None:
        node.ledger = new

    time.sleep = sleep  # type: ignore[method-assign]
    with session(tmp_path, time=time, one=node) as open_session:
        assert open_session.weapon(weapon).as_of.size == new.size


def test_a_receipt_under_an_older_checkpoint_is_as_good(tmp_path: Path) -> None:
    _, new, weapon = _behind()
    with session(tmp_path, new=FakeNode(new)) as open_session:
        open_session.checkpoint()
    record, entry = new.history[weapon][0][1].id, new.history[weapon][0][1].entry
    old, _ = trading()

    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return FakeNode(new).handle(request) if request.url.path == "/v1/consistency" else response

    with session(tmp_path, one=FakeNode(old, bend)) as open_session:
        submitted, read = open_session.record(record)
    assert (submitted.status, read) == ("final", entry)


def test_a_fork_stops_everything(tmp_path: Path) -> None:
    _, new, weapon = _behind()
    forked, _ = trading()
    forked.submit(forked.report("maker", "stolen", weapon))
    forked.seal()
    with session(tmp_path, new=FakeNode(new)) as open_session:
        open_session.checkpoint()
    with session(tmp_path, forked=FakeNode(forked)) as open_session:
        with pytest.raises(ForkError) as caught:
            open_session.provenance(weapon)
        assert len(caught.value.files) == 2
    with session(tmp_path, new=FakeNode(new)) as open_session, pytest.raises(ForkError):
        open_session.weapon(weapon)
