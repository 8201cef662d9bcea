"""How a client waits for nodes that have too much to do: as long as they ask, not all clients at once, and not for ever."""

import httpx
import pytest

from client.http import MAX_PAUSE_S, NodeClient
from ledger.errors import OverloadError
from tests.client.test_session import Time


def busy_client(time: Time, *retry_after: str | None, chance: float = 0.0, patience_s: float = 60.0) -> NodeClient:
    """A client of one node that answers 429 with these in turn, the last of them for ever (None: it answers 200)."""
    waits = iter(retry_after)
    wait: str | None = None

    def handle(_: httpx.Request) -> httpx.Response:
        nonlocal wait
        wait = next(waits, wait)
        if wait is None:
            return httpx.Response(200, content=b"{}")
        return httpx.Response(429, headers={"Retry-After": wait} if wait else {})

    return NodeClient(
        ["https://one"],
        transport=httpx.MockTransport(handle),
        clock=time,
        sleep=time.sleep,
        chance=lambda: chance,
        patience_s=patience_s,
    )


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_node_is_not_asked_before_the_time_that_it_named_and_clients_spread_after_it(chance: float) -> None:
    time = Time()
    with busy_client(time, "3", "20", None, chance=chance) as client:
        assert client.get("/").status == 200
    assert time.slept == [pytest.approx(3 * (1 + chance / 4)), pytest.approx(20 * (1 + chance / 4))]


def test_without_a_time_pauses_double_and_spread_below_that() -> None:
    for chance, factor in ((0.0, 0.5), (1.0, 1.0)):
        time = Time()
        with busy_client(time, "", "", "", None, chance=chance) as client:
            client.get("/")
        assert time.slept == [pytest.approx(pause * factor) for pause in (0.1, 0.2, 0.4)]


def test_a_node_that_stays_busy_is_asked_a_bounded_number_of_times() -> None:
    time = Time()
    with busy_client(time, "") as client, pytest.raises(OverloadError):
        client.get("/")
    assert time.now_s <= 60.0
    assert len(time.slept) < 40
    assert max(time.slept) <= MAX_PAUSE_S


def test_who_is_told_to_wait_longer_than_the_patience_is_told_so_at_once() -> None:
    time = Time()
    with busy_client(time, "3600", patience_s=10) as client, pytest.raises(OverloadError):
        client.post("/v1/records", b"{}")
    assert time.slept == []
