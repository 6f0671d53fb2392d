"""Maxout and locally connected layers."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

F = nn.functional


def test_maxout_by_hand():
    """Pairs of 5, 7, -1, 1: 7 and 1 win, and get the gradient."""
    z = cr.tensor([5.0, 7.0, -1.0, 1.0], requires_grad=True)
    y = F.maxout(z, 2)
    assert y.tolist() == [7, 1]
    y.sum().backward()
    assert z.grad.tolist() == [0, 1, 0, 1]
    tied = cr.tensor([2.0, 2.0], requires_grad=True)
    F.maxout(tied, 2).backward()
    assert tied.grad.tolist() == [1, 0]


def test_relu_and_absolute_value_are_maxouts():
    x = cr.arange(-3.0, 4.0).reshape(7, 1)
    layer = nn.Maxout(1, 1)
    with cr.no_grad():
        layer.weight.copy_(cr.tensor([[2.0], [0.0]]))
        layer.bias.copy_(cr.tensor([-1.0, 0.0]))
    assert layer(x).flatten().tolist() == [0, 0, 0, 0, 1, 3, 5]
    assert F.maxout(cr.cat([x, -x], 1), 2).flatten().tolist() == [3, 2, 1, 0, 1, 2, 3]


def test_maxout_along_a_dimension(device):
    x = cr.randn(2, 6, 3, device=device)
    expected = x.cpu().numpy().reshape(2, 2, 3, 3).max(2)
    np.testing.assert_array_equal(F.maxout(x, 3, 1).cpu().numpy(), expected)
    assert F.maxout(cr.ones(0, 4), 2).shape == (0, 2)
    with pytest.raises(ValueError, match="multiple of pieces=4"):
        F.maxout(cr.ones(2, 6), 4)


def test_one_kernel_a_place_has_144_weights_where_a_convolution_has_9():
    assert nn.LocallyConnected2d(1, 1, 6, 3, bias=False).weight.numel() == 144
    assert nn.Conv2d(1, 1, 3, bias=False).weight.numel() == 9
    assert nn.Linear(36, 16, bias=False).weight.numel() == 576


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"stride": (1, 2), "padding": (2, 0)}]
)
def test_with_equal_kernels_it_is_a_convolution(options, device):
    conv = nn.Conv2d(2, 3, (3, 2), **options, device=device, dtype=cr.float64)
    local = nn.LocallyConnected2d(2, 3, (7, 6), (3, 2), **options, device=device, dtype=cr.float64)
    with cr.no_grad():
        local.weight.copy_(conv.weight[..., None, None].expand(local.weight.shape))
        local.bias.copy_(conv.bias[:, None, None].expand(local.bias.shape))
    x = cr.randn(4, 2, 7, 6, device=device, dtype=cr.float64)
    a, b = conv(x), local(x)
    np.testing.assert_allclose(b.detach().cpu().numpy(), a.detach().cpu().numpy(), atol=1e-12)
    a.square().sum().backward()
    b.square().sum().backward()
    summed = local.weight.grad.sum((-2, -1)).cpu().numpy()
    np.testing.assert_allclose(summed, conv.weight.grad.cpu().numpy(), atol=1e-10)


def test_in_one_dimension_too():
    conv = nn.Conv1d(2, 3, 3, stride=2, padding=1, dtype=cr.float64)
    x = cr.randn(4, 2, 9, dtype=cr.float64)
    weight = conv.weight[..., None].expand(3, 2, 3, 5)
    bias = conv.bias[:, None].expand(3, 5)
    found = F.locally_connected1d(x, weight, bias, stride=2, padding=1)
    np.testing.assert_allclose(found.detach().numpy(), conv(x).detach().numpy(), atol=1e-12)


def test_derivatives():
    x = cr.randn(2, 2, 4, 3, dtype=cr.float64, requires_grad=True)
    w = cr.randn(2, 2, 2, 2, 3, 2, dtype=cr.float64, requires_grad=True)
    b = cr.randn(2, 3, 2, dtype=cr.float64, requires_grad=True)
    assert cr.autograd.gradcheck(F.locally_connected2d, (x, w, b))
    assert cr.autograd.gradgradcheck(lambda *inputs: F.locally_connected2d(*inputs).tanh(), (x, w, b))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.LocallyConnected2d(1, 1, 2, 3), ValueError, "does not fit an input of size \\(2, 2\\)"),
        (
            lambda: nn.LocallyConnected2d(1, 1, 6, 3)(cr.ones(1, 1, 7, 7)),
            RuntimeError,
            "has \\(5, 5\\) places",
        ),
        (
            lambda: nn.LocallyConnected2d(2, 1, 6, 3)(cr.ones(1, 1, 6, 6)),
            RuntimeError,
            "does not fit an input",
        ),
        (lambda: F.locally_connected1d(cr.ones(1, 1, 5), cr.ones(1, 1, 3)), RuntimeError, "expected \\(O, C"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_channels_last_convolution(torch):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(7, 2, 3)), rng.normal(size=(3, 3, 4)), rng.normal(size=4)
    expected = torch.conv_tbc(torch.tensor(x), torch.tensor(w), torch.tensor(b), 1)
    found = F.conv_tbc(cr.tensor(x), cr.tensor(w), cr.tensor(b), 1)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-12)
