"""Real nodes on a network with faults: every scenario, a table, and a JSON line for each.

    python -m tests.networks [--links auto|namespaces|proxies] [--only WORDS] [--keep FOLDER] [--json FILE] [--list]

Exit code 1 if anything that must hold does not.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.networks.fabric import choose
from tests.networks.scenarios import ALL
from tests.networks.trial import Result, carry_out

HEADINGS: tuple[str, ...] = ("fault", "for s", "blocks", "records", "p50 ms", "first block s", "level s")


def main() -> int:
    """Run the scenarios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", choices=("auto", "namespaces", "proxies"), default="auto")
    parser.add_argument("--only", help="scenarios whose name contains this")
    parser.add_argument("--keep", type=Path, help="keep every network's files in this new folder")
    parser.add_argument("--json", type=Path, help="write the results here, too: a JSON line for each scenario")
    parser.add_argument("--list", action="store_true", help="print the scenarios' names")
    options = parser.parse_args()
    chosen = [scenario for scenario in ALL if not options.only or options.only in scenario.name]
    if options.list or not chosen:
        print("\n".join(scenario.name for scenario in ALL))
        return 0 if options.list else 2
    make_fabric, words = choose(options.links)
    print(words, flush=True)
    results: list[Result] = []
    for number, scenario in enumerate(chosen):
        with tempfile.TemporaryDirectory(prefix="tracemark-networks-") as temporary:
            folder = options.keep / f"{number:02d}" if options.keep else Path(temporary)
            result = carry_out(scenario, folder, make_fabric)
        results.append(result)
        print(as_text(result), flush=True)
    lines = [msgspec.json.encode(result).decode() for result in results]
    if options.json:
        options.json.write_text("".join(f"{line}\n" for line in lines))
    print("\n".join(lines))
    failed = [result.scenario for result in results if result.failure]
    print(f"networks: {len(results) - len(failed)} of {len(results)} hold" + (f"; not: {failed}" if failed else ""))
    return 1 if failed else 0


def as_text(result: Result) -> str:
    """One scenario's part of the table."""
    lines = [f"\n{result.scenario} ({result.seconds:.0f} s in all)"]
    rows = [HEADINGS]
    for phase in result.phases:
        figures = (phase.fault_s, phase.blocks, phase.records, phase.latency_ms, phase.first_block_s, phase.level_s)
        rows.append((phase.fault, *("-" if figure is None else str(figure) for figure in figures)))
    lines += ["  " + f"{row[0]:<52}" + "".join(f"{figure:>14}" for figure in row[1:]) for row in rows]
    if result.failure:
        lines.append(f"  FAILED: {result.failure}")
    else:
        lines.append(
            f"  holds: {result.acknowledged} acknowledged records are in the logs of {result.audited_nodes} nodes, each "
            f"audited whole; height {result.height}, one root, one state root"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
