"""Two checks before a long training: a new classifier knows nothing, and any model can learn a few samples by heart.

From Karpathy's "A recipe for training neural networks" (2019).
"""

import copy
import math
from typing import NamedTuple

from chainrule.autograd.modes import no_grad
from chainrule.optim.adam import Adam

from .batches import learn, split
from .resuming import random_state, set_random_state


class Check(NamedTuple):
    """The outcome of a check: use it as `assert check.ok, check.message`."""

    ok: bool
    value: float
    expected: float
    message: str


def expected_loss(classes):
    """ln C, the cross-entropy of a classifier of C classes that gives each the same probability."""
    if classes < 2:
        raise ValueError(f"expected_loss: there must be at least 2 classes, got {classes}")
    return math.log(classes)


def check_initial_loss(model, loss, batch, expected, tolerance=0.2):
    """Whether the loss of an untrained model is what is expected, `expected_loss(10)` say, to within the part `tolerance`.

    Far above it the first layer's inputs are not scaled or the last layer's weights are too large; far below it, the
    targets leak into the inputs. Measured in evaluation mode; nothing changes.
    """
    inputs, target = split(batch)
    modes, random = [(module, module.training) for module in model.modules()], random_state()
    model.eval()
    try:
        with no_grad():
            value = loss(model(*inputs), target).item()
    finally:
        set_random_state(random)
        for module, mode in modes:
            module.training = mode
    ok = abs(value - expected) <= tolerance * abs(expected)
    verdict = "as expected" if ok else "not as expected: look at the scales of inputs and of the last layer"
    return Check(ok, value, expected, f"the initial loss is {value:.6g}, expected {expected:.6g}: {verdict}")


def check_overfit(model, loss, batch, optimizer=Adam, steps=300, lr=1e-2, part=0.01):
    """Whether a copy of the model learns one batch by heart: its loss falls to `part` of what it was, in `steps` steps.

    Give a batch of 2 to 20 samples. If this fails, something is wrong that no amount of data mends: a layer out of the
    graph, a wrong loss, shuffled targets, a hopeless learning rate. Trained in evaluation mode, that is without dropout;
    the model itself and the random numbers stay as they were. optimizer: a function (params, lr=).
    """
    inputs, target = split(batch)
    random = random_state()
    try:
        trained = copy.deepcopy(model).eval()
        method = optimizer(trained.parameters(), lr=lr)
        values = []
        for _ in range(steps + 1):
            values.append(learn(trained, loss, method, inputs, target).item())
            if values[-1] <= part * values[0]:
                break
    finally:
        set_random_state(random)
    ok, least = values[-1] <= part * values[0], part * values[0]
    verdict = "learned by heart" if ok else "not learned by heart"
    message = f"loss {values[0]:.6g} -> {values[-1]:.6g} in {len(values) - 1} steps on one batch (wanted {least:.6g}): {verdict}"
    return Check(ok, values[-1], least, message)
