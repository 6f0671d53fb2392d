"""`nn.functional` at the limits: the last digits, infinite arguments, 16-bit floats, empty batches, what a device is asked."""

import math

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.autograd.ops import activation, blocks, error_function
from chainrule.backends import fake

INF = math.inf


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


# --- accuracy, extreme arguments ---


def test_error_function_to_the_last_digits():
    x = np.concatenate([np.linspace(-6, 6, 4001), np.linspace(6, 26, 500), [0.0, 1e-300, 0.75, -0.75]])
    for ours, theirs, ulps in ((error_function.erf, math.erf, 2.5), (error_function.erfc, math.erfc, 6)):
        expected = np.array([theirs(one) for one in x])
        found = host(ours(cr.from_numpy(x)))
        assert (np.abs(found - expected) <= ulps * np.spacing(np.abs(expected))).all()
        single = host(ours(cr.from_numpy(x.astype(np.float32))))
        expected = np.array([theirs(one) for one in x.astype(np.float32)])
        normal = np.abs(expected) > 1e-37
        error = np.abs(single - expected) / np.spacing(np.abs(expected).astype(np.float32))
        assert error[normal].max() <= 8
    tail = host(error_function.ndtr(tensor([-37.0, -10.0])))
    np.testing.assert_allclose(tail, [5.725571222524576e-300, 7.619853024160527e-24], rtol=1e-14)


EXTREME = [-INF, -1e30, -1e4, 1e4, 1e30, INF]
# Values and slopes at the arguments above; a name twice for other arguments.
LIMITS = {
    "relu": ([0, 0, 0, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "elu": ([-1, -1, -1, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "celu": ([-1, -1, -1, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "gelu": ([0, 0, 0, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "silu": ([0, 0, 0, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "mish": ([0, 0, 0, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "softplus": ([0, 0, 0, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "hardswish": ([0, 0, 0, 1e4, 1e30, INF], [0, 0, 0, 1, 1, 1]),
    "logsigmoid": ([-INF, -1e30, -1e4, 0, 0, 0], [1, 1, 1, 0, 0, 0]),
    "sigmoid": ([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]),
    "hardsigmoid": ([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]),
    "tanh": ([-1, -1, -1, 1, 1, 1], [0, 0, 0, 0, 0, 0]),
    "hardtanh": ([-1, -1, -1, 1, 1, 1], [0, 0, 0, 0, 0, 0]),
    "softsign": ([-1, -1, -1 / 1.0001, 1 / 1.0001, 1, 1], [0, 0, 1 / 10001**2, 1 / 10001**2, 0, 0]),
    "tanhshrink": ([-INF, -1e30, -9999, 9999, 1e30, INF], [1, 1, 1, 1, 1, 1]),
    "softshrink": ([-INF, -1e30, -9999.5, 9999.5, 1e30, INF], [1, 1, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("dtype", [cr.float32, cr.float64], ids=str)
@pytest.mark.parametrize("name", LIMITS)
def test_activations_far_out(name, dtype, device):
    x = cr.tensor(EXTREME, dtype=dtype, device=device, requires_grad=True)
    y = getattr(F, name)(x)
    values, slopes = LIMITS[name]
    tol = 1e-6 if dtype is cr.float32 else 1e-12
    np.testing.assert_allclose(host(y), values, rtol=tol)
    np.testing.assert_allclose(host(gradient(y.sum(), x)[0]), slopes, rtol=tol, atol=tol * 1e-3)
    assert math.isnan(getattr(F, name)(cr.tensor(math.nan, dtype=dtype, device=device)))


def test_gelu_with_tanh_far_out():
    x = leaf(EXTREME)
    y = F.gelu(x, approximate="tanh")
    np.testing.assert_array_equal(host(y), LIMITS["gelu"][0])
    np.testing.assert_array_equal(host(gradient(y.sum(), x)[0]), LIMITS["gelu"][1])


def test_softmax_far_out(device):
    for scale in (1e4, 1e30):
        x = leaf([scale, 0, -scale], device=device)
        assert F.softmax(x, 0).tolist() == [1, 0, 0]
        assert F.log_softmax(x, 0).tolist() == [0, -scale, -2 * scale]
        assert gradient(F.cross_entropy(x, cr.tensor(1, device=device)), x)[0].tolist() == [1, -1, 0]
    x = leaf([0, -INF, 0], device=device)
    assert F.softmax(x, 0).tolist() == [0.5, 0, 0.5]
    close(F.log_softmax(x, 0), [-math.log(2), -INF, -math.log(2)])
    loss = F.cross_entropy(x, cr.tensor(0, device=device))
    close(loss, math.log(2))
    close(gradient(loss, x)[0], [-0.5, 0, 0.5])
    # A class that cannot be predicted and is not expected costs nothing; one that is expected costs everything.
    q = tensor([1, 0, 0], device=device)
    close(F.cross_entropy(x, q), math.log(2))
    close(gradient(F.cross_entropy(x, q), x)[0], [-0.5, 0, 0.5])
    assert F.cross_entropy(x, cr.tensor(1, device=device)).item() == INF
    assert F.softmax(tensor([-INF, -INF]), 0).isnan().all()


def test_binary_cross_entropy_with_logits_far_out(device):
    x = leaf(EXTREME, device=device)
    for target, losses in ((1.0, [INF, 1e30, 1e4, 0, 0, 0]), (0.0, [0, 0, 0, 1e4, 1e30, INF])):
        loss = F.binary_cross_entropy_with_logits(x, cr.full_like(x.detach(), target), reduction="none")
        np.testing.assert_array_equal(host(loss), losses)
        slopes = np.array([0, 0, 0, 1, 1, 1]) - target
        np.testing.assert_array_equal(host(gradient(loss.sum(), x)[0]), slopes)


def test_binary_cross_entropy_at_certainty():
    x = leaf([0, 1, 0, 1])
    loss = F.binary_cross_entropy(x, tensor([0, 1, 1, 0]), reduction="none")
    assert loss.tolist() == [0, 0, 100, 100]
    assert gradient(loss.sum(), x)[0].tolist() == [0, 0, -1e12, 1e12]


def test_no_gradient_passes_a_closed_gate():
    """sqrt has an infinite slope at 0, and relu a slope of 0: the product is 0, not NaN."""
    x = leaf([-1.0, 4.0])
    assert gradient(cr.sqrt(F.relu(x)).sum(), x)[0].tolist() == [0, 0.25]


def test_large_arrays_are_computed_in_pieces():
    x = cr.linspace(-9, 9, 9 * (blocks.PIECE // 4 + 111), dtype=cr.float64).reshape(-1, 9)[:, 1:]
    for operation in (error_function.erf, activation.gelu, activation.softplus):
        half = len(x) // 2
        parts = cr.cat([operation(x[:half]), operation(x[half:])])
        assert (operation(x) == parts).all()


# --- 16-bit floats ---


@pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16], ids=str)
def test_half_precision_is_rounded_once(dtype, device):
    if dtype is cr.bfloat16:
        pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    exact = tensor(rng.uniform(-4, 4, (8, 16))).to(dtype)
    step = 2.0**-10 if dtype is cr.float16 else 2.0**-7
    scale, shift = tensor(rng.uniform(0.5, 2, 16)).to(dtype), tensor(rng.uniform(-1, 1, 16)).to(dtype)
    target = cr.tensor(rng.integers(0, 16, 8))
    functions = [
        *(getattr(F, name) for name in LIMITS if name != "tanh"),
        lambda x: F.softmax(x, 1),
        lambda x: F.log_softmax(x, 1),
        lambda x: F.layer_norm(100 * x, (16,), scale.to(x), shift.to(x)),
        lambda x: F.batch_norm(100 * x, None, None, scale.to(x), shift.to(x), True),
        lambda x: F.batch_norm(x, cr.zeros_like(scale).to(x), cr.ones_like(scale).to(x), scale.to(x)),
        lambda x: F.rms_norm(x, (16,)),
        lambda x: F.cross_entropy(x, target.to(x.device), reduction="none"),
        lambda x: F.cross_entropy(x, target.to(x.device), shift.abs().to(x), label_smoothing=0.2),
        lambda x: F.nll_loss(x, target.to(x.device), shift.abs().to(x), ignore_index=3),
        lambda x: F.prelu(x, scale.to(x)),
        lambda x: F.binary_cross_entropy_with_logits(x, (x > 0).to(x.dtype), reduction="none"),
        lambda x: F.huber_loss(x, x.flip(0), reduction="none"),
    ]
    for function in functions:
        x = exact.to(device).requires_grad_()
        y = function(x)
        y.sum().backward()
        assert y.dtype is dtype
        assert x.grad.dtype is dtype
        expected = function(exact.double())
        np.testing.assert_allclose(host(y.double()), host(expected), rtol=2 * step, atol=2 * step)


# --- empty batches ---


def test_empty_batches(device):
    x = cr.zeros(0, 4, device=device, requires_grad=True)
    w, b = (cr.ones(n, 4, device=device, requires_grad=True) for n in (3, 1))
    y = F.linear(x, w, b[0, :3])
    assert y.shape == (0, 3)
    y.sum().backward()
    assert w.grad.tolist() == np.zeros((3, 4)).tolist()
    assert b.grad.tolist() == [[0, 0, 0, 0]]
    none = cr.zeros(0, dtype=cr.int64, device=device)
    assert F.softmax(x, 1).shape == F.log_softmax(x, 0).shape == F.layer_norm(x, (4,)).shape == (0, 4)
    assert F.cross_entropy(x, none).isnan()
    assert F.cross_entropy(x, none, reduction="sum").item() == 0
    assert F.nll_loss(x, none).isnan()
    assert F.mse_loss(x, x).isnan()
    assert F.embedding(none, w).shape == (0, 4)
    mean = cr.zeros(4, device=device)
    assert F.batch_norm(x, mean, None, training=True).shape == (0, 4)
    assert mean.tolist() == [0, 0, 0, 0]
    (F.cross_entropy(x, none, reduction="sum") + F.layer_norm(x, (4,)).sum()).backward()
    assert x.grad.shape == (0, 4)


# --- devices ---


def test_a_loss_on_a_device_reads_nothing_back():
    x = cr.randn(6, 5, device="fake", requires_grad=True)
    target = cr.tensor([0, 4, 2, -100, 1, 1]).to("fake")
    weight = cr.tensor([1.0, 2, 1, 1, 0.5]).to("fake")
    before = fake.counters.host_reads, fake.counters.copies_to_host, fake.counters.copies_to_device
    F.cross_entropy(x, target, weight, label_smoothing=0.1).backward()
    F.nll_loss(F.log_softmax(x, 1), target).backward()
    F.layer_norm(F.gelu(x), (5,)).sum().backward()
    F.batch_norm(x, cr.zeros(5, device="fake"), cr.ones(5, device="fake"), training=True).sum().backward()
    after = fake.counters.host_reads, fake.counters.copies_to_host, fake.counters.copies_to_device
    assert after == before


def test_a_class_out_of_range_on_a_device_makes_the_loss_nan():
    x = cr.randn(3, 5).to("fake").requires_grad_()
    loss = F.cross_entropy(x, cr.tensor([0, 5, 1]).to("fake"), reduction="none")
    assert [math.isnan(one) for one in loss.tolist()] == [False, True, False]
