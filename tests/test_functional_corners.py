"""Corners of older functionals, and small ones that are made of others: integers, 0-d and empty inputs, complex numbers."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

RNG = np.random.default_rng(0)


def test_integers_stay_integers(torch):
    x = RNG.integers(-20, 20, (1, 3, 9, 8))
    for call in (
        lambda f, x: f.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda f, x: f.avg_pool2d(x, (2, 3), divisor_override=5),
        lambda f, x: f.avg_pool1d(x[0], 3),
        lambda f, x: f.avg_pool3d(x, 2),
        lambda f, x: f.hardtanh(x, -3.5, 2.5),
        lambda f, x: f.relu6(x),
        lambda f, x: f.dropout(x, 0.5, training=False),
        lambda f, x: f.feature_alpha_dropout(x[0, 0, 0], 0.5, training=False),
    ):
        ours, theirs = call(F, cr.tensor(x)), call(torch.nn.functional, torch.tensor(x))
        assert ours.dtype is cr.int64
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(RuntimeError, match="dropout: expected a floating point tensor"):
        F.dropout(cr.tensor(x))


def test_one_class(torch):
    for loss, target in (("multi_margin_loss", 0), ("multilabel_margin_loss", 0)):
        for reduction in ("mean", "none"):
            ours = getattr(F, loss)(cr.tensor(0.7), cr.tensor(target), reduction=reduction)
            theirs = getattr(torch.nn.functional, loss)(
                torch.tensor(0.7), torch.tensor(target), reduction=reduction
            )
            assert ours.shape == theirs.shape and ours.item() == theirs.item()


def test_softsign_of_complex_numbers(torch):
    x = RNG.normal(size=5) + 1j * RNG.normal(size=5)
    ours, theirs = cr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    F.softsign(ours).real.sum().backward()
    torch.nn.functional.softsign(theirs).real.sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


def test_pooling_needs_channels():
    with pytest.raises(
        RuntimeError, match=r"max_pool1d: expected an input with channels, got shape \(0, 10\)"
    ):
        F.max_pool1d(cr.ones(0, 10), 1)
    assert F.max_pool1d(cr.ones(0, 2, 10), 5).shape == (0, 2, 2)


def test_pooling_with_a_norm_in_three_dimensions(torch):
    x = RNG.uniform(0.5, 2, (2, 3, 5, 4, 6))
    ours = F.lp_pool3d(cr.tensor(x), 3, (2, 1, 3), stride=2, ceil_mode=True)
    theirs = torch.nn.functional.lp_pool3d(torch.tensor(x), 3, (2, 1, 3), stride=2, ceil_mode=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_linear_cross_entropy_is_both_in_one(reduction):
    x, w, b = cr.randn(5, 3), cr.randn(4, 2, 3), cr.randn(4, 2)
    target = cr.tensor([[0, 3], [1, 1], [2, 0], [-100, 3], [1, 2]])
    found = F.linear_cross_entropy(x, w, target, linear_bias=b, reduction=reduction, label_smoothing=0.1)
    logits = cr.einsum("ni,cki->nck", x, w) + b
    expected = F.cross_entropy(logits, target, reduction=reduction, label_smoothing=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "keywords", "words"),
    [
        (((5, 3), (4, 2)), {}, r"\(5, 3\) and \(4, 2\)"),
        (((3,), (4, 2, 3)), {}, r"\(3,\) and \(4, 2, 3\)"),
        (((5, 3), (4, 3)), {"linear_bias": cr.ones(3)}, r"linear_bias of shape \(4,\), got \(3,\)"),
    ],
)
def test_bad_arguments_of_linear_cross_entropy(shapes, keywords, words):
    with pytest.raises(RuntimeError, match=f"linear_cross_entropy.*{words}"):
        F.linear_cross_entropy(*(cr.ones(*one) for one in shapes), cr.zeros(5, dtype=cr.int64), **keywords)
    with pytest.raises(RuntimeError, match="ignore_index is for class numbers"):
        F.linear_cross_entropy(cr.ones(5, 3), cr.ones(4, 3), cr.ones(5, 4), ignore_index=1)


def test_pooling_names_that_promise_indices():
    x = cr.randn(2, 3, 6, 6)
    for name, arguments in (("max_pool2d", (2,)), ("adaptive_max_pool2d", (3,))):
        for one, other in zip(
            getattr(F, f"{name}_with_indices")(x, *arguments),
            getattr(F, name)(x, *arguments, return_indices=True),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_names_at_the_top():
    assert cr.conv1d is F.conv1d and cr.layer_norm is F.layer_norm and cr.pixel_shuffle is F.pixel_shuffle
    a = cr.randn(4, 4)
    packed, pivots = a.lu()
    for one, other in zip(cr.lu_unpack(packed, pivots), cr.linalg.lu(a), strict=True):
        np.testing.assert_allclose(one, other)
    u, s, v = cr.svd_lowrank(cr.ones(5, 4), q=2)
    np.testing.assert_allclose(u * s @ v.T, np.ones((5, 4)), atol=1e-5)
    assert cr.pca_lowrank(cr.ones(5, 4)).S.abs().max().item() < 1e-5


def test_a_layer_that_ends_in_its_loss():
    layer = nn.LinearCrossEntropyLoss(3, 4, bias=True, weight=cr.ones(4))
    x, target = cr.randn(5, 3), cr.tensor([0, 1, 2, 3, 0])
    assert set(layer.state_dict()) == {"weight", "linear.weight", "linear.bias"}
    expected = F.cross_entropy(layer.linear(x), target)
    assert layer(x, target).item() == pytest.approx(expected.item(), rel=1e-5)
