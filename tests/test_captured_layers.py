"""A captured step through convolution, norms, dropout and cross-entropy gives what the CPU gives step by step, new masks and all."""

import contextlib

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.backends import default_generator, get
from chainrule.backends.fakegraph import FakeCapture
from tests.kernels.recorder import recording

RNG = np.random.default_rng(0)
IMAGES, CLASSES = RNG.standard_normal((7, 3, 6, 6)).astype("float32"), RNG.integers(0, 5, 7)


def network(device):
    cr.manual_seed(1)
    return cr.nn.Sequential(
        cr.nn.Conv2d(3, 8, 3, padding=1), cr.nn.BatchNorm2d(8), cr.nn.GELU(), cr.nn.Dropout2d(0.2), cr.nn.Flatten(),
        cr.nn.Linear(8 * 36, 16), cr.nn.LayerNorm(16), cr.nn.Dropout(0.3), cr.nn.Linear(16, 5),
    ).to(device)  # fmt: skip


def step(model, x, target):
    """The loss; gradients are in the parameters."""
    for param in model.parameters():
        param.grad = None
    loss = F.cross_entropy(model(x), target, label_smoothing=0.1)
    loss.backward()
    return loss


def state(model, loss):
    """Everything that a step changes."""
    arrays = [
        loss,
        *(param.grad for param in model.parameters()),
        model[1].running_mean,
        model[1].running_var,
    ]
    return [one.detach().cpu().numpy().copy() for one in arrays]


@pytest.mark.parametrize("kernels", [False, True])
def test_replays_are_the_steps_of_the_cpu(kernels):
    with recording() if kernels else contextlib.nullcontext() as recorder:
        x, target = cr.tensor(IMAGES, device="fake"), cr.tensor(CLASSES, device="fake")
        step(network("fake"), x, target)  # what is made once, is made
        there, here = network("fake"), network("cpu")
        cr.manual_seed(5)
        with FakeCapture(get("fake"), generators=(default_generator,)) as graph:
            loss = step(there, x, target)
        found = []
        for _ in range(3):
            graph.replay()
            found.append(state(there, loss))
        position = default_generator.position()
        cr.manual_seed(5)
        for replayed in found:
            right = state(here, step(here, cr.tensor(IMAGES), cr.tensor(CLASSES)))
            for ours, expected in zip(replayed, right, strict=True):
                np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
        assert position == default_generator.position() and found[0][0] != found[1][0]
        if kernels:
            assert {"dropout", "dropout_stretches", "cross_entropy", "move_place"} <= set(recorder.launched)
