"""Layers that take the number of their inputs from the first input."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.lazy import LazyModuleMixin

# What is made, what it becomes, and a shape of its input.
CASES = [
    ("LazyLinear(3)", "Linear(6, 3)", (4, 5, 6)),
    ("LazyLinear(3, bias=False)", "Linear(6, 3, bias=False)", (6,)),
    ("LazyConv1d(4, 3, stride=2)", "Conv1d(6, 4, 3, stride=2)", (2, 6, 8)),
    ("LazyConv2d(4, 3, groups=2, padding=1)", "Conv2d(6, 4, 3, groups=2, padding=1)", (6, 5, 5)),
    ("LazyConv3d(2, 2, bias=False)", "Conv3d(6, 2, 2, bias=False)", (2, 6, 3, 3, 3)),
    ("LazyConvTranspose1d(4, 3)", "ConvTranspose1d(6, 4, 3)", (2, 6, 8)),
    ("LazyConvTranspose2d(4, 2, groups=2)", "ConvTranspose2d(6, 4, 2, groups=2)", (2, 6, 3, 3)),
    ("LazyConvTranspose3d(2, 2)", "ConvTranspose3d(6, 2, 2)", (6, 2, 2, 2)),
    ("LazyBatchNorm1d()", "BatchNorm1d(6)", (4, 6)),
    ("LazyBatchNorm2d(affine=False)", "BatchNorm2d(6, affine=False)", (4, 6, 2, 2)),
    (
        "LazyBatchNorm3d(track_running_stats=False)",
        "BatchNorm3d(6, track_running_stats=False)",
        (4, 6, 2, 2, 2),
    ),
    ("LazyInstanceNorm1d()", "InstanceNorm1d(6, affine=True, track_running_stats=True)", (4, 6, 3)),
    ("LazyInstanceNorm2d()", "InstanceNorm2d(6, affine=True, track_running_stats=True)", (6, 3, 3)),
    ("LazyInstanceNorm3d()", "InstanceNorm3d(6, affine=True, track_running_stats=True)", (4, 6, 2, 2, 2)),
]
EVERY = pytest.mark.parametrize(("lazy", "ordinary", "shape"), CASES, ids=lambda one: str(one))


def made(text):
    return eval(f"nn.{text}")


@EVERY
def test_becomes_the_ordinary_layer(lazy, ordinary, shape):
    cr.manual_seed(4)
    expected = made(ordinary)
    cr.manual_seed(4)
    layer = made(lazy)
    x = cr.randn(*shape)
    cr.manual_seed(4)
    y = layer(x)
    assert type(layer) is type(expected) and repr(layer) == repr(expected)
    assert np.array_equal(y.detach().numpy(), expected(x).detach().numpy())
    assert {name: tuple(one.shape) for name, one in layer.state_dict().items()} == {
        name: tuple(one.shape) for name, one in expected.state_dict().items()
    }
    assert all(type(one) is nn.Parameter for one in layer.parameters())


@EVERY
def test_may_be_moved_copied_and_loaded_before(lazy, ordinary, shape, device):
    source = made(ordinary).to(device).double()
    layer = pickle.loads(pickle.dumps(copy.deepcopy(made(lazy)))).to(device).double()
    assert layer.load_state_dict(source.state_dict()) == ([], [])
    x = cr.randn(*shape, dtype=cr.float64, device=device)
    assert np.array_equal(layer(x).detach().cpu().numpy(), source(x).detach().cpu().numpy())
    assert repr(layer) == repr(source)


@EVERY
def test_prints_as_in_pytorch(torch, lazy, ordinary, shape):
    assert repr(made(lazy)).replace(", bias=True", "") == repr(eval(f"torch.nn.{lazy}")).replace(
        ", bias=True", ""
    )
    layer, theirs = made(lazy), eval(f"torch.nn.{lazy}")
    assert list(layer.state_dict()) == list(theirs.state_dict())


@pytest.mark.cpu_only
def test_shapes_are_unknown_before():
    layer = nn.LazyBatchNorm1d()
    for one in (layer.weight, layer.running_mean):
        with pytest.raises(RuntimeError, match="has no shape before"):
            _ = one.shape
    assert repr(layer.running_mean) == "<UninitializedBuffer of chainrule.float32 on cpu>"
    with pytest.raises(RuntimeError, match="expected 3-d \\(unbatched\\) or 4-d input"):
        nn.LazyConv2d(3, 2)(cr.ones(2, 2))
    with pytest.raises(ValueError, match="in_channels=3 must be divisible by groups=2"):
        nn.LazyConv1d(4, 2, groups=2)(cr.ones(1, 3, 5))


def test_a_lazy_layer_of_ones_own():
    class Scale(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.factor = nn.Parameter(cr.ones(size))

        def forward(self, x):
            return x * self.factor

    class LazyScale(LazyModuleMixin, Scale):
        cls_to_become = Scale

        def __init__(self):
            super().__init__(0)
            self.factor = nn.UninitializedParameter()

        def initialize_parameters(self, x):
            if self.has_uninitialized_params():
                self.factor.materialize(x.shape[-1:])
                nn.init.constant_(self.factor, 2)

    layer = LazyScale()
    assert layer(cr.ones(3)).tolist() == [2, 2, 2] and type(layer) is Scale

    class Forgetful(LazyScale):
        def initialize_parameters(self, x):
            pass

    with pytest.raises(RuntimeError, match="left uninitialized parameters"):
        Forgetful()(cr.ones(3))
