"""A session whose policy was pinned before the agencies changed."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from client.errors import ForkError
from client.session import Session
from ledger.errors import VerificationError
from ledger.succession import SUCCESSION_FORMAT, Succession, decode_succession, follow
from tests.changingledger import FIVE, OTHERS, Changing
from tests.client.fakenode import FakeNode, nodes
from tests.toyledger import toy_policy


def session(home: Path, ledger: Changing, *, bend: Any = None, succession: Succession | None = None) -> Session:
    return Session(
        ["https://a"],
        policy=toy_policy(),
        succession=succession,
        home=home,
        transport=nodes(a=FakeNode(ledger, bend)),
        sleep=lambda _: None,
    )


def changed() -> Changing:
    ledger = Changing()
    ledger.change(OTHERS)
    return ledger


def asked(node_session: Session) -> int:
    return node_session.checkpoint()[0].checkpoint.size


def without_succession(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return httpx.Response(404, json={"code": "not_found"}) if request.url.path == "/v1/succession" else response


def showing(data: bytes) -> Any:
    def bend(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return httpx.Response(200, content=data) if request.url.path == "/v1/succession" else response

    return bend


def test_unknown_signers_are_followed_to(tmp_path: Path) -> None:
    ledger = changed()
    assert asked(session(tmp_path, ledger)) == ledger.size


def test_a_succession_is_remembered(tmp_path: Path) -> None:
    ledger = changed()
    asked(session(tmp_path, ledger))
    assert asked(session(tmp_path, ledger, bend=without_succession)) == ledger.size


def test_a_damaged_memory_costs_a_question_and_nothing_else(tmp_path: Path) -> None:
    ledger = changed()
    asked(session(tmp_path, ledger))
    (remembered,) = (tmp_path / "successions").glob("*.json")
    remembered.write_bytes(remembered.read_bytes()[:-7])
    assert asked(session(tmp_path, ledger)) == ledger.size
    assert decode_succession(remembered.read_bytes()) == ledger.succession


def test_without_a_succession_unknown_signers_are_not_believed(tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        asked(session(tmp_path, changed(), bend=without_succession))
    assert caught.value.code == "no_log_signature"


def test_a_succession_that_does_not_hold_is_refused(tmp_path: Path) -> None:
    ledger = Changing()
    ledger.change(OTHERS, cosigners=OTHERS[:3])
    with pytest.raises(VerificationError) as caught:
        asked(session(tmp_path, ledger))
    assert caught.value.code == "succession_broken"
    assert not list((tmp_path / "successions").glob("*.json"))


def test_a_given_succession_needs_no_question(tmp_path: Path) -> None:
    ledger = changed()
    given = session(tmp_path, ledger, bend=without_succession, succession=ledger.succession)
    assert asked(given) == ledger.size


def test_a_session_goes_on_through_later_changes(tmp_path: Path) -> None:
    ledger = changed()
    open_session = session(tmp_path, ledger)
    asked(open_session)
    ledger.change(FIVE)
    assert asked(open_session) == ledger.size
    succession, followed = open_session.succession()
    assert succession == ledger.succession
    assert [era.epoch for era in followed.eras] == [0, 1, 2]


def test_two_successors_of_one_quorum_are_a_fork(tmp_path: Path) -> None:
    ledger, other = changed(), Changing()
    other.submit(other.enrol("interior", "maker", "maker", makes=("GLC",)))
    other.change(FIVE[1:])
    other.change(FIVE)
    asked(session(tmp_path, ledger))
    liar = session(tmp_path, ledger, bend=showing(other.succession.to_bytes()))
    with pytest.raises(ForkError) as caught:
        liar.succession()
    shown = [decode_succession(Path(file).read_bytes()) for file in caught.value.files]
    assert shown == [ledger.succession, other.succession]
    assert all(len(follow(toy_policy(), each).eras) > 1 for each in shown)


def test_a_given_succession_that_is_older_takes_nothing_from_what_is_remembered(tmp_path: Path) -> None:
    ledger = changed()
    older = ledger.succession
    ledger.change(FIVE)
    session(tmp_path, ledger).succession()
    again = session(tmp_path, ledger, bend=without_succession, succession=older)
    assert again.succession()[0] == ledger.succession
    (remembered,) = (tmp_path / "successions").glob("*.json")
    assert decode_succession(remembered.read_bytes()) == ledger.succession


def test_a_given_succession_that_contradicts_the_remembered_one_is_a_fork(tmp_path: Path) -> None:
    ledger, other = changed(), Changing()
    other.submit(other.enrol("interior", "maker", "maker", makes=("GLC",)))
    other.change(FIVE[1:])
    asked(session(tmp_path, ledger))
    with pytest.raises(ForkError) as caught:
        session(tmp_path, ledger, succession=other.succession)
    assert [decode_succession(Path(file).read_bytes()) for file in caught.value.files] == [
        ledger.succession,
        other.succession,
    ]


def test_garbage_for_a_succession_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"[]", msgspec.json.encode({"format": SUCCESSION_FORMAT})):
        with pytest.raises(VerificationError) as caught:
            asked(session(tmp_path, changed(), bend=showing(data)))
        assert caught.value.code == "succession_form"
