"""Time one step of every optimizer, beside PyTorch's where it is installed.

Prints the median time of a step and its ratio to the median of PyTorch's default implementation, on one thread. The two
take turns, so that both see the same state of the machine, and processor time is counted, which others disturb least. Usage: python benchmarks/optimizers.py [--rounds 101]
"""

import argparse
import statistics
import time

import numpy as np

import chainrule as cr
from chainrule import optim

try:
    import torch
except ImportError:
    torch = None

CASES = {
    "an MLP, 20 tensors of 1,030,000": [(320, 320), (320,)] * 10,
    "200 small": [(64, 8)] * 200,
    "20 x 250,000": [(500, 500)] * 20,
    "1,000 x 64": [(64,)] * 1000,
}
METHODS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "weight_decay": 1e-4}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "weight_decay": 1e-4}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("RMSprop", {}),
    ("Adagrad", {}),
    ("Adadelta", {}),
    ("Rprop", {}),
    ("ASGD", {}),
    ("Adafactor", {}),
]


def prepared(library, tensor, name, options, shapes):
    """The `step` of an optimizer over parameters of these shapes, which all have gradients."""
    random = np.random.default_rng(0)
    params = [tensor(random.standard_normal(shape, dtype=np.float32)).requires_grad_() for shape in shapes]
    for param in params:
        param.grad = tensor(random.standard_normal(tuple(param.shape), dtype=np.float32))
    step = getattr(library, name)(params, **options).step
    step()
    return step


def medians(steps, rounds):
    """The median time of each of the functions, which take turns, in seconds."""
    times = [[] for _ in steps]
    for _ in range(rounds):
        for step, taken in zip(steps, times, strict=True):
            begin = time.process_time()
            step()
            taken.append(time.process_time() - begin)
    return [statistics.median(taken) for taken in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=101, help="timed steps of each (default 101)")
    parser.add_argument("--only", help="time only the optimizer of this name")
    args = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(1)
    for case, shapes in CASES.items():
        print(f"{case} parameters in float32")
        for name, options in METHODS:
            if args.only not in (None, name):
                continue
            steps = [prepared(optim, cr.tensor, name, options, shapes)]
            if torch is not None:
                steps.append(prepared(torch.optim, torch.tensor, name, options, shapes))
            taken = medians(steps, args.rounds)
            text = ", ".join(f"{key}={value}" for key, value in options.items())
            line = f"  {f'{name}({text})':45}{1e3 * taken[0]:9.2f} ms"
            if torch is not None:
                line += f"   PyTorch {1e3 * taken[1]:9.2f} ms   ratio {taken[0] / taken[1]:.2f}"
            print(line)


if __name__ == "__main__":
    main()
