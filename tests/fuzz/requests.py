"""What comes over HTTP: bodies, requests for blocks, and whole connections to a node's API, byte for byte."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.http11 import Request

from ledger.codec import encode
from ledger.errors import EncodingError, InputError
from ledger.records.envelope import parse_entry
from node.api.connection import ApiConnection
from node.app import create_app
from node.config import load_config
from node.peers.catchup import PATH, BlockServer, CertifiedBlock
from node.peers.counters import PeerCounters
from node.service.submit import envelopes_of, read_batch
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_lines
from tests.fuzz.parsers import ledger, target_of
from tests.fuzz.wires import runner
from tests.node.api.support import AGENCY, OneAgency, batch

_ANSWER_S: Final = 60.0
_UNLIMITED: Final = "\n".join(
    f"{of}_{what}_per_second = 1000000000" for of in ("token", "party") for what in ("requests", "records")
)


# --- bodies -----------------------------------------------------------------------------------------------------------


def _batches() -> list[bytes]:
    entries = [entry for entry in ledger().entries if entry.startswith(b'{"payload"')]
    return [batch(*entries[:3]), batch(entries[5]), batch(*entries[7:9]).replace(b":", b": ")]


def _batch(data: bytes) -> None:
    """What is taken for an entry has the one spelling that the log holds."""
    for item in read_batch(envelopes_of(data)):
        if isinstance(item, EncodingError):
            continue
        try:
            assert parse_entry(item).envelope.to_bytes() == item
        except InputError as error:
            assert error.code


# --- requests for blocks ----------------------------------------------------------------------------------------------


class _NoBlocks:
    """A source that says what was asked."""

    def certified_blocks(self, first_height: int, count: int) -> Iterator[CertifiedBlock]:
        assert 0 <= first_height < 10**16
        assert 1 <= count <= 64
        return iter(())


def _request(data: bytes) -> None:
    request = Request(path=data.decode("utf-8", "surrogateescape"), headers=Headers())
    answer = runner().run(_server().answer(request, "police"))
    if answer.status_code == 400:
        raise EncodingError("a bad request")
    assert answer.status_code == 200
    assert answer.body == b"\x90"


@cache
def _server() -> BlockServer:
    return BlockServer(_NoBlocks(), PeerCounters())


# --- a connection to the API ------------------------------------------------------------------------------------------


class _Wire(asyncio.Transport):
    """The client's end of a connection: it keeps what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = bytearray()
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: Any) -> None:
        if not self.is_closed:  # as with a socket: nothing is sent any more
            self.answer += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise AssertionError("nobody asked for another protocol")

    def pause_reading(self) -> None:
        """The client has sent all that it will."""

    def resume_reading(self) -> None:
        """As above."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""


class _Api:
    """A node of one agency whose API is spoken to without a socket."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        memory = Path("/dev/shm")
        folder = tempfile.TemporaryDirectory(prefix="tracemark-fuzz-", dir=memory if memory.is_dir() else None)
        made = OneAgency(Path(self._stack.enter_context(folder)))
        self.secret = made.secret("operator").encode()
        self.enrolment = made.enrol("maker-a", "maker", makes=("GLC",))
        configured = made.folder / AGENCY / "node.toml"
        configured.write_text(configured.read_text() + f"\n[quotas]\n{_UNLIMITED}\n")
        app = create_app(load_config(configured))
        runner().run(self._stack_up(app))
        self._config = uvicorn.Config(app, http=ApiConnection, log_config=None, access_log=False)
        self._config.load()
        self._state = ServerState()

    async def _stack_up(self, app: Any) -> None:
        self._life = app.router.lifespan_context(app)
        await self._life.__aenter__()

    async def send(self, data: bytes) -> bytes:
        """Everything that a connection answers to these bytes."""
        wire = _Wire()
        connection = ApiConnection(config=self._config, server_state=self._state, app_state={})
        connection.connection_made(wire)
        connection.data_received(data)
        for _ in range(3):
            await asyncio.sleep(0)
        if wire.is_closed or connection.cycle is None or connection.cycle.more_body:
            connection.connection_lost(None)  # closed, or it waits for more, which will not come
        async with asyncio.timeout(_ANSWER_S):
            while self._state.tasks:
                await asyncio.wait(self._state.tasks)
        connection.connection_lost(None)
        return bytes(wire.answer)


@cache
def _api() -> _Api:
    return _Api()


def _requests() -> list[bytes]:
    token = b"Authorization: Bearer " + _api().secret + b"\r\n"
    why = b"Tracemark-Purpose: criminal investigation\r\nTracemark-Case: 26-1178\r\n"
    body = batch(_api().enrolment)
    return [
        b"GET " + path + b" HTTP/1.1\r\nHost: node.test\r\n" + token + why + b"\r\n"
        for path in (
            b"/v1/weapons?serial=AB-1234&make=GLC&limit=5&cursor=x",
            b"/v1/weapons/w" + b"a" * 32,
            b"/v1/weapons/w" + b"a" * 32 + b"/provenance",
            b"/v1/records/" + b"0" * 64,
            b"/v1/parties/interior",
            b"/v1/keys/" + b"0" * 64,
            b"/v1/consistency?from=1&to=2",
            b"/v1/checkpoint",
            b"/v1/genesis",
            b"/v1/network",
            b"/tile/0/000.p/2",
            b"/tile/entries/000.p/2",
            b"/healthz",
            b"/metrics",
        )
    ] + [
        b"POST /v1/records?wait=none HTTP/1.1\r\nHost: node.test\r\nContent-Type: application/json\r\n"
        + token
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body,
        b"POST /v1/records HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        + token
        + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    ]


def _http(data: bytes) -> None:
    """The API never fails, and what it refuses it refuses in its one form (but for what is not even HTTP)."""
    answer = runner().run(_api().send(data))
    if not answer:
        raise EncodingError("no whole request")
    head, _, rest = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert status not in (500, 502), answer
    if status < 400:
        return
    if rest != b"Invalid HTTP request received." and b"problem+json" in head and not data.startswith(b"HEAD"):
        problem = json.JSONDecoder().raw_decode(rest.decode())[0]
        assert problem["code"], answer
        assert problem["status"] == status, answer
    else:
        assert rest == b"Invalid HTTP request received." or data.startswith(b"HEAD"), answer
    raise EncodingError(encode(status).decode())


REQUESTS: Final = (
    target_of("batch", _batches, (mutate_json, mutate_json, mutate_bytes), _batch),
    target_of(
        "block-request",
        lambda: [f"{PATH}?from=1&count=64".encode(), f"{PATH}?count=1&from=9007199254740991".encode()],
        (mutate_bytes,),
        _request,
    ),
    target_of("http", _requests, (mutate_lines, mutate_bytes), _http),
)
"""What is asked of a node over HTTP."""
