"""Convolution: worked examples, the algebra of the three operations, and refusals.

The worked examples: 3 x 3 filters on a black-and-white image of 6 x 6 pixels, followed by 2 x 2 pooling; and, in the manner of
LeCun et al. (1998), a network for digits, 28 x 28 -> 25 filters -> pool -> 50 filters -> pool -> 1250 numbers.
"""

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.ops import convolution as ops
from chainrule.nn.functional import convolution as functional
from chainrule.nn.functional.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    fold,
    unfold,
)
from chainrule.nn.functional.pooling import max_pool2d

IMAGE = [[int(one) for one in line] for line in ("100001", "010010", "001100", "100010", "010010", "001010")]
DIAGONAL = [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
VERTICAL = [[-1, 1, -1]] * 3


def host(tensor):
    return tensor.detach().cpu().numpy()


def draw(*shape, device=None, requires_grad=False):
    return cr.tensor(np.random.standard_normal(shape), device=device, requires_grad=requires_grad)


@pytest.fixture
def image(device):
    return cr.tensor(np.array(IMAGE, float)[None, None], device=device)


@pytest.fixture
def filters(device):
    return cr.tensor(np.array([DIAGONAL, VERTICAL], float)[:, None], device=device, requires_grad=True)


# --- worked examples ---


def test_two_filters_on_a_six_by_six_image(image, filters):
    maps = conv2d(image, filters)
    assert host(maps)[0].tolist() == [
        [[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]],
        [[-1, -1, -1, -1], [-1, -1, -2, 1], [-1, -1, -2, 1], [-1, 0, -4, 3]],
    ]
    assert host(max_pool2d(maps, 2))[0].tolist() == [[[3, 0], [3, 1]], [[-1, 1], [0, 3]]]


def test_the_diagonal_filter_answers_most_where_its_pattern_is(image, filters):
    (first, _) = host(conv2d(image, filters))[0]
    assert np.argwhere(first == first.max()).tolist() == [[0, 0], [3, 0]]  # top left and bottom left


def test_stride_three(image, filters):
    assert host(conv2d(image, filters, stride=3))[0].tolist() == [[[3, -1], [3, -1]], [[-1, -1], [-1, 3]]]


def test_a_colour_image_gives_one_map_for_each_filter():
    assert conv2d(draw(3, 6, 6), draw(2, 3, 3, 3)).shape == (2, 4, 4)


def test_convolution_is_a_sparse_dense_layer_with_tied_weights():
    filters = cr.tensor(np.arange(1.0, 10).reshape(1, 1, 3, 3))
    pixels = cr.tensor(np.eye(36).reshape(36, 1, 6, 6))
    dense = host(conv2d(pixels, filters)).reshape(36, 16).T
    assert np.count_nonzero(dense) == 144 and dense.size == 576 and len(np.unique(dense[dense != 0])) == 9
    assert (np.flatnonzero(dense[0]) + 1).tolist() == [1, 2, 3, 7, 8, 9, 13, 14, 15]
    assert (np.flatnonzero(dense[1]) + 1).tolist() == [2, 3, 4, 8, 9, 10, 14, 15, 16]
    x = draw(1, 1, 6, 6)
    np.testing.assert_allclose(host(conv2d(x, filters)).ravel(), dense @ host(x).ravel(), rtol=1e-14)


def test_tied_weights_sum_the_gradients_of_untied_ones():
    """A locally connected layer has a filter for each place; the gradient of one shared filter is the sum of theirs."""
    x = cr.arange(16, dtype=cr.float64).reshape(1, 1, 4, 4)
    untied = cr.ones(9, 4, dtype=cr.float64, requires_grad=True)
    (unfold(x, 3)[0] * untied).sum().backward()
    tied = cr.ones(1, 1, 3, 3, dtype=cr.float64, requires_grad=True)
    conv2d(x, tied).sum().backward()
    assert host(tied.grad).ravel().tolist() == [10, 14, 18, 26, 30, 34, 42, 46, 50]
    assert host(untied.grad).sum(1).tolist() == host(tied.grad).ravel().tolist()
    assert host(untied.grad).mean(1).tolist() == [2.5, 3.5, 4.5, 6.5, 7.5, 8.5, 10.5, 11.5, 12.5]


def test_numbers_of_parameters():
    """6 x 6 pixels to 4 x 4 neurons: dense, locally connected, convolution; and the two layers of the digit network."""
    places, pixels, seen = 4 * 4, 6 * 6, 3 * 3
    assert (places * pixels, places * seen, seen) == (576, 144, 9)
    first, second = cr.zeros(25, 1, 3, 3), cr.zeros(50, 25, 3, 3)
    assert (first[0].numel(), second[0].numel()) == (9, 225)
    assert (first.numel(), second.numel()) == (225, 11250)


def test_shapes_through_the_digit_network():
    x = draw(1, 28, 28)
    shapes = []
    for filters in (draw(25, 1, 3, 3), draw(50, 25, 3, 3)):
        x = conv2d(x, filters)
        shapes.append(tuple(x.shape))
        x = max_pool2d(x, 2)
        shapes.append(tuple(x.shape))
    assert shapes == [(25, 26, 26), (25, 13, 13), (50, 11, 11), (50, 5, 5)]
    assert x.numel() == 1250


# --- the algebra ---


def geometries(count):
    """Random geometries: (lengths, kernel, settings of the operations, output lengths)."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        n = int(rng.integers(1, 4))
        kernel, stride, dilation = (tuple(map(int, rng.integers(1, 4, n))) for _ in range(3))
        padding = tuple(map(int, rng.integers(-1, 4, n)))
        extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        lengths = tuple(max(1, e - p) + int(rng.integers(0, 4)) for e, p in zip(extent, padding, strict=True))
        size = tuple(int(one) for one in rng.integers(1, 5, n))
        settings = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": int(rng.integers(1, 3)),
        }
        yield lengths, kernel, settings, size


@pytest.mark.parametrize("memory", [100, 3000, 2 << 20])
def test_the_three_operations_are_transposes_of_each_other(monkeypatch, device, memory):
    """<conv(x, w), v> = <x, conv_input(v, w)> = <w, conv_weight(x, v)>, however small the pieces of the work are."""
    monkeypatch.setattr(ops, "scratch_bytes", lambda x: memory)
    for lengths, kernel, settings, size in geometries(40):
        groups = settings["groups"]
        channels = 20 if memory == 3000 else 2
        x, w = (
            draw(3, channels * groups, *lengths, device=device),
            draw(3 * groups, channels, *kernel, device=device),
        )
        v = draw(3, 3 * groups, *size, device=device)
        one = (ops.conv(x, w, size=size, **settings) * v).sum().item()
        two = (ops.conv_input(v, w, size=lengths, **settings) * x).sum().item()
        three = (ops.conv_weight(x, v, size=kernel, **settings) * w).sum().item()
        assert one == pytest.approx(two, rel=1e-9, abs=1e-9) == pytest.approx(three, rel=1e-9, abs=1e-9)


def test_unfold_and_fold_are_transposes_of_each_other(device):
    settings = {"kernel_size": (2, 3), "dilation": (2, 1), "padding": (1, 0), "stride": (1, 2)}
    x = draw(2, 3, 6, 7, device=device)
    columns = unfold(x, **settings)
    v = draw(*columns.shape, device=device)
    assert (columns * v).sum().item() == pytest.approx((x * fold(v, (6, 7), **settings)).sum().item())


def test_convolution_is_a_product_with_the_unfolded_input(device):
    x, w = draw(2, 3, 5, 6, device=device), draw(4, 3, 2, 3, device=device)
    product = w.reshape(4, 18) @ unfold(x, (2, 3), padding=1)
    np.testing.assert_allclose(
        host(product).reshape(2, 4, 6, 6), host(conv2d(x, w, padding=1)), rtol=1e-12, atol=1e-12
    )


def test_the_result_is_the_same_every_time():
    x, w = draw(4, 8, 9, 9).float().requires_grad_(), draw(6, 8, 3, 3).float().requires_grad_()
    found = [cr.autograd.grad(conv2d(x, w, stride=2).sin().sum(), (x, w)) for _ in range(2)]
    assert all((host(one) == host(other)).all() for one, other in zip(*found, strict=True))


def test_unbatched_input(device):
    x, w, b = draw(2, 5, 4, device=device), draw(3, 2, 2, 2, device=device), draw(3, device=device)
    np.testing.assert_array_equal(host(conv2d(x, w, b)), host(conv2d(x.unsqueeze(0), w, b))[0])
    v = draw(3, 5, 4, device=device)
    np.testing.assert_array_equal(host(conv_transpose2d(v, w)), host(conv_transpose2d(v.unsqueeze(0), w))[0])
    np.testing.assert_array_equal(host(unfold(x, 2)), host(unfold(x.unsqueeze(0), 2))[0])


def test_an_empty_batch(device):
    x, w = (
        draw(0, 2, 5, 5, device=device, requires_grad=True),
        draw(3, 2, 3, 3, device=device, requires_grad=True),
    )
    y = conv2d(x, w)
    y.sum().backward()
    assert y.shape == (0, 3, 3, 3) and x.grad.shape == x.shape and not host(w.grad).any()


def test_padding_by_name():
    x, w = draw(1, 1, 5, 6), draw(1, 1, 3, 3)
    np.testing.assert_array_equal(host(conv2d(x, w, padding="valid")), host(conv2d(x, w)))
    np.testing.assert_array_equal(host(conv2d(x, w, padding="same")), host(conv2d(x, w, padding=1)))
    # An even kernel needs an odd number of zeros: the one too many comes at the end.
    shifted = conv1d(cr.tensor([[1.0, 2.0, 3.0]]), cr.tensor([[[10.0, 1.0]]]), padding="same")
    assert host(shifted).tolist() == [[12, 23, 30]]


def test_output_padding_chooses_among_the_lengths_that_map_to_one():
    v, w = draw(1, 1, 3), draw(1, 1, 3)
    for extra, length in ((0, 7), (1, 8)):
        y = conv_transpose1d(v, w, stride=2, output_padding=extra)
        assert y.shape[2] == length and conv1d(y, w, stride=2).shape == v.shape


@pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16])
def test_sixteen_bit_floats_are_added_up_in_float32(dtype):
    """4096 + 1 is 4096 in 11 bits: summed in 16 bits the small terms would all be lost."""
    if dtype is cr.bfloat16:
        pytest.importorskip("ml_dtypes")
    x = cr.ones(1, 4097, 1, dtype=dtype)
    w = cr.ones(1, 4097, 1, dtype=dtype)
    x[0, 0, 0] = 4096
    x.requires_grad_(), w.requires_grad_()
    for padding in (0, 1):  # a plain product, and one through columns
        y = conv1d(x, w, padding=padding)
        y.sum().backward()
        assert y.dtype is dtype and x.grad.dtype is dtype and w.grad.dtype is dtype
        assert y.max().item() == 8192


def test_integers_and_complex_numbers():
    x, w = cr.tensor([[[1, 2, 3, 4]]]), cr.tensor([[[1, -1]]])
    assert host(conv1d(x, w)).tolist() == [[[-1, -1, -1]]] and conv1d(x, w).dtype is cr.int64
    z = cr.tensor(np.array([[[1 + 2j, 3, 1j]]]), requires_grad=True)
    y = conv1d(z, cr.tensor(np.array([[[1j, 1 + 0j]]])))
    np.testing.assert_allclose(host(y), [[[1 + 1j, 4j]]])
    y.real.sum().backward()
    np.testing.assert_allclose(host(z.grad), [[[-1j, 1 - 1j, 1]]])


@pytest.mark.parametrize("transposed", [False, True])
def test_random_geometries_agree_with_torch(torch, as_torch, transposed):
    for lengths, kernel, settings, _ in geometries(30):
        groups, n = settings["groups"], len(lengths)
        settings["padding"] = tuple(
            min(max(one, 0), k - 1) for one, k in zip(settings["padding"], kernel, strict=True)
        )
        lengths = tuple(one + 5 for one in lengths)
        shape = (2 * groups, 3, *kernel) if transposed else (3 * groups, 2, *kernel)
        x = draw(2, 2 * groups, *lengths, requires_grad=True)
        w, b = draw(*shape, requires_grad=True), draw(3 * groups, requires_grad=True)
        name = f"conv_transpose{n}d" if transposed else f"conv{n}d"
        theirs = [as_torch(one) for one in (x, w, b)]
        y = getattr(functional, name)(x, w, b, **settings)
        want = getattr(torch.nn.functional, name)(*theirs, **settings)
        np.testing.assert_allclose(host(y), want.detach().numpy(), rtol=1e-10, atol=1e-10)
        y.sin().sum().backward()
        want.sin().sum().backward()
        for one, other in zip((x, w, b), theirs, strict=True):
            np.testing.assert_allclose(host(one.grad), other.grad.numpy(), rtol=1e-9, atol=1e-9)


# --- refusals ---

X, W = (2, 4, 6, 6), (3, 4, 3, 3)


@pytest.mark.parametrize(
    "shape, weight, kwargs, error, words",
    [
        ((6, 6), W, {}, RuntimeError, r"\(N, C, H, W\).*\(6, 6\).*unsqueeze"),
        (X, (3, 4, 3), {}, RuntimeError, r"weight of shape \(O, C / groups, kH, kW\).*\(3, 4, 3\)"),
        (X, (3, 4, 3, 0), {}, RuntimeError, r"\(3, 4, 3, 0\)"),
        (X, (3, 5, 3, 3), {}, RuntimeError, r"\(3, 5, 3, 3\).*5 input channels.*\(2, 4, 6, 6\) has 4"),
        (X, (3, 2, 3, 3), {"groups": 2}, RuntimeError, r"3 output channels.*groups=2"),
        (X, W, {"groups": 0}, RuntimeError, "groups must be at least 1"),
        (X, (3, 4, 7, 7), {}, RuntimeError, r"\(7, 7\).*more than the padded input.*\(6, 6\).*more padding"),
        (X, W, {"dilation": 3}, RuntimeError, r"dilation \(3, 3\) spans \(7, 7\)"),
        (
            (2, 4, 0, 6),
            W,
            {"padding": 5},
            RuntimeError,
            r"elements in every spatial dimension.*\(2, 4, 0, 6\)",
        ),
        (X, W, {"stride": 0}, RuntimeError, "stride must be at least 1"),
        (X, W, {"stride": 1.5}, TypeError, "stride must be an int or 2 of them, got 1.5"),
        (X, W, {"stride": True}, TypeError, "stride must be an int"),
        (X, W, {"stride": (1, 2, 3)}, RuntimeError, "stride must be an int or 2 of them"),
        (X, W, {"padding": -1}, RuntimeError, "padding must be at least 0"),
        (X, W, {"padding": "full"}, ValueError, "'valid' or 'same', got 'full'"),
        (X, W, {"padding": "same", "stride": 2}, RuntimeError, "padding='same' needs stride 1"),
        (X, W, {"padding": 2**62}, RuntimeError, "output of shape .* would have .* elements"),
    ],
)
def test_conv2d_refuses(shape, weight, kwargs, error, words):
    with pytest.raises(error, match=f"conv2d: .*{words}"):
        conv2d(cr.zeros(shape), cr.zeros(weight), **kwargs)


def test_wrong_biases_types_and_dtypes():
    x, w = cr.zeros(X), cr.zeros(W)
    with pytest.raises(RuntimeError, match=r"conv2d: expected a bias of shape \(3,\).*\(4,\)"):
        conv2d(x, w, cr.zeros(4))
    with pytest.raises(RuntimeError, match=r"conv2d: weight is chainrule.float32 and bias chainrule.float64"):
        conv2d(x, w, cr.zeros(3, dtype=cr.float64))
    with pytest.raises(RuntimeError, match="conv: expected inputs of one dtype, got float32, float64"):
        conv2d(x, w.double())
    with pytest.raises(TypeError, match="conv3d: expected a Tensor, got list"):
        conv3d([1.0], w)
    with pytest.raises(TypeError, match="conv2d: weight: expected a Tensor, got ndarray"):
        conv2d(x, np.zeros(W))


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: conv_transpose2d(cr.zeros(X), cr.zeros(W)),
            r"conv_transpose2d: .*\(3, 4, 3, 3\) takes 3.* has 4",
        ),
        (
            lambda: conv_transpose1d(cr.zeros(1, 2, 3), cr.zeros(2, 1, 3), output_padding=2, stride=2),
            r"conv_transpose1d: output_padding \(2,\) must be less than stride \(2,\) or dilation \(1,\)",
        ),
        (lambda: conv_transpose1d(cr.zeros(1, 2, 1), cr.zeros(2, 1, 3), padding=2), "use less padding"),
        (
            lambda: conv_transpose1d(cr.zeros(1, 3, 4), cr.zeros(3, 1, 3), groups=2),
            "3 input channels.*groups=2",
        ),
        (lambda: unfold(cr.zeros(1, 2, 3, 3), 4), r"unfold: a kernel of size \(4, 4\)"),
        (lambda: unfold(cr.zeros(3, 3), 2), r"unfold: expected an input of shape \(N, C, H, W\)"),
        (lambda: fold(cr.zeros(1, 5, 4), (3, 3), 2), r"fold: .*\(1, 5, 4\).*multiple of the kernel's 4"),
        (lambda: fold(cr.zeros(1, 8, 5), (3, 3), 2), r"fold: .*2 x 2 places.*has 5 columns"),
    ],
)
def test_relatives_refuse(call, words):
    with pytest.raises(RuntimeError, match=words):
        call()
