"""The node's one place of wiring: stores, node, peer links and API become one application; `run` serves it.

`create_app` opens what the configuration names and starts nothing; entering the application's lifespan starts the node and
its links, leaving it ends everything in the opposite order. `run` adds TLS and signals.
"""

import asyncio
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from ledger.errors import ConfigurationError, TracemarkError
from ledger.genesis import Agency, Genesis
from ledger.limits import MAX_API_CONNECTIONS
from node import api
from node.api.connection import ApiConnection
from node.api.measure import Measured, Underway
from node.clock import Clock, SystemClock
from node.config import Address, NodeConfig, QuotaConfig, load_genesis
from node.joining.earlier import ask_the_others, ask_until_shown
from node.joining.start import join_first
from node.keys import load_keys
from node.logs import configure_logs
from node.metrics import Metrics, watch_node, watch_peers, watch_progress
from node.node import Node, tune_interpreter
from node.peers.catchup import BlockFetcher
from node.peers.directory import PeerDirectory
from node.peers.stored import StoredBlocks
from node.preflight import check_files, read_observers
from node.service.querylog import QueryLog
from node.service.quota import Quota, QuotaRates, Rate
from node.service.readers import Readers
from node.service.services import Services
from node.service.tokens import TokenAuthority
from node.snapshots.exporter import SnapshotExporter
from node.snapshots.pages import SnapshotPages
from node.storage import Stores, open_stores

_LOG: Final = structlog.get_logger("node.app")

KEEP_ALIVE_S: Final = 75
"""An idle HTTP connection is kept so long: clients poll, and a TLS handshake costs more than a request."""
DRAIN_S: Final = 10
"""How long requests under way may take at the end; whoever waits for receipts is answered `pending` at once."""
LINGER_S: Final = 1
"""How long connections are then waited for: idle ones end only when the client answers TLS's closing."""
BACKLOG: Final = 512
"""Connections that wait to be accepted."""


def create_app(config: NodeConfig) -> FastAPI:
    """The application of one node. Opens files and databases; binds no port and starts nothing until its lifespan begins.

    Raises:
        ConfigurationError: a file of the configuration cannot be used.
        StoreError: a database cannot be opened.
    """
    clock, metrics, underway = SystemClock(), Metrics(), Underway()
    genesis = load_genesis(config)
    agency = check_files(config, genesis)
    observers = read_observers(config, genesis)
    stores = open_stores(config.data_dir)
    try:
        node, fetcher, snapshots = _open_node(
            config,
            genesis=genesis,
            agency=agency,
            observers=observers,
            stores=stores,
            metrics=metrics,
            clock=clock,
        )
    except BaseException:
        stores.close()
        raise
    services = _open_services(config, node, stores, metrics, clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tune_interpreter()
        try:
            await node.start()
        except TracemarkError as error:
            app.state.failure = error  # the server only logs it; `run` tells the operator
            raise
        asking = asyncio.create_task(_ask_for_earlier_life(config, node, clock)) if node.votes_unasked else None
        try:
            yield
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            services.readers.close()
            await snapshots.stop()
            await node.stop()
            await fetcher.close()

    app = FastAPI(
        title="Tracemark",
        description=api.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the interactive pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=[Middleware(Measured, observe=metrics.observe_request, underway=underway)],
    )
    app.state.underway = underway
    api.mount(app, services)
    return app


async def _ask_for_earlier_life(config: NodeConfig, node: Node, clock: Clock) -> None:
    """A node that began empty votes once the others have shown that it did not vote before (P7.5)."""
    shown = await ask_until_shown(lambda: ask_the_others(config, node.genesis), clock)
    node.told_of_earlier_life(may_have_voted=shown)


def _open_node(
    config: NodeConfig,
    *,
    genesis: Genesis,
    agency: Agency,
    observers: Sequence[Agency],
    stores: Stores,
    metrics: Metrics,
    clock: Clock,
) -> tuple[Node, BlockFetcher, SnapshotExporter]:
    """The node with its links, what fetches blocks for it, and what makes snapshots of it. Whom to link to the node finds in
    the ledger."""
    keys = load_keys(config, agency)
    snapshots = SnapshotExporter(stores.ledger, config.data_dir / "snapshots", min_entries=config.catch_up.min_entries)
    links = PeerDirectory(
        chain=genesis.chain_id,
        party=config.party,
        transport_key=keys.transport,
        tls=config.tls,
        listen=config.peers.listen,
        addresses=config.peers.addresses,
        contacts={},
        blocks=StoredBlocks(stores.ledger),
        clock=clock,
        pages=SnapshotPages(stores.ledger, lambda: snapshots.kept).pages(),
    )
    fetcher = BlockFetcher(config.peers.addresses, config.tls, links.counters)
    node = Node(
        genesis=genesis,
        keys=keys,
        stores=stores,
        transport=links,
        fetcher=fetcher,
        observers=observers,
        clock=clock,
        on_final=metrics.observe_finality,
        disk_free=lambda: shutil.disk_usage(config.data_dir).free,
    )
    if unknown := [party for party in node.members.parties if party not in (config.party, *config.peers.addresses)]:
        _LOG.warning("peers.addresses lacks agencies: blocks cannot be fetched from them", parties=unknown)
    watch_peers(metrics, links)
    watch_node(metrics, node)
    watch_progress(metrics, node)
    node.follow(lambda overlay: snapshots.follow(overlay, is_behind=node.is_behind()))
    return node, fetcher, snapshots


def _open_services(config: NodeConfig, node: Node, stores: Stores, metrics: Metrics, clock: Clock) -> Services:
    """What the routes call."""
    readers = Readers()
    requests, records = _rates(config.quotas)
    return Services(
        genesis=node.genesis,
        party=config.party,
        node=node,
        views=node.views,
        readers=readers,
        tokens=TokenAuthority(stores.agency.find_token, clock),
        request_quota=Quota("requests", requests, monotonic_ms=clock.monotonic_ms),
        record_quota=Quota("records", records, monotonic_ms=clock.monotonic_ms),
        query_log=QueryLog(stores.agency.append_queries, readers, wall_ms=clock.wall_ms),
        succession=node.succession.current,
        exposition=metrics.exposition,
        closing=asyncio.Event(),
    )


def _rates(quotas: QuotaConfig) -> tuple[QuotaRates, QuotaRates]:
    """The rates of requests and of records."""

    def rate(per_second: int) -> Rate:
        return Rate(per_second=per_second, burst=per_second * quotas.burst_s)

    return (
        QuotaRates(token=rate(quotas.token_requests_per_second), party=rate(quotas.party_requests_per_second)),
        QuotaRates(token=rate(quotas.token_records_per_second), party=rate(quotas.party_records_per_second)),
    )


class _Server(uvicorn.Server):
    """A server whose signals are ours: uvicorn would raise SIGTERM again at the end, and the process would die of it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `_serve`."""
        yield


def run(config: NodeConfig) -> int:
    """Serve a node until SIGTERM or SIGINT; the process's exit code: 0 after a clean end.

    Raises:
        ConfigurationError: also code `cannot_listen`, `bad_certificate`.
        StoreError: a database cannot be opened.
    """
    configure_logs(config.log.level)
    genesis = load_genesis(config)
    check_files(config, genesis)
    if not join_first(config, genesis, SystemClock()):
        return 0
    app = create_app(config)
    server_config = uvicorn.Config(
        app,
        loop="uvloop",
        http=ApiConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=MAX_API_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=LINGER_S,
        ssl_certfile=config.tls.certificate,
        ssl_keyfile=config.tls.key,
    )
    try:
        server_config.load()
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            f"{config.file}: the TLS certificate or its key cannot be used",
            code="bad_certificate",
            expected=f"a certificate at {config.tls.certificate} and its key at {config.tls.key}",
            actual=str(error),
        ) from error
    listening = listen_on(config.api.listen)
    server = _Server(server_config)
    with asyncio.Runner(loop_factory=server_config.get_loop_factory()) as runner:
        runner.run(_serve(server, listening, app))
    failure: TracemarkError | None = getattr(app.state, "failure", None)
    if failure is not None:
        raise failure
    return 0 if server.started else 1


async def _serve(server: _Server, listening: socket.socket, app: FastAPI) -> None:
    """Serve until a signal: then answer what is under way, close the connections, end the lifespan."""
    services: Services = app.state.services
    underway: Underway = app.state.underway

    async def end() -> None:
        await services.closing.wait()
        await underway.drain(DRAIN_S)
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, services.closing.set)
    host, port = listening.getsockname()[:2]
    _LOG.info("the API listens", address=str(Address(host=host, port=port)))
    ending = asyncio.create_task(end())
    try:
        await server.serve(sockets=[listening])
    finally:
        ending.cancel()


def listen_on(address: Address) -> socket.socket:
    """A listening socket whose connections send at once: with Nagle's algorithm an answer in two parts waits 40 ms for the
    client's delayed acknowledgement.

    Raises:
        ConfigurationError: code `cannot_listen`.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"api.listen: cannot listen on {address}",
            code="cannot_listen",
            expected="a free port of this machine",
            actual=error.strerror or str(error),
        ) from error
    return listening
