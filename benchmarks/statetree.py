"""Measures the state tree: building, batch updates, proofs and memory. Prints one JSON line per figure.

Run as `python -m benchmarks.statetree [--keys N]`.
"""

import argparse
import hashlib
import json
import time
import tracemalloc

from ledger.statetree import StateTree, verify_state


def _key(number: int) -> bytes:
    return hashlib.sha256(b"weapon\x00%d" % number).digest()


def _value(number: int, version: int) -> bytes:
    return hashlib.sha256(b"%d/%d" % (number, version)).digest()


def _report(**figures: object) -> None:
    print(json.dumps({"benchmark": "statetree", **figures}))


def _build(keys: int) -> StateTree:
    leaves = sorted((_key(i), _value(i, 0)) for i in range(keys))
    started = time.perf_counter()
    tree = StateTree.build(leaves)
    elapsed_s = time.perf_counter() - started
    _report(figure="build", keys=keys, seconds=round(elapsed_s, 3), us_per_key=round(elapsed_s / keys * 1e6, 2))
    tracemalloc.start()
    StateTree.build(leaves)  # once more, so that its own cost is seen apart from the tracing
    again = StateTree.build(leaves)
    held_bytes, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    _report(figure="memory", keys=len(again), held_mb=round(held_bytes / 1e6, 2), peak_mb=round(peak_bytes / 1e6, 2))
    return tree


def _updates(tree: StateTree, keys: int) -> None:
    for batch in (1, 10, 100, 1_000):
        for name, stride in (("overwrite", 0), ("insert", keys)):
            rounds = max(3, min(50, 2_000 // batch))
            times_s = []
            for round_number in range(rounds):
                start = (round_number * batch * 7) % keys
                numbers = [(start + i * 13) % keys + stride * (round_number + 1) for i in range(batch)]
                changes = {_key(i): _value(i, round_number + 1) for i in numbers}
                started = time.perf_counter()
                tree.update(changes)
                times_s.append((time.perf_counter() - started) / len(changes))
            times_s.sort()
            _report(
                figure=f"update_{name}",
                keys=keys,
                batch=batch,
                us_per_key_p50=round(times_s[len(times_s) // 2] * 1e6, 1),
                us_per_key_max=round(times_s[-1] * 1e6, 1),
            )


def _versions(tree: StateTree, keys: int) -> None:
    """What keeping the versions of 64 blocks of 1,000 changes costs."""
    tracemalloc.start()
    versions = []
    for version in range(64):
        first = version * 1_000 % keys
        changes = {_key(i): _value(i, version + 1) for i in range(first, first + 1_000)}
        tree = tree.update(changes)
        versions.append(tree)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    _report(figure="versions", keys=keys, versions=len(versions), batch=1_000, held_mb=round(held_bytes / 1e6, 2))


def _proofs(tree: StateTree, keys: int) -> None:
    started = time.perf_counter()
    for i in range(1_000):
        tree.prove(_key(i))
    prove_s = time.perf_counter() - started
    changed = tree.update({hashlib.sha256(b"weapon\x00x").digest(): hashlib.sha256(b"document").digest()})
    proof = changed.prove(hashlib.sha256(b"weapon\x00x").digest())
    started = time.perf_counter()
    for _ in range(1_000):
        verify_state(changed.root, "weapon", "x", b"document", proof)
    verify_s = time.perf_counter() - started
    _report(
        figure="proof",
        keys=keys,
        prove_us=round(prove_s * 1e3, 1),
        verify_us=round(verify_s * 1e3, 1),
        siblings=len(proof.siblings),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the state tree.")
    parser.add_argument("--keys", type=int, default=100_000, help="keys in the tree")
    keys = parser.parse_args().keys
    tree = _build(keys)
    _updates(tree, keys)
    _versions(tree, keys)
    _proofs(tree, keys)


if __name__ == "__main__":
    main()
