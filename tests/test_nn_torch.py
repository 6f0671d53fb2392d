"""The layers against PyTorch's: weights go both ways, outputs, gradients, and what is printed are the same."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from tests.layer_table import LAYERS

SHARED = [row for row in LAYERS if not row.own]
EVERY = pytest.mark.parametrize("row", SHARED, ids=lambda row: f"{row.make}-{row.inputs[0]}"[:60])


def theirs(torch, row):
    return eval(row.make, {"nn": torch.nn}).double()


def plain(layer):
    """What is printed, without the bias of norms, of which older versions of PyTorch do not tell."""
    return re.sub(r", bias=\w+", "", repr(layer))


def flat(value):
    """All tensors in a result, as arrays."""
    if isinstance(value, (tuple, list)):
        return [one for part in value for one in flat(part)]
    return [value.detach().numpy()]


def backward(result, tensor):
    """The gradients of a weighted sum of the float outputs."""
    weights = [np.random.default_rng(3).normal(size=one.shape) for one in flat(result)]
    parts = tensors(result)
    total = 0
    for part, weight in zip(parts, weights, strict=True):
        if part.requires_grad:
            total = total + (part * tensor(weight)).sum()
    if not isinstance(total, int):
        total.backward()


def tensors(value):
    if isinstance(value, (tuple, list)):
        return [one for part in value for one in tensors(part)]
    return [value]


def run(layer, row, tensor):
    """(outputs, gradients of the inputs and of the parameters) as arrays."""
    leaves = [
        tensor(one).requires_grad_(flag) for one, flag in zip(row.arrays(), row.differentiable(), strict=True)
    ]
    inputs = [one * 1 if "inplace=True" in row.make else one for one in leaves]
    result = layer(*inputs, **row.keywords)
    backward(result, tensor)
    grads = [one.grad for one in [*leaves, *layer.parameters()]]
    return flat(result), [None if one is None else one.detach().numpy() for one in grads]


def agree(a, b, tol):
    for left, right in zip(a, b, strict=True):
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_allclose(left, right, rtol=tol, atol=tol)


@EVERY
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_same_weights_same_results(torch, row, training):
    if training and row.random:
        pytest.skip("draws its own random numbers")
    torch.manual_seed(0)
    theirs_, ours = theirs(torch, row), eval(row.make, {"nn": nn}).double()
    state = theirs_.state_dict()
    assert ours.load_state_dict(state) == ([], [])
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }
    assert list(ours.state_dict()) == list(state)

    for one in (theirs_, ours):
        one.train(training)
    expected = run(theirs_, row, torch.tensor)
    found = run(ours, row, cr.tensor)
    agree(found[0], expected[0], row.tol)
    agree(found[1], expected[1], row.tol)
    agree([one.numpy() for one in ours.buffers()], [one.numpy() for one in theirs_.buffers()], row.tol)


@EVERY
def test_our_state_loads_into_pytorch(torch, row):
    ours, theirs_ = eval(row.make, {"nn": nn}).double(), theirs(torch, row)
    result = theirs_.load_state_dict(
        {name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()}
    )
    assert not result.missing_keys and not result.unexpected_keys
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(theirs_.state_dict()[name].numpy(), value.numpy())


@EVERY
def test_prints_the_same(torch, row):
    if row.same_repr:
        assert plain(eval(row.make, {"nn": nn})) == plain(theirs(torch, row))


@EVERY
def test_signatures_take_the_same_arguments(torch, row):
    import inspect

    def names(cls):
        return list(inspect.signature(cls.__init__).parameters)

    ours, expected = names(getattr(nn, row.name)), names(getattr(torch.nn, row.name))
    if "kwargs" in expected or "args" in expected:
        return
    assert ours[: len(expected)] == expected or set(expected) - set(ours) <= {
        "min_value",
        "max_value",
        "bias",
    }


@pytest.mark.parametrize(
    "name", ["Linear(100, 50)", "Conv2d(8, 16, 3)", "LSTM(10, 20)", "Embedding(50, 20)", "Bilinear(9, 5, 8)"]
)
def test_initial_distributions_agree(torch, name):
    torch.manual_seed(0)
    ours, expected = eval(f"nn.{name}"), eval(f"nn.{name}", {"nn": torch.nn})
    for (key, a), b in zip(ours.named_parameters(), expected.parameters(), strict=True):
        a, b = a.detach().numpy().ravel(), b.detach().numpy().ravel()
        if len(a) > 400:
            assert a.std() == pytest.approx(b.std(), rel=0.1), key
            if "Embedding" not in name:
                assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.1), key


def test_a_whole_network(torch):
    text = (
        "nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5), "
        "nn.LayerNorm(5))"
    )
    ours, expected = eval(text, {"nn": nn}).double(), eval(text, {"nn": torch.nn}).double()
    ours.load_state_dict(expected.state_dict())
    x = np.random.default_rng(0).normal(size=(6, 1, 8, 8))
    y = np.arange(6) % 5
    nn.CrossEntropyLoss()(ours(cr.tensor(x)), cr.tensor(y)).backward()
    torch.nn.CrossEntropyLoss()(expected(torch.tensor(x)), torch.tensor(y)).backward()
    for (name, a), b in zip(ours.named_parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)
    assert plain(ours) == plain(expected)


def test_clipping_and_initial_laws_agree(torch):
    g = np.random.default_rng(0).normal(size=(4, 3)) * 10
    for clip, arguments in (
        ("clip_grad_norm_", (2.0,)),
        ("clip_grad_norm_", (2.0, 1.0)),
        ("clip_grad_value_", (3.0,)),
    ):
        ours, expected = (
            nn.Parameter(cr.zeros(4, 3, dtype=cr.float64)),
            torch.nn.Parameter(torch.zeros(4, 3).double()),
        )
        ours.grad, expected.grad = cr.tensor(g), torch.tensor(g)
        norms = getattr(nn.utils, clip)(ours, *arguments), getattr(torch.nn.utils, clip)(expected, *arguments)
        np.testing.assert_allclose(ours.grad.numpy(), expected.grad.numpy(), rtol=1e-12)
        if norms[0] is not None:
            assert norms[0].item() == pytest.approx(norms[1].item())
    for name in ("linear", "conv_transpose2d", "tanh", "relu", "leaky_relu", "selu", "sigmoid"):
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
