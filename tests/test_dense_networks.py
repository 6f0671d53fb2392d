"""Small dense networks whose numbers can be worked out by hand."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

# Three sigmoid layers of two units each: weights (a row for each unit) and biases.
LAYERS = [
    ([[1, -2], [-1, 1]], [1, 0]),
    ([[2, -1], [-2, -1]], [0, 0]),
    ([[3, -1], [-1, 4]], [-2, 2]),
]


def set_to(layer, weight, bias):
    """A layer with these numbers."""
    with cr.no_grad():
        layer.weight.copy_(cr.tensor(weight, dtype=layer.weight.dtype))
        layer.bias.copy_(cr.tensor(bias, dtype=layer.bias.dtype))
    return layer


@pytest.fixture
def network():
    parts = [[set_to(nn.Linear(2, 2, dtype=cr.float64), *numbers), nn.Sigmoid()] for numbers in LAYERS]
    return nn.Sequential(*[one for part in parts for one in part])


def outputs(network, x):
    """What each layer gives after its sigmoid."""
    found = []
    for module in network:
        x = module(x)
        if isinstance(module, nn.Sigmoid):
            found.append(x.tolist())
    return found


def test_one_layer(network):
    x = cr.tensor([1.0, -1.0], dtype=cr.float64)
    assert network[0](x).tolist() == [4, -2]
    np.testing.assert_allclose(network[:2](x).tolist(), [0.982014, 0.119203], atol=1e-6)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([1.0, -1.0], [[0.982014, 0.119203], [0.863518, 0.110737], [0.617705, 0.829124]]),
        ([0.0, 0.0], [[0.731059, 0.5], [0.723545, 0.123238], [0.511847, 0.854384]]),
    ],
)
def test_three_layers(network, x, expected):
    np.testing.assert_allclose(outputs(network, cr.tensor(x, dtype=cr.float64)), expected, atol=1e-6)


def test_gradients_through_three_layers(network):
    network(cr.tensor([1.0, -1.0], dtype=cr.float64)).sum().backward()
    first, last = network[0], network[4]
    near = {"rtol": 0, "atol": 1e-9}
    np.testing.assert_allclose(
        first.weight.grad.numpy(), [[0.0012096454, -0.0012096454], [-0.0104308277, 0.0104308277]], **near
    )
    np.testing.assert_allclose(first.bias.grad.numpy(), [0.0012096454, -0.0104308277], **near)
    np.testing.assert_allclose(last.weight.grad.numpy()[0], [0.2039160374, 0.0261501585], **near)
    np.testing.assert_allclose(last.bias.grad.numpy(), [0.2361455853, 0.1416774031], **near)


# A sigmoid unit computes a gate when its weights are large: (bias, weights).
GATES = {
    "and": (-30, [20, 20]),
    "or": (-10, [20, 20]),
    "not": (10, [-20]),
    "nor": (10, [-20, -20]),
}
INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]


def gate(*names):
    """A layer with one unit for each named gate."""
    weights = [GATES[name][1] for name in names]
    layer = nn.Linear(len(weights[0]), len(names), dtype=cr.float64)
    return nn.Sequential(set_to(layer, weights, [GATES[name][0] for name in names]), nn.Sigmoid())


@pytest.mark.parametrize(
    ("name", "inputs", "truth"),
    [
        ("and", INPUTS, [0, 0, 0, 1]),
        ("or", INPUTS, [0, 1, 1, 1]),
        ("nor", INPUTS, [1, 0, 0, 0]),
        ("not", [[0], [1]], [1, 0]),
    ],
)
def test_gates(name, inputs, truth):
    found = gate(name)(cr.tensor(inputs, dtype=cr.float64)).flatten().tolist()
    assert [round(one) for one in found] == truth
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_sigmoid_values_of_the_gates():
    values = nn.Sigmoid()(cr.tensor([-30.0, -10.0, 10.0, 30.0], dtype=cr.float64)).tolist()
    np.testing.assert_allclose(values[:3], [9.3576e-14, 4.53979e-5, 0.9999546021], rtol=1e-5)
    assert 1 - values[3] == pytest.approx(9.36e-14, rel=1e-2)


def test_xnor_needs_a_hidden_layer():
    x = cr.tensor(INPUTS, dtype=cr.float64)
    hidden = gate("and", "nor")(x)
    assert hidden.round().tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]
    same, different = 0.9999545609, 4.54804e-5
    np.testing.assert_allclose(
        gate("or")(hidden).flatten().tolist(), [same, different, different, same], rtol=1e-5
    )


def test_ten_equal_scores_cost_the_logarithm_of_ten():
    loss = nn.CrossEntropyLoss()(cr.zeros(4, 10, dtype=cr.float64), cr.tensor([0, 3, 9, 5]))
    assert loss.item() == pytest.approx(math.log(10), rel=1e-12)
