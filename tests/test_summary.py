"""`cr.summary`: counts by hand, and that the model is left as it was."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def net():
    return nn.Sequential(
        nn.Conv2d(1, 25, 3), nn.BatchNorm2d(25), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(), nn.LazyLinear(10)
    )  # fmt: skip


def test_shapes_parameters_and_operations():
    found = cr.summary(net(), cr.randn(4, 1, 28, 28))
    rows = {row.path: row for row in found.rows}
    assert list(rows) == ["", "0", "1", "2", "3", "4", "5", "6"]
    assert rows["0"].output == "(4, 25, 26, 26)" and rows["0"].parameters == 225 + 25
    assert rows["3"].output == "(4, 25, 13, 13)" and rows["6"].type == "Linear"
    out = 4 * 25 * 26 * 26
    assert rows["0"].flops == out * 9 * 2 + out  # the products and sums, and the bias
    assert rows["6"].flops == 2 * 4 * 25 * 13 * 13 * 10 and rows["6"].parameters == 4225 * 10 + 10
    assert rows["5"].flops == rows["5"].kept == 0
    assert found.flops == rows[""].flops == sum(rows[str(i)].flops for i in range(7))
    assert (
        found.parameters == found.trainable == 250 + 50 + 42260
        and found.parameter_bytes == 4 * found.parameters
    )
    assert found.buffer_bytes == 2 * 25 * 4 + 8


def test_bytes_kept_for_backward():
    """A Linear keeps its input (its weight is there anyway), tanh its output, which the next one keeps too."""
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    found = cr.summary(model, cr.randn(32, 8))
    assert [row.kept for row in found.rows] == [
        32 * 8 * 4 + 32 * 16 * 4,
        32 * 8 * 4,
        32 * 16 * 4,
        32 * 16 * 4,
    ]
    model.requires_grad_(False)
    assert cr.summary(model, cr.randn(32, 8)).kept == 0


@pytest.mark.parametrize("training", [True, False])
def test_nothing_changes(training):
    model, x = net(), cr.randn(4, 1, 28, 28)
    x.mul_(3)
    model.train(training)
    before = {name: one.clone() for name, one in model[:6].state_dict().items()}
    values, numbers = x.clone(), cr.get_rng_state()
    cr.summary(model, x)
    assert model.training is training and all(one.training is training for one in model.modules())
    assert all(cr.equal(one, before[name]) for name, one in model[:6].state_dict().items())
    assert cr.equal(x, values) and cr.equal(cr.get_rng_state(), numbers)
    assert type(model[6]) is nn.LazyLinear and all(one._hooks is None for one in model.modules())
    assert all(one.grad is None for one in model.parameters())


def test_a_failing_model_leaves_the_random_numbers():
    model = nn.Sequential(nn.Dropout(), nn.Linear(3, 2))
    numbers = cr.get_rng_state()
    with pytest.raises(RuntimeError):
        cr.summary(model, cr.ones(2, 5))
    assert cr.equal(cr.get_rng_state(), numbers)
    with pytest.raises(TypeError, match="expected a Module, got int"):
        cr.summary(3)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3)])
        self.again = self.layers[0]

    def forward(self, x, *, twice):
        x = self.layers[0](x)
        return {"y": self.again(x)} if twice else x


def test_modules_called_twice_and_nested_results():
    found = cr.summary(Shared(), cr.ones(2, 3), twice=True)
    assert [(row.path, row.calls, row.parameters) for row in found.rows] == [("", 1, 12), ("layers.0", 2, 12)]
    assert found.rows[0].output == "(2, 3)" and found.flops == 2 * (2 * 2 * 3 * 3)
    text = str(found)
    assert "  layers.0: Linear x2" in text and "Parameters: 12 (48 B), of which 12 are trained" in text
    assert repr(found) == text and "FLOPs of one forward pass: 72" in text


def test_on_a_device(device):
    model = nn.LSTM(3, 4, device=device)
    found = cr.summary(model, cr.randn(5, 2, 3, device=device))
    assert found.rows[0].output == "(5, 2, 4), (1, 2, 4), (1, 2, 4)" and found.kept > 0
    np.testing.assert_equal(found.parameters, 4 * (4 * 3 + 4 * 4 + 4 + 4))
