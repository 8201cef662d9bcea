"""Deliberate faults, one or more a clause, that the simulator must catch, or it has no teeth.

A mutant replaces functions of the production code by wrong ones while a run lasts. `python -m tests.simulator.mutants`
tries each on the seed that is remembered to catch it; `--search` looks for seeds anew and writes them down.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ledger.consensus import receiving, replica
from ledger.errors import TracemarkError
from tests.simulator.mutations import MUTANTS, WITHOUT_HARM
from tests.simulator.oracle import ViolationError
from tests.simulator.plan import Plan, draw
from tests.simulator.run import run_seed

CAUGHT_BY: Final = Path(__file__).with_name("caught.json")
"""By mutant, the seed that caught it when it was last looked for."""
SEARCHED: Final = 1_500
"""Seeds that a search looks at."""
ENOUGH: Final = 3
"""Catches of which a search remembers the cheapest."""


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Run with one mutant in place."""
    patches = {**MUTANTS, **WITHOUT_HARM}[name]
    for owner, attribute, _ in patches:
        assert hasattr(owner, attribute) or attribute in owner.__init__.__code__.co_names, f"{attribute} is not there"
    before = [(owner, attribute, vars(owner).get(attribute)) for owner, attribute, _ in patches]
    handlers = dict(replica._INPUTS)
    receivers = dict(receiving._HANDLERS)
    try:
        for owner, attribute, wrong in patches:
            right = getattr(owner, attribute, None)
            _replace_in(replica._INPUTS, right, wrong)
            _replace_in(receiving._HANDLERS, right, wrong)
            setattr(owner, attribute, wrong)
        yield
    finally:
        for owner, attribute, right in before:
            if right is None:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, right)
        replica._INPUTS.update(handlers)
        receiving._HANDLERS.update(receivers)


def _replace_in(table: dict[Any, Any], right: Any, wrong: Any) -> None:
    for key, handler in table.items():
        if handler is right:
            table[key] = wrong


def remembered() -> dict[str, int]:
    """The seeds that are written down."""
    found: dict[str, int] = json.loads(CAUGHT_BY.read_text())
    return found


def caught(name: str, seed: int) -> str:
    """What a seed sees of a mutant: the oracle's words, or the error that the node ends in; empty if nothing."""
    with mutated(name):
        try:
            run_seed(seed)
        except (ViolationError, AssertionError, TracemarkError) as seen:
            return f"{type(seen).__name__}: {seen}"
    return ""


def search(name: str, seeds: Iterable[int], *, enough: int = ENOUGH) -> tuple[int, str] | None:
    """The cheapest of the first `enough` seeds that catch a mutant, and what it sees."""
    found: list[tuple[float, int, str]] = []
    for seed in seeds:
        started = time.process_time()
        seen = caught(name, seed)
        if seen:
            found.append((time.process_time() - started, seed, seen))
        if len(found) == enough:
            break
    return min(found)[1:] if found else None


_SUITED: Final[dict[str, Callable[[Plan], bool]]] = {
    "P1.3": lambda plan: plan.encoded,
    "P3.2 a closing": lambda plan: plan.epoch_changes > 0,
    "P3.3": lambda plan: plan.application == "production" and plan.write_faults > 0,
    "P3.4": lambda plan: plan.all_restart,
    "P3.4 own stored": lambda plan: plan.all_restart and (plan.size == 1 or "silent" in dict(plan.liars).values()),
    "P4.1 the guard": lambda plan: plan.epoch_changes > 0,
    "P4.3": lambda plan: plan.crashes > 4 and plan.execute_ms == 700,
    "P5.3 a": lambda plan: "bad_block_leader" in dict(plan.liars).values(),
    "P5.8": lambda plan: plan.loss > 0 and plan.liars != (),
    "P6.1": lambda plan: plan.loss > 0,
    "P7.2": lambda plan: plan.sleeper,
    "P7.5": lambda plan: plan.amnesia > 0,
    "P8": lambda plan: plan.epoch_changes > 0,
    "P8.3": lambda plan: "rotate" in plan.decisions,
    "P8.1 an ordinary": lambda plan: "bad_block_leader" in dict(plan.liars).values(),
}
"""Runs that may show a mutant at all, by what its name begins with."""


def likely(name: str, count: int) -> Iterator[int]:
    """Seeds whose runs suit a mutant. Toy runs cost little: for each production run five of them, where both suit."""
    suits = next((suits for prefix, suits in reversed(_SUITED.items()) if name.startswith(prefix)), lambda plan: True)
    plans = [plan for plan in map(draw, range(20 * count)) if suits(plan)]
    toys = [plan.seed for plan in plans if plan.application == "toy"]
    others = [plan.seed for plan in plans if plan.application == "production"]
    mixed = [one for at, seed in enumerate(others) for one in (*toys[5 * at : 5 * at + 5], seed)]
    return iter((mixed + toys[5 * len(others) :])[:count])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Try deliberate faults on the simulator.")
    parser.add_argument("name", nargs="?", default="", help="only mutants whose name contains this")
    parser.add_argument("--search", action="store_true", help="look for seeds anew, and write them down")
    parser.add_argument("--seeds", type=int, default=SEARCHED, help="how many to look at")
    options = parser.parse_args()
    seeds, missed = remembered(), 0
    for name in (name for name in MUTANTS if options.name in name):
        seen = caught(name, seeds[name]) if name in seeds and not options.search else ""
        found = (seeds[name], seen) if seen else search(name, likely(name, options.seeds)) if options.search else None
        if found is None:
            missed += 1
            print(f"{name}: NOT CAUGHT", flush=True)
            continue
        print(f"{name}: seed {found[0]}: {found[1][:100]}", flush=True)
        if options.search:
            seeds[name] = found[0]
            kept = {known: seeds[known] for known in MUTANTS if known in seeds}
            CAUGHT_BY.write_text(json.dumps(kept, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
