"""What forward mode costs: the time of a Jacobian-vector product beside that of the function itself.

    python benchmarks/jvp.py

Prints milliseconds of the function (recording nothing), and `func.jvp` in a direction of its input and in one of input and
parameters as multiples of it: CPU time, medians over rounds of the three, with freed memory kept for the next arrays.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # processor time counts threads that wait, too

import argparse
import statistics
import time

import chainrule as cr
from chainrule import func, nn
from chainrule.backends.machine import reuse_memory


def network(*layers):
    """A network as a function of its input and parameters, and those parameters."""
    model = nn.Sequential(*layers)
    names = [name for name, _ in model.named_parameters()]
    values = [value.detach() for _, value in model.named_parameters()]
    return lambda x, *values: func.functional_call(model, dict(zip(names, values, strict=True)), (x,)), values


class Output(nn.Module):
    """The first of the results of a recurrent layer."""

    def forward(self, results):
        return results[0]


def chain(x):
    for _ in range(10):
        x = cr.exp(cr.sin(x) * 0.5) - cr.tanh(x) / 3
    return x


def cases():
    """name -> (function, its input, its parameters)."""
    mlp = network(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.Tanh(), nn.Linear(1024, 256))
    conv = network(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
    )  # fmt: skip
    lstm = network(nn.LSTM(128, 256, batch_first=True), Output())
    return {
        "MLP": (mlp[0], cr.randn(256, 512), mlp[1]),
        "conv net": (conv[0], cr.randn(32, 3, 32, 32), conv[1]),
        "LSTM": (lstm[0], cr.randn(32, 50, 128), lstm[1]),
        "elementwise": (chain, cr.randn(300_000), []),
    }


def seconds(call):
    """The CPU time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measured(function, x, values, runs):
    """Milliseconds of the function, and how many times as much its products take: by the input, and by the parameters too."""
    primals = (x, *values)
    tangents = tuple(cr.randn_like(one) for one in primals)
    calls = [
        lambda: cr.no_grad()(function)(*primals),
        lambda: func.jvp(lambda x: function(x, *values), (x,), tangents[:1]),
        lambda: func.jvp(function, primals, tangents),
    ]
    for call in calls:
        call()
    rounds = [[seconds(call) for call in calls] for _ in range(runs)]
    once = statistics.median(one[0] for one in rounds) * 1e3
    return once, *(statistics.median(one[i] / one[0] for one in rounds) for i in (1, 2))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    reuse_memory()
    cr.manual_seed(0)
    for name, case in cases().items():
        once, by_input, by_all = measured(*case, options.runs)
        print(
            f"{name:<12} function {once:7.1f} ms   jvp by input {by_input:4.2f} x   by input and parameters {by_all:4.2f} x"
        )


if __name__ == "__main__":
    main()
