"""Dropout in its other forms, penalties on weights, and initial values that look at the data."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.utils.penalties import (
    frobenius_penalty,
    l1_penalty,
    l2_penalty,
    spectral_penalty,
    weights,
)


def test_dropout_that_scales_when_testing():
    layer, x = nn.Dropout(0.25, rescale="test"), cr.ones(4000)
    kept = layer(x)
    assert set(kept.tolist()) == {0.0, 1.0} and abs(kept.mean().item() - 0.75) < 0.03
    layer.eval()
    assert layer(x[:2]).tolist() == [0.75, 0.75]
    assert repr(layer) == "Dropout(p=0.25, inplace=False, rescale='test')"


def test_the_ensemble_mean_is_the_scaled_neuron():
    """w = (3, -2), x = (1.5, 4), p = 1/2: the mean over the masks and the halved weights give -1.75."""
    layer, w, x = nn.Dropout(0.5, rescale="test"), cr.tensor([3.0, -2.0]), cr.tensor([1.5, 4.0])
    assert (layer.eval()(x) @ w).item() == -1.75
    layer.train()
    found = {(layer(x) @ w).item() for _ in range(60)}
    assert found == {4.5 - 8, -8.0, 4.5, 0.0} and sum(found) / 4 == -1.75


@pytest.mark.parametrize("shared", [0, (0, 2), -1])
def test_one_mask_for_all_along_a_dimension(shared):
    layer = nn.Dropout(0.5, shared=shared)
    y = layer(cr.ones(6, 40, 5)).numpy()
    assert set(np.unique(y)) == {0, 2}
    for dim in layer.shared:
        assert (y == y.take([0], dim)).all()
    other = ({0, 1, 2} - {dim % 3 for dim in layer.shared}).pop()
    assert not (y == y.take([0], other)).all()
    assert (layer.eval()(cr.ones(6, 40, 5)) == 1).all()


def test_dropout_in_place_and_its_gradient():
    x = cr.ones(50, 3, requires_grad=True)
    y = x * 1
    z = nn.Dropout(0.5, inplace=True, shared=0)(y)
    assert z is y
    z.sum().backward()
    assert cr.equal(x.grad, z)
    with pytest.raises(ValueError, match="rescale must be"):
        nn.Dropout(0.5, rescale="never")


def test_penalties_and_their_gradients():
    w = cr.tensor([[3.0, 4.0], [0.0, -5.0]], dtype=cr.float64, requires_grad=True)
    b = cr.tensor([1.0, -2.0], dtype=cr.float64, requires_grad=True)
    assert (
        l1_penalty([w, b]).item() == 15 and l2_penalty(w).item() == 25 and frobenius_penalty([w]).item() == 50
    )
    (g,) = cr.autograd.grad(l2_penalty([w, b]), w)
    assert cr.equal(g, w)
    (g,) = cr.autograd.grad(l1_penalty(w), w)
    assert g.tolist() == [[1, 1], [0, -1]]
    assert l1_penalty([]).item() == 0

    m = cr.tensor([[3.0, 4.0], [0.0, 5.0]], dtype=cr.float64, requires_grad=True)
    assert spectral_penalty(m).item() == pytest.approx(6.708204**2 / 2, abs=1e-4)
    (g,) = cr.autograd.grad(spectral_penalty(m), m)
    left, size, right = np.linalg.svd(m.detach().numpy())
    np.testing.assert_allclose(g.numpy(), size[0] * np.outer(left[:, 0], right[0]), atol=1e-12)
    kernel = cr.randn(4, 3, 2, 2, requires_grad=True)
    expected = np.linalg.svd(kernel.detach().numpy().reshape(4, 12), compute_uv=False)[0] ** 2 / 2
    assert spectral_penalty(kernel).item() == pytest.approx(expected, rel=1e-5)


def test_penalties_leave_biases_out():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    assert [one is two for one, two in zip(weights(net), (net[0].weight, net[2].weight), strict=True)] == [
        True
    ] * 2


def test_weight_decay_is_the_l2_penalty():
    """w = 1, g = 0.5, lr 0.1, lambda 0.01: 0.949 both ways; L1 likewise at w > 0."""
    for loss, decay in (
        (lambda w: 0.5 * w.sum() + 0.01 * l2_penalty(w), 0.0),
        (lambda w: 0.5 * w.sum(), 0.01),
        (lambda w: 0.5 * w.sum() + 0.01 * l1_penalty(w), 0.0),
    ):
        w = cr.ones(1, dtype=cr.float64, requires_grad=True)
        optimizer = cr.optim.SGD([w], lr=0.1, weight_decay=decay)
        loss(w).backward()
        optimizer.step()
        assert w.item() == pytest.approx(0.949, abs=1e-12)


def test_layers_start_with_outputs_of_variance_one():
    """Mishkin & Matas 2016, on layers that would start far from it."""
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 20), nn.Tanh(), nn.Linear(20, 5)
    )
    x = 30 * cr.randn(64, 1, 8, 8) + 4
    assert nn.init.lsuv_(net, x, tolerance=0.02) is net
    with cr.no_grad():
        for end in (1, 4, 6):
            assert net[:end](x).var().item() == pytest.approx(1, abs=0.02)
    gram = (net[5].weight @ net[5].weight.mT).detach()
    scale = gram[0, 0].item()
    np.testing.assert_allclose(gram.numpy() / scale, np.eye(5), atol=1e-5)
    assert all(not one._hooks["forward"] for one in net if one._hooks) and net[0].weight.requires_grad


def test_older_names():
    assert (
        nn.init.xavier_uniform is nn.init.xavier_uniform_
        and nn.utils.clip_grad_norm is nn.utils.clip_grad_norm_
    )
    assert nn.utils.stateless.functional_call is cr.func.functional_call
