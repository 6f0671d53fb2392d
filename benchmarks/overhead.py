"""What one small operation costs: 1,000 chained elementwise operations, forward and backward, beside PyTorch.

    python benchmarks/overhead.py

Prints microseconds per operation (medians of interleaved runs) for tensors of 1 and 64 elements, and the ratio to PyTorch
where it is installed. Each library runs on one thread.
"""

import argparse
import statistics
import time

import chainrule as cr


def chain(library, x, start, steps):
    """start * x + x, and so on, `steps` operations long."""
    y = start
    for i in range(steps):
        y = y * x if i % 2 else y + x
    return y


def once(library, size, steps):
    """Seconds of one forward and one backward through a fresh chain."""
    x = library.ones(size, requires_grad=True)
    start, seed = library.zeros(size), library.ones(size)
    t0 = time.perf_counter()
    y = chain(library, x, start, steps)
    t1 = time.perf_counter()
    y.backward(seed)
    return t1 - t0, time.perf_counter() - t1


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=31)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    libraries = {"chainrule": cr}
    try:
        import torch

        torch.set_num_threads(1)
        libraries["torch"] = torch
    except ImportError:
        print("PyTorch is not installed: no ratio")
    for size in (1, 64):
        times = {name: [] for name in libraries}
        for _ in range(options.runs):
            for name, library in libraries.items():
                times[name].append(once(library, size, options.steps))
        medians = {}
        for name, pairs in times.items():
            forward, backward = (
                statistics.median(one) / options.steps * 1e6 for one in zip(*pairs, strict=True)
            )
            medians[name] = (forward, backward, forward + backward)
            print(
                f"size {size:>3}  {name:<10} forward {forward:5.2f} us  backward {backward:5.2f} us  both {forward + backward:5.2f} us"
            )
        if "torch" in medians:
            ratios = [
                ours / theirs for ours, theirs in zip(medians["chainrule"], medians["torch"], strict=True)
            ]
            print(
                f"size {size:>3}  ratio      forward {ratios[0]:5.2f}     backward {ratios[1]:5.2f}     both {ratios[2]:5.2f}"
            )


if __name__ == "__main__":
    main()
