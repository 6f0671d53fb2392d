"""What `cr.watch` costs: training steps of a small convolutional net, watched and not, in turn.

    python benchmarks/watch.py [--every 1 10]

Prints the mean time of a step over whole periods of `every` steps (the best of rounds, on one thread) and its ratio to
that of the same net unwatched.
"""

import argparse
import time

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn


def cnn():
    """A net for 8 x 8 digits, the one of examples/train_with_fit.py."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(128, 10),
    )


def trained(x, y, **options):
    """A function that trains a fresh net for some steps and returns the seconds of one."""
    cr.manual_seed(0)
    model = cnn()
    optimizer = cr.optim.AdamW(model.parameters())
    watch = cr.watch(model, **options) if options else None

    def run(steps):
        began = time.perf_counter()
        for _ in range(steps):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if watch is not None:
                watch.step()
        return (time.perf_counter() - began) / steps

    return run


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    cr.set_num_threads(1)
    cr.manual_seed(0)
    x, y = cr.randn(args.batch, 1, 8, 8), cr.randint(0, 10, (args.batch,))
    cases = {"not watched": ({}, 10)}
    for every in args.every:
        cases[f"every={every}"] = ({"every": every}, max(every, 10))
    cases["every=10, histograms"] = ({"every": 10, "histograms": True}, 10)
    runs = {name: (trained(x, y, **options), steps) for name, (options, steps) in cases.items()}
    times = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, (run, steps) in runs.items():
            times[name].append(run(steps))
    plain = min(times["not watched"])
    for name, taken in times.items():
        seconds = min(taken)
        print(f"{name:24}{1e3 * seconds:8.3f} ms a step   {100 * (seconds / plain - 1):+6.1f} %")


if __name__ == "__main__":
    main()
