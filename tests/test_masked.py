"""`chainrule.masked`: what lies under the mask reaches neither the results nor the gradients."""

import math

import numpy as np
import pytest

import chainrule as cr

POISON = [[1.0, math.nan, 2.0, 4.0], [math.inf, 3.0, -math.inf, 5.0], [0.5, 0.25, 1.5, math.nan]]
KEEP = np.isfinite(POISON)
REDUCTIONS = ["sum", "prod", "amax", "amin", "mean", "median", "norm", "var", "std", "logsumexp"]
SHAPED = ["cumsum", "cumprod", "softmax", "log_softmax", "softmin", "normalize"]


def call(name, x, **kwargs):
    function = getattr(cr.masked, name)
    if name == "norm":
        return function(x, 2.0, 1, **kwargs)
    return function(x, 2.0, 1, **kwargs) if name == "normalize" else function(x, 1, **kwargs)


@pytest.mark.parametrize("name", REDUCTIONS + SHAPED)
def test_poison_under_the_mask_stays_there(name):
    mask = cr.tensor(KEEP)
    clean = cr.tensor(np.where(KEEP, POISON, 7.0), requires_grad=True)
    poisoned = cr.tensor(POISON, dtype=cr.float64, requires_grad=True)
    for x in (clean, poisoned):
        out = call(name, x, mask=mask)
        total = cr.where(mask, out, 0.0).sum() if name in SHAPED else out.sum()
        total.backward()
    np.testing.assert_array_equal(clean.grad.numpy(), poisoned.grad.numpy())
    assert np.isfinite(poisoned.grad.numpy()).all() and not poisoned.grad.numpy()[~KEEP].any()


@pytest.mark.parametrize("name", REDUCTIONS + SHAPED)
def test_without_a_mask_it_is_the_plain_operation(name):
    x = cr.tensor(np.random.default_rng(0).uniform(0.5, 2, (3, 4)))
    full = call(name, x, mask=cr.ones(3, 4, dtype=cr.bool))
    np.testing.assert_allclose(call(name, x).numpy(), full.numpy(), rtol=1e-14)


def test_rows_of_which_nothing_is_left():
    x, none = cr.ones(2, 3), cr.zeros(1, 3, dtype=cr.bool)
    expected = {"sum": 0, "prod": 1, "amax": -math.inf, "amin": math.inf, "logsumexp": -math.inf, "norm": 0}
    for name, value in expected.items():
        assert call(name, x, mask=none).tolist() == [value, value]
    for name in ("mean", "median", "var"):
        assert np.isnan(call(name, x, mask=none).numpy()).all()
    with pytest.raises(ValueError, match="no NaN"):
        cr.masked.median(x.long(), 1, mask=none)


def test_median_takes_the_lower_of_the_two_in_the_middle_and_skips_nan():
    x = cr.tensor([[4.0, 1.0, 3.0, 2.0], [math.nan, 5.0, 7.0, 6.0]])
    assert cr.masked.median(x, 1).tolist() == [2, 6]
    assert cr.masked.median(x, 1, keepdim=True, mask=cr.tensor([True, False, True, True])).tolist() == [
        [3],
        [6],
    ]


def test_dtypes_dims_and_correction():
    x = cr.tensor([[1, 2], [3, 5]])
    mask = cr.tensor([[True, True], [False, True]])
    assert cr.masked.sum(x, mask=mask).item() == 8 and cr.masked.prod(x, (0, 1), mask=mask).item() == 10
    assert cr.masked.amax(x, mask=mask).dtype is cr.int64 and cr.masked.mean(x, mask=mask).dtype is cr.float32
    assert cr.masked.mean(x, 0, keepdim=True, dtype=cr.float64, mask=mask).tolist() == [[1, 3.5]]
    kept = np.array([1, 2, 5])
    assert cr.masked.var(x, mask=mask).item() == pytest.approx(kept.var(ddof=1))
    assert cr.masked.std(x, unbiased=False, mask=mask).item() == pytest.approx(kept.std())
    assert cr.masked.var(x, correction=2, mask=mask).item() == pytest.approx(kept.var(ddof=2))
    assert cr.masked.argmin(x, 1, mask=~mask | cr.tensor([[True, False], [False, False]])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: cr.masked.sum(x, mask=x), TypeError, "bool"),
        (lambda x: cr.masked.sum(x, mask=cr.ones(1, 2, 2, dtype=cr.bool)), IndexError, "dimensions"),
        (lambda x: cr.masked.sum(x, mask=cr.ones(3, dtype=cr.bool)), RuntimeError, r"\(3,\)"),
        (lambda x: cr.masked.sum(x, 2), IndexError, "out of range"),
        (lambda x: cr.masked.var(x, unbiased=True, correction=1), RuntimeError, "not both"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call(cr.ones(2, 2))
