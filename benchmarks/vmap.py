"""Per-sample gradients of a network, and a Jacobian: `vmap`, a loop over the samples, and PyTorch's `vmap`.

    python benchmarks/vmap.py

Prints milliseconds (medians of interleaved runs, one thread) and the ratios to `vmap`'s time here.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import itertools
import statistics
import time

import chainrule as cr
import chainrule.func

BATCH, WIDTHS, ROUNDS = 256, (64, 128, 128, 10), 7


def problem(library):
    """(per-sample gradients of an MLP by vmap, the same by a loop, the Jacobian of a layer) as functions without arguments."""
    func, functional = library.func, library.nn.functional
    library.manual_seed(0)
    params = [(library.randn(b, a) * a**-0.5, library.zeros(b)) for a, b in itertools.pairwise(WIDTHS)]
    x, y = library.randn(BATCH, WIDTHS[0]), library.arange(BATCH) % WIDTHS[-1]

    def loss(params, x, y):
        for i, (weight, bias) in enumerate(params):
            x = functional.linear(x, weight, bias)
            x = x.relu() if i < len(params) - 1 else x
        return functional.cross_entropy(x, y)

    gradient = func.grad(loss)
    together = func.vmap(gradient, in_dims=(None, 0, 0))
    jacobian = func.jacrev(lambda a: (a @ params[0][0].T).tanh())
    return {
        "per-sample gradients": lambda: together(params, x, y),
        "the same in a loop": lambda: [gradient(params, a, b) for a, b in zip(x, y, strict=True)],
        "Jacobian 128 x 64": lambda: jacobian(x[0]),
    }


def main():
    runs = {("chainrule", name): run for name, run in problem(cr).items()}
    try:
        import torch
        import torch.func

        torch.set_num_threads(1)
        runs.update({("torch", name): run for name, run in problem(torch).items()})
    except ImportError:
        print("PyTorch is not installed")
    times = {key: [] for key in runs}
    for turn in range(ROUNDS + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:  # the first is to warm up
                times[key].append(time.perf_counter() - start)
    medians = {key: statistics.median(found) for key, found in times.items()}
    for (library, name), found in medians.items():
        base = medians["chainrule", "Jacobian 128 x 64" if name.startswith("J") else "per-sample gradients"]
        print(f"{library:>10}  {name:<22} {found * 1e3:9.2f} ms   {found / base:6.2f}")


if __name__ == "__main__":
    main()
