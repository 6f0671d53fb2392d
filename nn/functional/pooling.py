"""Pooling under PyTorch's names: what is checked here is computed in `autograd/ops/pooling.py`.

Inputs are (N, C, L), (N, C, H, W) or (N, C, D, H, W), each also without N. Sizes are one int, or one for each spatial dimension.
A window sits at every multiple of `stride` (by default the window's own size) that fits the padded input; with `ceil_mode` also
where the last one fits in part: L' = floor((L + 2 padding - dilation (k - 1) - 1) / stride) + 1, or ceil.
"""

import math

from chainrule.autograd import ops
from chainrule.autograd.functions.common import index_array
from chainrule.autograd.ops import pooling
from chainrule.autograd.precision import precision

from .common import on_host
from .windows import AXES, batched, check_size, lengths, places, unbatched


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window. (N, C, L) -> (N, C, L').

    Padding counts as -inf. NaN wins over all. Of equal elements the first wins and gets the gradient.
    return_indices: also the places of the winners in the (flattened) spatial dimensions, as int64; see `max_unpool1d`.
    """
    return _max_pool(
        "max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """`max_pool1d` over two dimensions: (N, C, H, W) -> (N, C, H', W')."""
    return _max_pool(
        "max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@precision(cpu="float32")
def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """`max_pool1d` over three dimensions: (N, C, D, H, W) -> (N, C, D', H', W')."""
    return _max_pool(
        "max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def _max_pool(name, n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    x, was_batched = batched(input, n, name)
    if not x.shape[1]:
        raise RuntimeError(f"{name}: expected an input with channels, got shape {tuple(input.shape)}")
    kernel, stride, padding = _window(name, n, kernel_size, stride, padding)
    dilation = lengths(dilation, n, name, "dilation")
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    _check_padding(name, padding, extent)
    size = places(name, x, kernel, stride, padding, dilation, ceil_mode)
    check_size(name, (*x.shape[:2], *size))
    _check_windows(name, x, size, kernel, stride, padding, dilation)
    window = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "size": size}
    if not return_indices:
        return unbatched(pooling.max_pool(x, **window), was_batched)
    distinct = all(e <= s for e, s in zip(extent, stride, strict=True))
    return _at(x, pooling.max_pool_index(x, **window), was_batched, distinct)


def _at(x, index, was_batched, distinct=False):
    values = pooling.pool_gather(x, index, distinct=distinct)
    return unbatched(values, was_batched), unbatched(index, was_batched)


def _window(name, n, kernel_size, stride, padding):
    kernel = lengths(kernel_size, n, name, "kernel_size")
    # PyTorch's layers pass an empty stride on where none was given.
    stride = kernel if stride is None or stride in ((), []) else lengths(stride, n, name, "stride")
    return kernel, stride, lengths(padding, n, name, "padding", least=0)


def _check_padding(name, padding, extent):
    if any(2 * p > e for p, e in zip(padding, extent, strict=True)):
        raise RuntimeError(
            f"{name}: padding {padding} is more than half of the window, which spans {extent}; use less padding or a larger kernel"
        )


def _check_windows(name, x, size, kernel, stride, padding, dilation):
    """Refuse dilated windows whose taps all fall into the padding: they have no largest element to send a gradient to."""
    for length, count, s, p, d in zip(x.shape[2:], size, stride, padding, dilation, strict=True):
        # A window that starts before the first element meets it, or passes it by with a step longer than the input.
        if d > length and any((place * s - p) % d >= length for place in range(min(count, -(-p // s), d))):
            raise RuntimeError(
                f"{name}: with dilation {dilation} and padding {padding}, kernel {kernel} misses all of the input of shape "
                f"{tuple(x.shape)} at some places; use less dilation or padding"
            )


@precision(cpu="float32")
def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with each element of `input` at the place that `indices` gives: undoes `max_pool1d` but for what was not the largest.

    (N, C, L') -> (N, C, L), L = (L' - 1) stride - 2 padding + k, or `output_size` where several L pool to one L'.
    Where two indices agree, the last element stays.
    """
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


@precision(cpu="float32")
def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """`max_unpool1d` over two dimensions: (N, C, H', W') -> (N, C, H, W)."""
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


@precision(cpu="float32")
def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """`max_unpool1d` over three dimensions: (N, C, D', H', W') -> (N, C, D, H, W)."""
    return _max_unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def _max_unpool(name, n, input, indices, kernel_size, stride, padding, output_size):
    x, was_batched = batched(input, n, name)
    index = index_array(indices, name)
    if tuple(indices.shape) != tuple(input.shape):
        raise RuntimeError(
            f"{name}: input of shape {tuple(input.shape)} and indices of shape {tuple(indices.shape)} must have one shape; "
            f"give the indices that max_pool{n}d returned with return_indices=True"
        )
    kernel, stride, padding = _window(name, n, kernel_size, stride, padding)
    size = _unpooled_size(name, n, x, kernel, stride, padding, output_size)
    check_size(name, (*x.shape[:2], *size))
    if index.size and on_host(index) and not (0 <= int(index.min()) and int(index.max()) < math.prod(size)):
        raise IndexError(
            f"{name}: indices must be places in the output's spatial shape {size}, 0 to {math.prod(size) - 1}, "
            f"got {int(index.min())} to {int(index.max())}; give the output_size that was pooled"
        )
    return unbatched(pooling.unpool(x, index.reshape(x.shape), size=size, distinct=True), was_batched)


def _unpooled_size(name, n, x, kernel, stride, padding, output_size):
    usual = tuple(
        (m - 1) * s - 2 * p + k for m, s, p, k in zip(x.shape[2:], stride, padding, kernel, strict=True)
    )
    if output_size is None:
        if any(one < 1 for one in usual):
            raise RuntimeError(
                f"{name}: the output of spatial shape {usual} would be empty; use less padding or a larger input"
            )
        return usual
    given = tuple(output_size)
    given = given[-n:] if len(given) in (n + 1, n + 2) else given
    size = lengths(given, n, name, "output_size")
    if any(abs(one - other) >= s for one, other, s in zip(size, usual, stride, strict=True)):
        raise ValueError(
            f"{name}: output_size {size} must be within less than the stride {stride} of {usual}"
        )
    return size


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window. (N, C, L) -> (N, C, L'). Padding is zeros, counted in the mean unless count_include_pad=False."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """`avg_pool1d` over two dimensions: (N, C, H, W) -> (N, C, H', W'). divisor_override: divide the window's sum by this instead."""
    return _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@precision(cpu="float32")
def avg_pool3d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """`avg_pool2d` over three dimensions: (N, C, D, H, W) -> (N, C, D', H', W')."""
    return _avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def _avg_pool(name, n, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    x, was_batched = batched(input, n, name)
    integer = x._array.dtype.kind in "iu"  # integers give integers, rounded towards 0
    kernel, stride, padding = _window(name, n, kernel_size, stride, padding)
    _check_padding(name, padding, kernel)
    if divisor_override is not None and divisor_override == 0:
        raise RuntimeError(
            f"{name}: divisor_override must not be 0; leave it out to divide by the window's size"
        )
    size = places(name, x, kernel, stride, padding, (1,) * n, ceil_mode)
    check_size(name, (*x.shape[:2], *size))
    y = pooling.avg_pool(
        x.double() if integer else x,
        kernel=kernel,
        stride=stride,
        padding=padding,
        size=size,
        count_padding=bool(count_include_pad),
        divisor=divisor_override,
    )
    return unbatched(ops.trunc(y).to(x.dtype) if integer else y, was_batched)


def adaptive_avg_pool1d(input, output_size):
    """Means over `output_size` windows that cover the input evenly. (N, C, L) -> (N, C, output_size).

    Window i of n is elements floor(i L / n) to ceil((i + 1) L / n) - 1: of equal length if n divides L, else overlapping.
    """
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input, output_size):
    """`adaptive_avg_pool1d` over two dimensions; None for a length keeps the input's. (N, C, H, W) -> (N, C, H', W')."""
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


@precision(cpu="float32")
def adaptive_avg_pool3d(input, output_size):
    """`adaptive_avg_pool2d` over three dimensions. (N, C, D, H, W) -> (N, C, D', H', W')."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive_avg_pool(name, n, input, output_size):
    x, was_batched = batched(input, n, name)
    size, step = _adaptive(name, n, x, output_size)
    if set(size) == {1}:
        y = ops.mean(x, axis=tuple(range(2, n + 2)), keepdims=True)
    elif step is not None:
        y = pooling.avg_pool(x, kernel=step, stride=step, padding=(0,) * n, size=size)
    else:
        y = pooling.adaptive_avg_pool(x, size=size)
    return unbatched(y, was_batched)


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The largest elements of the windows of `adaptive_avg_pool1d`. (N, C, L) -> (N, C, output_size). Ties, NaN, indices: `max_pool1d`."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """`adaptive_max_pool1d` over two dimensions; None for a length keeps the input's. (N, C, H, W) -> (N, C, H', W')."""
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


@precision(cpu="float32")
def adaptive_max_pool3d(input, output_size, return_indices=False):
    """`adaptive_max_pool2d` over three dimensions. (N, C, D, H, W) -> (N, C, D', H', W')."""
    return _adaptive_max_pool("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _adaptive_max_pool(name, n, input, output_size, return_indices):
    x, was_batched = batched(input, n, name)
    size, step = _adaptive(name, n, x, output_size)
    if step is not None and not return_indices:
        window = {"kernel": step, "stride": step, "padding": (0,) * n, "dilation": (1,) * n, "size": size}
        return unbatched(pooling.max_pool(x, **window), was_batched)
    values, indices = _at(x, pooling.adaptive_max_index(x, size=size), was_batched, distinct=step is not None)
    return (values, indices) if return_indices else values


def _adaptive(name, n, x, output_size):
    """The output's spatial shape, and the size of the windows if they are all equal, else None."""
    shape = tuple(x.shape[2:])
    if 0 in shape:
        raise RuntimeError(
            f"{name}: expected an input with elements in every dimension of ({AXES[n]}), got shape {tuple(x.shape)}"
        )
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,)
    given = given * n if len(given) == 1 else given
    kept = (
        [length if one is None else one for one, length in zip(given, shape, strict=False)]
        if len(given) == n
        else given
    )
    size = lengths(tuple(kept), n, name, "output_size")
    check_size(name, (*x.shape[:2], *size))
    if any(length % one for length, one in zip(shape, size, strict=True)):
        return size, None
    return size, tuple(length // one for length, one in zip(shape, size, strict=True))


def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm of each window, (sum of x^p)^(1/p), p = norm_type. (N, C, L) -> (N, C, L').

    x^p is not |x|^p: for odd p, as in PyTorch, a window with a negative sum gives NaN. The gradient where the sum is 0 is 0.
    """
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """`lp_pool1d` over two dimensions: (N, C, H, W) -> (N, C, H', W')."""
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """`lp_pool1d` over three dimensions: (N, C, D, H, W) -> (N, C, D', H', W')."""
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(name, n, input, norm_type, kernel_size, stride, ceil_mode):
    if isinstance(norm_type, bool) or not isinstance(norm_type, (int, float)) or norm_type == 0:
        raise ValueError(f"{name}: norm_type must be a number other than 0, got {norm_type!r}")
    kernel, stride, none = _window(name, n, kernel_size, stride, 0)
    powers = ops.power_scalar(batched(input, n, name)[0], exponent=norm_type)
    total = ops.multiply(
        _avg_pool(name, n, powers, kernel, stride, none, ceil_mode, True, None), math.prod(kernel)
    )
    # The root has no slope at 0: take it of 1 there, and put 0 in its place.
    empty = ops.equal(total, 0)
    roots = ops.where(empty, 0.0, ops.power_scalar(ops.where(empty, 1.0, total), exponent=1 / norm_type))
    return unbatched(roots, input.ndim == n + 2)
