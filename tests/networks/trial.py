"""One trial: a fresh network, a load throughout, a scenario's faults, and what must hold afterwards."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from client.audit import NodeSource
from client.demo.cast import AGENCIES, Cast
from client.replay import audit
from ledger.merkle.tiles import Tile, decode_entries
from ledger.records.envelope import parse_entry
from tests.networks.fabric import Fabric
from tests.networks.load import Load
from tests.networks.network import FaultyNetwork
from tests.networks.watch import Watch

LEVEL_WITHIN_S: Final = 5.0
"""From healing until every node that was away is level again."""
FIRST_BLOCK_WITHIN_S: Final = 5.0
"""From healing until the first new block, where there was none meanwhile."""
TIMEOUT_S: Final = 90.0
"""How long a scenario's steps are waited for before it has failed."""
BEFORE_RECORDS: Final = 10
AFTER_RECORDS: Final = 10


class Phase(msgspec.Struct, kw_only=True):
    """What one fault did, and how long its end took. Times in seconds; None where it does not apply."""

    fault: str
    fault_s: float
    blocks: int
    """Blocks that became final meanwhile."""
    records: int
    """Records acknowledged meanwhile."""
    latency_ms: int | None
    """Median of those, from the first submission to a verified receipt."""
    first_block_s: float | None
    level_s: float | None


class Result(msgspec.Struct, kw_only=True):
    """A scenario's outcome. `failure` is empty if all holds."""

    scenario: str
    links: str
    phases: list[Phase]
    acknowledged: int = 0
    height: int = 0
    audited_nodes: int = 0
    seconds: float = 0.0
    failure: str = ""


class Trial:
    """What a scenario does its faults with."""

    def __init__(
        self, network: FaultyNetwork, load: Load, watch: Watch, result: Result, *, patience: float = 1.0
    ) -> None:
        """`patience` is a factor for the bounds on times: more than 1 where others may keep the machine busy."""
        self.network = network
        self._patience = patience
        self.load = load
        self.watch = watch
        self.result = result

    def fault(
        self,
        words: str,
        begin: Callable[[], object],
        end: Callable[[], object],
        *,
        lasts_s: float,
        away: tuple[str, ...] = (),
        is_quorum_up: bool | None = True,
        level_within_s: float = LEVEL_WITHIN_S,
    ) -> Phase:
        """Let a fault begin, last, and end; then measure how the network gets over it.

        Args:
            words: what it is.
            begin: what makes it.
            end: what heals it; measured is from its return on.
            lasts_s: how long.
            away: the agencies that lag behind because of it and must be level afterwards; empty if none does.
            is_quorum_up: whether blocks must go on meanwhile; if not, there must be none; None: as may be.
            level_within_s: the bound for `away`.

        Raises:
            AssertionError: what must hold does not.
        """
        began_s = time.monotonic()
        begin()
        time.sleep(max(0.0, began_s + lasts_s - time.monotonic()))
        ended_s = time.monotonic()
        during = self.load.since(began_s)
        blocks = self.watch.blocks_between(began_s + (1 if is_quorum_up is False else 0), ended_s)
        end()
        healed_s = time.monotonic()
        phase = Phase(
            fault=words,
            fault_s=round(ended_s - began_s, 1),
            blocks=blocks,
            records=len(during),
            latency_ms=round(median(each.took_s for each in during) * 1000) if during else None,
            first_block_s=None,
            level_s=None,
        )
        self.result.phases.append(phase)
        first = self.watch.first_block_after(healed_s, timeout_s=TIMEOUT_S)
        if not is_quorum_up:
            phase.first_block_s = round(first, 2)
        if away:
            phase.level_s = round(self.watch.level_after(healed_s, *away, timeout_s=TIMEOUT_S), 2)
        self.load.wait_more(AFTER_RECORDS, timeout_s=TIMEOUT_S)
        assert is_quorum_up in (None, blocks > 0), f"{blocks} blocks during {words}"
        late = f"{words}: after healing"
        assert first <= FIRST_BLOCK_WITHIN_S * self._patience, f"{late} the first block took {first:.1f} s"
        is_soon = phase.level_s is None or phase.level_s <= level_within_s * self._patience
        assert is_soon, f"{late} level after {phase.level_s} s"
        return phase


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """`prepare` is called before the nodes start, `run` under load."""

    name: str
    run: Callable[[Trial], None]
    prepare: Callable[[FaultyNetwork], object] | None = None


def carry_out(
    scenario: Scenario, folder: Path, make_fabric: "Callable[..., Fabric]", *, patience: float = 1.0
) -> Result:
    """A whole trial; never raises for what the network does wrong: `failure` says it. `patience`: see `Trial`."""
    began_s = time.monotonic()
    result = Result(scenario=scenario.name, links="", phases=[])
    try:
        with ExitStack() as stack:
            network = stack.enter_context(FaultyNetwork.build(folder / "network", AGENCIES, make_fabric))
            result.links = network.fabric.name
            if scenario.prepare is not None:
                scenario.prepare(network)
            network.start()
            network.wait_ready()
            cast = stack.enter_context(Cast(network, home=folder / "home"))
            watch = stack.enter_context(Watch(network))
            with Load(network, cast, home=folder / "load") as load:
                load.wait_more(BEFORE_RECORDS, timeout_s=TIMEOUT_S)
                scenario.run(Trial(network, load, watch, result, patience=patience))
            check_all(network, load, watch, result)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other scenarios are still to be tried
        result.failure = f"{type(error).__name__}: {error}"
    result.seconds = round(time.monotonic() - began_s, 1)
    return result


def check_all(network: FaultyNetwork, load: Load, watch: Watch, result: Result) -> None:
    """Nothing acknowledged is missing on any node; equal heights have always had equal roots; all nodes are level.

    Raises:
        AssertionError, VerificationError: it is otherwise.
    """
    assert not load.failures, load.failures
    stands = _level(network)
    assert len(set(stands.values())) == 1, stands
    assert not watch.conflicts, watch.conflicts
    acknowledged = {each.id for each in load.acknowledged}
    result.acknowledged, result.height = len(acknowledged), stands[network.agencies[0]][0]
    for agency in network.agencies:
        held, roots = _audited(network, agency, folder=network.folder.parent / f"audit-{agency}")
        assert roots == stands[agency][2:], (agency, roots, stands[agency])
        missing = acknowledged - held
        assert not missing, f"{len(missing)} acknowledged records are not in the log of {agency}: {sorted(missing)[:3]}"
        result.audited_nodes += 1


def _level(network: FaultyNetwork) -> dict[str, tuple[int, int, str, str]]:
    """Height, size, root and state root of every node, once they are equal, or after a while."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        told = {agency: network.network_status(agency) for agency in network.agencies}
        stands = {agency: (s["height"], s["size"], s["root"], s["state_root"]) for agency, s in told.items()}
        if len(set(stands.values())) == 1 or time.monotonic() > deadline:
            return stands
        time.sleep(0.1)


class _Remembering:
    """A node's log for an audit, and the ids of all records in it."""

    def __init__(self, source: NodeSource) -> None:
        self._source = source
        self.ids: set[str] = set()

    def checkpoint(self) -> bytes:
        return self._source.checkpoint()

    def tile(self, tile: Tile) -> bytes:
        data = self._source.tile(tile)
        if tile.level is None:
            for entry in decode_entries(data, tile.width):
                if entry.startswith(b'{"payload"'):
                    self.ids.add(parse_entry(entry).id)
        return data


def _audited(network: FaultyNetwork, agency: str, *, folder: Path) -> tuple[set[str], tuple[str, str]]:
    """The ids of all records of a node's log, and its roots: every entry, signature, rule and seal verified."""
    with Cast(network, home=folder) as cast:
        source = _Remembering(NodeSource(cast.session(agency, party=agency, role="auditor")))
        audited = audit(source, cast.policy)
    return source.ids, (audited.root, audited.state_root)
