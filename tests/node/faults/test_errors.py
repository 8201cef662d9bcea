"""The fault table: every statement that a node writes with x {failed, failed but persisted} x restart.

The node must stop taking part and say why, with the code of the error; started again on the same files, it is right in every
row, holds all that was acknowledged, and goes on.
"""

import asyncio
import itertools
import os
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import StoreError
from node.service.admin import prepare_token
from node.storage import AgencyStore, Database
from tests.node.cluster import Cluster
from tests.node.faults.points import ERRORS, Fault, Name, Plan, planned
from tests.node.reverify import reverify
from tests.node.test_cluster import enrol_maker, entry, weapons
from tests.node.test_faults import failed, submit_until_failure
from tests.world import GENESIS, build_genesis

FULL = os.environ.get("FAULTS") == "full"
LONE: Final = build_genesis("interior")

LEDGER: Final = tuple(
    ("ledger", statement)
    for statement in (
        "BEGIN IMMEDIATE",
        *(
            f"INSERT INTO {table}"
            for table in ("entries", "records", "tiles", "documents", "history", "serials", "blocks")
        ),
        "INSERT INTO floor",
        "COMMIT",
    )
)
VOTES: Final = tuple(
    ("votes", statement)
    for statement in (
        "BEGIN IMMEDIATE",
        "INSERT INTO consensus",
        "INSERT INTO marks",
        "DELETE FROM consensus",
        "COMMIT",
    )
)
PEERS: Final = (
    ("ledger", "INSERT INTO keys"),
    ("votes", "INSERT INTO cosignatures"),
    ("votes", "DELETE FROM cosignatures"),
)
AGENCY: Final = (
    ("agency", "BEGIN IMMEDIATE"),
    ("agency", "INSERT INTO tokens"),
    ("agency", "UPDATE tokens"),
    ("agency", "INSERT INTO queries"),
    ("agency", "COMMIT"),
)
"""Write points by where a test meets them; `test_completeness` holds them complete."""


def cells(points: tuple[Name, ...]) -> list[tuple[Name, Fault, str]]:
    """(write point, fault, SQLite's error): every one with every fault; with every error in the full run, else by turns."""
    turns = itertools.cycle(ERRORS)
    found: list[tuple[Name, Fault, str]] = []
    for point in points:
        for fault in ("failed", "failed but persisted"):
            if fault == "failed but persisted" and point[1] != "COMMIT" and not FULL:
                continue  # what is rolled back next is the same as if it had failed
            found += [(point, fault, error) for error in (ERRORS if FULL else [next(turns)])]
    return found


def label(cell: object) -> str:
    """A readable test id."""
    return " ".join(map(str, cell[0])) if isinstance(cell, tuple) and isinstance(cell[0], tuple) else str(cell)


@pytest.mark.parametrize("cell", cells(LEDGER + VOTES), ids=lambda cell: f"{label(cell)} {cell[1]} {cell[2]}")
def test_a_lone_node(tmp_path: Path, cell: tuple[Name, Fault, str]) -> None:
    name, fault, error = cell
    plan = Plan(tmp_path / "interior")

    async def scenario() -> None:
        cluster = Cluster(tmp_path, LONE)
        with planned(plan):
            await cluster.start()
            await enrol_maker(cluster)
            plan.fail_at(name, fault, error)
            acknowledged = await submit_until_failure(cluster, 0)
            assert plan.failures == 1, f"{name} was never executed"
            [reason] = cluster.node(0).status().reasons
            assert ERRORS[error][1] in reason
            with pytest.raises(StoreError):
                await cluster.node(0).submit(weapons(cluster, 900, 1), source="test")
            await cluster.crash(0)
        await cluster.start()
        assert cluster.node(0).status().reasons == ()
        await cluster.final(0, *weapons(cluster, 500, 3))
        await cluster.stop()
        verified = reverify(tmp_path / "interior", LONE, "interior")
        assert {outcome.id for outcome in acknowledged} <= verified.record_ids

    asyncio.run(scenario())


@pytest.mark.parametrize("cell", cells(PEERS), ids=lambda cell: f"{label(cell)} {cell[1]} {cell[2]}")
def test_one_of_four_stops_and_rejoins(tmp_path: Path, cell: tuple[Name, Fault, str]) -> None:
    name, fault, error = cell
    plan = Plan(tmp_path / "interior")

    async def scenario() -> None:
        cluster = Cluster(tmp_path, GENESIS)
        with planned(plan):
            await cluster.start()
            await enrol_maker(cluster)
            await cluster.level()
            plan.fail_at(name, fault, error)
            for n in range(80):  # pruning is rare
                if cluster.node(1)._driver.failure is not None:
                    break
                record = [_enrolment(cluster, n)] if name[1] == "INSERT INTO keys" else weapons(cluster, n, 1)
                await cluster.final(0, *record)
            await asyncio.wait_for(failed(cluster, 1), 20)
            assert plan.failures == 1
            assert any(ERRORS[error][1] in reason for reason in cluster.node(1).status().reasons)
            await cluster.crash(1)
        await cluster.start(1)
        await cluster.level()
        await cluster.final(1, *weapons(cluster, 900, 1))
        await cluster.level()
        await cluster.stop()
        stands = {reverify(tmp_path / party, GENESIS, party).log_root for party in cluster.parties}
        assert len(stands) == 1

    asyncio.run(scenario())


def _enrolment(cluster: Cluster, n: int) -> bytes:
    return entry(cluster, cluster.world.enrol("interior", f"maker-{n}", "maker", makes=(f"M{n}",)))


@pytest.mark.parametrize("cell", cells(AGENCY), ids=lambda cell: f"{label(cell)} {cell[1]} {cell[2]}")
def test_the_agencys_own(tmp_path: Path, cell: tuple[Name, Fault, str]) -> None:
    name, fault, error = cell
    plan = Plan(tmp_path)
    first, second = (
        prepare_token(party="police", role="holder", label=label, now_ms=1, expires_ms=None).stored
        for label in ("first", "second")
    )
    with planned(plan):
        store = AgencyStore(Database(tmp_path / "agency.db"))
        store.append_queries([b"one"])
        store.add_token(first)
        plan.fail_at(name, fault, error)
        done = []
        for act in (
            lambda: store.append_queries([b"two", b"three"]),
            lambda: store.add_token(second),
            lambda: store.revoke_token(first.id, now_ms=2),
        ):
            try:
                act()
                done.append(True)
            except StoreError as caught:
                assert caught.code == ERRORS[error][1]
                done.append(False)
        assert plan.failures == 1
        assert not all(done)
    store = AgencyStore(Database(tmp_path / "agency.db"))
    queries = [line.entry for line in store.queries(count=9)]
    assert queries in ([b"one"], [b"one", b"two", b"three"])
    assert not done[0] or len(queries) == 3
    known = {token.id: token for token in store.tokens()}
    assert first.id in known
    assert not done[1] or second.id in known
    assert not done[2] or known[first.id].revoked_ms == 2
    store.append_queries([b"four"])
    assert store.queries(count=9)[-1].entry == b"four"
    store.close()


def test_every_schema_statement_may_fail_at_the_first_start(tmp_path: Path) -> None:
    """Migrations: a first start that fails at any statement leaves files on which the next one begins anew."""
    recorded = Plan(tmp_path / "recorded" / "interior")

    def start(folder: Path, plan: Plan) -> None:
        async def scenario() -> None:
            cluster = Cluster(folder, LONE)
            with planned(plan):
                await cluster.start()
                await cluster.stop()

        asyncio.run(scenario())

    start(tmp_path / "recorded", recorded)
    names = list(dict.fromkeys(recorded.names))
    schema = [name for name in names if name[1].startswith(("CREATE", "ALTER")) or "alembic" in name[1]]
    assert len(schema) > 15
    for number, name in enumerate(schema if FULL else schema[::4]):
        folder = tmp_path / str(number)
        plan = Plan(folder / "interior")
        plan.fail_at(name, "failed", "SQLITE_FULL")
        with pytest.raises(StoreError) as caught:
            start(folder, plan)
        assert caught.value.code == "disk_full"
        start(folder, Plan(folder / "interior"))
        assert reverify(folder / "interior", LONE, "interior").height == 0
