"""A registry of one agency, whole and real: its node on loopback in a thread of its own, and everybody who uses it."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx
import uvicorn
from fastapi import FastAPI

from ledger.genesis import Agency, Genesis, Parameters
from ledger.keyfile import KeyDerivation
from ledger.marks import weapon_id
from ledger.policy import Policy
from ledger.records import (
    IncidentReport,
    PartyEnrol,
    Record,
    TransferAccept,
    TransferOffer,
    WeaponRegister,
)
from ledger.records.envelope import parse_entry, prove_possession, sign_record
from ledger.records.fields import PartyRole, format_time
from ledger.records.items import Attributes, LotRow, RowAttributes
from ledger.signing import SigningKey
from node.api.connection import ApiConnection
from node.app import create_app, listen_on
from node.clock import SystemClock
from node.config import Address, NodeConfig, load_config
from node.keys import load_keys
from node.service.admin import issue_token
from node.service.ceremony import init_network
from node.service.services import Services
from node.storage import AgencyStore, Database

AGENCY: Final = "interior"
START_TIMEOUT_S: Final = 20.0
DAY_MS: Final = 24 * 3600 * 1000
CHEAP: Final = KeyDerivation(memory_bytes=8192, operations=1)
"""Argon2id at its least: what is tested here is not its cost."""

R = TypeVar("R", bound=Record)


class OneAgency:
    """A context manager: within it the node runs. `keys` are all parties' record keys; the agency's is there first.

    `others` are agencies of the same ledger whose nodes never run.
    """

    def __init__(self, folder: Path, *others: str) -> None:
        self.folder = folder
        self.genesis: Genesis = init_network(
            folder,
            [AGENCY, *others],
            origin="tracemark.test/one",
            profiles={},
            jurisdictions=dict.fromkeys([AGENCY, *others], "XA"),
            parameters=Parameters(),
            base_port=None,
            now_ms=SystemClock().wall_ms() - 60_000,
            derivation=CHEAP,
        )
        self.config: NodeConfig = load_config(folder / AGENCY / "node.toml")
        self.policy = Policy.parse((folder / "policy.txt").read_bytes())
        self.keys: dict[str, SigningKey] = {AGENCY: load_keys(self.config, self.agency).record}
        self.config.data_dir.mkdir(mode=0o700, exist_ok=True)
        self.agency_store = AgencyStore(Database(self.config.data_dir / "agency.db"))
        self._clients: list[httpx.Client] = []
        self._secrets: dict[tuple[str, str], str] = {}
        self._nonce = 0
        self.url = ""

    @property
    def agency(self) -> Agency:
        """The agency in the genesis document."""
        return next(agency for agency in self.genesis.agencies if agency.party == AGENCY)

    @property
    def services(self) -> Services:
        """The running application's services, for faults that a test sets."""
        app = self._server.config.app
        assert isinstance(app, FastAPI)
        services: Services = app.state.services
        return services

    # --- the node ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> "OneAgency":
        listening = listen_on(Address(host="127.0.0.1", port=0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            create_app(self.config), http=ApiConnection, log_config=None, access_log=False, lifespan="on"
        )
        self._server = uvicorn.Server(config)
        started = threading.Event()

        async def serve() -> None:
            serving = asyncio.create_task(self._server.serve(sockets=[listening]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.005)
            started.set()
            await serving

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), name="node", daemon=True)
        self._thread.start()
        assert started.wait(START_TIMEOUT_S)
        assert self._server.started, "the node did not start: see the log"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(START_TIMEOUT_S)
        assert not self._thread.is_alive()

    # --- who asks ---------------------------------------------------------------------------------------------------

    def secret(self, role: str, party: str = AGENCY) -> str:
        """A token's secret; the same for the same role and party."""
        if (role, party) not in self._secrets:
            now_ms = SystemClock().wall_ms()
            issued = issue_token(self.agency_store, party=party, role=role, now_ms=now_ms)
            self._secrets[role, party] = issued.secret
        return self._secrets[role, party]

    def client(self, role: str | None = None, party: str = AGENCY, **headers: str) -> httpx.Client:
        """A client with a token of that role and party; an inquirer's states purpose and case. Without a role, nobody's."""
        sent = dict(headers)
        if role is not None:
            sent["Authorization"] = f"Bearer {self.secret(role, party)}"
        if role == "inquirer":
            sent = {"Tracemark-Purpose": "criminal investigation", "Tracemark-Case": "26-1178", **sent}
        client = httpx.Client(base_url=self.url, headers=sent, timeout=40, trust_env=False, verify=False)
        self._clients.append(client)
        return client

    # --- records ----------------------------------------------------------------------------------------------------

    def record(self, kind: type[R], issuer: str, **body: Any) -> R:
        """A record issued now."""
        self._nonce += 1
        return kind(
            issued_at=format_time(SystemClock().wall_ms()),
            issuer=issuer,
            ledger=self.genesis.ledger_id,
            nonce="A" * 10 + f"{self._nonce:011d}" + "A",
            refs=(),
            schema=1,
            body=kind.__annotations__["body"](**body),
        )

    def sign(self, record: Record) -> bytes:
        """Its entry, signed by its issuer."""
        return sign_record(record, self.keys[record.issuer])

    def enrol(self, party: str, *roles: PartyRole, **terms: Any) -> bytes:
        """The entry by which the agency enrols a party with a fresh key."""
        key = self.keys.setdefault(party, SigningKey(party.encode().ljust(32, b"\x01")[:32]))
        proof = prove_possession(key, ledger=self.genesis.ledger_id, party=party, role="record")
        body = {"party": party, "name": party.title(), "roles": roles, "jurisdiction": "XA", "key": proof, **terms}
        return self.sign(self.record(PartyEnrol, AGENCY, **body))

    def register(self, issuer: str, *serials: str, make: str = "GLC", **differs: Any) -> bytes:
        """The entry of a lot."""
        rows = tuple(LotRow(serial=serial, differs=RowAttributes(**differs)) for serial in serials)
        return self.sign(
            self.record(WeaponRegister, issuer, defaults=Attributes(make=make, model="Model 1"), rows=rows)
        )

    def offer(self, issuer: str, to: str, *weapons: str) -> bytes:
        """The entry of an offer of title and custody."""
        expires_at = format_time(SystemClock().wall_ms() + DAY_MS)
        body = {"to": to, "weapons": tuple(sorted(weapons)), "moves": "both", "expires_at": expires_at}
        return self.sign(self.record(TransferOffer, issuer, **body))

    def accept(self, issuer: str, offer: bytes, *weapons: str) -> bytes:
        """The entry of an acceptance."""
        body = {"transfer": parse_entry(offer).id, "weapons": tuple(sorted(weapons))}
        return self.sign(self.record(TransferAccept, issuer, **body))

    def report(self, issuer: str, incident: str, *weapons: str) -> bytes:
        """The entry of an incident report."""
        occurred_at = format_time(SystemClock().wall_ms())
        body = {"incident": incident, "weapons": tuple(sorted(weapons)), "occurred_at": occurred_at}
        return self.sign(self.record(IncidentReport, issuer, **body))

    def submit(self, *entries: bytes, wait: str = "final", client: httpx.Client | None = None) -> httpx.Response:
        """Post entries, as the agency's operator unless by somebody else's client."""
        return (client or self.client("operator")).post(
            "/v1/records", params={"wait": wait}, content=batch(*entries), headers={"Content-Type": "application/json"}
        )

    def submit_final(self, *entries: bytes) -> list[dict[str, Any]]:
        """Post entries that all must become final; the results."""
        response = self.submit(*entries)
        assert response.status_code == 200, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        assert [result["status"] for result in results] == ["final"] * len(entries)
        return results


def batch(*entries: bytes) -> bytes:
    """The body of a submission."""
    return b'{"envelopes":[' + b",".join(entries) + b"]}"


def trading(agency: OneAgency) -> None:
    """Give the ledger a maker of GLC, two dealers and a police station, and three weapons with some history:
    AB1 was sold to dealer-a, reported stolen and seized; AB2 is offered to dealer-b; AB3 stays with its maker."""
    agency.submit_final(
        agency.enrol("maker-a", "maker", makes=("GLC",)),
        agency.enrol("dealer-a", "dealer"),
        agency.enrol("dealer-b", "dealer"),
        agency.enrol("station", "police"),
    )
    agency.submit_final(agency.register("maker-a", "AB1", "AB2", "AB3"))
    ab1, ab2 = weapon("AB1"), weapon("AB2")
    sale = agency.offer("maker-a", "dealer-a", ab1)
    agency.submit_final(sale, agency.offer("maker-a", "dealer-b", ab2))
    agency.submit_final(agency.accept("dealer-a", sale, ab1))
    agency.submit_final(agency.report("dealer-a", "stolen", ab1))
    agency.submit_final(agency.report("station", "seized", ab1))


def weapon(serial: str, make: str = "GLC", discriminator: str = "") -> str:
    """A weapon's id."""
    return weapon_id(make, serial, discriminator)
