"""`python -m tests.fuzz.guided --target NAME [--inputs N] [--corpus DIR]`: inputs that are led by what they reach (atheris).

The targets of bytes of `tests.fuzz`, with the same ways to bend, but what reached new code is kept in the corpus and bent
again. A failing input is left in a file; `--input FILE` feeds one again. Needs `pip install -e '.[fuzz]'`.
"""

import argparse
import logging
import sys
import warnings
from pathlib import Path
from random import Random

import atheris
import structlog

with atheris.instrument_imports(include=["ledger", "node", "client"]):
    from tests.fuzz.harness import Target
    from tests.fuzz.targets import TARGETS

_LARGEST_BYTES = 64 * 1024
"""Of an input: entries are below 60 KiB."""


def guide(target: Target, *, inputs: int, corpus: Path) -> None:
    """Feed a target; ends the process: 0 if all was taken as it must be."""
    assert target.good is not None
    assert target.bend is not None
    good, bend = target.good(), target.bend
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(good):
        (corpus / f"good-{number}").write_bytes(data)

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        return bend(data, Random(seed), good)[:largest]

    def feed(data: bytes) -> None:
        target.feed(data)

    options = [
        "fuzz",
        f"-runs={inputs}",
        f"-max_len={_LARGEST_BYTES}",
        "-timeout=2",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={corpus.parent}/{target.name}-",
        str(corpus),
    ]
    atheris.Setup(options, feed, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Fuzz a parser of bytes, led by what inputs reach.")
    guided = {target.name: target for target in TARGETS if target.bend is not None}
    parser.add_argument("--target", choices=list(guided), required=True)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"), help="a folder; what is in it is taken up again")
    parser.add_argument("--input", type=Path, help="feed this file only")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    warnings.simplefilter("ignore")
    target = guided[options.target]
    if options.input is not None:
        print("accepted" if target.feed(options.input.read_bytes()) else "refused")
        return 0
    guide(target, inputs=options.inputs, corpus=options.corpus / options.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
