"""Differences, histograms, segments and distances where their rows do not reach: edges of bins, empty inputs, ties, bad calls."""

import numpy as np
import pytest

import chainrule as cr

NAN, INF = float("nan"), float("inf")


def exactly(tensor, expected):
    np.testing.assert_array_equal(tensor.numpy(), expected)


def grad(function, values):
    x = cr.tensor(values, dtype=cr.float64, requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


# --- differences and integrals ---


def test_differences_of_bools_of_nothing_and_of_high_order():
    exactly(cr.diff(cr.tensor([True, False, False])), [True, False])
    assert cr.diff(cr.zeros(2), n=5).shape == (0,)
    exactly(cr.diff(cr.tensor([1, 4, 9]), n=0), [1, 4, 9])
    exactly(cr.diff(cr.tensor([1, 4]), append=cr.tensor([9, 16]), n=2), [2, 2])


def test_the_gradient_of_a_parabola_is_exact_to_second_order_on_any_grid():
    t = cr.tensor([0.0, 0.1, 0.5, 0.6, 2.0], dtype=cr.float64)
    (slope,) = cr.gradient(t * t, spacing=(t,), edge_order=2)
    np.testing.assert_allclose(slope.numpy(), 2 * t.numpy(), atol=1e-12)
    (first,) = cr.gradient(cr.tensor([1, 2, 4]))
    exactly(first, [1, 1.5, 2])
    rows, columns = cr.gradient(cr.tensor([[1.0, 2.0], [4.0, 8.0]]), spacing=[2.0, 0.5])
    exactly(rows, [[1.5, 3], [1.5, 3]])
    exactly(columns, [[2, 2], [8, 8]])


def test_trapezoids():
    assert cr.trapezoid(cr.tensor([1, 1, 1])).item() == 2
    y, x = cr.ones(2, 3, 4), cr.tensor([[0.0], [1.0], [4.0]])
    exactly(cr.trapezoid(y, x, dim=1), np.full((2, 4), 4))
    exactly(cr.trapezoid(cr.ones(3, 1), dim=1), [0, 0, 0])
    exactly(cr.cumulative_trapezoid(cr.tensor([1.0, 3.0, 5.0]), dx=0.5), [1, 3])


# --- searching and counting ---


def test_searching_numbers_meets_the_dtype_of_the_sequence():
    assert cr.searchsorted(cr.tensor([1, 3]), 1.5).item() == 1
    assert cr.searchsorted(cr.tensor([0.1], dtype=cr.float64), 0.1).item() == 0
    assert cr.bucketize(3, cr.tensor([1, 3]), right=True).item() == 2
    exactly(cr.searchsorted(cr.tensor([1.0, 2.0]), cr.tensor([NAN, INF, -INF])), [2, 2, 0])
    assert cr.searchsorted(cr.tensor([1.0, 2.0]), cr.tensor([1.0]), out_int32=True).dtype is cr.int32


@pytest.mark.parametrize("side", ["left", "right"])
def test_searching_rows_is_searching_each(side):
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 8):
        rows, values = np.sort(rng.integers(0, 5, (3, n))), rng.integers(-1, 6, (3, 10))
        expected = [np.searchsorted(row, value, side) for row, value in zip(rows, values, strict=True)]
        exactly(cr.searchsorted(cr.tensor(rows), cr.tensor(values), side=side), expected)


def test_searching_through_a_sorter():
    x = cr.tensor([[3.0, 1.0, 2.0]])
    exactly(cr.searchsorted(x, cr.tensor([[1.5, 9.0]]), sorter=cr.argsort(x)), [[1, 3]])
    assert cr.searchsorted(cr.zeros(2, 0), cr.zeros(2, 3)).tolist() == [[0] * 3] * 2


def test_counting():
    exactly(cr.bincount(cr.tensor([], dtype=cr.int64), minlength=3), [0, 0, 0])
    assert cr.bincount(cr.tensor([], dtype=cr.int64)).shape == (0,)
    assert cr.bincount(cr.tensor([1, 1], dtype=cr.uint8)).dtype is cr.int64
    weights = cr.tensor([1, 2])
    assert cr.bincount(cr.tensor([1, 1]), weights).dtype is cr.float64
    exactly(cr.bincount(cr.tensor([1, 1]), weights), [0, 3])


def test_the_edges_of_a_histogram():
    x = cr.tensor([0.0, 1.0, 2.0, 3.0, NAN, -1.0, INF])
    exactly(cr.histc(x, 3, 0, 3), [1, 1, 2])
    hist, edges = cr.histogram(x, 3, range=(0.0, 3.0))
    exactly(hist, [1, 1, 2])
    exactly(edges, [0, 1, 2, 3])
    exactly(cr.histogram(x, cr.tensor([0.0, 1.0, 3.0])).hist, [1, 3])
    exactly(cr.histc(cr.ones(3), 3), [0, 3, 0])
    found = cr.histogram(cr.ones(3), 2)
    exactly(found.bin_edges, [0.5, 1, 1.5])
    exactly(cr.histc(cr.zeros(0), 3), [0, 0, 0])
    exactly(cr.histogram(cr.zeros(0), 2).bin_edges, [0, 0.5, 1])


def test_the_density_of_a_histogram_integrates_to_one():
    x = cr.tensor(np.random.default_rng(0).standard_normal((50, 2)))
    hist, (a, b) = cr.histogramdd(x, [3, 4], density=True, weight=cr.arange(50.0, dtype=cr.float64))
    assert (hist * cr.outer(cr.diff(a), cr.diff(b))).sum().item() == pytest.approx(1)
    hist, edges = cr.histogramdd(
        x, (cr.tensor([-1.0, 0.0, 2.0]).double(), cr.tensor([-INF, 0.0, INF]).double())
    )
    expected = np.histogramdd(x.numpy(), [edges[0].numpy(), edges[1].numpy()])[0]
    exactly(hist, expected)


# --- segments ---


def test_empty_segments_give_the_initial_value_or_the_neutral_element():
    x, lengths = cr.tensor([1.0, 2.0, 3.0]), cr.tensor([0, 3])
    expected = {"sum": [0, 6], "mean": [NAN, 2], "prod": [1, 6], "max": [-INF, 3], "min": [INF, 1]}
    for reduce, values in expected.items():
        exactly(cr.segment_reduce(x, reduce, lengths=lengths), values)
    expected = {"sum": [5, 11], "mean": [5, 11 / 3], "prod": [5, 30], "max": [5, 5], "min": [5, 1]}
    for reduce, values in expected.items():
        found = cr.segment_reduce(x, reduce, lengths=lengths, initial=5)
        np.testing.assert_allclose(found.numpy(), values, rtol=1e-6)
    exactly(cr.segment_reduce(cr.zeros(0, 2), "sum", lengths=cr.tensor([0, 0])), np.zeros((2, 2)))
    assert cr.segment_reduce(x, "max", lengths=cr.tensor([], dtype=cr.int64), unsafe=True).shape == (0,)


def test_ties_and_zeros_in_segments():
    lengths = cr.tensor([2, 2])
    assert grad(lambda x: cr.segment_reduce(x, "max", lengths=lengths), [1, 1, 0, 2]) == [0.5, 0.5, 0, 1]
    assert grad(lambda x: cr.segment_reduce(x, "prod", lengths=lengths), [0, 3, 0, 0]) == [3, 0, 0, 0]
    assert (
        grad(lambda x: cr.segment_reduce(x, "mean", lengths=cr.tensor([0, 4])).nansum(), [1] * 4)
        == [0.25] * 4
    )


def test_segments_by_offsets_may_leave_out_elements():
    x = cr.tensor([1.0, 2.0, 4.0, 8.0])
    exactly(cr.segment_reduce(x, "sum", offsets=cr.tensor([1, 3])), [6])


# --- distances ---


def test_the_derivatives_of_a_distance_zero_are_zero():
    for p in (0.5, 1.0, 1.5, 2.0, 3.0, INF):
        for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
            x = cr.tensor([[1.0, 2.0], [0.5, 0.25]], dtype=cr.float64, requires_grad=True)
            y = cr.cdist(x, x.detach(), p, mode)
            (first,) = cr.autograd.grad(cr.diagonal(y).sum(), x, create_graph=True)
            exactly(first.detach(), np.zeros((2, 2)))
            if first.requires_grad:
                (second,) = cr.autograd.grad(first.sum(), x, allow_unused=True)
                assert second is None or not second.numpy().any()


def test_distances_of_no_points_and_of_no_coordinates():
    assert cr.cdist(cr.zeros(0, 3), cr.zeros(2, 3)).shape == (0, 2)
    exactly(cr.cdist(cr.zeros(2, 0), cr.zeros(3, 0)), np.zeros((2, 3)))
    assert cr.cdist(cr.zeros(4, 1, 2, 3), cr.zeros(5, 6, 3)).shape == (4, 5, 2, 6)


def test_many_points_take_matrix_products_and_agree():
    rng = np.random.default_rng(0)
    a, b = cr.tensor(rng.standard_normal((30, 4))), cr.tensor(rng.standard_normal((9, 4)))
    direct = cr.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    np.testing.assert_allclose(cr.cdist(a, b).numpy(), direct.numpy(), rtol=1e-10)


def test_renorm_shortens_only_what_is_too_long_and_leaves_zeros():
    x = cr.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    y = cr.renorm(x, 2, 0, 1.0)
    np.testing.assert_allclose(y.detach().numpy(), [[0.6, 0.8], [0.3, 0.4], [0, 0]], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0.032, -0.024], [1, 1], [1, 1]], atol=1e-6)
    assert cr.norm(y[0]).item() <= 1
    z = cr.ones(2, 2)
    assert z.renorm_(1, 0, 1) is z
    np.testing.assert_allclose(z.numpy(), np.full((2, 2), 0.5), rtol=1e-6)


# --- without NaN ---


def test_sums_and_means_without_nan():
    assert cr.nansum(cr.tensor([NAN])).item() == 0
    assert np.isnan(cr.nanmean(cr.tensor([NAN])).item())
    assert cr.nansum(cr.tensor([True, True])).dtype is cr.int64
    assert grad(lambda x: cr.nanmean(x), [1.0, NAN, 3.0]) == [0.5, 0, 0.5]
    assert grad(lambda x: cr.nansum(x * x, 0), [1.0, 2.0]) == [2, 4]


# --- bad calls ---


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (RuntimeError, "diff: expected at least 1 dimension", lambda: cr.diff(cr.tensor(1.0))),
        (RuntimeError, "diff: n must not be negative", lambda: cr.diff(cr.zeros(2), n=-1)),
        (RuntimeError, r"diff: prepend of shape \(1,\)", lambda: cr.diff(cr.zeros(2, 2), prepend=cr.zeros(1))),
        (RuntimeError, "gradient: edge_order must be 1 or 2", lambda: cr.gradient(cr.zeros(4), edge_order=3)),
        (RuntimeError, "gradient: edge_order 2 needs at least 3", lambda: cr.gradient(cr.zeros(2), edge_order=2)),
        (RuntimeError, "gradient: expected 2 spacings", lambda: cr.gradient(cr.zeros(3, 3), spacing=[1.0])),
        (RuntimeError, r"gradient: coordinates of shape \(2,\)", lambda: cr.gradient(cr.zeros(3), spacing=(cr.zeros(2),))),
        (TypeError, "trapezoid: x and dx", lambda: cr.trapezoid(cr.zeros(3), cr.zeros(3), dx=1)),
        (RuntimeError, "trapezoid: x of length 2", lambda: cr.trapezoid(cr.zeros(3), cr.zeros(2))),
        (IndexError, "trapezoid: expected at least 1 dimension", lambda: cr.trapezoid(cr.tensor(1.0))),
        (RuntimeError, 'searchsorted: side="left" contradicts', lambda: cr.searchsorted(cr.zeros(2), 1.0, side="left", right=True)),
        (RuntimeError, "searchsorted: sorted_sequence of shape", lambda: cr.searchsorted(cr.zeros(2, 3), cr.zeros(3))),
        (RuntimeError, "searchsorted: sorter must be int64", lambda: cr.searchsorted(cr.zeros(2), 1.0, sorter=cr.tensor([0]))),
        (RuntimeError, "searchsorted: sorter must hold indices", lambda: cr.searchsorted(cr.zeros(2), 1.0, sorter=cr.tensor([0, 2]))),
        (RuntimeError, "bucketize: boundaries must be a vector", lambda: cr.bucketize(cr.zeros(2), cr.zeros(2, 2))),
        (RuntimeError, "bincount: expected a vector of non-negative integers.*-1", lambda: cr.bincount(cr.tensor([1, -1]))),
        (RuntimeError, "bincount: weights must be real", lambda: cr.bincount(cr.tensor([1]), cr.zeros(2))),
        (RuntimeError, "histc: the range .* is not finite", lambda: cr.histc(cr.tensor([1.0, NAN]))),
        (RuntimeError, "histc: max must not be less", lambda: cr.histc(cr.zeros(2), 3, 5, 1)),
        (RuntimeError, "histogram: edges must be a vector of at least 2", lambda: cr.histogram(cr.zeros(2), cr.zeros(1))),
        (RuntimeError, "histogram: the range must be finite", lambda: cr.histogram(cr.tensor([INF]), 2)),
        (RuntimeError, "histogram: weight must hold 2", lambda: cr.histogram(cr.zeros(2), 2, weight=cr.zeros(3))),
        (RuntimeError, "histogramdd: expected bins for 2 dimensions", lambda: cr.histogramdd(cr.zeros(3, 2), [1, 2, 3])),
        (RuntimeError, "segment_reduce: give lengths or offsets", lambda: cr.segment_reduce(cr.zeros(2), "sum")),
        (RuntimeError, "segment_reduce: reduce must be one of", lambda: cr.segment_reduce(cr.zeros(2), "any", lengths=cr.tensor([2]))),
        (RuntimeError, r"lengths must sum to 2.*got 1", lambda: cr.segment_reduce(cr.zeros(2), "sum", lengths=cr.tensor([1]))),
        (RuntimeError, "do not fit data", lambda: cr.segment_reduce(cr.zeros(2, 2), "sum", lengths=cr.tensor([2]), axis=1)),
        (RuntimeError, "cdist: .* points of unequal length", lambda: cr.cdist(cr.zeros(2, 2), cr.zeros(2, 3))),
        (RuntimeError, "cdist: p must be at least 0", lambda: cr.cdist(cr.zeros(2, 2), cr.zeros(2, 2), -1)),
        (RuntimeError, "renorm: expected at least 2 dimensions", lambda: cr.renorm(cr.zeros(3), 2, 0, 1)),
        (RuntimeError, "nanmean: expected a floating point", lambda: cr.nanmean(cr.tensor([1]))),
    ],
)  # fmt: skip
def test_bad_calls_say_what_is_wrong(error, message, call):
    with pytest.raises(error, match=message):
        call()
