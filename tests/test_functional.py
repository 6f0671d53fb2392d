"""`nn.functional`: numbers worked out by hand, running statistics, randomness, tables, and what is refused.

Values and derivatives of every function are compared in `test_ops.py`; here is what no table of random inputs shows.
Extreme arguments are in `test_functional_extremes.py`.
"""

import inspect
import math

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F


def tensor(values, **kwargs):
    return cr.tensor(values, dtype=cr.float64, **kwargs)


def leaf(values, **kwargs):
    return tensor(values, requires_grad=True, **kwargs)


def host(x):
    return x.detach().cpu().numpy()


def close(x, expected, tol=1e-6):
    np.testing.assert_allclose(host(x), expected, rtol=0, atol=tol)


def gradient(loss, *leaves):
    return cr.autograd.grad(loss, leaves)


# --- numbers worked out by hand ---


def test_prelu_learns_its_slope():
    z, alpha = leaf([-2, 3]), leaf([0.25])
    y = F.prelu(z, alpha)
    close(y, [-0.5, 3])
    dz, dalpha = gradient(y.sum(), z, alpha)
    close(dz, [0.25, 1])
    close(dalpha, [-2])
    close(F.leaky_relu(tensor([-2.0]), 0.1), [-0.2])
    close(F.leaky_relu(tensor([-2.0])), [-0.02])


def test_squared_error_of_a_saturated_sigmoid_has_no_gradient_and_cross_entropy_has():
    z = leaf([-8, -4, 0, 4])
    (dz,) = gradient(F.binary_cross_entropy_with_logits(z, cr.ones_like(z.detach()), reduction="sum"), z)
    close(dz, [-0.999665, -0.982014, -0.5, -0.017986])
    (dz,) = gradient(0.5 * F.mse_loss(z.sigmoid(), cr.ones_like(z.detach()), reduction="sum"), z)
    close(dz, [-0.000335, -0.017345, -0.125, -0.000318])


def test_sigmoid_and_cross_entropy_multiply_to_a_difference():
    z, one = leaf(0.7), tensor(1.0)
    a = z.sigmoid()
    close(a, 0.668187772)
    loss = F.binary_cross_entropy(a, one)
    (da,) = cr.autograd.grad(loss, a, retain_graph=True)
    close(da, -1.496585)
    close(a * (1 - a), 0.221713)
    close(gradient(loss, z)[0], -0.331812)
    close(gradient(F.binary_cross_entropy_with_logits(z, one), z)[0], -0.331812)


def test_softmax_of_three_scores():
    p = [0.878878, 0.118943, 0.002179]
    x = leaf([3, 1, -3])
    close(F.softmax(x, 0), p)
    for target, loss in enumerate([0.129109, 2.129109, 6.129109]):
        found = F.cross_entropy(x, cr.tensor(target))
        close(found, loss)
        close(gradient(found, x)[0], np.array(p) - np.eye(3)[target])


def test_softmax_of_two_scores_is_a_sigmoid():
    close(F.softmax(tensor([1.7, 0.4]), 0)[0], 0.785835)
    close(F.sigmoid(tensor(1.3)), 0.785835)


def test_attention_weights():
    close(F.softmax(tensor([1, 2, 3]), -1), [0.090030573, 0.244728471, 0.665240956], 1e-9)


def test_equal_scores_cost_the_logarithm_of_the_number_of_classes():
    close(F.cross_entropy(cr.zeros(4, 10), cr.tensor([0, 3, 9, 5])), 2.302585)


def test_robust_losses_by_residual():
    d = tensor([0.2, 0.5, 1, 1.5, -3])
    zero = cr.zeros_like(d)
    close(0.5 * F.mse_loss(d, zero, reduction="none"), [0.02, 0.125, 0.5, 1.125, 4.5])
    close(F.huber_loss(d, zero, reduction="none"), [0.02, 0.125, 0.5, 1, 2.5])
    close(F.smooth_l1_loss(d, zero, reduction="none"), [0.02, 0.125, 0.5, 1, 2.5])
    close(F.relu(d.abs() - 0.5), [0, 0, 0.5, 1, 2.5])  # insensitive to errors below 1 / 2
    score, one = tensor([0.3, -0.5, 2]), cr.ones(3, dtype=cr.float64)
    close(F.hinge_embedding_loss(score, -one, reduction="none"), [0.7, 1.5, 0])
    close(F.soft_margin_loss(score, one, reduction="none"), [0.554355, 0.974077, 0.126928])


def test_tanh_is_a_stretched_sigmoid():
    close(F.tanh(tensor(0.7)), 0.604367777, 1e-9)
    close(2 * F.sigmoid(tensor(1.4)) - 1, 0.604367777, 1e-9)


def test_the_jacobian_of_relu_is_diagonal():
    x = leaf([1, -2, 3])
    y = F.relu(x)
    rows = [gradient(F.relu(x)[i], x)[0].tolist() for i in range(len(y))]
    assert rows == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_batch_norm_of_four_numbers():
    x = tensor([[1], [2], [3], [4]])
    close(
        F.batch_norm(x, None, None, training=True)[:, 0], [-1.34163542, -0.447211807, 0.447211807, 1.34163542]
    )
    # With the standard deviation for weight and the mean for bias, the input comes back.
    close(F.batch_norm(x, None, None, tensor([math.sqrt(1.25 + 1e-5)]), tensor([2.5]), True), host(x))
    mean = cr.zeros(1, dtype=cr.float64)
    for batch, expected in zip([2.5, 3.5, 1.5], [0.25, 0.575, 0.6675], strict=True):
        F.batch_norm(tensor([[batch - 1], [batch + 1]]), mean, None, training=True, momentum=0.1)
        close(mean, [expected])


@pytest.mark.parametrize(
    ("normed", "expected"),
    [
        (lambda x: F.layer_norm(x, (4, 2, 2), eps=0), [-1.626978434, -1.410047976, 1.626978434]),
        (lambda x: F.instance_norm(x, eps=0), [-1.341640787, -0.447213595, 1.341640787]),
        (lambda x: F.group_norm(x, 2, eps=0), [-1.527525232, -1.091089452, 1.527525232]),
        (
            lambda x: F.batch_norm(x, None, None, training=True, eps=0),
            [-1.176070475, -1.052273583, 1.176070475],
        ),
    ],
    ids=["layer", "instance", "group", "batch"],
)
def test_norms_of_the_first_32_integers(normed, expected):
    y = normed(cr.arange(32, dtype=cr.float64).reshape(2, 4, 2, 2)).reshape(-1)
    close(y[[0, 1, 31]], expected, 1e-9)


# --- state and randomness ---


def test_running_statistics_follow_the_batches(device):
    x = tensor([[1.0, 0], [3, 0], [5, 6]], device=device)
    mean, var = cr.zeros(2, dtype=cr.float64, device=device), cr.ones(2, dtype=cr.float64, device=device)
    version = mean._version
    F.batch_norm(x, mean, var, training=True, momentum=0.5)
    assert mean.tolist() == [1.5, 1]
    assert var.tolist() == [2.5, 6.5]  # of the variances 4 and 12, which are divided by n - 1
    assert mean._version > version
    F.batch_norm(x, mean, var)
    assert mean.tolist() == [1.5, 1]
    y = F.instance_norm(x.T.reshape(1, 2, 3), mean, var, use_input_stats=False, eps=0)
    close(y[0, 0], (np.array([1, 3, 5]) - 1.5) / math.sqrt(2.5))


def test_constant_channels_have_a_finite_gradient():
    x = leaf(np.full((4, 3), 7.0))
    y = F.batch_norm(x, None, None, training=True)
    assert (y == 0).all()
    assert gradient((y * cr.arange(12).reshape(4, 3)).sum(), x)[0].isfinite().all()


def test_normalization_far_from_zero_keeps_its_digits():
    """The mean is subtracted, not folded into the shift: float32 would otherwise lose all digits here."""
    rng = np.random.default_rng(0)
    exact = rng.standard_normal((64, 8)).astype(np.float32)
    shifted = (exact + np.float32(2**12)).astype(np.float32)
    expected = (shifted - shifted.astype(np.float64).mean(0)) / shifted.astype(np.float64).std(0)
    close(F.batch_norm(cr.from_numpy(shifted), None, None, training=True, eps=0), expected, 1e-3)


@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d", "dropout3d"])
def test_dropout_keeps_the_expectation(name):
    shape = (40, 50, *{"dropout1d": (6,), "dropout2d": (3, 3), "dropout3d": (2, 2, 2)}.get(name, ()))
    x = cr.ones(*shape)
    y = getattr(F, name)(x, 0.2)
    assert set(y.unique().tolist() if hasattr(y, "unique") else np.unique(host(y))) == {0, 1.25}
    assert abs(y.mean().item() - 1) < 0.05
    if name != "dropout":  # a channel is dropped as a whole
        flat = host(y).reshape(40, 50, -1)
        assert (flat == flat[:, :, :1]).all()
    cr.manual_seed(3)
    first = getattr(F, name)(x, 0.2)
    cr.manual_seed(3)
    assert (getattr(F, name)(x, 0.2) == first).all()
    cr.manual_seed(3)
    written = x.clone()
    assert getattr(F, name)(written, 0.2, inplace=True) is written
    assert (written == first).all()
    assert (getattr(F, name)(x, 1.0) == 0).all()
    assert getattr(F, name)(x, 0.2, training=False) is x


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name):
    x = cr.randn(400, 300)
    y = getattr(F, name)(x, 0.3, training=True)
    assert abs(y.mean().item()) < 0.02
    assert abs(y.std().item() - 1) < 0.02
    assert (getattr(F, name)(x, 1.0, training=True) == 0).all()


def test_gumbel_softmax_samples_the_distribution():
    p = tensor([0.5, 0.3, 0.2])
    logits = leaf(np.log(host(p)) + np.zeros((20000, 1)))
    hard = F.gumbel_softmax(logits, hard=True)
    assert set(np.unique(host(hard).round(12))) == {0, 1}
    close(hard.mean(0), host(p), 0.015)
    assert gradient(hard[:, 0].sum(), logits)[0].abs().sum().item() > 0


def test_random_leaky_relu_draws_slopes():
    x = cr.full((1000,), -1.0)
    slopes = -F.rrelu(x, 0.2, 0.4, training=True)
    assert 0.2 <= slopes.min().item() < 0.25 < 0.35 < slopes.max().item() <= 0.4
    close(F.rrelu(x, 0.2, 0.4), np.full(1000, -0.3))


@pytest.mark.parametrize(
    "name", ["relu", "leaky_relu", "elu", "celu", "selu", "hardtanh", "rrelu", "threshold"]
)
def test_in_place_activations(name):
    arguments = (0.2, 5.0) if name == "threshold" else ()
    x = leaf([-1.5, -0.5, 0.5, 1.5])
    expected = getattr(F, name)(x, *arguments)
    (slope,) = gradient(expected.sum(), x)
    y = x * 1
    assert getattr(F, name + "_")(y, *arguments) is y
    assert y.tolist() == expected.tolist()
    assert gradient(y.sum(), x)[0].tolist() == slope.tolist()
    with pytest.raises(RuntimeError, match="leaf"):
        getattr(F, name + "_")(x, *arguments)


# --- embeddings ---


def test_padding_gets_no_gradient_and_frequency_divides_it(device):
    w = leaf(np.ones((4, 2)), device=device)
    index = cr.tensor([[0, 1, 1], [3, 1, 0]], device=device)
    count = lambda **kwargs: gradient(F.embedding(index, w, **kwargs).sum(), w)[0][:, 0].tolist()
    assert count() == [2, 3, 0, 1]
    assert count(padding_idx=1) == count(padding_idx=-3) == [2, 0, 0, 1]
    assert count(scale_grad_by_freq=True) == [1, 1, 0, 1]


def test_rows_that_are_read_are_scaled_down():
    w = tensor([[3.0, 4], [0.3, 0.4], [6, 8]])
    y = F.embedding(cr.tensor([0, 1, 0]), w, max_norm=1.0)
    close(w, [[0.6, 0.8], [0.3, 0.4], [6, 8]])
    close(y, host(w)[[0, 1, 0]])


def test_bags(device):
    w = tensor([[1.0, 10], [2, -20], [3, 30]], device=device)
    index, offsets = cr.tensor([0, 2, 1, 1], device=device), cr.tensor([0, 2, 2], device=device)
    bag = lambda mode, **kwargs: F.embedding_bag(index, w, offsets, mode=mode, **kwargs).tolist()
    assert bag("sum") == [[4, 40], [0, 0], [4, -40]]
    assert bag("mean") == [[2, 20], [0, 0], [2, -20]]
    assert bag("max") == [[3, 30], [0, 0], [2, -20]]
    assert bag("max", padding_idx=2) == [[1, 10], [0, 0], [2, -20]]
    assert bag("mean", padding_idx=0) == [[3, 30], [0, 0], [2, -20]]
    assert bag("sum", include_last_offset=True) == [[4, 40], [0, 0]]


# --- what is refused ---

REFUSED = [
    (lambda: F.cross_entropy(cr.zeros(2, 3), cr.tensor([0, 3])), IndexError, "target 3 .* 3 classes"),
    (lambda: F.cross_entropy(cr.zeros(2, 3), cr.tensor([0, -1])), IndexError, "target -1"),
    (lambda: F.cross_entropy(cr.zeros(2, 3), cr.tensor([0])), ValueError, r"\(1,\).*\(2, 3\).*\(2,\)"),
    (lambda: F.cross_entropy(cr.zeros(2, 3), cr.zeros(2, 4)), ValueError, r"\(2, 4\).*\(2, 3\)"),
    (lambda: F.cross_entropy(cr.zeros(2, 3), cr.zeros(2)), ValueError, r"\.long\(\)"),
    (lambda: F.cross_entropy(cr.zeros(2, 3), cr.tensor([0, 1]), cr.ones(2)), RuntimeError, "3 classes"),
    (lambda: F.cross_entropy(cr.zeros(3), cr.tensor(0), label_smoothing=2), RuntimeError, "label_smoothing"),
    (lambda: F.cross_entropy(cr.tensor(0.0), cr.tensor(0)), RuntimeError, "0-d"),
    (lambda: F.nll_loss(cr.zeros(2, 3), cr.tensor([0.0, 1])), TypeError, "integer"),
    (lambda: F.mse_loss(cr.zeros(2), cr.zeros(2), reduction="avg"), ValueError, "'avg'.*'sum'"),
    (lambda: F.mse_loss(cr.zeros(2), cr.zeros(2), weight=cr.ones(3)), ValueError, "weight"),
    (lambda: F.mse_loss([1.0], cr.zeros(1)), TypeError, "chainrule.tensor"),
    (lambda: F.huber_loss(cr.zeros(2), cr.zeros(2), delta=0), RuntimeError, "delta"),
    (lambda: F.binary_cross_entropy(cr.tensor([2.0]), cr.tensor([1.0])), RuntimeError, "with_logits"),
    (lambda: F.binary_cross_entropy(cr.zeros(2), cr.zeros(3)), ValueError, r"\(3,\).*\(2,\)"),
    (lambda: F.gaussian_nll_loss(cr.zeros(2), cr.zeros(2), -cr.ones(2)), ValueError, "negative"),
    (lambda: F.multi_margin_loss(cr.zeros(2, 3), cr.tensor([0, 3])), IndexError, "target 3"),
    (lambda: F.multi_margin_loss(cr.zeros(2, 3), cr.tensor([0, 1]), p=3), ValueError, "p = 1 and p = 2"),
    (lambda: F.triplet_margin_loss(*[cr.zeros(2, 3)] * 3, margin=0), ValueError, "margin"),
    (lambda: F.linear(cr.zeros(2, 3), cr.zeros(4, 5)), RuntimeError, r"\(2, 3\).*\(4, 5\)"),
    (lambda: F.linear(cr.zeros(2, 3), cr.zeros(4, 3), cr.zeros(3)), RuntimeError, "4 output features"),
    (lambda: F.linear(cr.zeros(2, 3), cr.zeros(4, 3).double()), RuntimeError, "one dtype"),
    (lambda: F.bilinear(cr.zeros(2, 3), cr.zeros(2, 4), cr.zeros(5, 4, 3)), RuntimeError, r"\(5, 4, 3\)"),
    (lambda: F.embedding(cr.tensor([4]), cr.zeros(4, 2)), IndexError, "index 4 .* 4 rows"),
    (lambda: F.embedding(cr.tensor([-1]), cr.zeros(4, 2)), IndexError, "index -1"),
    (lambda: F.embedding(cr.tensor([1.0]), cr.zeros(4, 2)), TypeError, "integer"),
    (lambda: F.embedding_bag(cr.tensor([1]), cr.zeros(4, 2)), ValueError, "offsets"),
    (lambda: F.one_hot(cr.tensor([3]), 3), IndexError, "class 3"),
    (lambda: F.batch_norm(cr.zeros(1, 3), None, None, training=True), ValueError, "more than 1 value"),
    (lambda: F.batch_norm(cr.zeros(2, 3), None, None), RuntimeError, "running_mean"),
    (lambda: F.batch_norm(cr.zeros(2, 3), cr.zeros(4), cr.ones(4)), RuntimeError, "3 channels"),
    (lambda: F.instance_norm(cr.zeros(2, 3, 1)), ValueError, "spatial"),
    (lambda: F.layer_norm(cr.zeros(2, 3), (4,)), RuntimeError, r"\(4,\).*\(2, 3\)"),
    (lambda: F.layer_norm(cr.zeros(2, 3), (3,), cr.zeros(2)), RuntimeError, "weight"),
    (lambda: F.group_norm(cr.zeros(2, 3), 2), RuntimeError, "3 channels .* 2 equal groups"),
    (lambda: F.dropout(cr.zeros(2), 1.5), ValueError, "between 0 and 1"),
    (lambda: F.dropout2d(cr.zeros(2)), RuntimeError, "3 or 4 dimensions"),
    (lambda: F.dropout(cr.arange(3)), RuntimeError, "floating point"),
    (lambda: F.pad(cr.zeros(2, 3), (3, 3), "reflect"), RuntimeError, "at most 2"),
    (lambda: F.pad(cr.zeros(2, 3), (1,)), RuntimeError, "two numbers"),
    (lambda: F.pad(cr.zeros(2, 3), (1, 1), "mirror"), NotImplementedError, "mirror"),
    (lambda: F.pad(cr.zeros(2, 3), (-2, -2)), RuntimeError, "negative length"),
    (lambda: F.glu(cr.zeros(2, 3)), RuntimeError, "even"),
    (lambda: F.prelu(cr.zeros(2, 3), cr.zeros(2)), RuntimeError, "3 channel"),
    (lambda: F.gelu(cr.zeros(2), approximate="erf"), RuntimeError, "approximate"),
    (lambda: F.softmax(cr.zeros(2), 1), IndexError, "dim"),
    (lambda: F.softshrink(cr.zeros(2), -1), RuntimeError, "lambd"),
    (lambda: F.relu(np.zeros(2)), TypeError, "chainrule.tensor"),
]


@pytest.mark.parametrize(("call", "error", "words"), REFUSED)
@pytest.mark.cpu_only
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_shapes_that_only_broadcast_warn():
    with pytest.warns(UserWarning, match=r"\(4, 1\).*\(4,\)"):
        F.mse_loss(cr.zeros(4), cr.zeros(4, 1))


def test_softmax_without_dim_warns():
    with pytest.warns(UserWarning, match="dim"):
        assert (F.softmax(cr.zeros(2, 4)) == 0.25).all()


# --- PyTorch ---


def test_signatures_are_pytorchs(torch):
    """The same parameters, in the same order, with the same defaults."""
    for name in sorted(set(dir(F)) & set(dir(torch.nn.functional))):
        ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
        if not inspect.isfunction(ours) or not inspect.isfunction(theirs) or ours.__module__ not in FILES:
            continue
        want = {n: p.default for n, p in inspect.signature(theirs).parameters.items() if n not in SKIPPED}
        if set(want) == {"args", "kwargs"}:
            continue
        got = {n: p.default for n, p in inspect.signature(ours).parameters.items()}
        assert list(got.items()) == list(want.items()), name


FILES = {
    f"chainrule.nn.functional.{name}"
    for name in "activation normalization loss margin_loss dropout embedding linear padding".split()
}
SKIPPED = {"_stacklevel", "out"}
