"""Worked numbers that span several parts of the library; those of one part stand with its tests."""

import itertools

import numpy as np
import pytest

import chainrule as cr


def test_dropout_averages_an_ensemble_exactly_only_for_linear_neurons():
    """Srivastava et al. 2014: the mean of the 2^n thinned networks is the network with halved weights, if it is linear."""
    w, x = cr.tensor([3.0, -2.0], dtype=cr.float64), cr.tensor([1.5, 4.0], dtype=cr.float64)
    masks = [cr.tensor(mask, dtype=cr.float64) for mask in itertools.product((0.0, 1.0), repeat=2)]

    def both(activation):
        ensemble = cr.stack([activation((w * mask * x).sum()) for mask in masks]).mean()
        return ensemble.item(), activation((0.5 * w * x).sum()).item()

    assert both(lambda z: z) == (-1.75, -1.75)
    assert both(cr.relu) == (1.125, 0.0)
    np.testing.assert_allclose(both(cr.sigmoid), (0.379665, 0.148047), atol=1e-6)


def test_inverted_dropout_scales_what_it_keeps():
    a, mask = cr.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True), cr.tensor([1.0, 0.0, 1.0, 1.0])
    kept = a * mask / 0.8
    np.testing.assert_allclose(kept.detach().numpy(), [1.25, 0, 3.75, 5])
    kept.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), [1.25, 0, 1.25, 1.25])

    x = cr.ones(20_000)
    dropped = cr.nn.functional.dropout(x, 0.2)
    assert set(np.unique(dropped.numpy())) == {0.0, np.float32(1.25)}
    assert abs(dropped.mean().item() - 1) < 0.02
    assert (
        cr.nn.functional.dropout(x, 0.2, training=False) is x
        or (cr.nn.functional.dropout(x, 0.2, training=False) == 1).all()
    )


@pytest.mark.parametrize(
    ("filters", "parameters"), [(128, 1_777_641), (192, 3_882_793), (256, 6_798_953), (384, 15_064_297)]
)
def test_a_policy_network_for_go_has_the_published_shape(filters, parameters):
    """Silver et al. 2016: 48 planes padded to 23 x 23, a 5 x 5 layer, eleven 3 x 3 layers on boards padded to 21 x 21, then 1 x 1
    with a bias of its own for each of the 361 points."""
    nn = cr.nn
    layers = [nn.ZeroPad2d(2), nn.Conv2d(48, filters, 5), nn.ReLU()]
    for _ in range(11):
        layers += [nn.ZeroPad2d(1), nn.Conv2d(filters, filters, 3), nn.ReLU()]
    layers += [nn.Conv2d(filters, 1, 1, bias=False), nn.Flatten()]
    net = nn.Sequential(*layers)
    point_bias = nn.Parameter(cr.zeros(361))
    count = sum(p.numel() for p in net.parameters()) + point_bias.numel()
    assert count == parameters
    if filters == 128:
        board = cr.zeros(1, 48, 19, 19)
        assert net[0](board).shape[-2:] == (23, 23) and net[1](net[0](board)).shape[-2:] == (19, 19)
        moves = (net(board) + point_bias).softmax(1)
        assert moves.shape == (1, 361) and abs(moves.sum().item() - 1) < 1e-5


def test_the_largest_singular_value_by_power_iteration_and_weight_normalization():
    """Miyato et al. 2018 and Salimans & Kingma 2016, on W = [[3, 4], [0, 5]]."""
    w = cr.tensor([[3.0, 4.0], [0.0, 5.0]], dtype=cr.float64, requires_grad=True)
    np.testing.assert_allclose(cr.linalg.svdvals(w).detach().numpy(), [6.708204, 2.236068], atol=1e-6)
    u, found = cr.tensor([1.0, 0.0], dtype=cr.float64), []
    with cr.no_grad():
        for _ in range(3):
            v = w.T @ u
            v = v / v.norm()
            u = w @ v
            u = u / u.norm()
            found.append((u @ w @ v).item())
    np.testing.assert_allclose(found, [6.403124, 6.704119, 6.708153], atol=1e-6)
    # The gradient of the largest singular value is u v^T of its singular vectors.
    (g,) = cr.autograd.grad(cr.linalg.svdvals(w)[0], w)
    left, _, right = np.linalg.svd(w.detach().numpy())
    np.testing.assert_allclose(g.numpy(), np.outer(left[:, 0], right[0]), atol=1e-12)

    rows = 2.0 * w / w.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(rows.detach().numpy(), [[1.2, 1.6], [0.0, 2.0]], atol=1e-12)


def test_a_recurrent_network_of_ones_and_its_gradients():
    """Linear units, all weights 1, memory 0: the outputs depend on the order, and each weight's gradient sums over the steps."""

    def run(sequence):
        wx, wh, wy = (cr.ones(2, 2, dtype=cr.float64, requires_grad=True) for _ in range(3))
        h, outputs = cr.zeros(2, dtype=cr.float64), []
        for x in sequence:
            h = wx @ cr.tensor([x, x], dtype=cr.float64) + wh @ h
            outputs.append(wy @ h)
        return cr.stack(outputs), (wx, wh, wy)

    outputs, weights = run([1, 1, 2])
    assert outputs.tolist() == [[4, 4], [12, 12], [32, 32]]
    assert run([2, 1, 1])[0][:, 0].tolist() == [8, 20, 44] and run([1, 2, 1])[0][:, 0].tolist() == [4, 16, 36]
    loss = outputs.sum()
    loss.backward()
    assert loss.item() == 96 and all((one.grad == 24).all() for one in weights)


def test_many_shifted_sigmoids_are_a_softplus():
    """Nair & Hinton 2010: sum of sigmoid(x - i + 1/2) ~ log(1 + e^x)."""
    x = cr.tensor([-3.0, -1, 0, 1, 3, 10], dtype=cr.float64)
    sums = (x[:, None] - cr.arange(1, 200, dtype=cr.float64) + 0.5).sigmoid().sum(1)
    np.testing.assert_allclose(
        sums.numpy(), [0.046745, 0.305029, 0.682569, 1.305029, 3.046745, 10.000044], atol=1e-6
    )
    np.testing.assert_allclose(
        cr.nn.functional.softplus(x).numpy(),
        [0.048587, 0.313262, 0.693147, 1.313262, 3.048587, 10.000045],
        atol=1e-6,
    )


def test_rectifiers_with_a_slope():
    """PReLU with slope 1/4 at (-2, 3): outputs -0.5 and 3, gradients 0.25 and 1, and -2 for the slope."""
    z = cr.tensor([-2.0, 3.0], requires_grad=True)
    layer = cr.nn.PReLU()
    y = layer(z)
    y.sum().backward()
    assert y.tolist() == [-0.5, 3] and z.grad.tolist() == [0.25, 1] and layer.weight.grad.tolist() == [-2]
    for slope, expected in ((0.1, -0.2), (0.01, -0.02)):
        assert cr.nn.functional.leaky_relu(z[:1], slope).item() == pytest.approx(expected)
