"""Order statistics, sorting, scans and sets where their rows do not reach: ties, NaN, empty inputs, large values, bad calls."""

import numpy as np
import pytest

import chainrule as cr

NAN, INF = float("nan"), float("inf")


def grad(function, values):
    x = cr.tensor(values, dtype=cr.float64, requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


def exactly(tensor, expected):
    np.testing.assert_array_equal(tensor.numpy(), expected)


# --- medians, ranks, modes ---


def test_the_median_of_all_shares_its_gradient_among_equals_and_that_along_a_dim_does_not():
    assert grad(cr.median, [1.0, 2.0, 2.0, 5.0]) == [0, 0.5, 0.5, 0]
    along = grad(lambda x: cr.median(x, 0).values, [1.0, 2.0, 2.0, 5.0])
    assert sorted(along) == [0, 0, 0, 1] and along[0] == along[3] == 0


def test_a_nan_is_the_median_unless_skipped():
    x = cr.tensor([[3.0, NAN, 1.0, NAN], [4.0, 2.0, 1.0, 3.0]])
    values, indices = cr.median(x, 1)
    exactly(values, [NAN, 2])
    exactly(indices, [1, 1])
    assert np.isnan(cr.median(x).item())
    exactly(cr.nanmedian(x, 1).values, [1, 2])
    assert cr.nanmedian(x).item() == 2
    exactly(cr.nanmedian(cr.tensor([NAN, NAN]), 0).values, NAN)
    assert np.isnan(cr.nanmedian(cr.tensor([NAN, NAN])).item())


def test_medians_of_nothing():
    assert np.isnan(cr.median(cr.zeros(0)).item())
    assert cr.median(cr.zeros(3, 0), 0).values.shape == (0,)
    with pytest.raises(IndexError, match="median: cannot reduce over a dimension of length 0"):
        cr.median(cr.zeros(0, 3), 0)
    with pytest.raises(RuntimeError, match="integers have no NaN"):
        cr.median(cr.zeros(0, dtype=cr.int64))


def test_kthvalue_counts_nan_as_the_greatest():
    values, indices = cr.kthvalue(cr.tensor([1.0, NAN, 2.0]), 3)
    assert np.isnan(values.item()) and indices.item() == 1
    assert cr.kthvalue(cr.tensor([1.0, NAN, 2.0]), 2).values.item() == 2


def test_the_mode_is_the_smallest_of_the_most_frequent_and_the_last_of_its_places():
    values, indices = cr.mode(cr.tensor([1.0, 2, 2, 1, 3]))
    assert (values.item(), indices.item()) == (1, 3)
    exactly(cr.mode(cr.tensor([[1, 5, 5], [2, 2, 0]]), 1).values, [5, 2])
    assert grad(lambda x: cr.mode(x).values, [1.0, 2, 2, 1, 3]) == [0, 0, 0, 1, 0]


def test_zero_dimensions():
    x = cr.tensor(3.0)
    for found in (
        cr.median(x, 0), cr.kthvalue(x, 1), cr.mode(x), cr.cummax(x, 0), cr.sort(x), cr.topk(x, 1), cr.nanmedian(x, -1, True)
    ):  # fmt: skip
        assert found.values.shape == found.indices.shape == () and found.values.item() == 3
    assert cr.sort(cr.tensor(True)).values.item() is True
    assert cr.quantile(x, 0.3).item() == cr.logcumsumexp(x, 0).item() == 3


# --- quantiles ---


def test_a_nan_makes_every_quantile_nan_unless_skipped():
    x = cr.tensor([[1.0, NAN, 3.0], [1.0, 2.0, 3.0]])
    exactly(cr.quantile(x, 0.0, 1), [NAN, 1])
    exactly(cr.nanquantile(x, 0.5, 1), [2, 2])
    exactly(cr.nanquantile(cr.full((2, 2), NAN), 0.5, 0), [NAN, NAN])


def test_an_infinite_neighbour_that_counts_nothing_is_not_read():
    for method in ("linear", "lower", "nearest"):
        assert cr.quantile(cr.tensor([1.0, 2.0, INF]), 0.5, interpolation=method).item() == 2


def test_the_shape_of_quantiles():
    x, q = cr.rand(2, 3, 4), cr.tensor([0.1, 0.9])
    assert cr.quantile(x, q, 1).shape == (2, 2, 4)
    assert cr.quantile(x, q, 1, True).shape == (2, 2, 1, 4)
    assert cr.quantile(x, 0.5, keepdim=True).shape == (1, 1, 1)
    assert cr.quantile(x, cr.tensor([]), 1).shape == (0, 2, 4)


def test_the_gradient_of_a_quantile_goes_to_its_two_neighbours():
    assert grad(lambda x: cr.quantile(x, 0.25), [4.0, 1.0, 3.0]) == [0, 0.5, 0.5]
    assert grad(lambda x: cr.quantile(x, 0.25, interpolation="higher"), [4.0, 1.0, 3.0]) == [0, 0, 1]


# --- sorting ---


def test_sorting_is_stable_both_ways_and_nan_is_the_greatest():
    x = cr.tensor([2.0, NAN, 1.0, 2.0, 1.0])
    exactly(cr.argsort(x), [2, 4, 0, 3, 1])
    exactly(cr.argsort(x, descending=True, stable=True), [1, 0, 3, 2, 4])
    exactly(cr.topk(x, 2).indices[:1], [1])
    exactly(cr.topk(x, 3, largest=False).values, [1, 1, 2])
    exactly(cr.sort(x, stable=True, dim=0, descending=True).values, [NAN, 2, 2, 1, 1])


def test_topk_of_none_and_of_all():
    x = cr.tensor([[3.0, 1.0, 2.0]])
    assert cr.topk(x, 0).values.shape == (1, 0)
    exactly(cr.topk(x, 3).values, [[3, 2, 1]])
    assert cr.topk(cr.zeros(0), 0).indices.shape == (0,)


@pytest.mark.parametrize("largest", [True, False])
def test_topk_is_the_head_of_the_sorted(largest):
    x = cr.tensor(np.random.default_rng(0).permutation(60).reshape(3, 20))
    values, indices = cr.topk(x, 4, largest=largest)
    expected = cr.sort(x, descending=largest)
    exactly(values, expected.values[:, :4].numpy())
    exactly(indices, expected.indices[:, :4].numpy())


# --- scans ---


def test_running_extremes_keep_the_last_of_equals_and_a_nan():
    values, indices = cr.cummax(cr.tensor([1.0, 1.0, NAN, 3.0, NAN]), 0)
    exactly(values, [1, 1, NAN, NAN, NAN])
    exactly(indices, [0, 1, 2, 2, 4])
    assert cr.cummin(cr.tensor([2, 1, 1, 3]), 0).indices.tolist() == [0, 1, 2, 2]
    assert cr.cummax(cr.tensor([False, True]), 0).values.tolist() == [False, True]
    assert cr.cummax(cr.zeros(0, 2), 0).values.shape == (0, 2)
    assert grad(lambda x: cr.cummax(x, 0).values, [1.0, 1.0, 0.0]) == [1, 2, 0]


@pytest.mark.parametrize("dim", [0, 1, -2])
def test_scans_of_many_lines_side_by_side_are_those_of_each_line(dim):
    array = np.random.default_rng(0).standard_normal((9, 7, 60))
    array[4, 3, ::5] = NAN
    x = cr.tensor(array)
    exactly(cr.cumsum(x, dim), np.cumsum(array, dim))
    exactly(cr.cumprod(x, dim), np.cumprod(array, dim))
    values, indices = cr.cummin(x, dim)
    exactly(values, np.minimum.accumulate(array, dim))
    exactly(values, np.take_along_axis(array, indices.numpy(), dim))


def test_logcumsumexp_does_not_overflow_forward_or_backward():
    x = cr.tensor([-1000.0, 1000.0, -INF, 1000.0, 0.0], dtype=cr.float64, requires_grad=True)
    y = cr.logcumsumexp(x, 0)
    np.testing.assert_allclose(y.tolist(), [-1000, 1000, 1000, 1000 + np.log(2), 1000 + np.log(2)])
    (first,) = cr.autograd.grad(y.sum(), x, create_graph=True)
    np.testing.assert_allclose(first.tolist(), [1, 3, 0, 1, 0], atol=1e-12)
    (second,) = cr.autograd.grad((first * first.detach()).sum(), x)
    assert np.isfinite(second.numpy()).all()


def test_logcumsumexp_at_infinities():
    x = cr.tensor([-INF, -INF, 1.0, INF, 2.0], dtype=cr.float64, requires_grad=True)
    y = cr.logcumsumexp(x, 0)
    exactly(y.detach(), [-INF, -INF, 1, INF, INF])
    y[2:].sum().backward()
    exactly(x.grad, [0, 0, 1, 2, 0])


def test_logcumsumexp_of_complex_numbers():
    rng = np.random.default_rng(1)
    array = rng.standard_normal((4, 5)) + 1j * rng.standard_normal((4, 5))
    x = cr.tensor(array, requires_grad=True)
    y = cr.logcumsumexp(x, 1)
    np.testing.assert_allclose(np.exp(y.detach().numpy()), np.exp(array).cumsum(1))
    assert cr.autograd.gradcheck(lambda x: cr.exp(cr.logcumsumexp(x, 1)), (x,))
    assert cr.autograd.gradgradcheck(lambda x: cr.exp(cr.logcumsumexp(x, 0)), (x,))


def test_the_derivatives_of_a_running_product_are_exact_at_zeros():
    """The third mixed derivative of x0 x1 x2 is 1, wherever it is taken."""
    x = cr.zeros(3, dtype=cr.float64, requires_grad=True)
    value = cr.cumprod(x, 0)[2]
    for i in range(3):
        (found,) = cr.autograd.grad(value, x, create_graph=True)
        value = found[i]
    assert value.item() == 1


def test_long_running_products_cost_no_quadratic_memory_or_time():
    x = cr.full((50_000,), 1.0, dtype=cr.float64, requires_grad=True)
    cr.cumprod(x, 0).sum().backward()
    exactly(x.grad, np.arange(50_000, 0, -1))


# --- sets ---


def test_unique_of_rows_columns_and_nan():
    x = cr.tensor([[1, 2, 1], [0, 3, 0], [1, 2, 1]])
    values, inverse, counts = cr.unique(x, return_inverse=True, return_counts=True, dim=0)
    exactly(values, [[0, 3, 0], [1, 2, 1]])
    exactly(inverse, [1, 0, 1])
    exactly(counts, [1, 2])
    exactly(cr.unique(x, dim=1), [[1, 2], [0, 3], [1, 2]])
    exactly(cr.unique(cr.tensor([NAN, 1.0, NAN])), [1, NAN, NAN])
    values, inverse = cr.unique(cr.tensor([[3, 1], [1, 3]]), return_inverse=True)
    exactly(values[inverse], [[3, 1], [1, 3]])


def test_unique_of_deeper_slices_sorts_them_in_row_major_order():
    array = np.random.default_rng(3).integers(0, 2, (2, 6, 2))
    values, inverse = cr.unique(cr.tensor(array), return_inverse=True, dim=1)
    exactly(values, np.unique(array, axis=1))
    exactly(values[:, inverse], array)


def test_unique_of_nothing():
    values, inverse, counts = cr.unique(cr.zeros(0), return_inverse=True, return_counts=True)
    assert values.shape == inverse.shape == counts.shape == (0,)
    assert cr.unique(cr.zeros(0, 3), dim=0).shape == (0, 3)
    assert cr.unique_consecutive(cr.zeros(0)).shape == (0,)
    values, inverse, counts = cr.unique(cr.tensor(1.0), return_inverse=True, return_counts=True)
    assert values.shape == counts.shape == (1,) and inverse.shape == ()
    with pytest.raises(RuntimeError, match="no elements to compare"):
        cr.unique(cr.zeros(3, 0), dim=0)


def test_unique_consecutive_keeps_what_comes_again():
    values, inverse, counts = cr.unique_consecutive(cr.tensor([1, 1, 2, 1]), True, True)
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 2, 1], [0, 0, 1, 2], [2, 1, 1])
    exactly(cr.unique_consecutive(cr.tensor([[1, 1, 2], [0, 0, 0]]), dim=1), [[1, 2], [0, 0]])


def test_isin_with_numbers_and_inverted():
    exactly(cr.isin(cr.tensor([1, 2]), 1.5), [False, False])
    exactly(cr.isin(cr.tensor([1, 2]), 2, invert=True), [True, False])
    assert cr.isin(2, cr.tensor([1, 2])).item() is True
    assert cr.isin(cr.tensor([NAN]), cr.tensor([NAN])).item() is False
    assert cr.argwhere(cr.tensor(1.0)).shape == (1, 0)


# --- reductions ---


def test_reductions_keep_the_dtype_asked_for():
    x = cr.tensor([[2, 3], [100, 200]], dtype=cr.uint8)
    assert cr.prod(x, 1, dtype=cr.uint8).tolist() == [6, 20000 % 256]
    assert cr.sum(x, dtype=cr.uint8).item() == 305 % 256
    assert cr.cumsum(x, 1, dtype=cr.int8).dtype is cr.int8
    assert cr.prod(x, 0, dtype=cr.bool).tolist() == [True, True]
    assert cr.sum(cr.tensor([True, True]), dtype=cr.bool).item() is True
    assert cr.all(x, 1).dtype is cr.any(x).dtype is cr.uint8


def test_aminmax_names_its_two_values():
    found = cr.aminmax(cr.tensor([[1.0, 5.0], [0.0, 2.0]]), dim=1)
    assert (found.min.tolist(), found.max.tolist()) == ([1, 0], [5, 2])
    assert cr.var_mean(cr.ones(2, 3), False)[1].shape == ()


def test_complex_variance_is_real_and_so_is_its_derivative():
    array = np.random.default_rng(0).standard_normal((2, 3)) * (1 + 2j)
    x = cr.tensor(array, requires_grad=True)
    np.testing.assert_allclose(cr.var(x, 1).tolist(), array.var(1, ddof=1))
    assert cr.autograd.gradcheck(lambda x: cr.var(x, 1), (x,))
    assert cr.autograd.gradgradcheck(lambda x: cr.std(x, 1), (x,))
    assert cr.var(cr.zeros(0, dtype=cr.complex64)).dtype is cr.float32


def test_logsumexp_of_complex_numbers_is_the_principal_logarithm():
    array = np.array([1 + 3j, 2 - 9j, 1 + 7j])
    assert cr.logsumexp(cr.tensor(array), 0).item() == pytest.approx(np.log(np.exp(array).sum()))


# --- bad calls ---


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (RuntimeError, "sort: complex numbers have no order", lambda: cr.sort(cr.zeros(2, dtype=cr.complex64))),
        (RuntimeError, "cummax: complex numbers have no order", lambda: cr.cummax(cr.zeros(2, dtype=cr.complex64), 0)),
        (RuntimeError, r"topk: k=4 is out of range for dimension 0 of shape \(3,\)", lambda: cr.topk(cr.zeros(3), 4)),
        (RuntimeError, "kthvalue: k=0 is out of range", lambda: cr.kthvalue(cr.zeros(3), 0)),
        (RuntimeError, "median: bool tensors", lambda: cr.median(cr.tensor([True]))),
        (IndexError, "mode: dimension out of range", lambda: cr.mode(cr.zeros(3), 1)),
        (TypeError, "quantile: expected a Tensor", lambda: cr.quantile([1.0], 0.5)),
        (RuntimeError, r"quantile: q must lie in \[0, 1\], got 1.5", lambda: cr.quantile(cr.zeros(3), 1.5)),
        (RuntimeError, "quantile: q must be a number or a vector", lambda: cr.quantile(cr.zeros(3), cr.zeros(1, dtype=cr.float64))),
        (RuntimeError, "quantile: interpolation must be one of", lambda: cr.quantile(cr.zeros(3), 0.5, interpolation="cubic")),
        (RuntimeError, "quantile: expected elements", lambda: cr.quantile(cr.zeros(0), 0.5)),
        (RuntimeError, "quantile: expected float32 or float64", lambda: cr.quantile(cr.tensor([1, 2]), 0.5)),
        (RuntimeError, "logcumsumexp: expected a floating point", lambda: cr.logcumsumexp(cr.tensor([1]), 0)),
        (TypeError, "isin: elements or test_elements must be a Tensor", lambda: cr.isin(1, 2)),
        (IndexError, "aminmax: cannot reduce", lambda: cr.aminmax(cr.zeros(0, 2), dim=0)),
    ],
)  # fmt: skip
def test_bad_calls_say_what_is_wrong(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_16_bit_numbers_sort_like_all_others():
    """Also bfloat16, whose NaN NumPy does not sort by itself."""
    pytest.importorskip("ml_dtypes")
    for dtype in (cr.float16, cr.bfloat16):
        x = cr.tensor([1.0, NAN, -1.0, INF, NAN, 0.0]).to(dtype)
        assert cr.argsort(x).tolist() == [2, 5, 0, 3, 1, 4]
        assert cr.topk(x, 1, largest=False).indices.tolist() == [2]
        assert cr.kthvalue(x, 4).indices.item() == 3
        assert cr.median(x, 0).indices.item() == 1
        assert cr.nanmedian(x).item() == 0
        assert cr.unique(x).numel() == 6


def test_the_variance_of_nothing_is_nan_and_goes_back_without_a_warning():
    x = cr.zeros(0, 3, requires_grad=True)
    y = cr.var(x, 0)
    exactly(y.detach(), [NAN] * 3)
    y.sum().backward()
    assert x.grad.shape == (0, 3)
