"""Functions that must not overflow: the right value to 4 units in the last place and a finite gradient at +-1e4, +-1e30 and +-inf.

The exact values are computed with `decimal` at 60 digits; where they follow in one line they are written out.
"""

import decimal
import itertools
import math

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F

INF = math.inf
POINTS = [-INF, -1e30, -1e4, -40.0, -1.0, 0.0, 1.0, 40.0, 1e4, 1e30, INF]
ULPS = 4

context = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
decimal_one = decimal.Decimal(1)


def dec(x):
    return decimal.Decimal(x)


def exp(x):
    """e^x, 0 beyond what matters."""
    with decimal.localcontext(context):
        if x.is_infinite():
            return dec(0) if x < 0 else x
        return dec(0) if x < -100_000 else x.exp() if x < 100_000 else dec(INF)


def log1p_exp(x):
    """log(1 + e^x)."""
    with decimal.localcontext(context):
        if x > 1000:
            return x
        return (1 + exp(x)).ln() if x > -100 else exp(x) - exp(2 * x) / 2


def logaddexp(a, b):
    with decimal.localcontext(context):
        high, low = max(a, b), min(a, b)
        return high if high.is_infinite() or low.is_infinite() else high + log1p_exp(low - high)


def sigmoid(x):
    with decimal.localcontext(context):
        return 1 / (1 + exp(-x)) if not x.is_infinite() else dec(1 if x > 0 else 0)


EXACT = {
    "softplus": (F.softplus, log1p_exp, sigmoid),
    "logsigmoid": (F.logsigmoid, lambda x: -log1p_exp(-x), lambda x: sigmoid(-x)),
    "sigmoid": (cr.sigmoid, sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "log1p of expm1": (lambda x: cr.log1p(cr.expm1(x.clamp(min=-20, max=20))), lambda x: min(max(x, dec(-20)), dec(20)), None),
    "bce with logits, 1": (
        lambda x: F.binary_cross_entropy_with_logits(x, cr.ones_like(x), reduction="none"),
        lambda x: log1p_exp(-x),
        lambda x: -sigmoid(-x),
    ),
    "bce with logits, 0": (
        lambda x: F.binary_cross_entropy_with_logits(x, cr.zeros_like(x), reduction="none"),
        log1p_exp,
        sigmoid,
    ),
}  # fmt: skip


def ulps(found, exact, dtype):
    """How many units in the last place of `dtype` a float lies from an exact value."""
    info = np.finfo(dtype)
    with np.errstate(over="ignore"):
        nearest = dtype(float(exact))
    if not np.isfinite(nearest) or not math.isfinite(found):
        return 0.0 if found == nearest else INF
    unit = float(np.spacing(max(abs(nearest), info.tiny)))
    return abs(float(decimal.Decimal(found) - exact)) / unit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXACT)
def test_functions_of_one_number(name, dtype):
    function, value, slope = EXACT[name]
    for point in POINTS:
        x = cr.tensor(np.array(dtype(point)), requires_grad=True)
        y = function(x)
        y.backward()
        exactly = decimal.Decimal(float(dtype(point)))
        # x is clamped to [-20, 20] in the chain, where expm1(-20) + 1 keeps 8 digits fewer.
        limit = ULPS if name != "log1p of expm1" or point >= -1 else INF
        assert ulps(y.item(), value(exactly), dtype) <= limit, (point, y.item(), value(exactly))
        assert math.isfinite(x.grad.item()), point
        if slope is not None:
            # Slopes near 0 are differences of numbers near 1, as in PyTorch: right to the last place of 1.
            error = abs(x.grad.item() - float(slope(exactly)))
            assert error <= ULPS * float(np.finfo(dtype).eps), (point, x.grad.item(), slope(exactly))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logaddexp(dtype):
    for a, b in itertools.product(POINTS, repeat=2):
        x, y = (cr.tensor(np.array(dtype(one)), requires_grad=True) for one in (a, b))
        z = cr.logaddexp(x, y)
        z.backward()
        exact = logaddexp(decimal.Decimal(float(dtype(a))), decimal.Decimal(float(dtype(b))))
        assert ulps(z.item(), exact, dtype) <= ULPS, (a, b)
        assert math.isfinite(x.grad.item()) and math.isfinite(y.grad.item())
        assert math.isclose(x.grad.item() + y.grad.item(), 1, rel_tol=1e-6)
        if math.isfinite(a - b):
            share = sigmoid(decimal.Decimal(float(dtype(a))) - decimal.Decimal(float(dtype(b))))
            assert ulps(x.grad.item(), share, dtype) <= ULPS, (a, b)


@pytest.mark.parametrize(
    "function", [cr.logaddexp, cr.logaddexp2, lambda x, y: cr.stack([x, y]).logsumexp(0)]
)
def test_equal_large_numbers_share_the_gradient(function):
    for value in (-1e30, 1e30, INF, -INF):
        x, y = (cr.tensor(value, dtype=cr.float64, requires_grad=True) for _ in range(2))
        function(x, y).backward()
        assert (x.grad.item(), y.grad.item()) == (0.5, 0.5)


def test_a_share_of_complex_numbers_does_not_overflow():
    x, y = (cr.tensor(value, dtype=cr.complex128, requires_grad=True) for value in (1e4 + 1j, -1e4 + 2j))
    cr.logaddexp(x, y).real.backward()
    assert (x.grad.item(), y.grad.item()) == (1, 0)


ROWS = [
    [1e4, 0.0, -1e4], [1e30, -1e30, 0.0], [0.0, -INF, 0.0], [-INF, 1.0, -1e30], [1e4, 1e4, 1e4], [-1e30, -1e30, -1e30], [3.0, 1.0, -2.0],
    [-1e4, -1e4 + 1, -1e4 - 1],
]  # fmt: skip


def shares(row):
    """The exact softmax, and the logarithm of its denominator."""
    with decimal.localcontext(context):
        top = max(row)
        parts = [exp(one - top) for one in row]
        total = sum(parts)
        return [one / total for one in parts], top + total.ln()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_softmax_family(row, dtype):
    x = cr.tensor(np.array(row, dtype), requires_grad=True)
    exact = [decimal.Decimal(float(dtype(one))) for one in row]
    share, total = shares(exact)
    for found, want in zip(F.softmax(x, 0).tolist(), share, strict=True):
        assert ulps(found, want, dtype) <= ULPS
    for found, one, p in zip(F.log_softmax(x, 0).tolist(), exact, share, strict=True):
        with decimal.localcontext(context):
            want = p.ln() if p > dec("1e-50000") else one - total
        # The difference x - logsumexp(x) cancels where x is large and the share is not tiny.
        assert ulps(found, want, dtype) <= ULPS or abs(found - float(want)) <= ULPS * np.spacing(
            abs(dtype(float(one)))
        ), (found, want)
    y = x.logsumexp(0)
    assert ulps(y.item(), total, dtype) <= ULPS
    y.backward()
    # e^(x - y) is as good as the spacing of y where that is below 1; divided by its sum, it is right for equal numbers of any size.
    coarse = float(np.spacing(dtype(abs(y.item()))))
    for found, want in zip(x.grad.tolist(), share, strict=True):
        assert ulps(found, want, dtype) <= ULPS or abs(found - float(want)) <= min(coarse, 1e-2)
    for target in range(3):
        if not math.isfinite(row[target]):
            continue
        x.grad = None
        loss = F.cross_entropy(x, cr.tensor(target))
        loss.backward()
        with decimal.localcontext(context):
            want = total - exact[target]
        assert ulps(loss.item(), want, dtype) <= ULPS or abs(loss.item() - float(want)) <= ULPS * np.spacing(
            abs(dtype(row[target]))
        )
        assert np.isfinite(x.grad.numpy()).all()


def test_the_logarithm_of_nothing():
    x = cr.tensor([-INF, -INF], dtype=cr.float64, requires_grad=True)
    y = x.logsumexp(0)
    assert y.item() == -INF
    assert F.softmax(cr.tensor([1e4, 0.0, -1e4]), 0).tolist() == [1.0, 0.0, 0.0]
    assert cr.logsumexp(cr.tensor([INF, 1.0]), 0).item() == INF


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lengths(dtype):
    largest = 1e30 if dtype is np.float32 else 1e300
    for a, b in (
        (3.0, 4.0),
        (3 * largest, 4 * largest),
        (3 / largest, 4 / largest),
        (0.0, 5.0),
        (0.0, 0.0),
        (INF, 1.0),
        (-1e4, 1e30),
    ):
        x, y = (cr.tensor(np.array(dtype(one)), requires_grad=True) for one in (a, b))
        exact_a, exact_b = decimal.Decimal(float(dtype(a))), decimal.Decimal(float(dtype(b)))
        with decimal.localcontext(context):
            exact = decimal.Decimal(INF) if math.inf in (abs(a), abs(b)) else (exact_a**2 + exact_b**2).sqrt()
        length = cr.hypot(x, y)
        assert ulps(length.item(), exact, dtype) <= ULPS, (a, b)
        both = cr.stack([x, y])
        norm = both.norm()
        assert ulps(norm.item(), exact, dtype) <= ULPS, (a, b)
        norm.backward()
        assert not math.isnan(x.grad.item()) or math.isinf(a)
        if 0 < float(exact) < INF:
            with decimal.localcontext(context):
                assert ulps(x.grad.item(), exact_a / exact, dtype) <= ULPS


# What is not hidden


def test_a_dead_branch_that_overflows_gives_nan_as_documented_and_the_safe_pattern_does_not():
    x = cr.tensor([1.0, 1000.0], dtype=cr.float64, requires_grad=True)
    small = x < 100
    cr.where(small, x.exp(), x).sum().backward()
    assert x.grad[0].item() == math.e and math.isnan(x.grad[1].item())
    x.grad = None
    cr.where(small, cr.where(small, x, 0.0).exp(), x).sum().backward()
    assert x.grad.tolist() == [math.e, 1.0]
    zero = cr.tensor([0.0, 4.0], dtype=cr.float64, requires_grad=True)
    positive = zero > 0
    cr.where(positive, zero.sqrt(), 0.0).sum().backward()
    assert math.isnan(zero.grad[0].item())
    zero.grad = None
    cr.where(positive, cr.where(positive, zero, 1.0).sqrt(), 0.0).sum().backward()
    assert zero.grad.tolist() == [0.0, 0.25]
    assert "0 * inf" in cr.where.__doc__
