"""Pooling over any number of spatial dimensions. x is (N, C, *in), the result (N, C, *size).

Max pooling reads one element of each window: its gradient is written back to where that element came from, by `unpool`, whose
own gradient is a reading again, `pool_gather`. Average pooling is linear, and its transpose is an operation too. So there are
derivatives of every order, and each of them is one of these few operations.

Results for arrays with the channels innermost in memory (channels_last) lie so too.

Positions are int64 indices into the flattened spatial dimensions, as in PyTorch.
"""

import functools
import math
import operator

from chainrule.autograd.op import op
from chainrule.backends import add_at, layouts

from .windows import along, pieces, scratch_bytes, taps, widened

_LONG = 8  # windows longer than this are summed by a reduction, shorter ones faster by adding slices


def _max_pool_tangent(xp, t, x, kernel, stride, padding, dilation, size):
    index = max_pool_index(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size)
    return pool_gather(t[0], index)


@op(
    x=lambda xp, g, x, kernel, stride, padding, dilation, size: unpool(
        g,
        max_pool_index(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size),
        size=tuple(x.shape[2:]),
        distinct=all(d * (k - 1) < s for k, s, d in zip(kernel, stride, dilation, strict=True)),
    ),
    tangent=_max_pool_tangent,
)
def max_pool(xp, x, *, kernel, stride, padding, dilation, size):
    """The largest element of each window; NaN if there is one in it. (N, C, *in) -> (N, C, *size).

    Every argument has an entry for each spatial dimension. padding counts the places before the first element; these, and those
    after the last that `size` asks for, count as -inf. Of equal elements the first gets the gradient.
    """
    return _separable(
        xp, xp.maximum, _lowest(xp, x.dtype), x, zip(size, kernel, stride, padding, dilation, strict=True)
    )


def _lowest(xp, dtype):
    return xp.iinfo(dtype).min if dtype.kind in "iu" else -float("inf")


def _separable(xp, combine, nothing, x, windows):
    """`combine` (a ufunc) over the elements of each window, along one dimension after the other.

    That takes k passes for each dimension over ever fewer elements, where a pass for each tap would take their product.
    """
    for axis, (size, kernel, stride, padding, dilation) in enumerate(windows, start=2):
        before = (slice(None),) * axis
        meetings = along(x.shape[axis], 0, size, kernel, stride, padding, dilation)
        full = [reads for _, lands, reads in meetings if lands == slice(0, size)][:2]
        if len(full) == 2:
            y = combine(*(x[(*before, reads)] for reads in full))
        elif full:
            y = x[(*before, full[0])].copy()
        else:
            y = xp.full((*x.shape[:axis], size, *x.shape[axis + 1 :]), nothing, dtype=x.dtype)
        for _, lands, reads in meetings:
            if reads not in full:
                part = y[(*before, lands)]
                combine(part, x[(*before, reads)], out=part)
        x = y
    return x


@op()
def max_pool_index(xp, x, *, kernel, stride, padding, dilation, size):
    """Where `max_pool` finds the element of each window: the first of the largest, the last NaN if there is one.

    Each window must meet at least one element.
    """
    steps = [math.prod(x.shape[axis + 1 :]) for axis in range(2, x.ndim)]
    meetings = taps(x.shape[2:], size, kernel, stride, padding, dilation)
    far = [
        1 + sum(t * d * step for t, d, step in zip(tap, dilation, steps, strict=True))
        for tap, _, _ in meetings
    ]
    first = -1
    for axis, (count, s, p, step) in enumerate(zip(size, stride, padding, steps, strict=True)):
        first = first + _along_axis(xp.arange(count) * s - p, axis, len(size)) * step
    index = xp.empty((*x.shape[:2], *size), dtype="int64")
    for samples, _ in pieces(x.shape[0], 1, x.itemsize * math.prod(x.shape[1:]), scratch_bytes(x)):
        index[samples] = _winners(xp, x[samples], size, meetings, far) + first
    return index


def _winners(xp, x, size, meetings, far):
    """The number from `far` of the tap that wins each window."""
    best = xp.full((*x.shape[:2], *size), _lowest(xp, x.dtype), dtype=x.dtype)
    winners = xp.zeros(best.shape, dtype="int32" if max(far, default=0) < 2**31 else "int64")
    for (_, lands, reads), distance in zip(meetings, far, strict=True):
        here = (slice(None), slice(None), *lands)
        seen, top, winner = x[(slice(None), slice(None), *reads)].copy(), best[here], winners[here]
        won = (seen > top) | (seen != seen) | (winner == 0)
        # Among the places that a window meets, the distances grow from tap to tap: the largest is that of the last to win.
        xp.maximum(winner, won * winners.dtype.type(distance), out=winner)
        xp.maximum(top, seen, out=top)
    return winners


def _along_axis(values, axis, ndim):
    """A 1-d array laid along one of `ndim` axes, to be broadcast over the others."""
    return values.reshape(-1, *[1] * (ndim - 1 - axis))


@op(
    x=lambda xp, g, index, x_shape, distinct: unpool(g, index, size=x_shape[2:], distinct=distinct),
    tangent="linear",
)
def pool_gather(xp, x, index, *, distinct=False):
    """x at the positions `index`. (N, C, *in), (N, C, *out) -> (N, C, *out). distinct: no position is named twice."""
    return x.reshape(-1)[_positions(xp, index, x.shape)].reshape(index.shape)


@op(x=lambda xp, g, index, distinct: pool_gather(g, index, distinct=distinct), tangent="linear")
def unpool(xp, x, index, *, size, distinct=False):
    """Zeros of spatial shape `size` with x added at the positions `index`. (N, C, *in), (N, C, *in) -> (N, C, *size).

    distinct: no position is named twice, so that x can be written, which is faster. (If one is, its last value stays.)
    """
    y = xp.zeros((*x.shape[:2], *size), dtype=x.dtype)
    flat, positions = y.reshape(-1), _positions(xp, index, y.shape)
    if distinct:
        flat[positions] = x.reshape(-1)
    else:
        add_at(flat, positions, x.reshape(-1))
    return layouts.arranged(xp, y, layouts.is_channels_last(x))


def _positions(xp, index, shape):
    """Positions in the spatial dimensions as positions in the whole flattened array of `shape`."""
    images = xp.arange(shape[0] * shape[1]).reshape(*shape[:2], *[1] * (index.ndim - 2))
    return (images * math.prod(shape[2:]) + index).reshape(-1)


@op(
    x=lambda xp, g, x_shape, kernel, stride, padding, count_padding, divisor: avg_unpool(
        g,
        kernel=kernel,
        stride=stride,
        padding=padding,
        count_padding=count_padding,
        divisor=divisor,
        size=x_shape[2:],
    ),
    cast="float",
    tangent="linear",
)
def avg_pool(xp, x, *, kernel, stride, padding, size, count_padding=True, divisor=None):
    """The mean of each window. (N, C, *in) -> (N, C, *size).

    padding: zeros before the first element, and after the last. They are counted in the mean with `count_padding`; what `size`
    asks for beyond them is not. divisor: what to divide by instead of the number of elements.
    """
    windows = list(zip(size, kernel, stride, padding, (1,) * len(size), strict=True))
    y = _separable(xp, xp.add, 0, x.astype(widened(xp, x.dtype), copy=False), windows)
    y /= divisor or _counts(xp, x.shape[2:], windows, count_padding, y.dtype)
    return y.astype(x.dtype, copy=False)


@op(
    v=lambda xp, g, v_shape, kernel, stride, padding, count_padding, divisor: avg_pool(
        g,
        kernel=kernel,
        stride=stride,
        padding=padding,
        size=v_shape[2:],
        count_padding=count_padding,
        divisor=divisor,
    ),
    tangent="linear",
)
def avg_unpool(xp, v, *, kernel, stride, padding, size, count_padding=True, divisor=None):
    """The transpose of `avg_pool`: every element's share given to all places of its window. (N, C, *out) -> (N, C, *size)."""
    windows = list(zip(v.shape[2:], kernel, stride, padding, (1,) * len(size), strict=True))
    wide = widened(xp, v.dtype)
    x = v.astype(wide, copy=False) / (divisor or _counts(xp, size, windows, count_padding, wide))
    for i in reversed(range(len(size))):
        before = (slice(None),) * (i + 2)
        shape = (*x.shape[: i + 2], size[i], *x.shape[i + 3 :])
        spread = layouts.empty(xp, shape, wide, layouts.is_channels_last(x), "zeros")
        for _, lands, reads in along(size[i], 0, *windows[i]):
            part = spread[(*before, reads)]
            part += x[(*before, lands)]
        x = spread
    return x.astype(v.dtype, copy=False)


def _counts(xp, lengths, windows, count_padding, dtype):
    """How many elements each window has: a number if all have as many, else an array that broadcasts over the places."""
    counts = 1
    for axis, (length, (size, kernel, stride, padding, _)) in enumerate(zip(lengths, windows, strict=True)):
        first, last = (-padding, length + padding) if count_padding else (0, length)
        if first <= -padding and (size - 1) * stride - padding + kernel <= last:
            counts = counts * kernel
        else:
            start = xp.arange(size) * stride - padding
            count = xp.minimum(start + kernel, last) - xp.maximum(start, first)
            counts = counts * _along_axis(count.astype(dtype), axis, len(lengths))
    return counts


@op(x=lambda xp, g, x_shape: adaptive_avg_unpool(g, size=x_shape[2:]), cast="float", tangent="linear")
def adaptive_avg_pool(xp, x, *, size):
    """The means of `size` windows that cover x evenly: window i of n is elements floor(i L / n) to ceil((i + 1) L / n) - 1."""
    y = _adaptive_sum(xp, x.astype(widened(xp, x.dtype), copy=False), size)
    y /= _adaptive_counts(xp, x.shape[2:], size, y.dtype)
    return y.astype(x.dtype, copy=False)


@op(v=lambda xp, g, v_shape: adaptive_avg_pool(g, size=v_shape[2:]), tangent="linear")
def adaptive_avg_unpool(xp, v, *, size):
    """The transpose of `adaptive_avg_pool`."""
    wide = widened(xp, v.dtype)
    shares = v.astype(wide, copy=False) / _adaptive_counts(xp, size, v.shape[2:], wide)
    # Window i covers element j exactly if window j of the opposite pooling covers element i: the sum is its own transpose.
    return _adaptive_sum(xp, shares, size).astype(v.dtype, copy=False)


def _adaptive_windows(length, size):
    return (slice(i * length // size, -(-(i + 1) * length // size)) for i in range(size))


def _adaptive_sum(xp, x, size):
    """Sums over the windows of adaptive pooling, along one dimension after the other."""
    for axis, count in enumerate(size, start=2):
        before = (slice(None),) * axis
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        y = layouts.empty(xp, shape, x.dtype, layouts.is_channels_last(x))
        for i, window in enumerate(_adaptive_windows(x.shape[axis], count)):
            if window.stop - window.start > _LONG:
                y[(*before, i)] = xp.sum(x[(*before, window)], axis=axis)
            else:
                places = range(window.start, window.stop)
                y[(*before, i)] = functools.reduce(operator.add, (x[(*before, place)] for place in places))
        x = y
    return x


def _adaptive_counts(xp, lengths, size, dtype):
    counts = xp.ones((1,) * len(size), dtype=dtype)
    for axis, (length, n) in enumerate(zip(lengths, size, strict=True)):
        i = xp.arange(n)
        count = (i * length + length + n - 1) // n - i * length // n
        counts = counts * _along_axis(count.astype(dtype), axis, len(size))
    return counts


@op()
def adaptive_max_index(xp, x, *, size):
    """Where in each window of `adaptive_avg_pool` the largest element is, the first at a tie; the first NaN if there is one."""
    best, place = x, None
    for axis in reversed(range(2, x.ndim)):
        before, step = (slice(None),) * axis, math.prod(x.shape[axis + 1 :])
        shape = (*best.shape[:axis], size[axis - 2], *best.shape[axis + 1 :])
        tops, places = xp.empty(shape, dtype=x.dtype), xp.empty(shape, dtype="int64")
        for i, window in enumerate(_adaptive_windows(x.shape[axis], size[axis - 2])):
            part, target = best[(*before, window)], (*before, slice(i, i + 1))
            pick = xp.argmax(part, axis=axis, keepdims=True)
            tops[target] = xp.take_along_axis(part, pick, axis=axis)
            places[target] = (pick + window.start) * step
            if place is not None:
                here = places[target]
                here += xp.take_along_axis(place[(*before, window)], pick, axis=axis)
        best, place = tops, places
    return place
