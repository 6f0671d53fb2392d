"""Pooling: who gets the gradient, windows at the rim, adaptive windows, unpooling, and refusals."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.ops import pooling as ops
from chainrule.nn.functional import pooling as functional
from chainrule.nn.functional.convolution import conv2d
from chainrule.nn.functional.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    lp_pool1d,
    lp_pool2d,
    max_pool1d,
    max_pool2d,
    max_unpool1d,
    max_unpool2d,
)

NAN, INF = float("nan"), float("inf")


def host(tensor):
    return tensor.detach().cpu().numpy()


def line(values, device="cpu", dtype=np.float64):
    """A (1, 1, L) leaf."""
    return cr.tensor(np.array(values, dtype)[None, None], device=device, requires_grad=True)


def slope(function, values, device="cpu"):
    """The gradient of the sum of what `function` makes of a line of values."""
    x = line(values, device)
    function(x).sum().backward()
    return host(x.grad)[0, 0].tolist()


# --- max pooling ---


def test_the_gradient_goes_to_the_winner_of_each_block(device):
    """A map that a 3 x 3 filter made of a 6 x 6 image, in 2 x 2 blocks whose largest are 3, 0, 3, 1."""
    maps = [[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]]
    x = cr.tensor(np.array(maps, float)[None, None], device=device, requires_grad=True)
    y = max_pool2d(x, 2)
    assert host(y)[0, 0].tolist() == [[3, 0], [3, 1]]
    (y * cr.tensor(np.array([[1.0, 2], [3, 4]]), device=device)).sum().backward()
    assert host(x.grad)[0, 0].tolist() == [[1, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 4], [3, 0, 0, 0]]


def test_average_pooling_shares_the_gradient(device):
    x = cr.tensor(np.arange(16.0).reshape(1, 1, 4, 4), device=device, requires_grad=True)
    y = avg_pool2d(x, 2)
    y.sum().backward()
    assert host(y)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]] and (host(x.grad) == 0.25).all()


def test_of_equals_the_first_wins(device):
    assert slope(lambda x: max_pool1d(x, 3), [1, 1, 1, 0, 2, 2], device) == [1, 0, 0, 0, 1, 0]
    assert slope(lambda x: adaptive_max_pool1d(x, 2), [5, 5, 5], device) == [1, 1, 0]
    ties = cr.ones(1, 1, 2, 4, device=device)
    assert host(max_pool2d(ties, 2, return_indices=True)[1]).tolist() == [[[[0, 2]]]]


def test_an_element_that_wins_twice_gets_both_gradients(device):
    assert slope(lambda x: max_pool1d(x, 3, stride=1), [1, 2, 9, 3, 4], device) == [0, 0, 3, 0, 0]


@pytest.mark.parametrize("pool", [lambda x: max_pool1d(x, 3), lambda x: adaptive_max_pool1d(x, 2)])
def test_nan_wins_and_says_so(pool, device):
    x = line([1, NAN, 7, 4, 5, 6], device)
    y = pool(x)
    np.testing.assert_array_equal(host(y)[0, 0], [NAN, 6])
    y.sum().backward()
    assert host(x.grad)[0, 0].tolist() == [0, 1, 0, 0, 0, 1]


def test_nothing_but_minus_infinity(device):
    """The first element of the window wins, and never the padding beside it."""
    x = line([-INF] * 4, device)
    y, where = max_pool1d(x, 3, stride=2, padding=1, return_indices=True)
    assert host(y)[0, 0].tolist() == [-INF, -INF] and host(where)[0, 0].tolist() == [0, 1]


def test_integers(device):
    x = cr.tensor([[[3, -7, -9, -8]]], device=device)
    y, where = max_pool1d(x, 2, padding=1, return_indices=True)
    assert (
        y.dtype is cr.int64 and host(y).tolist() == [[[3, -7, -8]]] and host(where).tolist() == [[[0, 1, 3]]]
    )


def test_the_output_may_be_overwritten_before_backward():
    """As in conv - pool - relu_: the gradient needs the input, not the output."""
    x = line([1, -2, -3, -4])
    y = max_pool1d(x * 1, 2)
    y.clamp_(min=0)
    y.sum().backward()
    assert host(x.grad)[0, 0].tolist() == [1, 0, 0, 0]


def test_indices_lead_back(device):
    x = cr.tensor(np.random.permutation(70).reshape(1, 2, 5, 7) + 1.0, device=device)
    y, where = max_pool2d(x, 2, return_indices=True)
    flat = np.take_along_axis(host(x).reshape(1, 2, 35), host(where).reshape(1, 2, 6), 2)
    np.testing.assert_array_equal(flat.reshape(y.shape), host(y))
    back = max_unpool2d(y, where, 2, output_size=x.shape)
    np.testing.assert_array_equal(host(back), np.where(np.isin(host(x), host(y)), host(x), 0))
    assert max_unpool2d(y, where % 20, 2).shape == (1, 2, 4, 6)


def test_unpooling_onto_one_place_keeps_the_last(device):
    y = cr.tensor([[[1.0, 2.0]]], device=device)
    assert host(max_unpool1d(y, cr.tensor([[[3, 3]]], device=device), 2)).tolist() == [[[0, 0, 0, 2]]]


@pytest.mark.parametrize("memory", [1, 300, 2 << 20])
def test_the_pieces_of_the_work_do_not_show(monkeypatch, memory):
    monkeypatch.setattr(ops, "scratch_bytes", lambda x: memory)
    x = cr.tensor(np.random.standard_normal((5, 2, 7, 6)))
    y, where = max_pool2d(x, 3, 2, 1, return_indices=True)
    np.testing.assert_array_equal(host(y), host(max_pool2d(x, 3, 2, 1)))
    assert where.dtype is cr.int64 and where.shape == y.shape


def test_a_huge_window_costs_no_more_than_the_input(device):
    x = line(range(8), device)
    assert host(max_pool1d(x, 2**40, padding=2**39)).tolist() == [[[7]]]
    assert host(avg_pool1d(x, 2**40, padding=2**39, count_include_pad=False)).tolist() == [[[3.5]]]


# --- average pooling ---


def test_what_the_mean_counts(device):
    """Five ones in windows of three with one zero on each side; ceil_mode adds a window that reaches beyond the padding."""
    x = line([1] * 6, device)
    rim = host(avg_pool1d(x, 3, 3, 1, ceil_mode=True))[0, 0]
    np.testing.assert_allclose(rim, [2 / 3, 1, 1 / 2])
    inner = host(avg_pool1d(x, 3, 3, 1, ceil_mode=True, count_include_pad=False))[0, 0]
    np.testing.assert_allclose(inner, [1, 1, 1])
    divided = avg_pool2d(cr.ones(1, 1, 2, 2, device=device), 2, divisor_override=8)
    assert host(divided).tolist() == [[[[0.5]]]]


@pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16])
def test_sixteen_bit_means_do_not_overflow(dtype):
    if dtype is cr.bfloat16:
        pytest.importorskip("ml_dtypes")
    x = cr.full((1, 1, 4, 4), 60000.0, dtype=dtype, requires_grad=True)
    for y in (avg_pool2d(x, 4), adaptive_avg_pool2d(x, 3)):
        assert y.dtype is dtype and (y == x[0, 0, 0, 0]).all()
        y.sum().backward()
    assert x.grad.dtype is dtype


def test_one_bad_element_spoils_only_the_windows_it_lies_in(device):
    for bad in (NAN, INF):
        x = line([1, 2, bad, 4, 5, 6, 7], device)
        assert np.isfinite(host(avg_pool1d(x, 2))[0, 0]).tolist() == [True, False, True]
        assert np.isfinite(host(adaptive_avg_pool1d(x, 3))[0, 0]).tolist() == [False, False, True]


def test_average_pooling_is_a_convolution(device):
    x = cr.tensor(np.random.standard_normal((2, 1, 6, 5)), device=device)
    w = cr.full((1, 1, 3, 2), 1 / 6, dtype=cr.float64, device=device)
    np.testing.assert_allclose(
        host(avg_pool2d(x, (3, 2), 1, 1)), host(conv2d(x, w, padding=1)), rtol=1e-12, atol=1e-12
    )


# --- adaptive pooling ---


def test_adaptive_windows_overlap_where_they_must(device):
    assert slope(lambda x: 6 * adaptive_avg_pool1d(x, 3), [0] * 5, device) == [3, 5, 2, 5, 3]


def test_adaptive_pooling_to_the_same_or_one_length(device):
    x = cr.tensor(np.random.standard_normal((2, 3, 4, 5)), device=device)
    np.testing.assert_array_equal(host(adaptive_avg_pool2d(x, (None, None))), host(x))
    np.testing.assert_allclose(
        host(adaptive_avg_pool2d(x, 1)), host(x).mean((2, 3), keepdims=True), rtol=1e-12
    )
    np.testing.assert_array_equal(host(adaptive_max_pool2d(x, 1)), host(x).max((2, 3), keepdims=True))


# --- p-norm pooling ---


def test_p_norms(device):
    x = line([3, -4, 0, 0, 1, 1], device)
    y = lp_pool1d(x, 2, 2)
    np.testing.assert_allclose(host(y)[0, 0], [5, 0, 2**0.5])
    y.sum().backward()
    # A window of zeros has no direction: its gradient is 0, where PyTorch's is NaN.
    np.testing.assert_allclose(host(x.grad)[0, 0], [0.6, -0.8, 0, 0, 2**-0.5, 2**-0.5])
    assert np.isnan(host(lp_pool1d(line([-2, 1], device), 3, 2))).all()
    assert lp_pool2d(cr.ones(3, 4, 4, device=device), 1, 2).shape == (3, 2, 2)


# --- shapes ---


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: max_pool2d(x, 2),
        lambda x: avg_pool2d(x, 2),
        lambda x: adaptive_avg_pool2d(x, 3),
        lambda x: adaptive_max_pool2d(x, 3),
        lambda x: lp_pool2d(x, 2, 2),
    ],
)
def test_unbatched_input_and_empty_batches(pool, device):
    x = cr.tensor(np.random.uniform(1, 2, (2, 4, 5)), device=device, requires_grad=True)
    np.testing.assert_array_equal(host(pool(x)), host(pool(x.unsqueeze(0)))[0])
    empty = cr.zeros(0, 2, 4, 5, device=device, requires_grad=True)
    y = pool(empty)
    y.sum().backward()
    assert y.shape == (0, *pool(x).shape) and empty.grad.shape == empty.shape


@pytest.mark.parametrize("n", [1, 2, 3])
def test_random_geometries_agree_with_torch(torch, as_torch, n):
    rng = np.random.default_rng(n)

    def some(low, high):
        return tuple(int(one) for one in rng.integers(low, high, n))

    for trial in range(20):
        kernel, stride, dilation, lengths = some(1, 4), some(1, 4), some(1, 3), some(6, 10)
        padding, output = tuple(one // 2 for one in kernel), some(1, 12)
        ceil = bool(trial % 2)
        values = np.round(rng.standard_normal((2, 2, *lengths)))  # with ties
        for name, arguments in [
            ("max_pool", (kernel, stride, padding, dilation, ceil)),
            ("avg_pool", (kernel, stride, padding, ceil, bool(trial % 3))),
            ("adaptive_avg_pool", (output,)),
            ("adaptive_max_pool", (output,)),
        ]:
            x = cr.tensor(values, requires_grad=True)
            theirs = as_torch(x)
            y = getattr(functional, f"{name}{n}d")(x, *arguments)
            want = getattr(torch.nn.functional, f"{name}{n}d")(theirs, *arguments)
            np.testing.assert_allclose(host(y), want.detach().numpy(), rtol=1e-12, atol=1e-12)
            (y * y).sum().backward()
            (want * want).sum().backward()
            np.testing.assert_allclose(host(x.grad), theirs.grad.numpy(), rtol=1e-11, atol=1e-11)


# --- refusals ---

SQUARE = (1, 2, 4, 4)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda x: max_pool2d(x, 5),
            RuntimeError,
            r"max_pool2d: a kernel of size \(5, 5\).*\(1, 2, 4, 4\).*smaller",
        ),
        (
            lambda x: max_pool2d(x, 2, dilation=4),
            RuntimeError,
            r"max_pool2d: .*dilation \(4, 4\) spans \(5, 5\)",
        ),
        (
            lambda x: max_pool2d(x, 2, padding=2),
            RuntimeError,
            r"max_pool2d: padding \(2, 2\) is more than half",
        ),
        (lambda x: max_pool2d(x, 0), RuntimeError, "max_pool2d: kernel_size must be at least 1, got 0"),
        (lambda x: max_pool2d(x, -1), RuntimeError, "max_pool2d: kernel_size must be at least 1, got -1"),
        (
            lambda x: max_pool2d(x, 2.0),
            TypeError,
            "max_pool2d: kernel_size must be an int or 2 of them, got 2.0",
        ),
        (lambda x: max_pool2d(x, True), TypeError, "max_pool2d: kernel_size must be an int"),
        (lambda x: max_pool2d(x, 2**62), RuntimeError, "max_pool2d: a kernel of size"),
        (lambda x: max_pool2d(x, 2, 0), RuntimeError, "max_pool2d: stride must be at least 1"),
        (
            lambda x: max_pool1d(x, 2),
            RuntimeError,
            r"max_pool1d: expected an input of shape \(N, C, L\) or \(C, L\)",
        ),
        (lambda x: max_pool2d(x[:, :, :0], 1), RuntimeError, r"max_pool2d: .*elements.*\(1, 2, 0, 4\)"),
        (lambda x: max_pool2d([[1.0]], 1), TypeError, "max_pool2d: expected a Tensor, got list"),
        (
            lambda x: max_pool2d(x[..., :1], (1, 2), 1, (0, 1), (1, 2)),
            RuntimeError,
            r"max_pool2d: .*misses all of the input of shape \(1, 2, 4, 1\)",
        ),
        (
            lambda x: avg_pool2d(x, 2, padding=2),
            RuntimeError,
            r"avg_pool2d: padding \(2, 2\) is more than half",
        ),
        (
            lambda x: avg_pool2d(x, 2, divisor_override=0),
            RuntimeError,
            "avg_pool2d: divisor_override must not be 0",
        ),
        (
            lambda x: adaptive_avg_pool2d(x, 0),
            RuntimeError,
            "adaptive_avg_pool2d: output_size must be at least 1",
        ),
        (
            lambda x: adaptive_avg_pool2d(x, (2, 2, 2)),
            RuntimeError,
            "adaptive_avg_pool2d: output_size must be",
        ),
        (lambda x: adaptive_max_pool2d(x, 2**62), RuntimeError, "adaptive_max_pool2d: the output of shape"),
        (
            lambda x: adaptive_max_pool2d(x[:, :, :0], 2),
            RuntimeError,
            r"adaptive_max_pool2d: .*\(1, 2, 0, 4\)",
        ),
        (lambda x: lp_pool2d(x, 0, 2), ValueError, "lp_pool2d: norm_type must be a number other than 0"),
        (lambda x: max_unpool2d(x, x, 2), TypeError, "max_unpool2d: index must be an integer Tensor"),
        (
            lambda x: max_unpool2d(x, cr.zeros(1, 2, 3, 3).long(), 2),
            RuntimeError,
            r"max_unpool2d: input of shape \(1, 2, 4, 4\) and indices of shape \(1, 2, 3, 3\)",
        ),
        (
            lambda x: max_unpool2d(x, cr.full(SQUARE, 64), 2),
            IndexError,
            r"max_unpool2d: .*\(8, 8\), 0 to 63, got 64 to 64",
        ),
        (lambda x: max_unpool2d(x, cr.full(SQUARE, -1), 2), IndexError, "got -1 to -1"),
        (
            lambda x: max_unpool2d(x, cr.zeros(SQUARE).long(), 2, output_size=(8, 10)),
            ValueError,
            r"max_unpool2d: output_size \(8, 10\) must be within",
        ),
    ],
)
@pytest.mark.cpu_only
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call(cr.zeros(SQUARE))
