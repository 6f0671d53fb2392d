"""Scans and sets forward, distances forward and backward, beside PyTorch.

    python benchmarks/scans_and_sets.py

Prints milliseconds (medians of interleaved runs, one thread) and the ratio to PyTorch where it is installed.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics

from layers import seconds, torch

import chainrule as cr

ROUNDS = 21


def cases(library):
    """name -> a function without arguments."""
    library.manual_seed(0)
    x, labels = library.randn(1000, 1000), library.randint(0, 1000, (1_000_000,))
    a, b = library.randn(300, 64, requires_grad=True), library.randn(400, 64, requires_grad=True)
    seed = library.randn(300, 400)
    return {
        "cummax of 1000 x 1000, last axis": lambda: library.cummax(x, 1),
        "cummax of 1000 x 1000, first axis": lambda: library.cummax(x, 0),
        "cumsum of 1000 x 1000, last axis": lambda: library.cumsum(x, 1),
        "cumsum of 1000 x 1000, first axis": lambda: library.cumsum(x, 0),
        "unique of 1,000,000 floats": lambda: library.unique(x),
        "unique of 1,000,000 labels below 1000": lambda: library.unique(labels),
        "the same, with inverse and counts": lambda: library.unique(
            labels, return_inverse=True, return_counts=True
        ),
        "cdist p=1, 300 x 400 of 64": lambda: library.cdist(a, b, p=1.0).backward(seed),
        "cdist p=2, 300 x 400 of 64": lambda: library.cdist(a, b, p=2.0).backward(seed),
        "cdist p=3, 300 x 400 of 64": lambda: library.cdist(a, b, p=3.0).backward(seed),
    }


def main():
    found = [cases(library) for library in (cr, torch) if library is not None]
    for name in found[0]:
        rounds = [[seconds(each[name]) for each in found] for _ in range(ROUNDS + 1)][1:]
        ours, *theirs = (1e3 * statistics.median(one) for one in zip(*rounds, strict=True))
        beside = f"   PyTorch {theirs[0]:8.2f} ms   ratio {ours / theirs[0]:.2f}" if theirs else ""
        print(f"{name:<40}{ours:8.2f} ms{beside}", flush=True)


if __name__ == "__main__":
    main()
